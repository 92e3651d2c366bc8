//! What a bench found: for people as a table, for machines as one JSON object; and two of them side by side.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::process::Usage;
use crate::event::Span;
use crate::telemetry::metrics::Distribution;

/// All runs of one command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Of the program.
    pub version: String,
    /// When the first run began, RFC 3339.
    pub date: String,
    /// Processor, their number, memory.
    pub machine: String,
    /// What was sent.
    pub load: Load,
    /// The runs in their order.
    pub runs: Vec<Run>,
    /// For each two ways that drained a topic: the median of one over the median of the other, in events a second.
    pub ratios: BTreeMap<String, f64>,
    /// For each way that ran at a rate: the median of its `cpu_percent` less the bare consumer's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cpu_percent_over_bare: BTreeMap<String, f64>,
}

/// What was sent, and to what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    /// Records.
    pub events: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Entities.
    pub keys: u64,
    /// Copies among the records.
    pub duplicates: u64,
    /// Events a second of event time.
    pub density: u64,
    /// Events a second sent, open loop; none: the topic was full before.
    pub rate: Option<u64>,
    /// Open loop: for how long events were sent before latencies and CPU counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<String>,
    /// Rules.
    pub rules: usize,
    /// Every event holds a match of its entity.
    pub hold: bool,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Length of an epoch.
    pub epoch: String,
    /// Budget of state, in bytes.
    pub state_memory: usize,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// `exactly_once`, `at_least_once`, or `bare` (a consumer that discards).
    pub way: String,
    /// From the start of the pipeline to its end.
    pub seconds: f64,
    /// Records over the time in which they were processed: from the first epoch to the last.
    pub events_per_second: f64,
    /// CPU of the pipeline's threads, in seconds; what sends and watches is not in it.
    pub cpu_seconds: f64,
    /// The time over which it was measured, in seconds; 0: not noted.
    #[serde(default)]
    pub cpu_measured_seconds: f64,
    /// The same CPU as a part of all processors in that time, in per cent.
    #[serde(default)]
    pub cpu_percent: f64,
    /// The same CPU by thread name, in seconds.
    pub threads: BTreeMap<String, f64>,
    /// Largest resident set of the process, in bytes.
    pub rss_peak: u64,
    /// What became of the records; none for `bare`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// From the intended time of the event that decides a correlation to its arrival at a read_committed consumer, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end_ms: Option<Quantiles>,
    /// From the arrival of what decides a correlation to its hand-over for sending, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processing_ms: Option<Quantiles>,
}

/// What became of the records of a run, and whether it is what had to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// By outcome.
    pub counts: BTreeMap<String, u64>,
    /// Correlations of planted incidents that were found.
    pub found: u64,
    /// Planted and not found.
    pub missing: u64,
    /// Found and not planted, or found twice.
    pub unexpected: u64,
    /// Records without an outcome, or with two.
    pub uncounted: i64,
}

impl Outcome {
    /// Everything is as it had to be.
    pub fn is_right(&self) -> bool {
        self.missing == 0 && self.unexpected == 0 && self.uncounted == 0
    }
}

/// Of a distribution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// 999 of 1000 are below.
    pub p999: f64,
    /// Largest.
    pub max: f64,
}

impl Quantiles {
    /// Of spans, in milliseconds. `None`: there are none.
    pub fn of(mut spans: Vec<Span>) -> Option<Quantiles> {
        spans.sort_unstable();
        let at = |share: f64| {
            let rank = (share * spans.len() as f64).ceil() as usize;
            spans.get(rank.saturating_sub(1)).map(|span| span.0 as f64 / 1e6)
        };
        Some(Quantiles { count: spans.len() as u64, p50: at(0.5)?, p99: at(0.99)?, p999: at(0.999)?, max: at(1.0)? })
    }
}

impl From<&Distribution> for Quantiles {
    /// As exact as the histogram's buckets.
    fn from(distribution: &Distribution) -> Quantiles {
        let at = |share| distribution.quantile(share).unwrap_or_default().as_secs_f64() * 1e3;
        let max = distribution.max().unwrap_or_default().as_secs_f64() * 1e3;
        Quantiles { count: distribution.count(), p50: at(0.5), p99: at(0.99), p999: at(0.999), max }
    }
}

impl Run {
    /// A run of which only the usage is known yet.
    pub fn new(way: &str, seconds: f64, events_per_second: f64, usage: Usage) -> Run {
        Run {
            way: way.to_owned(),
            seconds,
            events_per_second,
            cpu_seconds: usage.cpu_seconds(),
            cpu_measured_seconds: usage.seconds,
            cpu_percent: usage.cpu_percent(),
            threads: usage.threads,
            rss_peak: usage.rss_peak,
            outcome: None,
            end_to_end_ms: None,
            processing_ms: None,
        }
    }
}

