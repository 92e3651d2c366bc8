//! The changelog topic: made with the settings that state needs, or looked at whether it has them.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::classify;
use super::lookup::{Bound, Lookup};
use super::native_ask::Described;
use crate::broker::{BrokerError, ErrorKind, LOG_DELETE_RETENTION, LogInfo, TopicPartition, log_not_compacted};

/// What a changelog of ours is made with. Replication and `min.insync.replicas` are the broker's to say.
const SETTINGS: &[(&str, &str)] = &[
    // The last record of every key stays; without `delete`, whatever its age.
    ("cleanup.policy", "compact"),
    // A restore reads what is not compacted yet: clean early, and let segments close soon, since only closed ones are.
    ("min.cleanable.dirty.ratio", "0.1"),
    ("segment.bytes", "67108864"),
    // Not below the default, whatever the broker's own default is: a part of state may be that large.
    ("max.message.bytes", "1048588"),
];

/// Kafka's default `max.message.bytes`.
const RECORD_BYTES_MAX: usize = 1_048_588;

/// How long a new topic may take until each partition has a leader, between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// See [`Broker::prepare_log`](crate::broker::Broker::prepare_log).
pub(super) fn prepare(
    lookup: &Lookup,
    topic: &str,
    partitions: i32,
    timeout: Duration,
) -> Result<LogInfo, BrokerError> {
    let deadline = Instant::now() + timeout;
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
    let created = lookup.describe(topic, left())?.is_none() && create(lookup, topic, partitions, left())?;
    let Described { id, partitions, .. } = loop {
        match lookup.describe(topic, left())? {
            Some(described) if described.led => break described,
            _ if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            _ => {
                let what = format!("preparing changelog {topic}");
                return Err(classify::error(ErrorKind::Transient, &what, "not every partition has a leader yet"));
            }
        }
    };
    let (delete_retention, record_bytes_max) = check(lookup, topic, left())?;
    Ok(LogInfo { partitions, id, delete_retention, record_bytes_max, created })
}

/// Whether it was us who created it: another instance may be quicker.
fn create(lookup: &Lookup, topic: &str, partitions: i32, timeout: Duration) -> Result<bool, BrokerError> {
    let retention = LOG_DELETE_RETENTION.as_millis().to_string();
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1)).set("delete.retention.ms", &retention);
    let new = SETTINGS.iter().fold(new, |new, (name, value)| new.set(name, value));
    let ask = async |admin: &AdminClient<DefaultClientContext>, options: &AdminOptions| {
        admin.create_topics([&new], options).await
    };
    let what = format!("creating changelog {topic}");
    let results = lookup.administer(timeout, ask).map_err(|error| lookup.failed(&what, &error))?;
    match results.into_iter().next() {
        Some(Ok(_)) => Ok(true),
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
        Some(Err((_, code))) => {
            let kind = match classify::kind(code) {
                // The cluster refuses these settings: no new attempt helps.
                ErrorKind::Fatal => ErrorKind::Setting,
                kind => kind,
            };
            let message = format!(
                "{what}: {code}; allow it (Create on the topic), or create it: kafka-topics.sh --create --topic {topic} \
                 --partitions {partitions} --config cleanup.policy=compact --config delete.retention.ms={retention}"
            );
            Err(BrokerError::new(kind, message))
        }
        None => Err(classify::error(ErrorKind::Transient, &what, "an answer without the topic")),
    }
}

/// Whether its settings keep state; how long it keeps tombstones, and its largest record.
fn check(lookup: &Lookup, topic: &str, timeout: Duration) -> Result<(Duration, usize), BrokerError> {
    let what = format!("asking for the settings of changelog {topic}");
    let wanted = [ResourceSpecifier::Topic(topic)];
    let ask = async |admin: &AdminClient<DefaultClientContext>, options: &AdminOptions| {
        admin.describe_configs(&wanted, options).await
    };
    let answer = lookup.administer(timeout, ask).map_err(|error| lookup.failed(&what, &error))?;
    let resource = answer.into_iter().next().unwrap_or(Err(RDKafkaErrorCode::Unknown));
    let resource = resource.map_err(|code| lookup.failed(&what, &KafkaError::Global(code)))?;
    let value = |name: &str| resource.get(name).and_then(|entry| entry.value.as_deref());
    // To whom may not ask, the wrapper gives an answer without settings.
    let Some(policy) = value("cleanup.policy") else {
        let message = format!("{what}: the broker does not tell; grant DescribeConfigs on the topic");
        return Err(BrokerError::new(ErrorKind::Authorization, message));
    };
    if policy.split(',').map(str::trim).any(|word| word != "compact") {
        return Err(log_not_compacted(topic, policy));
    }
    let retention = value("delete.retention.ms").and_then(|value| value.parse().ok());
    let largest = value("max.message.bytes").and_then(|value| value.parse().ok());
    Ok((retention.map_or(LOG_DELETE_RETENTION, Duration::from_millis), largest.unwrap_or(RECORD_BYTES_MAX)))
}

/// See [`Broker::log_bounds`](crate::broker::Broker::log_bounds).
pub(super) fn bounds(
    lookup: &Lookup,
    topic: &str,
    partitions: &[i32],
    timeout: Duration,
) -> Result<Vec<(i64, i64)>, BrokerError> {
    let name = |partition: &i32| TopicPartition { topic: topic.into(), partition: *partition };
    let asked: Vec<_> = partitions.iter().map(name).collect();
    let starts = lookup.offsets(&asked, Bound::Start, timeout)?;
    let ends = lookup.offsets(&asked, Bound::End, timeout)?;
    Ok(starts.into_iter().zip(ends).collect())
}
