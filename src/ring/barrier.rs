//! The line that epochs are drawn along: one thread asks for barriers, many look whether one is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Bell;

/// The number of the newest barrier asked for, and whether someone wants the next one soon. Clones share it.
#[derive(Clone, Default)]
pub struct BarrierLine(Arc<Line>);

#[derive(Default)]
struct Line {
    newest: AtomicU64,
    wanted: AtomicBool,
    /// Of the thread that asks for barriers.
    asker: Bell,
}

impl BarrierLine {
    /// A line whose asker waits on this bell.
    pub fn new(asker: Bell) -> BarrierLine {
        BarrierLine(Arc::new(Line { asker, ..Line::default() }))
    }

    /// Wants the next barrier before it is due: there is much to commit.
    pub fn want(&self) {
        if !self.0.wanted.swap(true, Ordering::AcqRel) {
            self.0.asker.ring();
        }
    }

    /// Whether someone wants the next barrier.
    pub fn is_wanted(&self) -> bool {
        self.0.wanted.load(Ordering::Acquire)
    }

    /// Asks for the next barrier and returns its number. Only one thread asks; it rings the others' bells after.
    pub fn request(&self) -> u64 {
        // Release pairs with the acquire in `requested`: who sees the number sees what led to it.
        self.0.wanted.store(false, Ordering::Release);
        self.0.newest.fetch_add(1, Ordering::Release) + 1
    }

    /// The newest barrier asked for; 0: none yet.
    #[inline]
    pub fn requested(&self) -> u64 {
        self.0.newest.load(Ordering::Acquire)
    }
}
