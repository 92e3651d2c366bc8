//! An embedded broker: a peer of Kafka with partitions, consumer groups, committed offsets, transactions and
//! read_committed, so that a simulated exactly-once test means something and `demo` needs no Kafka.
//!
//! Owns the logs (`log`), the group coordinator (`group`) and the transaction coordinator (`transaction`); `member`,
//! `queue` and `client` are the ends that the [`Broker`](super::Broker) traits ask for.
//!
//! Invariants, as in Kafka:
//! - an offset is given once; control markers of transactions take offsets too, and readers skip them;
//! - a read_committed reader sees nothing at or beyond the first record of the oldest open transaction, and never a
//!   record of an aborted one;
//! - a partition is owned by at most one member; a member's offsets are taken only for partitions it owns;
//! - of one transactional id only the newest producer can write.
//!
//! What dies without saying goodbye stays: a dropped [`Group`](super::Group) keeps its partitions until the session times
//! out or its instance joins again, a dropped producer's transaction stays open until its instance makes another or
//! [`MemoryBroker::expire_transaction`] is called. That is how a test plays `kill -9`.
//!
//! Locks are plain and taken in the order coordinator, topics, one partition's log; a callback runs under none of them.

mod changelog;
mod client;
mod group;
mod log;
mod member;
mod queue;
mod transaction;

#[cfg(test)]
mod tests;

pub use client::MemoryClient;
pub use group::CommittedOffset;
pub use transaction::Fault;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use self::group::GroupState;
use self::log::Partition;
use self::transaction::Transactions;
use super::{BrokerError, ErrorKind, TopicPartition};
use crate::event::{Clock, RawRecord, SystemClock};

/// Kafka's default `max.message.bytes`.
const MESSAGE_BYTES_MAX: usize = 1_048_588;

/// How long a member that was dropped without leaving keeps its partitions.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a reader of a changelog waits for an open transaction.
const LOG_PATIENCE: Duration = Duration::from_secs(30);

/// A record as it lies in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Key, value, headers, timestamp.
    pub record: Arc<RawRecord>,
}

/// The broker. Clones are handles of the same broker.
#[derive(Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

struct Topic {
    /// Tells it from an earlier topic of the same name.
    id: u64,
    partitions: Vec<Arc<Partition>>,
    message_bytes_max: usize,
    /// Made to keep the last record of every key.
    compacted: bool,
}

struct Shared {
    coordinator: Mutex<Coordinator>,
    /// Rung whenever a member may have something to do.
    changed: Condvar,
    topics: RwLock<BTreeMap<Arc<str>, Topic>>,
    /// Stamps records and lets sessions time out.
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Coordinator {
    last_id: u64,
    session_timeout: Duration,
    log_patience: Duration,
    groups: HashMap<String, GroupState>,
    transactions: Transactions,
}

impl Coordinator {
    /// A number never given before: of a member, a queue or a transaction.
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBroker {
    /// A broker without topics.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// A broker without topics whose time is this clock's. A [`Group`](super::Group) that waits in a poll still waits by
    /// the system's.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let coordinator =
            Coordinator { session_timeout: SESSION_TIMEOUT, log_patience: LOG_PATIENCE, ..Coordinator::default() };
        MemoryBroker {
            shared: Arc::new(Shared {
                coordinator: Mutex::new(coordinator),
                changed: Condvar::new(),
                topics: RwLock::default(),
                clock,
            }),
        }
    }

    /// Creates a topic of at least one partition, or adds partitions to one that has fewer. Groups that match it rebalance.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.shared.create_topic(name, partitions, false);
    }

    /// Deletes a topic with all its records. Groups that read it rebalance.
    pub fn delete_topic(&self, name: &str) {
        self.shared.topics.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.shared.rebalance_all();
    }

