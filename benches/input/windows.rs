//! A plan of one rule that measures in a sliding window.

use throughline::event::Span;
use throughline::rules::plan::{
    Aggregate, AggregateKind, Literal, Pattern, Plan, Refire, Role, Threshold, ThresholdOp,
};

use super::signals;

/// Measures what came of a key within so many nanoseconds; what it waits for never comes.
pub fn plan(kind: AggregateKind, timespan_ns: i64) -> Plan {
    let pattern = Pattern::Aggregate(Aggregate {
        kind,
        references: vec!["a".into(), "b".into()],
        timespan: Span(timespan_ns),
        condition: vec![Threshold { op: ThresholdOp::Gte, value: Literal::Int(1_000_000) }],
        temporal: None,
        refire: Refire::Edge,
        tumbling: false,
    });
    signals::plan(pattern, &[Role::Reference(0), Role::Reference(1)])
}
