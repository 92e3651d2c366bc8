//! What travels in the rings: from sources to shards, and from both to the committer. Parcels are recycled.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::change::Changes;
use super::correlation::Correlation;
use super::dead_letter::DeadLetter;
use super::outcome::OutcomeCounts;
use super::signal::{Origin, Signal};
use super::time::Timestamp;
use super::topic::TopicId;
use super::{RuleIndex, Task};

/// From a source to a shard. Taken in this order: signals, watermarks, mark.
#[derive(Debug, Default)]
pub struct ToShard {
    /// The batch.
    pub signals: Vec<Signal>,
    /// Watermarks of tasks, as this source sees them: no signal sent later on this ring is older, late ones apart.
    pub watermarks: SmallVec<[(Task, Timestamp); 1]>,
    /// What follows the batch, if anything.
    pub mark: Option<Mark>,
    /// When all this arrived that the turn found, at the earliest: from here on latency is measured.
    pub arrived: Option<Instant>,
}

/// A task that goes on where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// Which.
    pub task: Task,
    /// The watermark that it had reached.
    pub watermark: Timestamp,
    /// Rules that are new to it and are first run over what it holds.
    pub backfill: Arc<[RuleIndex]>,
}

/// A mark in the stream of batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Barrier `n`: everything before it belongs to epochs up to n.
    Barrier(u64),
    /// The end of a bounded input: nothing follows on this ring but barriers.
    Finish,
    /// These tasks were revoked and are committed: forget them.
    DropTasks(Vec<Task>),
    /// These tasks came to us: take their state up before any signal of theirs.
    Restore(Vec<Resumed>),
}

impl ToShard {
    /// Empties it for reuse.
    pub fn clear(&mut self) {
        self.signals.clear();
        self.watermarks.clear();
        self.mark = None;
        self.arrived = None;
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.signals.is_empty() && self.watermarks.is_empty() && self.mark.is_none()
    }
}

/// A partition's clock as it commits with the partition's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionClockState {
    /// Newest event time seen; [`Timestamp::MIN`]: none.
    pub newest: Timestamp,
    /// Kafka timestamp of the record that bore it.
    pub stamp: Timestamp,
    /// It does not hold others back.
    pub idle: bool,
}

/// How far a source has read one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPosition {
    /// The partition's number in its topic, and the next offset to process.
    pub next: Origin,
    /// Bytes of values read since the last report.
    pub bytes: u64,
    /// Whose state its events go to.
    pub task: Task,
    /// Its clock.
    pub clock: PartitionClockState,
}

/// Why a shard cannot go on: its state cannot be read, or no longer be kept. What happened, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stuck {
    /// Stored state is damaged: it can be rebuilt.
    Damaged(String),
    /// Stored state is of a newer version of this program: it must be left alone.
    Newer(String),
    /// The disk fails: what is committed is safe, and goes on where the disk is well.
    Disk(String),
}

/// From a source or a shard to the committer. With `barrier` it closes the sender's part of that epoch.
#[derive(Debug, Default)]
pub struct Report {
    /// Correlations found (shards).
    pub correlations: Vec<Correlation>,
    /// When what decided the first of them had arrived (shards).
    pub arrived: Option<Instant>,
    /// When correlations were handed to the committer (shards).
    pub handed: Option<Instant>,
    /// Records given up (sources: undecodable; shards: late).
    pub dead_letters: Vec<DeadLetter>,
    /// Outcomes decided by the sender, by topic.
    pub counts: Vec<(TopicId, OutcomeCounts)>,
    /// Correlations held back by suppression, by rule (shards).
    pub suppressed: Vec<(RuleIndex, u64)>,
    /// Next offsets of all partitions the sender reads (sources; only with `barrier`).
    pub positions: Vec<ReadPosition>,
    /// The watermark of each task as the sender has announced it (sources; only with `barrier`).
    pub announced: Vec<(Task, Timestamp)>,
    /// Parts of state that changed in the epoch (shards; only with `barrier`).
    pub changes: Changes,
    /// The sender cannot go on.
    pub failed: Option<Stuck>,
    /// Closes this epoch for the sender.
    pub barrier: Option<u64>,
    /// The sender has finished a bounded input: nothing but barriers follow.
    pub finished: bool,
}

impl Report {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.correlations.is_empty()
            && self.dead_letters.is_empty()
            && self.counts.is_empty()
            && self.suppressed.is_empty()
            && self.positions.is_empty()
            && self.barrier.is_none()
            && self.failed.is_none()
            && !self.finished
    }
}
