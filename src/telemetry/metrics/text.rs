//! A snapshot as text for Prometheus: its own format, or OpenMetrics.

use std::fmt::Write as _;
use std::time::Duration;

use super::snapshot::{Family, Sample, Snapshot, Value};
use super::table::Kind;

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// For the header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What a client asks for that sends this header `Accept`. Prometheus names OpenMetrics with the weight it gives it.
    pub fn accepted(accept: &str) -> Format {
        let weight = |wanted: &str| {
            let of = |range: &str| {
                let mut parts = range.split(';').map(str::trim);
                let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
                let weight =
                    parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f32>().ok());
                weight.filter(|_| named)
            };
            accept.split(',').filter_map(of).fold(0.0, f32::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") { Format::OpenMetrics } else { Format::Prometheus }
    }
}

/// Upper bounds of the buckets that are shown, in microseconds: the many inner ones are merged into these.
pub const BOUNDS_US: [u64; 20] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
];

/// The text of a snapshot. Metrics without series are left out.
pub fn encode(snapshot: &Snapshot, format: Format) -> String {
    let mut text = String::with_capacity(16 << 10);
    for family in snapshot.families().iter().filter(|family| !family.samples.is_empty()) {
        encode_family(&mut text, family, format);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn encode_family(text: &mut String, family: &Family, format: Format) {
    let metric = family.metric;
    // OpenMetrics names the family without the suffix that each of its series has.
    let name = match (format, metric.kind) {
        (Format::OpenMetrics, Kind::Counter) => metric.name.strip_suffix("_total").unwrap_or(metric.name),
        _ => metric.name,
    };
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "# HELP {name} {}", metric.help);
    let _ = writeln!(text, "# TYPE {name} {}", metric.kind.name());
    for Sample { labels, value } in &family.samples {
        let labels: Vec<(&str, &str)> = metric.labels.iter().copied().zip(labels.iter().map(String::as_str)).collect();
        match value {
            Value::Number(number) => line(text, metric.name, "", &labels, *number),
            Value::Durations(durations) => {
                let count = durations.count() as f64;
                let mut bucket = |bound: &str, count: f64| {
                    let with: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound)]).collect();
                    line(text, metric.name, "_bucket", &with, count);
                };
                for us in BOUNDS_US {
                    bucket(&float(us as f64 / 1e6), durations.up_to(Duration::from_micros(us)) as f64);
                }
                bucket("+Inf", count);
                line(text, metric.name, "_sum", &labels, durations.sum().as_secs_f64());
                line(text, metric.name, "_count", &labels, count);
            }
        }
    }
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &[(&str, &str)], value: f64) {
    text.push_str(name);
    text.push_str(suffix);
    for (at, (label, value)) in labels.iter().enumerate() {
        let _ = write!(text, "{}{label}=\"", if at == 0 { '{' } else { ',' });
        escape(text, value);
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
    let _ = writeln!(text, " {}", float(value));
}

/// A label's value, as both formats want it.
fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

/// A number without a needless fraction.
fn float(value: f64) -> String {
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::super::{Histogram, table};
    use super::*;

    fn example() -> Snapshot {
        let mut all = Snapshot::default();
        all.number(table::BUILD_INFO, &["1 \"beta\"\\\n"], 1.0);
        all.number(table::EVENTS, &["logins", "matched"], 12.0);
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(200), 3);
        histogram.record(Duration::from_secs(2), 1);
        all.put(table::EPOCH_DURATION, &[], Value::Durations(histogram.read()));
        all
    }

    #[test]
    fn the_text_of_prometheus() {
        let text = encode(&example(), Format::Prometheus);
        assert!(text.contains("throughline_build_info{version=\"1 \\\"beta\\\"\\\\\\n\"} 1\n"), "{text}");
        assert!(text.contains("# TYPE throughline_events_total counter\n"), "{text}");
        assert!(text.contains("throughline_events_total{topic=\"logins\",outcome=\"matched\"} 12\n"), "{text}");
        for line in [
            "_bucket{le=\"0.0001\"} 0",
            "_bucket{le=\"0.00025\"} 3",
            "_bucket{le=\"1\"} 3",
            "_bucket{le=\"2.5\"} 4",
            "_bucket{le=\"+Inf\"} 4",
            "_sum 2.0006",
            "_count 4",
        ] {
            assert!(text.contains(&format!("throughline_epoch_duration_seconds{line}\n")), "{line} in {text}");
        }
        assert!(!text.contains("throughline_signals_total"), "what has no series is left out");
        assert!(!text.contains("EOF"));
    }

    #[test]
    fn openmetrics_names_families_of_counters_without_their_suffix_and_ends() {
        let text = encode(&example(), Format::OpenMetrics);
        assert!(text.contains("# TYPE throughline_events counter\n"), "{text}");
        assert!(text.contains("\nthroughline_events_total{"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_client_chooses_the_format() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Prometheus);
        assert_eq!(Format::accepted("text/plain, application/openmetrics-text;q=0.1"), Format::Prometheus);
        assert_eq!(Format::accepted("application/openmetrics-text;q=0"), Format::Prometheus);
        assert_eq!(Format::accepted("application/openmetrics-text;q=none"), Format::Prometheus);
    }
}