    /// Deletes the records of a partition below an offset, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, below: i64) -> Result<(), BrokerError> {
        self.shared.partition(topic, partition)?.delete_below(below);
        Ok(())
    }

    /// Compacts a topic: of every key only the last record stays, as far as transactions have ended. Offsets stay.
    pub fn compact(&self, topic: &str) {
        let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(topic).into_iter().flat_map(|topic| &topic.partitions).for_each(|partition| partition.compact());
    }

    /// Sets the largest record (bytes of key, value and headers) that the topic takes.
    pub fn set_message_bytes_max(&self, topic: &str, bytes: usize) {
        let mut topics = self.shared.topics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get_mut(topic) {
            topic.message_bytes_max = bytes;
        }
    }

    /// A way to this broker for one instance of an application: its group is `application_id`, its transactional id
    /// `<application_id>-<instance>`, its place in the group `instance`.
    pub fn client(&self, application_id: &str, instance: &str) -> MemoryClient {
        MemoryClient::new(Arc::clone(&self.shared), application_id, instance)
    }

    /// Appends a record outside any transaction and returns its offset. Without a timestamp it gets the present one.
    pub fn append(&self, topic: &str, partition: i32, record: RawRecord) -> Result<i64, BrokerError> {
        Ok(self.shared.partition(topic, partition)?.append(Arc::new(self.shared.stamped(record)), None))
    }

    /// The records of a topic by partition and offset: with `read_committed` those that such a reader sees now, else all,
    /// of open and aborted transactions too. Markers are left out. Empty for a topic that does not exist.
    pub fn records(&self, topic: &str, read_committed: bool) -> Vec<StoredRecord> {
        let partitions = {
            let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
            topics.get(topic).map(|topic| topic.partitions.clone()).unwrap_or_default()
        };
        let mut all = Vec::new();
        for partition in partitions {
            let mut fetched = std::collections::VecDeque::new();
            partition.fetch(0, usize::MAX, read_committed, &mut fetched);
            let number = partition.number();
            all.extend(fetched.into_iter().map(|(offset, record)| StoredRecord { partition: number, offset, record }));
        }
        all
    }

    /// The offset of the next record of a partition, open transactions included; 0 for one that does not exist.
    pub fn end(&self, topic: &str, partition: i32) -> i64 {
        self.shared.partition(topic, partition).map_or(0, |partition| partition.bounds().1)
    }

    /// The offset behind the last committed record of a partition, also beyond a transaction of somebody else that is open;
    /// at least the last stable offset. 0 for a partition that does not exist.
    pub fn committed_end(&self, topic: &str, partition: i32) -> i64 {
        self.shared.partition(topic, partition).map_or(0, |partition| partition.committed_end())
    }

    /// The offset of the newest record that a read_committed reader of the partition sees now.
    pub fn last_visible(&self, topic: &str, partition: i32) -> Option<i64> {
        self.shared.partition(topic, partition).ok()?.last_visible()
    }

    /// What the group has committed for a partition.
    pub fn committed(&self, application_id: &str, topic: &str, partition: i32) -> Option<CommittedOffset> {
        let partition = TopicPartition { topic: topic.into(), partition };
        self.shared.lock().groups.get(application_id)?.committed(&partition).cloned()
    }

    /// Forgets the group's offsets, as a broker does with those of a group that was away for too long.
    pub fn expire_offsets(&self, application_id: &str) {
        if let Some(group) = self.shared.lock().groups.get_mut(application_id) {
            group.expire_offsets();
        }
    }

    /// Sets how long [`Broker::read_log`](super::Broker::read_log) waits for an open transaction (default 30 s); zero: not
    /// at all, for a simulation on one thread.
    pub fn set_log_patience(&self, patience: Duration) {
        self.shared.lock().log_patience = patience;
    }

    /// Lets a group assign by range, as it must where equal partition numbers of several topics belong together.
    pub fn assign_by_range(&self, application_id: &str) {
        self.shared.lock().groups.entry(application_id.to_owned()).or_default().assign_by_range();
    }

    /// The instance that owns a partition of the group now, by name.
    pub fn owner(&self, application_id: &str, topic: &str, partition: i32) -> Option<String> {
        let partition = TopicPartition { topic: topic.into(), partition };
        self.shared.lock().groups.get(application_id)?.owner(&partition).map(str::to_owned)
    }

    /// Sets how long a member that was dropped without leaving keeps its partitions (default 10 s).
    pub fn set_session_timeout(&self, timeout: Duration) {
        self.shared.lock().session_timeout = timeout;
        self.shared.changed.notify_all();
    }

    /// Plays a session that timed out: the member loses its partitions at once, learns it at its next poll
    /// ([`GroupEvents::lost`](super::GroupEvents::lost)) and joins again.
    pub fn expire_member(&self, application_id: &str, instance: &str) {
        let mut coordinator = self.shared.lock();
        let counts = self.shared.partition_counts();
        if let Some(group) = coordinator.groups.get_mut(application_id) {
            group.remove_instance(instance);
            group.rebalance(&counts);
        }
        self.shared.changed.notify_all();
    }

    /// Plays a transaction that timed out: it is aborted and its producer is fenced.
    pub fn expire_transaction(&self, application_id: &str, instance: &str) {
        let mut coordinator = self.shared.lock();
        coordinator.transactions.fence(&transaction::transactional_id(application_id, instance));
    }

    /// Makes the instance's next operation of the fault's kind fail. Several are taken in their order.
    pub fn inject(&self, application_id: &str, instance: &str, fault: Fault) {
        let mut coordinator = self.shared.lock();
        coordinator.transactions.inject(&transaction::transactional_id(application_id, instance), fault);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Coordinator> {
        self.coordinator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamped(&self, mut record: RawRecord) -> RawRecord {
        record.timestamp_ms.get_or_insert_with(|| self.clock.wall().as_millis());
        record
    }

    /// Whether it was missing.
    fn create_topic(&self, name: &str, partitions: i32, compacted: bool) -> bool {
        let id = self.lock().next_id();
        let created = {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            let new = || Topic { id, partitions: Vec::new(), message_bytes_max: MESSAGE_BYTES_MAX, compacted };
            let topic = topics.entry(name.into()).or_insert_with(new);
            for number in topic.partitions.len() as i32..partitions.max(1) {
                topic.partitions.push(Arc::new(Partition::new(name.into(), number)));
            }
            topic.id == id
        };
        self.rebalance_all();
        created
    }

    fn rebalance_all(&self) {
        let mut coordinator = self.lock();
        let counts = self.partition_counts();
        coordinator.groups.values_mut().for_each(|group| group.rebalance(&counts));
        self.changed.notify_all();
    }

    fn partition_counts(&self) -> BTreeMap<Arc<str>, i32> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.iter().map(|(name, topic)| (Arc::clone(name), topic.partitions.len() as i32)).collect()
    }

    fn partition(&self, topic: &str, partition: i32) -> Result<Arc<Partition>, BrokerError> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let known = topics.get(topic).ok_or_else(|| topic_missing(topic))?;
        let found = usize::try_from(partition).ok().and_then(|at| known.partitions.get(at));
        found.map(Arc::clone).ok_or_else(|| partition_missing(topic, partition, known.partitions.len()))
    }
}

fn topic_missing(topic: &str) -> BrokerError {
    BrokerError::new(ErrorKind::TopicMissing, format!("topic `{topic}` does not exist; create it first"))
}

fn partition_missing(topic: &str, partition: i32, count: usize) -> BrokerError {
    let message = format!("topic `{topic}` has {count} partitions, no partition {partition}");
    BrokerError::new(ErrorKind::TopicMissing, message)
}
