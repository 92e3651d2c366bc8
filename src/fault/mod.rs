//! Places in the protocol where a crash may hit, and bugs that can be planted on purpose: what the tests of exactly-once
//! attack with. Without the cargo feature `faults` both compile to nothing.
//!
//! [`point`] marks a line at which the process may die. In a process, `THROUGHLINE_FAULT` names the point that kills it (see
//! [`ENVIRONMENT`]); in a simulation, which runs everything on one thread, that thread is [armed](arm) with a hook, and a
//! crash unwinds out of the component as a [`Crash`]. [`planted`] asks whether a [`Bug`] is planted on this thread.

#[cfg(feature = "faults")]
mod armed;
#[cfg(feature = "faults")]
mod trigger;

#[cfg(feature = "faults")]
pub use armed::{Armed, Crash, Hook, arm, fails, planted, point};

/// The variable that arms a process: `NAME[:NTH][=kill|abort|stop|sleep:MILLISECONDS|slow:MILLISECONDS|fail:ERRNO]`. At the NTH
/// (default: first) passing of point NAME the process kills itself with SIGKILL (the default), aborts, stops as by SIGSTOP, or the thread
/// sleeps. From the NTH passing on every passing is slow by so much, or the call at this point fails with the
/// system's error of this number (only [`CALLS`]).
pub const ENVIRONMENT: &str = "THROUGHLINE_FAULT";

/// Every point, in the order of the protocol.
pub const POINTS: &[&str] = &[
    "source.barrier",
    "shard.persist",
    "epoch.assembled",
    "epoch.begun",
    "epoch.outputs-sent",
    "epoch.changelog-sent",
    "epoch.before-commit",
    "epoch.committed",
    "epoch.stored",
    "recovery.log-read",
    "recovery.restored",
    "recovery.swept",
    "revoke.released",
    "revoke.committed",
];

/// Calls onto the disk, each passed before it is made: a disk that is slow or fails.
pub const CALLS: &[&str] = &["store.write", "store.read", "store.scratch"];

/// A mistake that a simulation must find. The code that could make it asks [`planted`] and then does the wrong thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// Offsets are committed before the outputs of their epoch.
    OffsetsBeforeOutputs,
    /// The store is written before the commit is confirmed.
    StoreBeforeCommit,
    /// The dedup set is not part of the state that commits.
    DedupNotInState,
    /// Deadlines are not restored.
    TimerLost,
    /// What was read of a partition is processed after it was taken away.
    StaleAssignment,
    /// Signals that wait for order are not part of the state that commits.
    OrderHeapNotInState,
    /// The clocks of partitions are not part of the state that commits.
    ClocksNotInState,
    /// Only a part of an epoch's changes goes to the changelog.
    ChangelogPartial,
    /// Suppression counts are not part of the state that commits.
    SuppressionLost,
    /// A watermark may go back.
    WatermarkBack,
    /// A shard goes on taking a ring whose barrier has come before that of the others.
    BarrierNotAligned,
    /// Dead letters are sent outside the transaction.
    DeadLetterOutsideTransaction,
    /// The deletion of a part is not written.
    TombstoneLost,
    /// A key that is forgotten or on its way is taken up from the store all the same.
    SweptTwice,
}

impl Bug {
    /// All of them.
    pub const ALL: &[Bug] = &[
        Bug::OffsetsBeforeOutputs,
        Bug::StoreBeforeCommit,
        Bug::DedupNotInState,
        Bug::TimerLost,
        Bug::StaleAssignment,
        Bug::OrderHeapNotInState,
        Bug::ClocksNotInState,
        Bug::ChangelogPartial,
        Bug::SuppressionLost,
        Bug::WatermarkBack,
        Bug::BarrierNotAligned,
        Bug::DeadLetterOutsideTransaction,
        Bug::TombstoneLost,
        Bug::SweptTwice,
    ];
}

/// A place where a crash may hit; one of [`POINTS`].
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn point(_: &'static str) {}

/// The number of the system's error with which a call fails here; one of [`CALLS`].
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn fails(_: &'static str) -> Option<i32> {
    None
}

/// Whether this bug is planted.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}
