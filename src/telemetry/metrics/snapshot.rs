//! All metrics at one time, by name: what an exposition, an export or a report is made from.

use super::blocks::{PartitionMetrics, ShardMetrics};
use super::cell::Gauge;
use super::table::{self, Metric};
use super::{Distribution, Metrics, process};

/// What a series shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A counter or gauge.
    Number(f64),
    /// A histogram.
    Durations(Distribution),
}

/// One series of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The values of the metric's labels, in their order.
    pub labels: Vec<String>,
    /// What it shows.
    pub value: Value,
}

/// A metric with its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Which.
    pub metric: &'static Metric,
    /// Its series; none: there is nothing to show yet.
    pub samples: Vec<Sample>,
}

/// See the module. Families are in the order of [`table::ALL`].
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot(Vec<Family>);

impl Default for Snapshot {
    fn default() -> Self {
        Snapshot(table::ALL.iter().map(|metric| Family { metric, samples: Vec::new() }).collect())
    }
}

impl Snapshot {
    /// All families.
    pub fn families(&self) -> &[Family] {
        &self.0
    }

    /// The series of a metric.
    pub fn samples(&self, metric: &Metric) -> &[Sample] {
        self.0.iter().find(|family| family.metric == metric).map_or(&[], |family| &family.samples)
    }

    /// The sum over a metric's series.
    pub fn total(&self, metric: &Metric) -> f64 {
        let number = |sample: &Sample| match &sample.value {
            Value::Number(number) => *number,
            Value::Durations(durations) => durations.count() as f64,
        };
        self.samples(metric).iter().map(number).sum()
    }

    /// All durations of a histogram, over its series.
    pub fn durations(&self, metric: &Metric) -> Distribution {
        let mut all = Distribution::default();
        for sample in self.samples(metric) {
            if let Value::Durations(durations) = &sample.value {
                all.merge(durations);
            }
        }
        all
    }

    /// Adds a series.
    pub fn put(&mut self, metric: &'static Metric, labels: &[&str], value: Value) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        if let Some(family) = self.0.iter_mut().find(|family| family.metric == metric) {
            family.samples.push(Sample { labels, value });
        }
    }

    /// Adds a series that is a number.
    pub fn number(&mut self, metric: &'static Metric, labels: &[&str], number: f64) {
        self.put(metric, labels, Value::Number(number));
    }
}

const NANOS: f64 = 1e9;

impl Metrics {
    /// What all threads have counted, as it stands. `now` is the wall clock, in nanoseconds since the epoch.
    pub fn snapshot(&self, now: i64) -> Snapshot {
        let mut all = Snapshot::default();
        let out = &mut all;
        self.read_pipeline(out);
        self.read_sources(out);
        for (index, shard) in self.shards().iter().enumerate() {
            read_shard(out, index, shard, now);
        }
        self.read_committer(out);
        self.read_fetcher(out);
        self.read_partitions(out);
        process::read(out);
        all
    }

    fn read_pipeline(&self, out: &mut Snapshot) {
        out.number(table::INCARNATIONS, &[], self.pipeline.incarnations.get() as f64);
        let reloads = [
            ("accepted", &self.pipeline.reloads_accepted),
            ("unchanged", &self.pipeline.reloads_unchanged),
            ("refused", &self.pipeline.reloads_refused),
        ];
        for (result, counter) in reloads {
            out.number(table::RULE_RELOADS, &[result], counter.get() as f64);
        }
        out.number(table::BROKER_UP, &[], self.lag.broker_up.get() as f64);
        out.number(table::PAUSES, &[], self.group.pauses.get() as f64);
        out.number(table::REBALANCES, &[], self.group.rebalances.get() as f64);
        out.number(table::RESTORE_RECORDS, &[], self.restore.records.get() as f64);
        out.number(table::RESTORE_BYTES, &[], self.restore.bytes.get() as f64);
        out.number(table::RESTORE_EXPECTED, &[], self.restore.expected.get() as f64);
        out.number(table::RESTORE_REMAINING, &[], self.restore.remaining.get() as f64);
        out.number(table::OTLP_FAILURES, &["traces"], self.otlp.traces_failed.get() as f64);
        out.number(table::OTLP_FAILURES, &["metrics"], self.otlp.metrics_failed.get() as f64);
        out.number(table::OTLP_DROPPED, &[], self.otlp.dropped.get() as f64);
    }

    fn read_sources(&self, out: &mut Snapshot) {
        for (index, source) in self.sources().iter().enumerate() {
            let name = index.to_string();
            out.number(table::SOURCE_RECORDS, &[&name], source.records.get() as f64);
            out.number(table::SIGNALS, &[&name], source.signals.get() as f64);
            out.number(table::KEYLESS, &[&name], source.keyless.get() as f64);
            out.number(table::THREAD_BUSY, &[&format!("source-{index}")], source.busy.nanos() as f64 / NANOS);
        }
    }

