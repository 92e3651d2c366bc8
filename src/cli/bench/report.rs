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
    /// For each two ways that were run: the median of one over the median of the other, in events a second.
    pub ratios: BTreeMap<String, f64>,
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
    /// The same by thread name.
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
            threads: usage.threads,
            rss_peak: usage.rss_peak,
            outcome: None,
            end_to_end_ms: None,
            processing_ms: None,
        }
    }
}

impl Report {
    /// Medians of the ways against each other.
    pub fn compute_ratios(&mut self) {
        let ways: Vec<String> = self.ways();
        for (n, first) in ways.iter().enumerate() {
            for second in ways.iter().skip(n + 1) {
                let (over, under) = if first == "bare" { (second, first) } else { (first, second) };
                let ratio = self.median(over) / self.median(under);
                self.ratios.insert(format!("{over}/{under}"), (ratio * 1000.0).round() / 1000.0);
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

    fn median(&self, way: &str) -> f64 {
        let mut rates: Vec<f64> =
            self.runs.iter().filter(|run| run.way == way).map(|run| run.events_per_second).collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
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
            write_run(run, load.events, out)?;
        }
        for (name, ratio) in &self.ratios {
            writeln!(out, "{name}: {ratio:.3} (medians of events/s)")?;
        }
        Ok(())
    }

    /// This one beside an earlier one.
    pub fn write_comparison(&self, before: &Report, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\nagainst {} · {} · {}", before.version, before.date, before.machine)?;
        for way in self.ways() {
            let (old, new) = (before.median(&way), self.median(&way));
            if old.is_finite() {
                writeln!(out, "  {way:14} {old:>10.0} → {new:>10.0} events/s  ×{:.3}", new / old)?;
            }
        }
        Ok(())
    }
}

fn write_run(run: &Run, events: u64, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "\n{}: {:.0} events/s · {:.1} s · {:.2} CPU s ({:.2} s per million) · {:.0} MB at the peak",
        run.way,
        run.events_per_second,
        run.seconds,
        run.cpu_seconds,
        run.cpu_seconds / (events as f64 / 1e6),
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
        let mut report = Report { version, date, machine, load, runs, ratios: BTreeMap::new() };
        report.compute_ratios();
        assert_eq!(report.ratios, BTreeMap::from([("exactly_once/bare".to_owned(), 0.75)]));
    }
}
