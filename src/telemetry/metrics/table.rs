//! Every metric there is: the one list that exposition, documentation and tests are made from.
//!
//! Labels are bounded by what was configured: rules, topics, partitions, threads. None comes from the content of an event.

use std::fmt::Write as _;

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; begins at 0 with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

impl Kind {
    /// The word in an exposition.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// As in queries; a counter ends with `_total`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Defines the metrics and the list of them.
macro_rules! metrics {
    ($($(#[$title:meta])? $id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: &Metric =
                &Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// All of them, in the order of exposition.
        pub const ALL: &[&Metric] = &[$($id),*];
    };
}

metrics! {
    BUILD_INFO = Gauge "throughline_build_info" ["version"] "Always 1; says which version runs.";
    PIPELINE_STATE = Gauge "throughline_pipeline_state" ["state"] "1 for the state the pipeline is in (running, paused, draining, stopped), else 0.";
    INCARNATIONS = Counter "throughline_incarnations_total" [] "Starts of the pipeline in this process: the first one, and each one after a failure that may pass; not those with other rules.";
    BROKER_UP = Gauge "throughline_broker_up" [] "Whether the brokers answered when they were asked last (1) or not (0).";
    RULES = Gauge "throughline_rules" [] "Rules in force.";
    RULES_REFUSED = Gauge "throughline_rules_refused" [] "Whether the rules that were read last are wrong (1), so that older ones are in force, or not (0).";
    RULE_RELOADS = Counter "throughline_rule_reloads_total" ["result"] "Times that rules were read again while running: accepted, unchanged, refused.";

    EVENTS = Counter "throughline_events_total" ["topic", "outcome"] "Input records whose outcome is committed: tombstone, dead_letter, unmatched, duplicate, late, matched.";
    EVENT_BYTES = Counter "throughline_event_bytes_total" [] "Bytes of the values of committed input records.";
    DEAD_LETTERS = Counter "throughline_dead_letters_total" ["code"] "Committed dead letters by their code.";
    CORRELATIONS = Counter "throughline_correlations_total" ["rule"] "Committed correlations by rule.";
    SUPPRESSED = Counter "throughline_suppressed_total" ["shard"] "Correlations held back as repeats by `suppress`.";

    SOURCE_RECORDS = Counter "throughline_source_records_total" ["source"] "Records taken from Kafka; after a restart of the pipeline some are taken again.";
    SIGNALS = Counter "throughline_signals_total" ["source"] "Signals sent to shards: one for each key of an event that satisfied a step.";
    KEYLESS = Counter "throughline_keyless_events_total" ["source"] "Events that satisfied a step and had no usable key for it.";
    VALUES_IGNORED = Counter "throughline_values_ignored_total" ["shard"] "Events that a value rule ignored because they had no usable value.";
    LATE_IGNORED = Counter "throughline_late_ignored_total" ["shard"] "Late events (`late: process`) whose window was decided already.";

    LAG = Gauge "throughline_partition_lag_records" ["topic", "partition"] "Records between our position and the end of an assigned partition, transaction markers included.";
    PARTITIONS = Gauge "throughline_partitions" ["state"] "Input partitions assigned here; of these: held (waiting for room or for other partitions), paused (held so long that fetching stopped), idle (nothing comes).";
    PAUSES = Counter "throughline_partition_pauses_total" [] "Partitions whose fetching was stopped because they were held for long.";
    REBALANCES = Counter "throughline_rebalances_total" [] "Changes of the assignment: partitions given, taken away, or lost.";
    WATERMARK_DELAY = Gauge "throughline_watermark_delay_seconds" ["shard"] "How far the shard's watermark is behind the clock; absent until there is one.";

    RING_FILL = Gauge "throughline_ring_fill_ratio" ["to"] "How full the fullest ring into a thread was when it last looked, 0 to 1.";
    THREAD_BUSY = Counter "throughline_thread_busy_seconds_total" ["thread"] "Time a thread was not asleep; its rate is the thread's busy share.";

    EPOCHS = Counter "throughline_epochs_total" [] "Epochs committed with a transaction.";
    EPOCHS_IN_FLIGHT = Gauge "throughline_epochs_in_flight" [] "Epochs begun and not yet committed.";
    LAST_COMMIT = Gauge "throughline_last_commit_timestamp_seconds" [] "When the last transaction was committed, in Unix time; absent until there is one.";
    EPOCH_DURATION = Histogram "throughline_epoch_duration_seconds" [] "From asking for an epoch's barrier to the end of its commit.";
    COMMIT_DURATION = Histogram "throughline_commit_duration_seconds" [] "Transaction of an epoch: sending, offsets, commit.";
    STORE_WRITE_DURATION = Histogram "throughline_store_write_duration_seconds" [] "Writing an epoch's changes to the store on disk.";
    CHANGELOG_RECORDS = Counter "throughline_changelog_records_total" [] "Parts of state committed to the changelog.";
    CHANGELOG_BYTES = Counter "throughline_changelog_bytes_total" [] "Bytes of keys and values committed to the changelog.";

    STATE_KEYS = Gauge "throughline_state_keys" ["shard", "tier"] "Keys with state: in memory, or on disk only (an upper bound).";
    STATE_BYTES = Gauge "throughline_state_bytes" ["shard", "tier"] "Bytes of state: in memory (an estimate), or in the files of the store on disk when it was written last (`all` shards together).";
    STATE_ENTRIES = Gauge "throughline_state_entries" ["shard", "kind"] "What the memory for state holds: waiting_signals, pending_matches, timeline_events, dedup_ids, dedup_ids_spilled (on disk), suppressions, deadlines.";
    EVICTIONS = Counter "throughline_evicted_keys_total" ["shard"] "Keys that left memory for the disk.";
    STATE_READS = Counter "throughline_state_reads_total" [] "Requests of shards to the store on disk that were answered.";
    STATE_READS_WAITING = Gauge "throughline_state_reads_waiting" [] "Requests of shards to the store on disk that wait.";
    STATE_READ_DURATION = Histogram "throughline_state_read_duration_seconds" [] "Answering one request of a shard from the store on disk.";

    RESTORE_RECORDS = Counter "throughline_restore_records_total" [] "Changelog records applied to the store at starts.";
    RESTORE_BYTES = Counter "throughline_restore_bytes_total" [] "Bytes of changelog records applied to the store at starts.";
    RESTORE_EXPECTED = Gauge "throughline_restore_expected_records" [] "Changelog offsets to go through in the restore that runs or ran last.";
    RESTORE_REMAINING = Gauge "throughline_restore_remaining_records" [] "Changelog offsets still to go through; 0: nothing is being restored.";

    PROCESSING_LATENCY = Histogram "throughline_processing_latency_seconds" [] "From the poll that found what decided a correlation (a record, or what moved the watermark) to the correlation handed to the producer, or with exactly_once to its epoch.";
    END_TO_END_LATENCY = Histogram "throughline_end_to_end_latency_seconds" [] "From the Kafka timestamp of a correlation's last event to its commit. Where the event time is a field, the timestamp is taken from the distance that both have in the partition's newest event.";

    OTLP_FAILURES = Counter "throughline_otlp_failures_total" ["signal"] "Exports that the OpenTelemetry collector did not take.";
    OTLP_DROPPED = Counter "throughline_otlp_dropped_spans_total" [] "Spans given up because the collector did not take earlier ones.";

    PROCESS_CPU = Counter "process_cpu_seconds_total" [] "Processor time of the process, user and system.";
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes" [] "Memory of the process that is in RAM.";
    PROCESS_FILES = Gauge "process_open_fds" [] "Open file descriptors.";
    PROCESS_START = Gauge "process_start_time_seconds" [] "When the process started, in Unix time.";
}

/// `docs/metrics.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         At `/metrics` of `admin.listen` (default 127.0.0.1:9470), as Prometheus text or OpenMetrics. This page is generated from\n\
         `src/telemetry/metrics/table.rs`; a test holds it to that (`THROUGHLINE_BLESS=1` writes it anew).\n\n\
         Counters begin at 0 with the process. What is *committed* is counted with the transaction that makes it visible, so it\n\
         agrees with what Kafka holds; an aborted epoch leaves no trace. Label values come from the configuration (rules, topics,\n\
         partitions, threads), never from events.\n\n\
         | name | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for Metric { name, kind, labels, help } in ALL {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.name(), labels.join(", "));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
    }
    text.push_str(
        "\nA histogram has the series `_bucket` (label `le`), `_sum` and `_count`. Histograms are kept within 3 % and merged over\n\
         threads when they are read.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "a name comes twice");
        for Metric { name, kind, labels, help } in ALL {
            assert!(name.starts_with("throughline_") || name.starts_with("process_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}: base units");
            assert!(!help.is_empty() && help.ends_with('.') && !help.contains('|'), "{name}");
            assert!(labels.iter().all(|label| !["le", "quantile"].contains(label)), "{name}: reserved");
        }
    }

    #[test]
    fn the_documentation_is_that_of_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("THROUGHLINE_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(path, markdown()).expect("the page can be written");
        }
        let page = std::fs::read_to_string(path).expect("docs/metrics.md");
        assert_eq!(page, markdown(), "docs/metrics.md is not up to date: THROUGHLINE_BLESS=1 writes it anew");
    }
}
