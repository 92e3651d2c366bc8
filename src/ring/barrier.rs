//! The line that epochs are drawn along: one thread asks for barriers, many look whether one is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of the newest barrier asked for. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct BarrierLine(Arc<AtomicU64>);

impl BarrierLine {
    /// Asks for the next barrier and returns its number. Only one thread asks; it rings the others' bells after.
    pub fn request(&self) -> u64 {
        // Release pairs with the acquire in `requested`: who sees the number sees what led to it.
        self.0.fetch_add(1, Ordering::Release) + 1
    }

    /// The newest barrier asked for; 0: none yet.
    #[inline]
    pub fn requested(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
