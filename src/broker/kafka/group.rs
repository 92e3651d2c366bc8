//! A membership: one consumer, polled by one thread. Rebalances are answered in [`rebalance`](super::rebalance).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;

use super::handle::KafkaHandle;
use super::lease;
use super::lookup::Lookup;
use super::rebalance::{Client, GroupContext, lock};
use super::settings::{self, KafkaSettings};
use super::{START_TIMEOUT, classify};
use crate::broker::{BrokerError, ErrorKind, Group, GroupEvents, GroupHandle, Subscription, TopicPartition};

/// How often topics are looked up again when a pattern may match new ones.
const DISCOVER_EVERY: Duration = Duration::from_secs(60);

/// A membership in the group `application_id`.
pub(super) struct KafkaGroup {
    consumer: Arc<Client>,
    lookup: Lookup,
    patterns: Vec<String>,
    /// Sorted.
    subscribed: Vec<String>,
    /// When to look for new topics; `None`: all are given by name.
    discover: Option<Instant>,
    /// The first assignment was looked at, see [`KafkaGroup::check_first`].
    checked: bool,
    left: bool,
}

impl KafkaGroup {
    pub(super) fn join(
        settings: &KafkaSettings,
        lookup: Lookup,
        subscription: &Subscription,
        events: Box<dyn GroupEvents>,
    ) -> Result<KafkaGroup, BrokerError> {
        let topics = lookup.topics(&subscription.topics, START_TIMEOUT)?;
        let partitions: i32 = topics.iter().map(|t| t.partitions).sum();
        let config = settings.consumer(subscription.read_committed, usize::try_from(partitions).unwrap_or(1));
        let context = GroupContext::new(events);
        let consumer = Client::from_config_and_context(&config, context).map_err(|e| settings::setting(&e))?;
        let consumer = Arc::new(consumer);
        // Never set before: the context is new.
        let _ = consumer.context().consumer.set(Arc::downgrade(&consumer));
        let by_pattern = subscription.topics.iter().any(|t| t.starts_with('^'));
        let mut group = KafkaGroup {
            consumer,
            lookup,
            patterns: subscription.topics.clone(),
            subscribed: Vec::new(),
            discover: by_pattern.then(|| Instant::now() + DISCOVER_EVERY),
            checked: false,
            left: false,
        };
        // By name: what a pattern means is decided by our own matching, the same that the user was shown.
        group.subscribe(topics.iter().map(|t| t.topic.to_string()).collect())?;
        Ok(group)
    }

    fn subscribe(&mut self, topics: Vec<String>) -> Result<(), BrokerError> {
        if topics.is_empty() {
            let what = format!("joining the group for {}", self.patterns.join(", "));
            return Err(classify::error(ErrorKind::TopicMissing, &what, "no topic matches"));
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&names).map_err(|e| classify::by_error("subscribing", &e))?;
        self.subscribed = topics;
        Ok(())
    }

