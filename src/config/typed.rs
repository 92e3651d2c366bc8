//! The configuration as typed by the user: every key, all optional, nothing interpreted. This is the one list of the keys
//! that exist; `config schema` prints its JSON schema, with the comments below as descriptions.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of Throughline. Every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Throughline configuration")]
pub struct Config {
    /// Names the consumer group, the transactional ids and the internal topics. Default: throughline.
    pub application_id: Option<String>,
    /// Name of this process; one process per name. Default: the host name.
    pub instance: Option<String>,
    /// How to reach Kafka.
    pub kafka: Kafka,
    /// What to consume.
    pub input: Vec<Input>,
    /// Where the rules are.
    pub rules: Rules,
    /// Where correlations go.
    pub output: Output,
    /// Where records go that cannot be processed.
    pub dead_letter: DeadLetter,
    /// What a crash may do to the output. Default: exactly_once.
    pub delivery: Option<Delivery>,
    /// How often outputs, dead letters and offsets commit together. Default: 200ms.
    pub epoch: Option<Duration>,
    /// Where all events of one key meet. Default: instance.
    pub locality: Option<Locality>,
    /// Recognising repeated events.
    pub dedup: Dedup,
    /// Timelines and rule state.
    pub state: State,
    /// Threads.
    pub workers: Workers,
    /// The HTTP endpoint for operators.
    pub admin: Admin,
    /// Sending traces and metrics to OpenTelemetry.
    pub telemetry: Telemetry,
    /// How long a drain (SIGTERM, Ctrl-C, POST /pipeline/drain) may take; then the process stops at once. Default: 30s.
    pub drain_timeout: Option<Duration>,
}

/// How to reach Kafka.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Bootstrap brokers, `host:port`, separated by commas. Default: localhost:9092.
    pub brokers: Option<String>,
    /// Any librdkafka property, passed on to consumers and producers, except those that run code, load libraries or are
    /// Throughline's own. A name with dots may be written as nested maps.
    #[schemars(extend("additionalProperties" = {"type": ["string", "number", "boolean", "object"]}))]
    pub properties: BTreeMap<String, String>,
}

/// One set of topics and how to read their records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Input {
    /// Topic names, or a regular expression that starts with `^`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<OneOrMany>,
    /// Where the event time is.
    #[serde(skip_serializing_if = "is_default")]
    pub time: Time,
    /// Field (or fields) that identify an event for dedup. Absent: topic, partition and offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<OneOrMany>,
    /// Field of the event category. Default: event.category.
    pub category: Option<String>,
    /// How far behind the newest event of its partition an event may come and still be in order. Default: 2s.
    pub out_of_orderness: Option<Duration>,
    /// How long a partition must be silent before it stops holding the others back; 0: never. Default: 5s.
    pub idle_timeout: Option<Duration>,
    /// What happens to an event behind the watermark. Default: dlq.
    pub late: Option<Late>,
    /// How far a partition may run ahead of the slowest in event time. Default: 1m.
    pub max_skew: Option<Duration>,
    /// How far ahead of its record's Kafka timestamp an event time may lie. Default: 1h.
    pub max_future: Option<Duration>,
    /// Mapping of Sigma log sources and fields to the event's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Where the event time is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Time {
    /// Field that holds the event time. Absent: the Kafka timestamp of the record.
    pub field: Option<String>,
}

/// Where the rules are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Rule files, and directories that are searched for them; relative to the working directory. Default: rules/.
    pub paths: Option<Vec<String>>,
}

/// Where correlations go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Topic for rules that name none. Default: correlations.
    pub topic: Option<String>,
}

/// Where records go that cannot be processed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetter {
    /// Topic. Default: throughline-dlq.
    pub topic: Option<String>,
}

/// Recognising repeated events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dedup {
    /// How long an id is remembered; 0 turns dedup off. Default: 1h.
    pub window: Option<Duration>,
}

/// Timelines and rule state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Directory for state on disk, relative to the working directory. Default: ./state.
    pub directory: Option<String>,
    /// Memory for state, all shards together; the disk store has a quarter of it. Default: 256MiB.
    pub memory: Option<ByteSize>,
    /// How long whole segments of timelines and dedup ids lie on disk as they are; older ones are packed (zstd). Default: 24h.
    pub warm_ttl: Option<Duration>,
    /// How long, in event time, a sequence without `maxspan` may stay open. Default: 7d.
    pub cold_ttl: Option<Duration>,
}

/// Threads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Workers {
    /// Threads that keep timelines and match. Default: auto (half of the cores).
    pub shards: Option<Count>,
    /// Threads that poll, decode and detect. Default: auto (the other half).
    pub sources: Option<Count>,
    /// Pinning threads to cores. Default: auto (pinned where the machine allows it).
    pub pin: Option<Pin>,
}

/// The HTTP endpoint for operators.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address and port, or `off`. Any other address than this machine's own needs a token. Default: 127.0.0.1:9470.
    pub listen: Option<String>,
    /// What a client must send as `Authorization: Bearer`, at least 16 characters. Better set as THROUGHLINE_ADMIN__TOKEN or by `token_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// File that holds the token, read at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
}

/// Sending traces and metrics to OpenTelemetry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Base URL of a collector that takes OTLP over HTTP, e.g. http://localhost:4318. Default: nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
}

/// What a crash may do to the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// One transaction for outputs, dead letters and offsets.
    ExactlyOnce,
    /// Produced at once, offsets after delivery: lowest latency, repeats (with the same id) after a crash.
    AtLeastOnce,
}

/// Where all events of one key meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Locality {
    /// One instance owns all partitions.
    Instance,
    /// The inputs are partitioned by the correlation key already.
    Partition,
    /// Signals go through an internal topic.
    Repartition,
}

/// What happens to an event behind the watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Late {
    /// Taken all the same.
    Process,
    /// Sent to the dead-letter topic.
    Dlq,
    /// Counted and forgotten.
    Drop,
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auto {
    /// Decided from the machine.
    Auto,
}

/// `auto`, or how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Count {
    /// `auto`.
    Auto(Auto),
    /// So many.
    Number(u32),
}

/// Pinning, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PinWord {
    /// Where the machine allows it.
    Auto,
    /// Never.
    Off,
}

/// `auto`, `off`, or the cores to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Pin {
    /// `auto` or `off`.
    Word(PinWord),
    /// Logical cores, as the operating system numbers them: first for sources, then for shards.
    Cores(Vec<u32>),
}

/// One text or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl OneOrMany {
    /// As a list.
    pub fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// A whole number and a unit: ns, us, ms, s, m, h, d or w. `0` needs none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("type" = ["string", "integer"], "examples" = ["200ms", "30s", "10m", "2h", "1d"]))]
pub struct Duration(pub String);

/// A whole number and a unit: B, KiB, MiB, GiB, TiB (powers of 1024), KB, MB, GB, TB (powers of 1000).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("type" = ["string", "integer"], "examples" = ["256MiB", "2GiB"]))]
pub struct ByteSize(pub String);

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
