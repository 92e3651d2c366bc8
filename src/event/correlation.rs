//! Correlations as the shards find them; `sink` turns them into records.

use std::sync::Arc;

use super::RuleIndex;
use super::id::{Hash128, stable_hash64};
use super::key::Key;
use super::signal::Evidence;
use super::time::Timestamp;
use super::trace::TraceContext;

/// One event of a correlation: `None` for a missing event (`![...]`), which stands as null in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct MatchedEvent {
    /// Index into the rule's step names (`plan::Rule::step_names`).
    pub step: u16,
    /// The event.
    pub event: Arc<Evidence>,
}

/// What a rule measures, by name in `values`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Number of events.
    Count,
    /// Number of distinct values.
    Distinct,
    /// Sum.
    Sum,
    /// Mean.
    Avg,
    /// Median.
    Median,
    /// The rule's percentile.
    Percentile,
}

impl Measure {
    /// The name in `values`.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Count => "count",
            Measure::Distinct => "distinct",
            Measure::Sum => "sum",
            Measure::Avg => "avg",
            Measure::Median => "median",
            Measure::Percentile => "percentile",
        }
    }
}

/// A measured value: exact where it is a count or a sum of integers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MeasuredValue {
    /// An exact integer.
    Int(i128),
    /// Anything else.
    Float(f64),
}

/// One finding of one rule for one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Correlation {
    /// The rule.
    pub rule: RuleIndex,
    /// The correlation key.
    pub key: Key,
    /// Hash of rule id, key, all event ids and, where absence or a tumbling window decided, the window's end.
    pub id: Hash128,
    /// Time of the first event (for a missing event at the start: of the first present one), or the tumbling window's start.
    pub window_start: Timestamp,
    /// Time of the last event, or when absence or a tumbling window decided.
    pub window_end: Timestamp,
    /// The events in total order; at most `limits::CORRELATION_EVENTS_MAX` (first and last halves).
    pub events: Vec<Option<MatchedEvent>>,
    /// What the rule measured, in the order of printing.
    pub values: Vec<(Measure, MeasuredValue)>,
    /// How many were folded into this one before it.
    pub suppressed: u64,
}

impl Correlation {
    /// The span that its record names: the correlation's id is the trace, so that whoever consumes the record can name it, and
    /// the same correlation again is the same span.
    pub fn trace(&self) -> TraceContext {
        TraceContext { trace: self.id.0, span: stable_hash64(1, &self.id.0.to_be_bytes()) | 1, flags: 1 }
    }
}
