//! The pipeline at one time, for people and scripts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Control, Reason};
use crate::event::{Outcome, OutcomeCounts, Timestamp};
use crate::rules::plan::Rule;
use crate::telemetry::metrics::{PartitionMetrics, PartitionName, ShardMetrics, table};

/// What `/status` says.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Status {
    /// Version of the program.
    pub version: &'static str,
    /// running, paused, draining or stopped.
    #[schema(example = "running")]
    pub state: &'static str,
    /// Whether it does its work.
    pub ready: bool,
    /// Why not; empty if it does.
    pub reasons: Vec<Reason>,
    /// Starts of the pipeline in this process.
    pub incarnations: u64,
    /// The partitions that are read here.
    pub partitions: Vec<PartitionStatus>,
    /// What is committed since the process started.
    pub committed: Committed,
    /// Rules in force, and what each has found.
    pub rules: Vec<RuleHits>,
    /// Threads that keep timelines and match.
    pub shards: Vec<ShardStatus>,
    /// Memory.
    pub memory: Memory,
    /// Bringing the state on disk level with the changelog; absent if nothing is left to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
}

/// A partition that is read here.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PartitionStatus {
    /// Topic.
    pub topic: String,
    /// Number in the topic.
    pub partition: i32,
    /// Next offset to read, if known.
    pub position: Option<i64>,
    /// Where it ends, if known.
    pub end: Option<i64>,
    /// Records between the two, if known.
    pub lag: Option<i64>,
    /// Newest event time seen, RFC 3339.
    pub newest_event: Option<String>,
    /// Records wait that are not read: for room, or for other partitions.
    pub held: bool,
    /// Held so long that fetching stopped.
    pub paused: bool,
    /// Nothing comes.
    pub idle: bool,
}

/// Totals of committed epochs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Committed {
    /// Records read.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Correlations written.
    pub correlations: u64,
    /// Epochs with a transaction.
    pub epochs: u64,
    /// When the last one was, RFC 3339.
    pub last_commit: Option<String>,
    /// What became of the records, by topic and outcome.
    pub outcomes: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Dead letters by code.
    pub dead_letters: BTreeMap<String, u64>,
}

/// A rule and what it has found.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RuleHits {
    /// The rule's id.
    pub id: String,
    /// Committed correlations.
    pub correlations: u64,
}

/// A thread that keeps timelines.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ShardStatus {
    /// Its number.
    pub shard: usize,
    /// Up to which event time its input is complete, RFC 3339; null: nothing is known.
    pub watermark: Option<String>,
    /// Seconds it was not asleep.
    pub busy_seconds: f64,
    /// Keys in memory.
    pub keys: i64,
    /// Keys on disk only; an upper bound.
    pub keys_on_disk: i64,
    /// Bytes of state in memory, an estimate.
    pub state_bytes: i64,
    /// Signals that wait for the watermark.
    pub waiting_signals: i64,
    /// Matches begun and not decided.
    pub pending_matches: i64,
    /// Events in timelines.
    pub timeline_events: i64,
    /// Ids in dedup sets in memory.
    pub dedup_ids: i64,
}

/// Memory of the process.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Memory {
    /// In RAM.
    pub resident_bytes: u64,
    /// Of it state, an estimate.
    pub state_bytes: u64,
}

/// A restore that runs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Restore {
    /// Changelog records to go through.
    pub expected: i64,
    /// Of these, left.
    pub remaining: i64,
}

/// A rule in force.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RuleStatus {
    /// The rule's id.
    pub id: String,
    /// For people.
    pub name: String,
    /// Hash of its content.
    pub version: String,
    /// informational, low, medium, high or critical.
    pub severity: &'static str,
    /// Free labels.
    pub tags: Vec<String>,
    /// For people.
    pub description: String,
    /// Its output topic, if not the default.
    pub output_topic: Option<String>,
    /// Committed correlations since the process started.
    pub correlations: u64,
}

