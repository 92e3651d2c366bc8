//! What the committer and our producer need of a membership: to commit for it, as long as it holds what is committed.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rdkafka::consumer::{CommitMode, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::classify;
use super::rebalance::{Client, lock};
use crate::broker::{BrokerError, ErrorKind, GroupHandle, Position};

/// A membership, seen from another thread.
pub(super) struct KafkaHandle {
    pub(super) consumer: Arc<Client>,
    /// How often partitions had been lost when this was given out.
    pub(super) losses: u64,
}

impl KafkaHandle {
    /// The membership as it is now, if all these partitions are still ours in it.
    pub(super) fn metadata(&self, positions: &[Position]) -> Result<ConsumerGroupMetadata, BrokerError> {
        // Taken before the look: one that is of a later membership is seen to be, and an earlier one the broker refuses.
        let metadata = self.consumer.group_metadata();
        self.owns(positions)?;
        metadata.ok_or_else(|| classify::error(ErrorKind::Fatal, "committing offsets", "the membership is gone"))
    }

    fn owns(&self, positions: &[Position]) -> Result<(), BrokerError> {
        if self.consumer.context().losses.load(Ordering::Acquire) != self.losses {
            let why = "the partitions were lost meanwhile; what was read of them is no longer ours";
            return Err(classify::error(ErrorKind::Fenced, "committing offsets", why));
        }
        let leases = lock(&self.consumer.context().leases);
        match positions.iter().find(|p| !leases.contains_key(&p.partition)) {
            None => Ok(()),
            Some(Position { partition, .. }) => {
                let what = format!("committing {}/{}", partition.topic, partition.partition);
                Err(classify::error(ErrorKind::Abortable, &what, "it is not ours any more"))
            }
        }
    }
}

/// Positions as librdkafka takes them.
pub(super) fn offsets(positions: &[Position]) -> Result<TopicPartitionList, BrokerError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for Position { partition, offset, metadata } in positions {
        let mut element = list.add_partition(&partition.topic, partition.partition);
        element.set_offset(Offset::Offset(*offset)).map_err(|e| classify::by_error("an offset to commit", &e))?;
        element.set_metadata(metadata);
    }
    Ok(list)
}

impl GroupHandle for KafkaHandle {
    fn commit(&self, positions: &[Position]) -> Result<(), BrokerError> {
        if positions.is_empty() {
            return Ok(());
        }
        self.owns(positions)?;
        match self.consumer.commit(&offsets(positions)?, CommitMode::Sync) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
            Err(failed) => Err(classify::by_error("committing offsets", &failed)),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
