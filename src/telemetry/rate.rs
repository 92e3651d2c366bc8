//! Saying things seldom: once, or at most once in an interval with the number of those left out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// True once, for whoever asks first.
#[derive(Debug, Default)]
pub struct First(AtomicBool);

impl First {
    /// Nobody has asked.
    pub const fn new() -> Self {
        First(AtomicBool::new(false))
    }

    /// Whether this is the first time.
    pub fn is_first(&self) -> bool {
        // Relaxed: it orders nothing, it only has one winner.
        !self.0.swap(true, Ordering::Relaxed)
    }
}

/// Lets one message through in each interval and counts the rest.
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    last: Mutex<Option<Instant>>,
    left_out: AtomicU64,
}

impl RateLimit {
    /// At most one in `interval`.
    pub const fn new(interval: Duration) -> Self {
        RateLimit { interval, last: Mutex::new(None), left_out: AtomicU64::new(0) }
    }

    /// `Some(n)`: say it now, and that it was left out `n` times before. `None`: leave it out.
    pub fn permit(&self) -> Option<u64> {
        self.permit_at(Instant::now())
    }

    fn permit_at(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|at| now.saturating_duration_since(at) < self.interval) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *last = Some(now);
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_the_only_one() {
        let first = First::new();
        assert!(first.is_first());
        assert!(!first.is_first());
    }

    #[test]
    fn one_in_an_interval_and_the_rest_are_counted() {
        let limit = RateLimit::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| limit.permit_at(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(0));
        assert_eq!(at(1), None);
        assert_eq!(at(9), None);
        assert_eq!(at(10), Some(2));
        assert_eq!(at(21), Some(0));
    }
}
