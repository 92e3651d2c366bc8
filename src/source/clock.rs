//! The clock board: what every source knows of every partition's event time, and the watermark that follows from it.
//!
//! Each partition's clock is written by the source that reads it and read by all. A source sends the *task's* watermark
//! down its own rings, behind its own signals; a shard goes by the minimum over its rings. So a watermark computed from
//! another source's clock can never overtake that source's signals.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::{PartitionClockState, Span, Task, Timestamp};

/// One partition's event-time clock. All orderings are relaxed: a stale value only delays a watermark, and each watermark
/// is ordered behind its signals by the ring it travels in.
#[derive(Debug)]
pub struct PartitionClock {
    /// Whose watermark it holds back.
    pub task: Task,
    out_of_orderness: Span,
    newest: AtomicI64,
    newest_stamp: AtomicI64,
    first: AtomicI64,
    idle: AtomicBool,
    finished: AtomicBool,
    /// The leader's answer to the last idle probe: its high watermark.
    probed_end: AtomicI64,
    /// Counts answers, so that a source can tell a fresh one.
    pub probes_answered: AtomicU64,
}

impl PartitionClock {
    /// A clock that has seen nothing.
    pub fn new(task: Task, out_of_orderness: Span) -> Self {
        PartitionClock {
            task,
            out_of_orderness,
            newest: AtomicI64::new(Timestamp::MIN.0),
            newest_stamp: AtomicI64::new(Timestamp::MIN.0),
            first: AtomicI64::new(Timestamp::MIN.0),
            idle: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            probed_end: AtomicI64::new(i64::MAX),
            probes_answered: AtomicU64::new(0),
        }
    }

    /// The partition's own watermark: newest event time − out_of_orderness. Unbounded out_of_orderness: never moves.
    pub fn watermark(&self) -> Timestamp {
        self.behind(Timestamp(self.newest.load(Ordering::Relaxed)))
    }

    /// The watermark that follows from a newest event time.
    pub fn behind(&self, newest: Timestamp) -> Timestamp {
        if newest == Timestamp::MIN || self.out_of_orderness == Span::MAX {
            Timestamp::MIN
        } else {
            newest - self.out_of_orderness
        }
    }

    /// Publishes the newest event time seen and the Kafka timestamp of the record that bore it.
    pub fn publish(&self, newest: Timestamp, stamp: Timestamp) {
        if self.first.load(Ordering::Relaxed) == Timestamp::MIN.0 {
            self.first.store(self.behind(newest).0, Ordering::Relaxed);
        }
        self.newest.store(newest.0, Ordering::Relaxed);
        self.newest_stamp.store(stamp.0, Ordering::Relaxed);
    }

    /// What commits of it.
    pub fn state(&self) -> PartitionClockState {
        let newest = Timestamp(self.newest.load(Ordering::Relaxed));
        let stamp = Timestamp(self.newest_stamp.load(Ordering::Relaxed));
        PartitionClockState { newest, stamp, idle: self.is_idle() }
    }

    /// Whether it stopped holding others back.
    pub fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    /// The decision that the partition is idle, or no longer.
    pub fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Relaxed);
    }

    /// Whether the end of its bounded input was reached.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    /// Answers an idle probe with the leader's high watermark.
    pub fn answer_probe(&self, end: i64) {
        self.probed_end.store(end, Ordering::Relaxed);
        // Release pairs with the acquire load of whoever waits for the answer: it then sees the end stored above.
        self.probes_answered.fetch_add(1, Ordering::Release);
    }

    /// The number of answers so far and the end of the last one.
    pub fn probe(&self) -> (u64, i64) {
        let answered = self.probes_answered.load(Ordering::Acquire);
        (answered, self.probed_end.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Default)]
struct Shared {
    clocks: Mutex<Arc<Vec<Arc<PartitionClock>>>>,
    version: AtomicU64,
    unfinished: AtomicUsize,
    /// The first assignment has come: an empty board now means "no partition for us".
    assigned: AtomicBool,
}

