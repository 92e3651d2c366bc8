//! The resolved configuration: every value present, interpreted and in bounds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::problem::{Problem, ProblemCode};
use crate::event::{LatePolicy, Span};

/// All settings of a process. Made by [`super::load`] only, so that whoever holds one need not check it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Names the consumer group, the transactional ids and the internal topics. A legal part of a topic name.
    pub application_id: String,
    /// Name of this process. A legal part of a topic name.
    pub instance: String,
    /// How to reach Kafka.
    pub kafka: Kafka,
    /// What to consume; no topic is named twice. Empty is legal here: `run` asks for at least one.
    pub inputs: Vec<Input>,
    /// Rule files and directories. At least one.
    pub rule_paths: Vec<PathBuf>,
    /// Topic of correlations whose rule names none. Not among the inputs.
    pub output_topic: String,
    /// Topic of dead letters. Not among the inputs.
    pub dead_letter_topic: String,
    /// What a crash may do to the output.
    pub delivery: Delivery,
    /// Length of an epoch, between `limits::EPOCH_MIN` and `limits::EPOCH_MAX`.
    pub epoch: Span,
    /// Where all events of one key meet.
    pub locality: Locality,
    /// How long an id is remembered. [`Span::ZERO`]: dedup is off.
    pub dedup_window: Span,
    /// Timelines and rule state.
    pub state: State,
    /// Threads.
    pub workers: Workers,
    /// The HTTP endpoint for operators.
    pub admin: Admin,
    /// Base URL of an OpenTelemetry collector (OTLP over HTTP); `None`: nothing is sent.
    pub otlp_endpoint: Option<String>,
    /// How long a drain may take.
    pub drain_timeout: Span,
}

impl Settings {
    /// What `run` needs beyond being valid: something to consume.
    pub fn check_runnable(&self) -> Result<(), Problem> {
        match self.inputs.is_empty() {
            false => Ok(()),
            true => Err(Problem::of_file(
                "configuration",
                ProblemCode::Conflict,
                "`input` names no topics: there is nothing to consume".into(),
                Some("add an input, e.g. --set 'input=[{topics: [security-events]}]'".into()),
            )),
        }
    }
}

/// How to reach Kafka.
#[derive(Clone, PartialEq)]
pub struct Kafka {
    /// Bootstrap brokers, `host:port`, separated by commas.
    pub brokers: String,
    /// librdkafka properties to pass on. None of them runs code, loads a library or is Throughline's own.
    pub properties: BTreeMap<String, String>,
}

/// Values may be secrets: only names are shown.
impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.properties.keys().collect();
        f.debug_struct("Kafka").field("brokers", &self.brokers).field("properties", &names).finish()
    }
}

/// The HTTP endpoint for operators.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// Where; `None`: nowhere. Not beyond this machine without a token.
    pub listen: Option<SocketAddr>,
    /// What clients must know.
    pub token: Option<Token>,
}

impl Default for Admin {
    fn default() -> Self {
        Admin { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9470))), token: None }
    }
}

/// Where the admin token is.
#[derive(Clone, PartialEq)]
pub enum Token {
    /// Here.
    Value(String),
    /// In this file.
    File(PathBuf),
}

/// A secret is not shown.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Value(_) => f.write_str("Value(***)"),
            Token::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// One set of topics and how to read their records.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Names, or regular expressions that start with `^` and compile. At least one.
    pub topics: Vec<String>,
    /// Field of the event time. `None`: the Kafka timestamp of the record.
    pub time_field: Option<String>,
    /// Fields that identify an event. Empty: topic, partition and offset.
    pub id_fields: Vec<String>,
    /// Field of the event category.
    pub category_field: String,
    /// How far behind the newest event of its partition an event is still in order.
    pub out_of_orderness: Span,
    /// How long a partition must be silent before it stops holding others back. [`Span::ZERO`]: never.
    pub idle_timeout: Span,
    /// What happens to an event behind the watermark.
    pub late: LatePolicy,
    /// How far a partition may run ahead of the slowest in event time.
    pub max_skew: Span,
    /// How far ahead of its record's Kafka timestamp an event time may lie.
    pub max_future: Span,
    /// The `sigma` section as written; empty: none.
    pub sigma: serde_json::Map<String, serde_json::Value>,
}

impl Input {
    /// The defaults for some topics.
    pub fn of_topics(topics: Vec<String>) -> Self {
        Input {
            topics,
            time_field: None,
            id_fields: Vec::new(),
            category_field: "event.category".into(),
            out_of_orderness: Span::from_secs(2),
            idle_timeout: Span::from_secs(5),
            late: LatePolicy::Dlq,
            max_skew: Span::from_secs(60),
            max_future: Span::from_secs(3600),
            sigma: serde_json::Map::new(),
        }
    }

    /// Whether a topic of this name is read by this input.
    pub fn reads(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| topic_matches(pattern, topic))
    }
}

/// Whether `pattern` (a name, or a regular expression that starts with `^`) takes the topic `name`.
pub fn topic_matches(pattern: &str, name: &str) -> bool {
    match topic_pattern_regex(pattern) {
        Some(Ok(regex)) => regex.is_match(name),
        Some(Err(_)) => false,
        None => pattern == name,
    }
}

/// The regular expression of a topic pattern; `None` if it is a plain name.
pub fn topic_pattern_regex(pattern: &str) -> Option<Result<regex::Regex, regex::Error>> {
    pattern.starts_with('^').then(|| regex::Regex::new(pattern))
}

/// What a crash may do to the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// One transaction for outputs, dead letters and offsets.
    #[default]
    ExactlyOnce,
    /// Produced at once, offsets after delivery; repeats carry the same id.
    AtLeastOnce,
}

/// Where all events of one key meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Locality {
    /// One instance owns all partitions.
    #[default]
    Instance,
    /// The inputs are partitioned by the correlation key already.
    Partition,
    /// Signals go through an internal topic.
    Repartition,
}

/// Timelines and rule state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Directory for state on disk.
    pub directory: PathBuf,
    /// Memory for state, all shards together, at least `limits::STATE_MEMORY_BYTES_MIN`.
    pub memory_bytes: usize,
    /// How long, by the wall clock, sealed segments lie on disk as they are; older ones are packed.
    pub warm_ttl: Span,
    /// How long, in event time, a sequence without `maxspan` may stay open; not shorter than `warm_ttl`.
    pub cold_ttl: Span,
}

/// Threads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workers {
    /// Number of shard threads, at least 1. `None`: from the machine.
    pub shards: Option<usize>,
    /// Number of source threads, at least 1. `None`: from the machine.
    pub sources: Option<usize>,
    /// Pinning.
    pub pin: Pin,
}

/// Pinning threads to cores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Pin {
    /// Where the machine allows it.
    #[default]
    Auto,
    /// Never.
    Off,
    /// These logical cores, as the operating system numbers them: first for sources, then for shards. Not empty, none twice.
    List(Vec<usize>),
}