    fn read_committer(&self, out: &mut Snapshot) {
        let committer = &self.committer;
        out.number(table::RING_FILL, &["committer"], committer.ring_fill.get() as f64 / 1000.0);
        out.number(table::THREAD_BUSY, &["committer"], committer.busy.nanos() as f64 / NANOS);
        out.number(table::THREAD_BUSY, &["transactor"], committer.transactor.nanos() as f64 / NANOS);
        out.number(table::STATE_BYTES, &["all", "disk"], committer.store_bytes.get() as f64);
        out.number(table::EPOCHS_IN_FLIGHT, &[], committer.epochs_in_flight.get() as f64);
        out.number(table::CHANGELOG_RECORDS, &[], committer.changelog_records.get() as f64);
        out.number(table::CHANGELOG_BYTES, &[], committer.changelog_bytes.get() as f64);
        let histograms = [
            (table::EPOCH_DURATION, &committer.epoch),
            (table::COMMIT_DURATION, &committer.commit),
            (table::STORE_WRITE_DURATION, &committer.store_write),
            (table::PROCESSING_LATENCY, &committer.processing),
            (table::END_TO_END_LATENCY, &committer.end_to_end),
        ];
        for (metric, histogram) in histograms {
            out.put(metric, &[], Value::Durations(histogram.read()));
        }
    }

    fn read_fetcher(&self, out: &mut Snapshot) {
        let fetcher = &self.fetcher;
        out.number(table::THREAD_BUSY, &["fetcher"], fetcher.busy.nanos() as f64 / NANOS);
        out.number(table::STATE_READS, &[], fetcher.reads.get() as f64);
        out.number(table::STATE_READS_WAITING, &[], fetcher.waiting.get() as f64);
        out.put(table::STATE_READ_DURATION, &[], Value::Durations(fetcher.duration.read()));
    }

    fn read_partitions(&self, out: &mut Snapshot) {
        let partitions = self.partitions();
        for ((topic, partition), block) in &partitions {
            if let Some(lag) = block.lag() {
                out.number(table::LAG, &[topic, &partition.to_string()], lag as f64);
            }
        }
        let count = |flag: fn(&PartitionMetrics) -> &Gauge| {
            partitions.iter().filter(|(_, block)| flag(block).get() != 0).count() as f64
        };
        out.number(table::PARTITIONS, &["assigned"], partitions.len() as f64);
        out.number(table::PARTITIONS, &["held"], count(|block| &block.held));
        out.number(table::PARTITIONS, &["paused"], count(|block| &block.paused));
        out.number(table::PARTITIONS, &["idle"], count(|block| &block.idle));
    }
}

fn read_shard(out: &mut Snapshot, index: usize, shard: &ShardMetrics, now: i64) {
    let name = &*index.to_string();
    let thread = format!("shard-{index}");
    out.number(table::RING_FILL, &[&thread], shard.ring_fill.get() as f64 / 1000.0);
    out.number(table::THREAD_BUSY, &[&thread], shard.busy.nanos() as f64 / NANOS);
    if shard.watermark.get() != i64::MIN {
        out.number(table::WATERMARK_DELAY, &[name], now.saturating_sub(shard.watermark.get()) as f64 / NANOS);
    }
    out.number(table::SUPPRESSED, &[name], shard.suppressed.get() as f64);
    out.number(table::VALUES_IGNORED, &[name], shard.values_ignored.get() as f64);
    out.number(table::LATE_IGNORED, &[name], shard.late_ignored.get() as f64);
    out.number(table::EVICTIONS, &[name], shard.evictions.get() as f64);
    let state = &shard.state;
    out.number(table::STATE_KEYS, &[name, "memory"], state.keys.get() as f64);
    out.number(table::STATE_KEYS, &[name, "disk"], state.keys_on_disk.get() as f64);
    out.number(table::STATE_BYTES, &[name, "memory"], state.bytes.get() as f64);
    let entries = [
        ("waiting_signals", &state.waiting_signals),
        ("pending_matches", &state.pending_matches),
        ("timeline_events", &state.timeline_events),
        ("dedup_ids", &state.dedup_ids),
        ("dedup_ids_spilled", &state.dedup_ids_spilled),
        ("suppressions", &state.suppressions),
        ("deadlines", &state.deadlines),
    ];
    for (kind, gauge) in entries {
        out.number(table::STATE_ENTRIES, &[name, kind], gauge.get() as f64);
    }
}