/// All partitions of this process. Clones share one board; each keeps a snapshot of the list.
#[derive(Debug, Clone, Default)]
pub struct Board {
    shared: Arc<Shared>,
    snapshot: Arc<Vec<Arc<PartitionClock>>>,
    seen: u64,
}

impl Board {
    /// Adds partitions: before any of their records is read, so that no watermark passes them by.
    pub fn add(&self, clocks: &[Arc<PartitionClock>]) {
        self.shared.unfinished.fetch_add(clocks.len(), Ordering::SeqCst);
        self.change(|list| list.extend(clocks.iter().cloned()));
        self.shared.assigned.store(true, Ordering::SeqCst);
    }

    /// Partitions are being taken away: whether the input has ended is open until the next assignment.
    pub fn unassign(&self) {
        self.shared.assigned.store(false, Ordering::SeqCst);
    }

    /// Whether there is an assignment that stands.
    pub fn is_assigned(&self) -> bool {
        self.shared.assigned.load(Ordering::SeqCst)
    }

    /// Removes a partition: it holds nothing back any more.
    pub fn remove(&self, clock: &Arc<PartitionClock>) {
        if !clock.finished.swap(true, Ordering::SeqCst) {
            self.shared.unfinished.fetch_sub(1, Ordering::SeqCst);
        }
        self.change(|list| list.retain(|other| !Arc::ptr_eq(other, clock)));
    }

    fn change(&self, edit: impl FnOnce(&mut Vec<Arc<PartitionClock>>)) {
        let mut clocks = self.shared.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = (**clocks).clone();
        edit(&mut list);
        *clocks = Arc::new(list);
        self.shared.version.fetch_add(1, Ordering::Release);
    }

