//! What one step of a thread's loop came to. Each thread is a step that never sleeps, and a loop that sleeps between steps;
//! so that a simulation can run them all on one thread, in any order.

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Something was done: step again at once.
    Busy,
    /// Nothing more can be done for now: wait, then step again.
    Idle,
    /// The thread's work has ended: do not step again.
    Done,
}
