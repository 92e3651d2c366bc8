//! What an epoch tells OpenTelemetry: a span for each correlation and one for itself, once they are committed.
//!
//! A correlation's span is the one that its record names in `traceparent`, so that whoever consumes the record goes on in the
//! same trace; it links to the spans that the source events came with. Names and attributes follow the semantic
//! conventions for messaging.

use super::assembly::Epoch;
use crate::event::{Correlation, Timestamp, TraceContext, stable_hash64, stable_hash128};
use crate::rules::plan::{Plan, Rule};
use crate::telemetry::otlp::{Attribute, Link, Span, SpanKind, Tracer};

/// Spans of correlations kept for one epoch; the others are given up. Some MB at most.
const SPANS_MAX: usize = 1000;

/// The span of a correlation that goes to `topic`; it ends with its commit.
fn of_correlation(found: &Correlation, rule: &Rule, topic: &str, start: Timestamp) -> Span {
    let TraceContext { trace, span, .. } = found.trace();
    let mut links: Vec<Link> = Vec::new();
    for event in found.events.iter().flatten() {
        if let Some(source) = &event.event.trace
            && !links.iter().any(|link| (link.trace, link.span) == (source.trace, source.span))
        {
            links.push(Link { trace: source.trace, span: source.span, flags: source.flags });
        }
    }
    let text = |text: &str| Attribute::Text(text.to_owned().into());
    let attributes = vec![
        ("messaging.system", Attribute::Text("kafka".into())),
        ("messaging.operation.name", Attribute::Text("send".into())),
        ("messaging.operation.type", Attribute::Text("send".into())),
        ("messaging.destination.name", text(topic)),
        ("throughline.rule.id", text(&rule.id)),
        ("throughline.severity", Attribute::Text(rule.severity.name().into())),
        ("throughline.events", Attribute::Int(found.events.len() as i64)),
    ];
    let name = format!("send {topic}").into();
    Span { trace, span, name, kind: SpanKind::Producer, start: start.0, end: start.0, attributes, links }
}

/// Keeps what is told of a correlation, found from `start` on, when its epoch is committed.
pub(super) fn note(epoch: &mut Epoch, found: &Correlation, plan: &Plan, topic: &str, start: Timestamp, traced: bool) {
    if let Some(last) = found.events.iter().rev().flatten().next() {
        epoch.latest.push((last.event.origin, last.event.time));
    }
    if traced && epoch.spans.len() >= SPANS_MAX {
        epoch.spans_given_up += 1;
    } else if traced {
        let rule = &plan.rules[found.rule.0 as usize];
        epoch.spans.push(of_correlation(found, rule, topic, start));
    }
}

/// Epoch `number` is committed with so many records, in this time.
pub(super) fn committed(
    tracer: &Tracer,
    number: u64,
    epoch: &mut Epoch,
    records: usize,
    (start, end): (Timestamp, Timestamp),
) {
    (0..epoch.spans_given_up).for_each(|_| tracer.give_up());
    for span in epoch.spans.drain(..) {
        tracer.give(Span { end: end.0, ..span });
    }
    // Like no other: by its time and process.
    let mut name = number.to_be_bytes().to_vec();
    name.extend(start.0.to_be_bytes());
    name.extend(std::process::id().to_be_bytes());
    let attributes = vec![
        ("messaging.system", Attribute::Text("kafka".into())),
        ("messaging.batch.message_count", Attribute::Int(records as i64)),
        ("throughline.epoch", Attribute::Int(number as i64)),
        ("throughline.records", Attribute::Int(epoch.progress.records() as i64)),
        ("throughline.correlations", Attribute::Int(epoch.progress.correlations_total() as i64)),
        ("throughline.dead_letters", Attribute::Int(epoch.progress.dead_letters_total() as i64)),
    ];
    tracer.give(Span {
        trace: stable_hash128(0, &name).0,
        span: stable_hash64(1, &name) | 1,
        name: "commit epoch".into(),
        kind: SpanKind::Internal,
        start: start.0,
        end: end.0,
        attributes,
        links: Vec::new(),
    });
}
