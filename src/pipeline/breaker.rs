//! When to try again: a circuit breaker around incarnations.
//!
//! * **closed**: the last incarnation committed something, or none has failed yet. A failure opens the circuit.
//! * **open**: nothing touches the broker until a pause is over; the pause doubles with every opening in a row.
//! * **half-open**: one incarnation tries. The first epoch it commits closes the circuit, and the next pause is short again;
//!   if it fails before that, the circuit is open again.
//!
//! After [`OPENINGS_MAX`] openings in a row it gives up, and the process ends: endless retries hide what an orchestrator
//! should see. Only committed epochs count as success: a connection, or a group joined, proves nothing to a topic that may
//! not be written.

use std::time::{Duration, Instant};

/// The first pause. A leader moves, or a transaction of ours ends, within about this time.
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// The longest pause: how long a broker that has come back may wait for us.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Openings in a row, without a single epoch committed between them, after which it gives up: with the longest pauses
/// about four minutes, longer than a broker takes to restart and recover its logs.
pub(super) const OPENINGS_MAX: u32 = 20;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen,
}

/// What a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Another try once this is past.
    Open {
        /// How long the circuit stays open.
        pause: Duration,
        /// Openings in a row, this one included.
        openings: u32,
    },
    /// No further try.
    GiveUp,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    openings: u32,
}

impl Breaker {
    /// A closed one.
    pub fn new() -> Breaker {
        Breaker { state: State::Closed, openings: 0 }
    }

    /// An incarnation failed; `committed`: it had committed an epoch before that.
    pub fn failed(&mut self, committed: bool, now: Instant) -> Verdict {
        assert!(!matches!(self.state, State::Open { .. }), "nothing runs while the circuit is open");
        if committed {
            self.openings = 0;
        }
        self.openings += 1;
        if self.openings >= OPENINGS_MAX {
            return Verdict::GiveUp;
        }
        let pause = PAUSE_MIN.saturating_mul(1 << (self.openings - 1).min(16)).min(PAUSE_MAX);
        self.state = State::Open { until: now + pause };
        Verdict::Open { pause, openings: self.openings }
    }

    /// Whether the next incarnation may run; the first time that it may, an open circuit is half-open.
    pub fn may_try(&mut self, now: Instant) -> bool {
        match self.state {
            State::Open { until } if now < until => false,
            State::Open { .. } => {
                self.state = State::HalfOpen;
                true
            }
            State::Closed | State::HalfOpen => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails as soon as it may, `count` times; the pauses between.
    fn pauses(breaker: &mut Breaker, now: &mut Instant, count: usize) -> Vec<u64> {
        let fail = |_| {
            assert!(breaker.may_try(*now));
            let Verdict::Open { pause, .. } = breaker.failed(false, *now) else { panic!("gave up") };
            assert!(!breaker.may_try(*now), "open");
            *now += pause - Duration::from_millis(1);
            assert!(!breaker.may_try(*now), "still open");
            *now += Duration::from_millis(1);
            pause.as_millis() as u64
        };
        (0..count).map(fail).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest_while_nothing_is_committed() {
        let (mut breaker, mut now) = (Breaker::new(), Instant::now());
        let expected = [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000, 15_000];
        assert_eq!(pauses(&mut breaker, &mut now, 9), expected);
    }

    #[test]
    fn a_committed_epoch_closes_the_circuit() {
        let (mut breaker, mut now) = (Breaker::new(), Instant::now());
        pauses(&mut breaker, &mut now, 10);
        assert!(breaker.may_try(now));
        assert_eq!(breaker.state, State::HalfOpen);
        let verdict = breaker.failed(true, now);
        assert_eq!(verdict, Verdict::Open { pause: PAUSE_MIN, openings: 1 }, "as if it were the first");
    }

    #[test]
    fn it_gives_up_after_a_number_of_openings_in_a_row_and_not_before() {
        let (mut breaker, mut now) = (Breaker::new(), Instant::now());
        for _ in 0..3 {
            pauses(&mut breaker, &mut now, OPENINGS_MAX as usize - 2);
            assert!(breaker.may_try(now));
            breaker.failed(true, now);
            now += PAUSE_MIN;
        }
        pauses(&mut breaker, &mut now, OPENINGS_MAX as usize - 2);
        assert!(breaker.may_try(now));
        assert_eq!(breaker.failed(false, now), Verdict::GiveUp);
    }
}
