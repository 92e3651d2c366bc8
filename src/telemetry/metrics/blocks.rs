//! What each thread counts: a block of numbers that it alone writes. Bumped once a turn, batch or epoch, never per event.

use super::cell::{Busy, Counter, Gauge};
use super::histogram::Histogram;

/// A source thread's.
#[derive(Debug, Default)]
pub struct SourceMetrics {
    /// When it works.
    pub busy: Busy,
    /// Records taken.
    pub records: Counter,
    /// Signals sent.
    pub signals: Counter,
    /// Events with a satisfied step and no key.
    pub keyless: Counter,
}

/// A shard thread's.
#[derive(Debug)]
pub struct ShardMetrics {
    /// When it works.
    pub busy: Busy,
    /// Fullest ring into it, in thousandths.
    pub ring_fill: Gauge,
    /// The least watermark of its tasks, nanoseconds since the epoch; `i64::MIN`: none.
    pub watermark: Gauge,
    /// Correlations held back.
    pub suppressed: Counter,
    /// Events without a usable value.
    pub values_ignored: Counter,
    /// Late events of decided windows.
    pub late_ignored: Counter,
    /// What it holds.
    pub state: StateMetrics,
    /// Keys that left memory.
    pub evictions: Counter,
}

impl Default for ShardMetrics {
    fn default() -> Self {
        let watermark = Gauge::default();
        watermark.set(i64::MIN);
        ShardMetrics {
            busy: Busy::default(),
            ring_fill: Gauge::default(),
            watermark,
            suppressed: Counter::default(),
            values_ignored: Counter::default(),
            late_ignored: Counter::default(),
            state: StateMetrics::default(),
            evictions: Counter::default(),
        }
    }
}

/// How much state a shard holds.
#[derive(Debug, Default)]
pub struct StateMetrics {
    /// Keys in memory.
    pub keys: Gauge,
    /// Keys on disk only.
    pub keys_on_disk: Gauge,
    /// Bytes in memory, an estimate.
    pub bytes: Gauge,
    /// Signals that wait for the watermark.
    pub waiting_signals: Gauge,
    /// Matches begun and not decided.
    pub pending_matches: Gauge,
    /// Events in timelines.
    pub timeline_events: Gauge,
    /// Ids in dedup sets in memory.
    pub dedup_ids: Gauge,
    /// Ids that left memory.
    pub dedup_ids_spilled: Gauge,
    /// Repeats that suppression remembers.
    pub suppressions: Gauge,
    /// Deadlines set.
    pub deadlines: Gauge,
}

/// The committer's.
#[derive(Debug, Default)]
pub struct CommitterMetrics {
    /// When it works.
    pub busy: Busy,
    /// When its transactor works; waiting for the broker is work. It writes what follows from commits, too.
    pub transactor: Busy,
    /// Fullest ring into it, in thousandths.
    pub ring_fill: Gauge,
    /// Epochs begun and not committed.
    pub epochs_in_flight: Gauge,
    /// From the request for a barrier to the end of its commit.
    pub epoch: Histogram,
    /// Transactions.
    pub commit: Histogram,
    /// Writes to the store.
    pub store_write: Histogram,
    /// Bytes of the store's files after the last of them.
    pub store_bytes: Gauge,
    /// Parts of state in the changelog.
    pub changelog_records: Counter,
    /// Their bytes.
    pub changelog_bytes: Counter,
    /// From the arrival of what decides to the output handed over.
    pub processing: Histogram,
    /// From the last event's Kafka timestamp to the commit.
    pub end_to_end: Histogram,
}

/// The fetcher's: who reads the disk for the shards.
#[derive(Debug, Default)]
pub struct FetcherMetrics {
    /// When it works; waiting for the disk is work.
    pub busy: Busy,
    /// Requests answered.
    pub reads: Counter,
    /// Requests that wait.
    pub waiting: Gauge,
    /// How long one took.
    pub duration: Histogram,
}

/// The group thread's.
#[derive(Debug, Default)]
pub struct GroupMetrics {
    /// Partitions paused.
    pub pauses: Counter,
    /// Changes of the assignment.
    pub rebalances: Counter,
}

/// Of whoever brings the store level: one thread at a time.
#[derive(Debug, Default)]
pub struct RestoreMetrics {
    /// Changelog records applied.
    pub records: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Offsets to go through.
    pub expected: Gauge,
    /// Offsets still to go through.
    pub remaining: Gauge,
}

/// The pipeline's own.
#[derive(Debug, Default)]
pub struct PipelineMetrics {
    /// Starts, but for those with other rules.
    pub incarnations: Counter,
    /// Reloads that brought other rules.
    pub reloads_accepted: Counter,
    /// Reloads that brought the same rules.
    pub reloads_unchanged: Counter,
    /// Reloads that brought wrong rules.
    pub reloads_refused: Counter,
}

/// Of the thread that asks where partitions end.
#[derive(Debug, Default)]
pub struct LagMetrics {
    /// 1: the brokers answered the last question.
    pub broker_up: Gauge,
}

/// The exporter's of OpenTelemetry.
#[derive(Debug, Default)]
pub struct OtlpMetrics {
    /// Exports of spans that failed.
    pub traces_failed: Counter,
    /// Exports of metrics that failed.
    pub metrics_failed: Counter,
    /// Spans given up.
    pub dropped: Counter,
}

/// An assigned partition. Each number has one writer: the source that reads it, or the thread that asks where it ends.
#[derive(Debug)]
pub struct PartitionMetrics {
    /// Next offset to read (source); negative: none is known.
    pub position: Gauge,
    /// Where it ends; negative: not known.
    pub end: Gauge,
    /// Newest event time, nanoseconds since the epoch (source); `i64::MIN`: none.
    pub newest: Gauge,
    /// 1: records wait that are not read (source).
    pub held: Gauge,
    /// 1: held so long that fetching stopped (source).
    pub paused: Gauge,
    /// 1: nothing comes (source).
    pub idle: Gauge,
}

impl Default for PartitionMetrics {
    fn default() -> Self {
        let unknown = |value| {
            let gauge = Gauge::default();
            gauge.set(value);
            gauge
        };
        PartitionMetrics {
            position: unknown(-1),
            end: unknown(-1),
            newest: unknown(i64::MIN),
            held: Gauge::default(),
            paused: Gauge::default(),
            idle: Gauge::default(),
        }
    }
}

impl PartitionMetrics {
    /// Records between our position and the end, if both are known.
    pub fn lag(&self) -> Option<i64> {
        let (position, end) = (self.position.get(), self.end.get());
        (position >= 0 && end >= 0).then_some((end - position).max(0))
    }
}