impl Report {
    /// Medians of the ways against each other: what they do where nothing limits them, what they cost where all do the same.
    pub fn compute_ratios(&mut self) {
        let ways: Vec<String> = self.ways();
        let thousandths = |x: f64| (x * 1000.0).round() / 1000.0;
        for (n, first) in ways.iter().enumerate() {
            for second in ways.iter().skip(n + 1) {
                let (over, under) = if first == "bare" { (second, first) } else { (first, second) };
                if self.load.rate.is_none() {
                    let ratio = self.median(over, |run| run.events_per_second)
                        / self.median(under, |run| run.events_per_second);
                    self.ratios.insert(format!("{over}/{under}"), thousandths(ratio));
                } else if under == "bare" {
                    let more = self.median(over, |run| run.cpu_percent) - self.median(under, |run| run.cpu_percent);
                    self.cpu_percent_over_bare.insert(over.clone(), thousandths(more));
                }
            }
        }
    }

    fn ways(&self) -> Vec<String> {
        let mut ways: Vec<String> = Vec::new();
        for run in &self.runs {
            if !ways.contains(&run.way) {
                ways.push(run.way.clone());
            }
        }
        ways
    }

    /// Of a figure that some runs of a way have; not a number if none has.
    fn median(&self, way: &str, figure: impl Fn(&Run) -> f64) -> f64 {
        let mut figures: Vec<f64> = self.runs.iter().filter(|run| run.way == way).map(figure).collect();
        figures.retain(|figure| figure.is_finite());
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// All outputs were as they had to be.
    pub fn is_right(&self) -> bool {
        self.runs.iter().filter_map(|run| run.outcome.as_ref()).all(Outcome::is_right)
    }

    /// For people.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let load = &self.load;
        writeln!(out, "throughline {} · {} · {}", self.version, self.date, self.machine)?;
        let rate = load.rate.map_or("a full topic".to_owned(), |rate| format!("{rate} events/s, open loop"));
        writeln!(
            out,
            "{} events of {} bytes from {} partitions ({rate}), {} entities, {} rules{}; epochs of {}",
            load.events,
            load.bytes / load.events.max(1),
            load.partitions,
            load.keys,
            load.rules,
            if load.hold { ", every event holds a match" } else { "" },
            load.epoch
        )?;
        for run in &self.runs {
            write_run(run, load, out)?;
        }
        for (name, ratio) in &self.ratios {
            writeln!(out, "{name}: {ratio:.3} (medians of events/s)")?;
        }
        for (way, more) in &self.cpu_percent_over_bare {
            writeln!(out, "{way}: {more:+.1} % of all processors over the bare consumer (medians)")?;
        }
        Ok(())
    }

    /// This one beside an earlier one.
    pub fn write_comparison(&self, before: &Report, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\nagainst {} · {} · {}", before.version, before.date, before.machine)?;
        for way in self.ways() {
            for (name, figure) in FIGURES {
                let (old, new) = (before.median(&way, figure), self.median(&way, figure));
                if old.is_finite() && new.is_finite() {
                    writeln!(out, "  {way:14} {name:24} {old:>10.2} → {new:>10.2}  ×{:.3}", new / old)?;
                }
            }
        }
        Ok(())
    }
}

/// A figure of a run; not a number where it has none.
type Figure = fn(&Run) -> f64;

/// What two reports are compared by.
const FIGURES: &[(&str, Figure)] = &[
    ("events/s", |run| run.events_per_second),
    ("CPU, % of all processors", |run| if run.cpu_measured_seconds > 0.0 { run.cpu_percent } else { f64::NAN }),
    ("MB at the peak", |run| run.rss_peak as f64 / 1e6),
    ("end to end p50, ms", |run| run.end_to_end_ms.as_ref().map_or(f64::NAN, |quantiles| quantiles.p50)),
    ("end to end p99, ms", |run| run.end_to_end_ms.as_ref().map_or(f64::NAN, |quantiles| quantiles.p99)),
    ("processing p50, ms", |run| run.processing_ms.as_ref().map_or(f64::NAN, |quantiles| quantiles.p50)),
    ("processing p99, ms", |run| run.processing_ms.as_ref().map_or(f64::NAN, |quantiles| quantiles.p99)),
];

