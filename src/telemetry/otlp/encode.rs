//! Spans and snapshots in the messages of OTLP.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyOf;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource as WireResource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as WireSpan, span};

use super::{Attribute, Resource, Span, SpanKind};
use crate::telemetry::metrics::{BOUNDS_US, Distribution, Family, Kind, Sample, Snapshot, Value};

/// The version of the semantic conventions that names follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

fn any(value: AnyOf) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn attribute(key: &str, value: AnyOf) -> KeyValue {
    KeyValue { key: key.to_owned(), value: any(value), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, AnyOf::StringValue(value.to_owned()))
}

fn resource(of: &Resource) -> WireResource {
    let attributes = vec![
        text("service.name", "throughline"),
        text("service.namespace", &of.application),
        text("service.instance.id", &of.instance),
        text("service.version", env!("CARGO_PKG_VERSION")),
    ];
    WireResource { attributes, ..WireResource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "throughline".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    }
}

/// Nanoseconds since the epoch; before it there is no time.
fn nanos(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

/// A request with these spans.
pub(super) fn spans(of: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let spans = spans.into_iter().map(wire_span).collect();
    let scoped = ScopeSpans { scope: Some(scope()), spans, schema_url: SCHEMA.into() };
    let all = ResourceSpans { resource: Some(resource(of)), scope_spans: vec![scoped], schema_url: SCHEMA.into() };
    ExportTraceServiceRequest { resource_spans: vec![all] }
}

fn wire_span(from: Span) -> WireSpan {
    let value = |value: Attribute| match value {
        Attribute::Text(text) => AnyOf::StringValue(text.into_owned()),
        Attribute::Int(number) => AnyOf::IntValue(number),
    };
    let link = |link: &super::Link| span::Link {
        trace_id: link.trace.to_be_bytes().to_vec(),
        span_id: link.span.to_be_bytes().to_vec(),
        flags: link.flags.into(),
        ..span::Link::default()
    };
    WireSpan {
        trace_id: from.trace.to_be_bytes().to_vec(),
        span_id: from.span.to_be_bytes().to_vec(),
        // Recorded: whoever sends it has decided so.
        flags: 1,
        name: from.name.into_owned(),
        kind: match from.kind {
            SpanKind::Internal => span::SpanKind::Internal,
            SpanKind::Producer => span::SpanKind::Producer,
        }
        .into(),
        start_time_unix_nano: nanos(from.start),
        end_time_unix_nano: nanos(from.end.max(from.start)),
        attributes: from.attributes.into_iter().map(|(key, given)| attribute(key, value(given))).collect(),
        links: from.links.iter().map(link).collect(),
        ..WireSpan::default()
    }
}

/// A request with all metrics; counted since `start`, read at `now`.
pub(super) fn metrics(of: &Resource, snapshot: &Snapshot, start: i64, now: i64) -> ExportMetricsServiceRequest {
    let families = snapshot.families().iter().filter(|family| !family.samples.is_empty());
    let metrics = families.map(|family| wire_metric(family, nanos(start), nanos(now))).collect();
    let scoped = ScopeMetrics { scope: Some(scope()), metrics, schema_url: SCHEMA.into() };
    let all = ResourceMetrics { resource: Some(resource(of)), scope_metrics: vec![scoped], schema_url: SCHEMA.into() };
    ExportMetricsServiceRequest { resource_metrics: vec![all] }
}

fn wire_metric(family: &Family, start: u64, now: u64) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let labels = |sample: &Sample| -> Vec<KeyValue> {
        family.metric.labels.iter().zip(&sample.labels).map(|(label, value)| text(label, value)).collect()
    };
    let numbers = || {
        let point = |sample: &Sample| match sample.value {
            Value::Number(number) => Some(NumberDataPoint {
                attributes: labels(sample),
                start_time_unix_nano: start,
                time_unix_nano: now,
                value: Some(number_data_point::Value::AsDouble(number)),
                ..NumberDataPoint::default()
            }),
            Value::Durations(_) => None,
        };
        family.samples.iter().filter_map(point).collect()
    };
    let durations = || {
        let point = |sample: &Sample| match &sample.value {
            Value::Durations(durations) => Some(histogram_point(durations, labels(sample), start, now)),
            Value::Number(_) => None,
        };
        family.samples.iter().filter_map(point).collect()
    };
    let data = match family.metric.kind {
        Kind::Counter => {
            metric::Data::Sum(Sum { data_points: numbers(), aggregation_temporality: cumulative, is_monotonic: true })
        }
        Kind::Gauge => metric::Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram => {
            metric::Data::Histogram(Histogram { data_points: durations(), aggregation_temporality: cumulative })
        }
    };
    Metric {
        name: family.metric.name.into(),
        description: family.metric.help.into(),
        unit: unit(family.metric.name).into(),
        data: Some(data),
        ..Metric::default()
    }
}

