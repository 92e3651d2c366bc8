//! The clock of the process, behind a trait: simulations and tests move it by hand.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::time::Timestamp;

/// Tells what time it is. Asked once a turn, never per event.
pub trait Clock: Send + Sync {
    /// Monotonic time, for waits and deadlines of the process.
    fn instant(&self) -> Instant;

    /// Wall-clock time, for stamps; may jump.
    fn wall(&self) -> Timestamp;
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    origin: Instant,
    now: Mutex<(Duration, Timestamp)>,
}

impl ManualClock {
    /// A clock that shows `wall`.
    pub fn new(wall: Timestamp) -> Self {
        ManualClock { origin: Instant::now(), now: Mutex::new((Duration::ZERO, wall)) }
    }

    /// Both clocks move on by `by`.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        now.0 += by;
        now.1 = Timestamp(now.1.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)));
    }

    /// The wall clock jumps to `wall`; monotonic time does not.
    pub fn step_wall(&self, wall: Timestamp) {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1 = wall;
    }
}

impl Clock for ManualClock {
    fn instant(&self) -> Instant {
        self.origin + self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0
    }

    fn wall(&self) -> Timestamp {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1
    }
}
