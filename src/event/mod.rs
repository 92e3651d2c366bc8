//! The vocabulary that every room shares: values, paths, event time, topics, ids, keys, signals, correlations, dead letters.
//!
//! Owns no state, does no I/O, knows nothing of Kafka. Everything here is a plain type with total functions: a value that
//! came from a hostile payload may be odd, it may never panic.

mod change;
mod clock;
mod correlation;
mod dead_letter;
mod heap;
mod id;
mod key;
mod outcome;
mod parcel;
mod seldom;
mod signal;
mod time;
mod topic;
mod trace;
mod value;

pub use change::{Changed, Changes};
pub use clock::{Clock, ManualClock, SystemClock};
pub use correlation::{Correlation, MatchedEvent, Measure, MeasuredValue};
pub use dead_letter::{DeadCode, DeadLetter, RawRecord, Stage};
pub use heap::{allotted, evidence_bytes};
pub use id::{Hash128, stable_hash64, stable_hash128};
pub use key::{HashRange, Key, KeyBuilder, KeyPart, shard_of};
pub use outcome::{Outcome, OutcomeCounts};
pub use parcel::{Mark, PartitionClockState, ReadPosition, Report, Resumed, Stuck, ToShard};
pub use seldom::{Blank, Seldom};
pub use signal::{Evidence, Late, LatePolicy, Origin, Signal};
pub use time::{Span, SpanError, TimeError, Timestamp, parse_time_number, parse_time_text};
pub use topic::{TopicId, TopicTable};
pub use trace::{TRACEPARENT, TraceContext};
pub use value::{ArrayRef, FieldId, FieldSet, Projected, Slot, Val};

/// Index of a rule in its rule set's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleIndex(pub u32);

/// Index of a step (one event condition in one rule, with its key fields) in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u32);

/// Index of a dimension (one correlation-key field list shared by all rules that use it) in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DimensionId(pub u32);

/// The unit of state that moves between instances: everything of one partition number (`locality: partition`), or task 0
/// of an instance that owns everything (`locality: instance`).
pub type Task = u32;
