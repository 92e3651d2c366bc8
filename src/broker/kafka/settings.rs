//! Which librdkafka properties we set and why, and which a user may not.
//!
//! A user's property overrides ours, with two exceptions. One: properties that our promises rest on are refused, with the
//! setting to use instead. Two: properties that make the client run a command or load a library are refused, so that a
//! configuration file is never a way to run code.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::broker::{BrokerError, ErrorKind};
use crate::limits::{PAYLOAD_BYTES_MAX, SOURCE_BUDGET_BYTES, SOURCE_PREFETCH_RECORDS};

/// How partitions are dealt out in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Assignment {
    /// Partitions stay where they are as far as possible, and only those that move stop (the default).
    #[default]
    CooperativeSticky,
    /// Partition n of every topic goes to the same member: for several topics that are partitioned alike
    /// (`locality: partition`). Rebalances stop all partitions.
    Range,
}

/// How to reach a cluster, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// librdkafka properties of the user.
    pub properties: BTreeMap<String, String>,
    /// Names the group, and with `instance` the transactional id.
    pub application_id: String,
    /// Names the member; unique in the group.
    pub instance: String,
    /// How partitions are dealt out.
    pub assignment: Assignment,
}

/// Properties that a promise rests on, and what to do instead.
const OURS: &[(&str, &str)] = &[
    ("acks", "everything written is acknowledged by all in-sync replicas"),
    ("auto.offset.reset", "a partition without a committed offset is read from its start"),
    ("bootstrap.servers", "set `kafka.brokers`"),
    ("client.id", "it is the instance's name: set `instance`"),
    ("enable.auto.commit", "offsets are committed with the results they belong to"),
    ("enable.auto.offset.store", "offsets are committed with the results they belong to"),
    ("enable.idempotence", "records are written once and in order"),
    ("enable.partition.eof", "the end of a partition must be seen"),
    ("group.id", "set `application_id`"),
    ("group.instance.id", "set `instance`"),
    ("group.protocol", "the membership is built on the classic protocol"),
    ("group.remote.assignor", "the membership is built on the classic protocol"),
    ("isolation.level", "it follows from `delivery`"),
    ("log.queue", "the client's log goes to Throughline's"),
    ("metadata.broker.list", "set `kafka.brokers`"),
    ("partition.assignment.strategy", "it follows from `locality`"),
    ("request.required.acks", "everything written is acknowledged by all in-sync replicas"),
    ("topic.blacklist", "name the topics in `input`"),
    ("transactional.id", "it is made of `application_id` and `instance`"),
];

/// Properties that run a command, load a library or replace a function of the client.
const CODE: &[&str] = &["plugin.library.paths", "ssl.engine.id", "ssl.engine.location", "ssl.providers"];

/// All of these are pasted into a command that a shell runs.
const KERBEROS: &str = "sasl.kerberos.";

/// What every client of ours has in common.
const COMMON: &[(&str, &str)] = &[
    // A broker that comes back is found again within a second, not after librdkafka's 10 s.
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
    // Nagle's delay would be added to every epoch.
    ("socket.nagle.disable", "true"),
    ("enable.metrics.push", "false"),
];

const CONSUMER: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    // librdkafka's default is `latest`, which would skip what was written before we came.
    ("auto.offset.reset", "earliest"),
    ("check.crcs", "true"),
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "2000"),
    // A partition whose queue was full is looked at again after this; the default second would be a hole at full speed.
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.error.backoff.ms", "100"),
    // The broker answers when so much is there, or after 10 ms: at 100,000 events a second a fetch then brings some milliseconds of
    // input instead of a batch or two, which takes a third off a bare consumer's CPU. A lone record waits up to 10 ms longer.
    ("fetch.min.bytes", "65536"),
    ("fetch.wait.max.ms", "10"),
    // Fetches of one partition are small: a response is unpacked whole, and small records compress twentyfold.
    ("fetch.message.max.bytes", "131072"),
    ("topic.metadata.refresh.interval.ms", "60000"),
    ("allow.auto.create.topics", "false"),
];

const PRODUCER: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("transaction.timeout.ms", "10000"),
    // The default 100 ms would be felt in every transaction that meets the end of the one before.
    ("retry.backoff.ms", "10"),
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    // Keys go to the partition where the Java clients put them.
    ("partitioner", "murmur2_random"),
    ("queue.buffering.max.kbytes", "65536"),
];

