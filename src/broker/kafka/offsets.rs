//! The group's committed offsets: what a member starts from, and what is asked before there is a member.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

use super::context::ClientLog;
use super::rebalance::REQUEST_TIMEOUT;
use super::settings::{self, KafkaSettings};
use super::{classify, native_ask};
use crate::broker::{BrokerError, ErrorKind, TopicPartition};

/// Offset and metadata, if anything is committed.
type Committed = Option<(i64, String)>;

/// Committed offsets, asked until they are known: a guess would skip or repeat records. Offsets of an open transaction count
/// as not known yet if the client reads committed records only. In no certain order.
pub(super) fn committed<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
    timeout: Duration,
) -> Result<Vec<(TopicPartition, Committed)>, BrokerError> {
    if partitions.count() == 0 {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + timeout;
    loop {
        let mut wanted = TopicPartitionList::with_capacity(partitions.count());
        for partition in partitions.elements() {
            wanted.add_partition(partition.topic(), partition.partition());
        }
        let left = deadline.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), REQUEST_TIMEOUT);
        let answer = client.committed_offsets(wanted, left);
        let code =
            |failed: rdkafka::error::KafkaError| failed.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let failed = match answer.map_err(code).and_then(|answer| read(&answer)) {
            Ok(known) => return Ok(known),
            Err(code) => classify::by_code(
                "asking the group's committed offsets (those of an open transaction are waited for)",
                code,
            ),
        };
        let passing = matches!(failed.kind, ErrorKind::Transient | ErrorKind::Unreachable);
        if !passing || Instant::now() > deadline {
            return Err(failed);
        }
        tracing::info!("{}; asking again", failed.message);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn read(answer: &TopicPartitionList) -> Result<Vec<(TopicPartition, Committed)>, RDKafkaErrorCode> {
    let answer = native_ask::read_committed(answer).into_iter();
    answer.map(|(topic, partition, known)| Ok((TopicPartition { topic: topic.into(), partition }, known?))).collect()
}

/// What our group has committed, without being a member: a client that never subscribes stays outside.
pub(super) fn of_group(
    settings: &KafkaSettings,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> Result<Vec<Committed>, BrokerError> {
    let config = settings.onlooker();
    let client: BaseConsumer<ClientLog> =
        config.create_with_context(ClientLog::default()).map_err(|e| settings::setting(&e))?;
    let mut wanted = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        wanted.add_partition(&partition.topic, partition.partition);
    }
    let mut known: std::collections::HashMap<_, _> = committed(&client, &wanted, timeout)?.into_iter().collect();
    Ok(partitions.iter().map(|partition| known.remove(partition).flatten()).collect())
}
