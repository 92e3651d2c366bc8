//! How far one thread has come with what others hand it: it tells, they look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug, Default)]
struct Inner {
    reached: AtomicU64,
    stuck: AtomicBool,
}

/// A number that only grows, until it stands for good. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Level(Arc<Inner>);

impl Level {
    /// All up to `number` is done.
    pub fn reach(&self, number: u64) {
        // Release pairs with the acquire in `reached`: who sees the number sees what was done.
        self.0.reached.store(number, Ordering::Release);
    }

    /// All up to this is done.
    pub fn reached(&self) -> u64 {
        self.0.reached.load(Ordering::Acquire)
    }

    /// It will not grow any more.
    pub fn stick(&self) {
        // Relaxed: what was reached before still holds, and who sees the flag late looks again.
        self.0.stuck.store(true, Ordering::Relaxed);
    }

    /// Whether it grows no more.
    pub fn is_stuck(&self) -> bool {
        self.0.stuck.load(Ordering::Relaxed)
    }
}