const LOG_READER: &[(&str, &str)] = &[
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "earliest"),
    ("check.crcs", "true"),
    // Bytes alone bound what is fetched ahead.
    ("queued.min.messages", "10000000"),
    ("fetch.queue.backoff.ms", "1"),
    ("fetch.error.backoff.ms", "100"),
    // At the end of the log nothing more is waited for than what is there.
    ("fetch.wait.max.ms", "50"),
];

/// Bytes fetched ahead of a restore, over all partitions.
const LOG_PREFETCH_BYTES: usize = 32 << 20;

/// Least fetch of one partition: below this a fetch costs more than what it brings.
const LOG_FETCH_BYTES_MIN: usize = 256 << 10;

/// Least prefetch of one partition, in records: some milliseconds of work.
const PREFETCH_RECORDS_MIN: usize = 1_000;

/// Least prefetch of one partition, in kB, however many there are: below this each fetch would be a few records.
const PREFETCH_KBYTES_MIN: usize = 64;

impl KafkaSettings {
    /// Looks at every property. Errors: [`ErrorKind::Setting`], naming all that are wrong at once.
    pub(super) fn check(&self) -> Result<(), BrokerError> {
        let mut wrong = Vec::new();
        if self.brokers.trim().is_empty() {
            wrong.push("`kafka.brokers` is empty: name at least one host:port".to_owned());
        }
        for (name, what) in [("application_id", &self.application_id), ("instance", &self.instance)] {
            if what.is_empty() {
                wrong.push(format!("`{name}` is empty: it names our group, transactions and members"));
            }
        }
        for (name, value) in &self.properties {
            if let Some((_, why)) = OURS.iter().find(|(ours, _)| ours == name) {
                wrong.push(format!("kafka.properties: `{name}` may not be set: {why}"));
            } else if CODE.contains(&name.as_str()) || name.starts_with(KERBEROS) || name.ends_with("_cb") {
                wrong.push(format!("kafka.properties: `{name}` may not be set: it would run or load foreign code"));
            } else if let Err(error) = ClientConfig::new().set(name, value).create_native_config() {
                wrong.push(setting(&error).message);
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(BrokerError::new(ErrorKind::Setting, wrong.join("\n"))) }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", &self.instance);
        set_all(&mut config, COMMON);
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    fn with_user(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// A client that only asks questions: no group, no fetching.
    pub(super) fn lookup(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("allow.auto.create.topics", "false");
        self.with_user(config)
    }

    /// A member of the group that reads `partitions` partitions at most.
    pub(super) fn consumer(&self, read_committed: bool, partitions: usize) -> ClientConfig {
        let mut config = self.client();
        set_all(&mut config, CONSUMER);
        config.set("group.id", &self.application_id).set("group.instance.id", &self.instance);
        config.set("isolation.level", if read_committed { "read_committed" } else { "read_uncommitted" });
        config.set(
            "partition.assignment.strategy",
            match self.assignment {
                Assignment::CooperativeSticky => "cooperative-sticky",
                Assignment::Range => "range",
            },
        );
        // librdkafka bounds each partition's queue; together they must stay within our budget.
        let each = (SOURCE_BUDGET_BYTES / 1024 / partitions.max(1)).max(PREFETCH_KBYTES_MIN);
        config.set("queued.max.messages.kbytes", each.to_string());
        // Its bytes are those of the payloads; a record of a few bytes costs some hundred more, so their number is bounded too.
        let records =
            (SOURCE_PREFETCH_RECORDS / partitions.max(1)).clamp(PREFETCH_RECORDS_MIN, SOURCE_PREFETCH_RECORDS);
        config.set("queued.min.messages", records.to_string());
        self.with_user(config)
    }

    /// Of the group, but never in it: asks what is committed (offsets of open transactions are waited for).
    pub(super) fn onlooker(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", &self.application_id).set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false").set("allow.auto.create.topics", "false");
        self.with_user(config)
    }

    /// A reader of `partitions` partitions of a changelog. The group is named for the rights that come with it; the reader
    /// never joins it and never commits. How much is fetched at once is ours to say: the user's values are meant for the
    /// inputs.
    pub(super) fn log_reader(&self, partitions: usize) -> ClientConfig {
        let mut config = self.onlooker();
        set_all(&mut config, LOG_READER);
        // A response comes on top of what is queued already.
        let each = (LOG_PREFETCH_BYTES / 2 / partitions.max(1)).max(LOG_FETCH_BYTES_MIN);
        config.set("queued.max.messages.kbytes", (each / 1024).to_string());
        config.set("fetch.message.max.bytes", each.to_string());
        config
    }

    /// How long the coordinator waits for a sign of a member.
    pub(super) fn session_timeout(&self) -> Duration {
        let millis = self.consumer(true, 1).get("session.timeout.ms").and_then(|value| value.parse().ok());
        Duration::from_millis(millis.unwrap_or(10_000))
    }

    /// How long the coordinator lets a transaction of ours stay open.
    pub(super) fn transaction_timeout(&self) -> Duration {
        let millis = self.producer(true).get("transaction.timeout.ms").and_then(|value| value.parse().ok());
        Duration::from_millis(millis.unwrap_or(60_000))
    }

    /// A producer.
    pub(super) fn producer(&self, transactional: bool) -> ClientConfig {
        let mut config = self.client();
        set_all(&mut config, PRODUCER);
        // A dead letter carries the whole record that we could read, and headers of its own.
        config.set("message.max.bytes", (PAYLOAD_BYTES_MAX + (1 << 20)).to_string());
        if transactional {
            config.set("transactional.id", self.transactional_id());
        }
        self.with_user(config)
    }

    /// Names the producer of this instance to the transaction coordinator; the same after every restart, so that a new
    /// incarnation fences the old one.
    pub(super) fn transactional_id(&self) -> String {
        format!("{}-{}", self.application_id, self.instance)
    }
}

fn set_all(config: &mut ClientConfig, properties: &[(&str, &str)]) {
    for (name, value) in properties {
        config.set(*name, *value);
    }
}

/// A client that cannot be made. The value is not printed: it may be a password.
pub(super) fn setting(error: &KafkaError) -> BrokerError {
    let message = match error {
        KafkaError::ClientConfig(_, what, name, _) => format!("kafka.properties: `{name}`: {}", what.trim()),
        other => format!("the Kafka client refuses its settings: {other}; look at `kafka.properties`"),
    };
    BrokerError::new(ErrorKind::Setting, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            brokers: "localhost:9092".into(),
            properties: properties.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            application_id: "app".into(),
            instance: "one".into(),
            assignment: Assignment::default(),
        }
    }

    #[test]
    fn a_user_property_overrides_ours() {
        let settings = settings(&[("compression.type", "zstd"), ("session.timeout.ms", "45000")]);
        settings.check().expect("allowed");
        assert_eq!(settings.producer(true).get("compression.type"), Some("zstd"));
        assert_eq!(settings.consumer(true, 1).get("session.timeout.ms"), Some("45000"));
    }

    #[test]
    fn every_property_a_promise_rests_on_is_refused_with_a_reason() {
        for (name, why) in OURS {
            let error = settings(&[(name, "true")]).check().expect_err(name);
            assert_eq!(error.kind, ErrorKind::Setting);
            assert!(error.message.contains(name) && error.message.contains(why), "{}", error.message);
        }
    }

    #[test]
    fn what_runs_or_loads_code_is_refused() {
        let more =
            ["rebalance_cb", "oauthbearer_token_refresh_cb", "sasl.kerberos.kinit.cmd", "sasl.kerberos.principal"];
        for name in CODE.iter().chain(&more) {
            let error = settings(&[(name, "/tmp/x")]).check().expect_err(name);
            assert!(error.message.contains("foreign code"), "{}", error.message);
        }
    }

    #[test]
    fn all_wrong_properties_are_named_at_once_and_no_value_is_printed() {
        let error = settings(&[("no.such", "hunter2"), ("group.id", "x"), ("linger.ms", "hunter2")]).check();
        let message = error.expect_err("three mistakes").message;
        assert_eq!(message.lines().count(), 3, "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn prefetch_is_shared_among_the_partitions() {
        let get =
            |partitions| settings(&[]).consumer(true, partitions).get("queued.max.messages.kbytes").map(str::to_owned);
        assert_eq!(get(4).as_deref(), Some("4096"));
        assert_eq!(get(1_000_000).as_deref(), Some("64"));
    }

    #[test]
    fn all_that_we_set_is_known_to_librdkafka() {
        let settings = settings(&[]);
        let clients = [settings.lookup(), settings.consumer(true, 3), settings.onlooker(), settings.log_reader(16)];
        for config in clients.into_iter().chain([settings.producer(true), settings.producer(false)]) {
            config.create_native_config().expect("valid");
        }
    }
}