    /// Joins for topics that appeared since. A failed look-up is tried again the next time.
    fn discover(&mut self) -> Result<(), BrokerError> {
        if self.discover.is_none_or(|due| Instant::now() < due) {
            return Ok(());
        }
        self.discover = Some(Instant::now() + DISCOVER_EVERY);
        let found = match self.lookup.names(&self.patterns, Duration::from_secs(1)) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("looking for new topics: {}", error.message);
                return Ok(());
            }
        };
        // Only growth: a topic that is missing from one answer may be a broker's hiccup, and leaving it would lose its place.
        if found.iter().any(|topic| !self.subscribed.contains(topic)) {
            let mut topics = found;
            topics.extend(self.subscribed.iter().cloned());
            topics.sort_unstable();
            topics.dedup();
            self.subscribe(topics)?;
        }
        Ok(())
    }

    /// A static member that returns is given its predecessor's assignment without a rebalance, also when it subscribes to
    /// other topics than that one did; these would then be read by nobody. So if the first assignment does not cover our
    /// topics, or goes beyond them, the place is given back and taken anew, once.
    fn check_first(&mut self) -> Result<(), BrokerError> {
        if self.checked {
            return Ok(());
        }
        let assigned: BTreeSet<String> =
            lock(&self.consumer.context().leases).keys().map(|p| p.topic.to_string()).collect();
        if assigned.is_empty() {
            return Ok(());
        }
        self.checked = true;
        if self.subscribed.iter().eq(&assigned) {
            return Ok(());
        }
        tracing::info!("the first assignment does not match the topics subscribed to; joining the group anew");
        self.consumer.unsubscribe();
        self.subscribe(self.subscribed.clone())
    }

    fn list(&self, partitions: &[TopicPartition]) -> TopicPartitionList {
        let leases = lock(&self.consumer.context().leases);
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions.iter().filter(|p| leases.contains_key(p)) {
            list.add_partition(&partition.topic, partition.partition);
        }
        list
    }

    /// What an error on the group's queue means: `Err` if the membership cannot go on.
    fn judge(&self, failed: &KafkaError) -> Result<(), BrokerError> {
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            return Err(classify::error(classify::kind(code), "the group membership ended", &reason));
        }
        let Some(code) = failed.rdkafka_error_code() else { return Ok(()) };
        let kind = classify::kind(code);
        match kind {
            ErrorKind::Authentication | ErrorKind::Authorization | ErrorKind::TopicMissing | ErrorKind::Fenced => {
                let reason = self.consumer.context().log.take_error();
                let reason = reason.filter(|(c, _)| *c == code).map_or_else(|| code.to_string(), |(_, reason)| reason);
                Err(classify::error(kind, "the group membership", &reason))
            }
            // Written to the log by the context; librdkafka goes on by itself.
            _ => Ok(()),
        }
    }

    fn close(&self) -> Result<(), BrokerError> {
        self.consumer.close_queue().map_err(|e| classify::by_error("leaving the group", &e))?;
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.consumer.closed() && Instant::now() < deadline {
            let _ = self.consumer.poll(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Group for KafkaGroup {
    fn poll(&mut self, timeout: Duration) -> Result<(), BrokerError> {
        if self.left {
            return Err(classify::error(ErrorKind::Fatal, "polling the group", "it was left"));
        }
        self.discover()?;
        let event = self.consumer.poll(timeout);
        if let Some(failed) = lock(&self.consumer.context().failed).take() {
            return Err(failed);
        }
        match event {
            None | Some(Err(KafkaError::PartitionEOF(_))) => self.check_first(),
            Some(Err(failed)) => self.judge(&failed),
            Some(Ok(_)) => Err(classify::error(
                ErrorKind::Fatal,
                "polling the group",
                "a record came on the group's own queue, past its partition's; it is read again",
            )),
        }
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
        self.consumer.pause(&self.list(partitions)).map_err(|e| classify::by_error("pausing", &e))
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
        // Those that were not taken away meanwhile.
        let leases: Vec<_> = {
            let leases = lock(&self.consumer.context().leases);
            partitions.iter().filter_map(|partition| leases.get(partition).cloned()).collect()
        };
        lease::seek(&self.consumer, &leases)?;
        self.consumer.resume(&self.list(partitions)).map_err(|e| classify::by_error("resuming", &e))
    }

    fn end_offsets(&mut self, partitions: &[TopicPartition], timeout: Duration) -> Result<Vec<i64>, BrokerError> {
        // On the look-up's connections: on ours the question would wait behind a fetch that waits for data.
        self.lookup.end_offsets(partitions, timeout)
    }

    fn handle(&self) -> Arc<dyn GroupHandle> {
        let losses = self.consumer.context().losses.load(Ordering::Acquire);
        Arc::new(KafkaHandle { consumer: Arc::clone(&self.consumer), losses })
    }

    fn leave(&mut self) -> Result<(), BrokerError> {
        if std::mem::replace(&mut self.left, true) {
            return Ok(());
        }
        self.close()
    }
}

impl Drop for KafkaGroup {
    fn drop(&mut self) {
        // Not left: a failed incarnation. Nobody is told; what it held is abandoned.
        *lock(&self.consumer.context().events) = None;
        self.consumer.context().close_leases();
        if !self.left {
            let _ = self.close();
        }
    }
}