fn text(time: i64) -> Option<String> {
    (time != Timestamp::MIN.0).then(|| Timestamp(time).to_string())
}

fn known(offset: i64) -> Option<i64> {
    (offset >= 0).then_some(offset)
}

impl Control {
    /// The pipeline as it stands.
    pub fn status(&self) -> Status {
        let reasons = self.reasons();
        let (metrics, progress) = (self.metrics(), self.progress());
        let remaining = metrics.restore.remaining.get();
        let expected = metrics.restore.expected.get();
        let outcomes =
            |counts: &OutcomeCounts| Outcome::ALL.map(|outcome| (outcome.name(), counts.get(outcome))).into();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            state: self.state().name(),
            ready: reasons.is_empty(),
            reasons,
            incarnations: metrics.pipeline.incarnations.get(),
            partitions: self.partitions(),
            committed: Committed {
                records: progress.records(),
                bytes: progress.bytes,
                correlations: progress.correlations_total(),
                epochs: progress.epochs,
                last_commit: progress.last_commit.map(|at| at.to_string()),
                outcomes: progress.counts.iter().map(|(topic, counts)| (topic.to_string(), outcomes(counts))).collect(),
                dead_letters: progress.dead_letters.iter().map(|(code, n)| (code.to_string(), *n)).collect(),
            },
            rules: self
                .rules()
                .into_iter()
                .map(|RuleStatus { id, correlations, .. }| RuleHits { id, correlations })
                .collect(),
            shards: self.shards(),
            memory: self.memory(),
            restore: (remaining > 0).then_some(Restore { expected, remaining }),
        }
    }

    /// The rules in force.
    pub fn rules(&self) -> Vec<RuleStatus> {
        let (plan, progress) = (self.plan(), self.progress());
        let of = |rule: &Rule| RuleStatus {
            id: rule.id.clone(),
            name: rule.name.clone(),
            version: rule.version.clone(),
            severity: rule.severity.name(),
            tags: rule.tags.clone(),
            description: rule.description.clone(),
            output_topic: rule.output_topic.clone(),
            correlations: progress.correlations.get(&rule.id).copied().unwrap_or(0),
        };
        plan.map_or_else(Vec::new, |plan| plan.rules.iter().map(of).collect())
    }

    fn partitions(&self) -> Vec<PartitionStatus> {
        let partitions = self.metrics().partitions().into_iter();
        let of = |((topic, partition), shown): (PartitionName, Arc<PartitionMetrics>)| PartitionStatus {
            topic: topic.to_string(),
            partition,
            position: known(shown.position.get()),
            end: known(shown.end.get()),
            lag: shown.lag(),
            newest_event: text(shown.newest.get()),
            held: shown.held.get() != 0,
            paused: shown.paused.get() != 0,
            idle: shown.idle.get() != 0,
        };
        partitions.map(of).collect()
    }

    fn shards(&self) -> Vec<ShardStatus> {
        let of = |(shard, shown): (usize, Arc<ShardMetrics>)| ShardStatus {
            shard,
            watermark: text(shown.watermark.get()),
            busy_seconds: shown.busy.nanos() as f64 / 1e9,
            keys: shown.state.keys.get(),
            keys_on_disk: shown.state.keys_on_disk.get(),
            state_bytes: shown.state.bytes.get(),
            waiting_signals: shown.state.waiting_signals.get(),
            pending_matches: shown.state.pending_matches.get(),
            timeline_events: shown.state.timeline_events.get(),
            dedup_ids: shown.state.dedup_ids.get(),
        };
        self.metrics().shards().into_iter().enumerate().map(of).collect()
    }

    fn memory(&self) -> Memory {
        let of_state = self.metrics().shards().iter().map(|shard| shard.state.bytes.get()).sum::<i64>();
        let resident = self.snapshot().total(table::PROCESS_MEMORY);
        Memory { resident_bytes: resident as u64, state_bytes: of_state.max(0) as u64 }
    }
}
