//! Epochs: barriers, what belongs to each, and the transaction that makes it visible. The sole owner of commit.
//!
//! INV-COMMIT: outputs, dead letters and offsets of an epoch appear together or not at all. The committer asks for barrier
//! n, collects what sources and shards report before theirs, and when all have closed the epoch the transactor commits it in one
//! transaction. With `at_least_once` outputs go out as they come, and offsets only after everything sent is acknowledged.
//!
//! Processes no events.

mod assembly;
pub mod changelog;
mod committer;
mod progress;
pub mod record;
mod recovery;
mod spans;
mod state;
mod transactor;

pub use committer::{Committer, CommitterParts, Delivery, Encode, Notice, Order, TopicLimits};
pub use progress::Progress;
pub use record::TaskRecord;
pub use recovery::{CaughtUp, RecoveryError, StateHome};
pub use state::{Grouping, StateParts};
pub use transactor::TransactorParts;