    /// The end of a partition's bounded input was reached: it no longer holds others back.
    pub fn finish(&self, clock: &PartitionClock) {
        clock.set_idle(true);
        if !clock.finished.swap(true, Ordering::SeqCst) {
            self.shared.unfinished.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether every partition reached the end of its bounded input.
    pub fn all_finished(&self) -> bool {
        self.shared.assigned.load(Ordering::SeqCst) && self.shared.unfinished.load(Ordering::SeqCst) == 0
    }

    fn refresh(&mut self) {
        let version = self.shared.version.load(Ordering::Acquire);
        if version != self.seen {
            self.snapshot = Arc::clone(&self.shared.clocks.lock().unwrap_or_else(PoisonError::into_inner));
            self.seen = version;
        }
    }

    /// The watermark of a task, to the best of this board's knowledge: the minimum over its partitions that are not idle.
    /// When all are idle: the newest event time plus the wall-clock time since its record was stamped, so that the usual
    /// delay is kept and deadlines still fire. `now` is asked only then.
    pub fn watermark(&mut self, task: Task, now: impl FnOnce() -> Timestamp) -> Timestamp {
        let mut active = None;
        let mut newest: Option<&PartitionClock> = None;
        self.refresh();
        for clock in self.snapshot.iter().filter(|clock| clock.task == task) {
            if !clock.is_idle() {
                let own = clock.watermark();
                active = Some(active.map_or(own, |least: Timestamp| least.min(own)));
            } else if newest.is_none_or(|n| clock.newest.load(Ordering::Relaxed) > n.newest.load(Ordering::Relaxed)) {
                newest = Some(clock);
            }
        }
        match (active, newest) {
            (Some(least), _) => least,
            (None, Some(clock)) => {
                let event_time = clock.newest.load(Ordering::Relaxed);
                let stamp = clock.newest_stamp.load(Ordering::Relaxed);
                // A bounded input ends where its data ends: the wall clock must not decide windows beyond it.
                let bounded = self.snapshot.iter().any(|clock| clock.is_finished());
                let unstamped = stamp == Timestamp::MIN.0;
                let passed = if bounded || unstamped { Span::ZERO } else { now() - Timestamp(stamp) };
                match clock.behind(Timestamp(event_time)) {
                    Timestamp::MIN => Timestamp::MIN,
                    own => own + passed,
                }
            }
            (None, None) => Timestamp::MIN,
        }
    }

    /// The newest event time that any partition of this process has seen; [`Timestamp::MIN`]: none.
    pub fn newest(&mut self) -> Timestamp {
        self.refresh();
        let newest = self.snapshot.iter().map(|clock| clock.newest.load(Ordering::Relaxed)).max();
        newest.map_or(Timestamp::MIN, Timestamp)
    }

    /// What alignment measures against: the minimum over the active partitions of a task; one that has seen nothing counts
    /// with the earliest first event of the others, so that a reader may start but not run away. `None`: nothing is known.
    pub fn alignment_base(&mut self, task: Task) -> Option<Timestamp> {
        self.refresh();
        let mut base: Option<Timestamp> = None;
        let mut first: Option<Timestamp> = None;
        let mut unknown = false;
        for clock in self.snapshot.iter().filter(|clock| clock.task == task) {
            let seen = clock.first.load(Ordering::Relaxed);
            if seen != Timestamp::MIN.0 {
                first = Some(first.map_or(Timestamp(seen), |f| f.min(Timestamp(seen))));
            }
            if clock.is_idle() {
                continue;
            }
            match clock.watermark() {
                Timestamp::MIN => unknown = true,
                own => base = Some(base.map_or(own, |b| b.min(own))),
            }
        }
        if unknown { first } else { base }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(newest: i64, stamp: i64) -> Arc<PartitionClock> {
        let clock = PartitionClock::new(0, Span(10));
        if newest != Timestamp::MIN.0 {
            clock.publish(Timestamp(newest), Timestamp(stamp));
        }
        Arc::new(clock)
    }

    #[test]
    fn the_slowest_active_partition_holds_the_watermark() {
        let (a, b, silent) = (clock(100, 0), clock(50, 0), clock(Timestamp::MIN.0, 0));
        let mut board = Board::default();
        board.add(&[Arc::clone(&a), Arc::clone(&b), Arc::clone(&silent)]);
        assert_eq!(board.watermark(0, || Timestamp(0)), Timestamp::MIN);
        silent.set_idle(true);
        assert_eq!(board.watermark(0, || Timestamp(0)), Timestamp(40));
        b.set_idle(true);
        assert_eq!(board.watermark(0, || Timestamp(0)), Timestamp(90));
        assert_eq!(board.watermark(1, || Timestamp(0)), Timestamp::MIN, "another task knows nothing of it");
    }

    #[test]
    fn when_all_are_idle_the_wall_clock_moves_it_on_with_the_usual_delay() {
        let (a, b) = (clock(100, 1_000), clock(50, 5_000));
        let mut board = Board::default();
        board.add(&[Arc::clone(&a), Arc::clone(&b)]);
        a.set_idle(true);
        b.set_idle(true);
        assert_eq!(board.watermark(0, || Timestamp(1_030)), Timestamp(120));
        assert_eq!(board.watermark(0, || Timestamp(900)), Timestamp(90), "a clock behind the stamp counts as no delay");
    }

    #[test]
    fn alignment_lets_readers_start_but_not_run_away_from_a_silent_partition() {
        let (a, silent) = (clock(100, 0), clock(Timestamp::MIN.0, 0));
        let mut board = Board::default();
        board.add(&[Arc::clone(&a), Arc::clone(&silent)]);
        assert_eq!(board.alignment_base(0), Some(Timestamp(90)));
        a.publish(Timestamp(500), Timestamp(0));
        assert_eq!(board.alignment_base(0), Some(Timestamp(90)));
        silent.publish(Timestamp(300), Timestamp(0));
        assert_eq!(board.alignment_base(0), Some(Timestamp(290)));
    }

    #[test]
    fn an_input_has_ended_when_every_partition_has() {
        let (a, b) = (clock(1, 0), clock(2, 0));
        let board = Board::default();
        assert!(!board.all_finished(), "nothing assigned yet");
        board.add(&[Arc::clone(&a), Arc::clone(&b)]);
        board.finish(&a);
        board.finish(&a);
        assert!(!board.all_finished());
        board.remove(&b);
        assert!(board.all_finished());
    }
}
