//! What an operator's pause is to the sources.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shut: nothing is read until it is opened again. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Shuts it.
    pub fn close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Opens it.
    pub fn open(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether it is shut.
    pub fn is_closed(&self) -> bool {
        // Relaxed, as the stores: it orders nothing, and a source sees it within a turn.
        self.0.load(Ordering::Relaxed)
    }
}
