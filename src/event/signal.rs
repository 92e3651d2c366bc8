//! Signals: the compact records of events that satisfied at least one step.

use std::sync::Arc;

use super::dead_letter::RawRecord;
use super::id::Hash128;
use super::key::Key;
use super::time::Timestamp;
use super::topic::TopicId;
use super::trace::TraceContext;
use super::value::FieldSet;
use super::{DimensionId, StepId, Task};

/// Where an event came from. With the event time in front this is the total order of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The topic; ids compare as names.
    pub topic: TopicId,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}

/// What is kept of one event for its correlations: shared by all signals of the event.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Event time.
    pub time: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// The event's own id (the stream's `id` field; several fields joined as a JSON array), if it has one.
    pub id: Option<Box<str>>,
    /// Only the fields that the satisfied rules name.
    pub fields: FieldSet,
    /// The trace it came with, while traces are sent somewhere. Not part of stored state.
    pub trace: Option<Box<TraceContext>>,
}

/// What to do with an event that is behind the watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LatePolicy {
    /// Take it into the timelines all the same.
    Process,
    /// Send the record to the dead-letter topic, code `late`.
    #[default]
    Dlq,
    /// Count it and forget it.
    Drop,
}

/// The mark of a late signal, with what its policy needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Late {
    /// Policy `process`.
    Process,
    /// Policy `drop`.
    Drop,
    /// Policy `dlq`: the record, carried by the signal that counts its event, `None` on the others.
    Dlq(Option<Box<RawRecord>>),
}

/// One event's message to one key's timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// The event.
    pub event: Arc<Evidence>,
    /// Hash of (stream, id): the event's identity for dedup. The shard adds dimension and key.
    pub identity: Hash128,
    /// The dimension whose timeline it goes to.
    pub dimension: DimensionId,
    /// The correlation key.
    pub key: Key,
    /// Whose watermark orders it.
    pub task: Task,
    /// The satisfied steps of this dimension, ascending.
    pub steps: smallvec::SmallVec<[StepId; 4]>,
    /// This signal counts its event's outcome (INV-COUNT): exactly one signal of an event does.
    pub counts: bool,
    /// Behind the watermark when it was read, and what then.
    pub late: Option<Late>,
}

impl Signal {
    /// Place in the total order of events.
    pub fn order(&self) -> (Timestamp, Origin) {
        (self.event.time, self.event.origin)
    }
}