/// The unit by the name's ending, as UCUM has it.
fn unit(name: &str) -> &'static str {
    let base = name.strip_suffix("_total").unwrap_or(name);
    match base.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "1",
    }
}

fn histogram_point(durations: &Distribution, attributes: Vec<KeyValue>, start: u64, now: u64) -> HistogramDataPoint {
    let mut below = 0;
    let mut bucket_counts: Vec<u64> = Vec::with_capacity(BOUNDS_US.len() + 1);
    for us in BOUNDS_US {
        let up_to = durations.up_to(Duration::from_micros(us));
        bucket_counts.push(up_to - below);
        below = up_to;
    }
    let count = durations.count();
    bucket_counts.push(count - below);
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: now,
        count,
        sum: Some(durations.sum().as_secs_f64()),
        bucket_counts,
        explicit_bounds: BOUNDS_US.iter().map(|us| *us as f64 / 1e6).collect(),
        ..HistogramDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Histogram as Durations, table};

    #[test]
    fn a_snapshot_keeps_its_numbers() {
        let of = Resource { application: "fraud".into(), instance: "one".into() };
        let mut all = Snapshot::default();
        all.number(table::EVENTS, &["logins", "late"], 3.0);
        let durations = Durations::default();
        durations.record(Duration::from_micros(50), 2);
        durations.record(Duration::from_secs(7200), 1);
        all.put(table::COMMIT_DURATION, &[], Value::Durations(durations.read()));
        let request = metrics(&of, &all, 1, 2);
        let sent = &request.resource_metrics[0].scope_metrics[0].metrics;
        assert_eq!(sent.len(), 2, "what has no series is not sent");
        let Some(metric::Data::Sum(sum)) = &sent[0].data else { panic!("{:?}", sent[0]) };
        assert!(
            sum.is_monotonic && sum.data_points[0].attributes == [text("topic", "logins"), text("outcome", "late")]
        );
        let Some(metric::Data::Histogram(histogram)) = &sent[1].data else { panic!("{:?}", sent[1]) };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (3, 3));
        assert_eq!((point.bucket_counts[0], point.bucket_counts.last()), (2, Some(&1)));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(sent[1].unit, "s");
    }

    #[test]
    fn a_span_keeps_its_ids_and_never_ends_before_it_begins() {
        let link = super::super::Link { trace: 7, span: 8, flags: 1 };
        let sent = wire_span(Span {
            trace: 0x0102,
            span: 3,
            name: "send x".into(),
            kind: SpanKind::Producer,
            start: 10,
            end: 4,
            attributes: vec![("n", Attribute::Int(5))],
            links: vec![link],
        });
        assert_eq!((sent.trace_id.len(), &sent.trace_id[14..], sent.span_id.len()), (16, &[1u8, 2][..], 8));
        assert_eq!((sent.start_time_unix_nano, sent.end_time_unix_nano), (10, 10));
        assert_eq!((sent.links[0].trace_id[15], sent.links[0].span_id[7]), (7, 8));
    }
}
