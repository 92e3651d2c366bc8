//! Which fields that the rules read occurred in any event: tells a misspelt field from one that is only rare.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::event::{FieldId, Projected, Slot};

/// Ticked by source threads, each field once; read when they are done.
#[derive(Debug)]
pub struct FieldsSeen(Box<[AtomicBool]>);

impl FieldsSeen {
    /// For the first so many fields of the projection: those of the plan.
    pub fn new(fields: usize) -> Self {
        FieldsSeen((0..fields).map(|_| AtomicBool::new(false)).collect())
    }

    /// An event was decoded.
    pub(super) fn note(&self, event: &Projected) {
        for (seen, slot) in self.0.iter().zip(&event.slots) {
            if *slot != Slot::Absent && !seen.load(Ordering::Relaxed) {
                seen.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Those that no event had.
    pub fn missing(&self) -> impl Iterator<Item = FieldId> + '_ {
        let fields = (0..).map(FieldId).zip(&self.0);
        fields.filter(|(_, seen)| !seen.load(Ordering::Relaxed)).map(|(field, _)| field)
    }
}
