//! One instance's way to the embedded broker.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::member::MemoryGroup;
use super::transaction::{MemoryProducer, transactional_id};
use super::{Shared, changelog};
use crate::broker::patterns::TopicPatterns;
use crate::broker::{
    Broker, BrokerError, Flow, Group, GroupEvents, LogInfo, LogRecord, Producer, Subscription, TopicInfo,
    TopicPartition,
};

/// See the module. Clones speak for the same instance.
#[derive(Clone)]
pub struct MemoryClient {
    shared: Arc<Shared>,
    application_id: String,
    instance: String,
}

impl MemoryClient {
    pub(super) fn new(shared: Arc<Shared>, application_id: &str, instance: &str) -> Self {
        MemoryClient { shared, application_id: application_id.to_owned(), instance: instance.to_owned() }
    }
}

impl Broker for MemoryClient {
    fn topics(&self, patterns: &[String], _: Duration) -> Result<Vec<TopicInfo>, BrokerError> {
        let patterns = TopicPatterns::parse(patterns)?;
        let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        let matching = topics.iter().filter(|(name, _)| patterns.matches(name));
        let info = matching.map(|(name, topic)| TopicInfo {
            topic: Arc::clone(name),
            partitions: topic.partitions.len() as i32,
            message_bytes_max: Some(topic.message_bytes_max),
        });
        Ok(info.collect())
    }

    fn join(&self, subscription: &Subscription, events: Box<dyn GroupEvents>) -> Result<Box<dyn Group>, BrokerError> {
        let patterns = TopicPatterns::parse(&subscription.topics)?;
        let shared = Arc::clone(&self.shared);
        let read_committed = subscription.read_committed;
        Ok(Box::new(MemoryGroup::join(shared, &self.application_id, &self.instance, patterns, read_committed, events)))
    }

    fn other_members(&self, _: Duration) -> Result<Vec<String>, BrokerError> {
        let coordinator = self.shared.lock();
        let Some(group) = coordinator.groups.get(&self.application_id) else { return Ok(Vec::new()) };
        let mut others: Vec<_> = group.instances().filter(|i| *i != self.instance).map(str::to_owned).collect();
        others.sort_unstable();
        Ok(others)
    }

    fn producer(&self, transactional: bool, log: Option<&str>) -> Result<Box<dyn Producer>, BrokerError> {
        let id = transactional_id(&self.application_id, &self.instance);
        Ok(Box::new(MemoryProducer::new(Arc::clone(&self.shared), id, transactional, log)))
    }

    fn committed(&self, partitions: &[TopicPartition], _: Duration) -> Result<Vec<Option<(i64, String)>>, BrokerError> {
        let coordinator = self.shared.lock();
        let group = coordinator.groups.get(&self.application_id);
        let known = |p| group.and_then(|group| group.committed(p)).map(|c| (c.offset, c.metadata.clone()));
        Ok(partitions.iter().map(known).collect())
    }

    fn prepare_log(&self, topic: &str, partitions: i32, _: Duration) -> Result<LogInfo, BrokerError> {
        changelog::prepare(&self.shared, topic, partitions)
    }

    fn log_bounds(&self, topic: &str, partitions: &[i32], _: Duration) -> Result<Vec<(i64, i64)>, BrokerError> {
        partitions.iter().map(|p| Ok(self.shared.partition(topic, *p)?.bounds())).collect()
    }

    fn read_log(
        &self,
        topic: &str,
        ranges: &[(i32, i64, i64)],
        visit: &mut dyn FnMut(LogRecord<'_>) -> Flow,
    ) -> Result<(), BrokerError> {
        changelog::read(&self.shared, topic, ranges, visit)
    }
}