fn write_run(run: &Run, load: &Load, out: &mut dyn Write) -> io::Result<()> {
    // At a rate the warm-up's events are not in the CPU either.
    let millions = load.rate.map_or(load.events as f64, |rate| rate as f64 * run.cpu_measured_seconds) / 1e6;
    writeln!(
        out,
        "\n{}: {:.0} events/s · {:.1} s · {:.2} CPU s ({:.2} s per million, {:.1} % of all processors) · {:.0} MB at the peak",
        run.way,
        run.events_per_second,
        run.seconds,
        run.cpu_seconds,
        run.cpu_seconds / millions.max(f64::MIN_POSITIVE),
        run.cpu_percent,
        run.rss_peak as f64 / 1e6,
    )?;
    let mut threads: Vec<(&String, &f64)> = run.threads.iter().filter(|(_, seconds)| **seconds >= 0.005).collect();
    threads.sort_by(|a, b| b.1.total_cmp(a.1));
    let threads: Vec<String> = threads.iter().map(|(name, seconds)| format!("{name} {seconds:.2}")).collect();
    writeln!(out, "  CPU s      {}", threads.join(", "))?;
    if let Some(outcome) = &run.outcome {
        let counts: Vec<String> =
            outcome.counts.iter().filter(|(_, n)| **n > 0).map(|(name, n)| format!("{n} {name}")).collect();
        writeln!(out, "  records    {}", counts.join(", "))?;
        writeln!(
            out,
            "  outputs    {}: {} of {} planted incidents found, {} unexpected, {} records uncounted",
            if outcome.is_right() { "right" } else { "WRONG" },
            outcome.found,
            outcome.found + outcome.missing,
            outcome.unexpected,
            outcome.uncounted
        )?;
    }
    for (name, quantiles) in [("end to end", &run.end_to_end_ms), ("processing", &run.processing_ms)] {
        if let Some(Quantiles { count, p50, p99, p999, max }) = quantiles {
            writeln!(out, "  {name} p50 {p50:.2} · p99 {p99:.2} · p99.9 {p999:.2} · max {max:.2} ms ({count})")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_nearest_ranks() {
        let spans: Vec<Span> = (1..=1000).rev().map(Span::from_millis).collect();
        let Quantiles { count, p50, p99, p999, max } = Quantiles::of(spans).expect("some");
        assert_eq!((count, p50, p99, p999, max), (1000, 500.0, 990.0, 999.0, 1000.0));
        assert!(Quantiles::of(Vec::new()).is_none());
    }

    #[test]
    fn the_price_of_a_way_is_the_ratio_of_medians_and_bare_is_always_below_the_line() {
        let run = |way: &str, rate: f64| Run::new(way, 1.0, rate, Usage::default());
        let load = Load {
            events: 1,
            bytes: 1,
            keys: 1,
            duplicates: 0,
            density: 1,
            rate: None,
            warm_up: None,
            rules: 1,
            hold: false,
            partitions: 1,
            epoch: "200ms".into(),
            state_memory: 0,
        };
        let runs = vec![
            run("bare", 1000.0),
            run("exactly_once", 700.0),
            run("exactly_once", 800.0),
            run("exactly_once", 750.0),
        ];
        let (version, date, machine) = Default::default();
        let (ratios, cpu_percent_over_bare) = Default::default();
        let mut report = Report { version, date, machine, load, runs, ratios, cpu_percent_over_bare };
        report.compute_ratios();
        assert_eq!(report.ratios, BTreeMap::from([("exactly_once/bare".to_owned(), 0.75)]));
        assert!(report.cpu_percent_over_bare.is_empty(), "what drains a topic takes all it gets");

        report.load.rate = Some(1000);
        report.ratios.clear();
        for (run, percent) in report.runs.iter_mut().zip([5.0, 9.0, 7.5, 8.0]) {
            run.cpu_percent = percent;
        }
        report.compute_ratios();
        assert!(report.ratios.is_empty(), "all did the same work");
        assert_eq!(report.cpu_percent_over_bare, BTreeMap::from([("exactly_once".to_owned(), 3.0)]));
    }

    #[test]
    fn a_report_from_before_the_newer_figures_can_still_be_compared_with() {
        let run = r#"{"way": "bare", "seconds": 1.5, "events_per_second": 1e6, "cpu_seconds": 1.0, "threads": {}, "rss_peak": 1000000}"#;
        let load = r#"{"events": 1, "bytes": 1, "keys": 1, "duplicates": 0, "density": 1, "rate": null, "rules": 1, "hold": false,
            "partitions": 1, "epoch": "200ms", "state_memory": 0}"#;
        let text = format!(
            r#"{{"version": "0.1.0", "date": "d", "machine": "m", "load": {load}, "runs": [{run}], "ratios": {{}}}}"#
        );
        let before: Report = serde_json::from_str(&text).expect("a report");
        let mut after = before.clone();
        after.runs.iter_mut().for_each(|run| run.events_per_second *= 1.5);
        let mut out = Vec::new();
        after.write_comparison(&before, &mut out).expect("memory");
        let out = String::from_utf8(out).expect("UTF-8");
        assert!(out.contains("events/s") && out.contains("×1.500"), "{out}");
        assert!(!out.contains("CPU") && !out.contains("end to end"), "what one of them has not is not compared: {out}");
    }
}
