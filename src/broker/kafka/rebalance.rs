//! What librdkafka's callbacks work on: rebalances, answered on the group's thread.
//!
//! Assign: committed offsets are asked first, then each partition's queue is detached, then librdkafka is told where to
//! begin (explicitly: at the committed offset or the earliest record), then the handler is told. Revoke: the handler is told
//! first and may wait; then the leases are closed; then librdkafka lets go. So at no time does a source read a partition
//! that may already be another member's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};

use super::classify;
use super::context::ClientLog;
use super::lease::{self, Lease};
use super::native::RawQueue;
use super::offsets::committed;
use crate::broker::{Assigned, BrokerError, ErrorKind, GroupEvents, TopicPartition};

pub(super) type Client = BaseConsumer<GroupContext>;

/// How long a seek or a question about committed offsets may take before it is asked again.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an assignment may wait for its committed offsets. An open transaction of a dead predecessor holds them back for
/// `transaction.timeout.ms` (10 s) at most; the group gives up on us only after `max.poll.interval.ms` (5 min).
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What librdkafka's callbacks work on.
pub(super) struct GroupContext {
    pub(super) log: ClientLog,
    /// Set right after the consumer is made; weak, since the consumer owns this.
    pub(super) consumer: OnceLock<Weak<Client>>,
    /// `None` once the membership is dropped: nobody is told any more.
    pub(super) events: Mutex<Option<Box<dyn GroupEvents>>>,
    /// Apart from `events`: the committer looks here while the handler waits for it.
    pub(super) leases: Mutex<BTreeMap<TopicPartition, Arc<Lease>>>,
    /// How often partitions were lost. Handles given out before the last time are void.
    pub(super) losses: AtomicU64,
    /// What ended the membership from inside a callback.
    pub(super) failed: Mutex<Option<BrokerError>>,
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.log.log(level, facility, line);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &Client, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let result = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            _ => self.revoke(consumer, partitions),
        };
        if let Err(error) = result {
            lock(&self.failed).get_or_insert(error);
        }
    }
}

impl GroupContext {
    pub(super) fn new(events: Box<dyn GroupEvents>) -> GroupContext {
        GroupContext {
            log: ClientLog::default(),
            consumer: OnceLock::new(),
            events: Mutex::new(Some(events)),
            leases: Mutex::default(),
            losses: AtomicU64::new(0),
            failed: Mutex::default(),
        }
    }

    fn assign(&self, consumer: &Client, partitions: &TopicPartitionList) -> Result<(), BrokerError> {
        let strong = self.consumer.get().and_then(Weak::upgrade);
        let (Some(strong), true) = (strong, lock(&self.events).is_some()) else {
            // Being dropped: take nothing.
            return consumer.unassign().map_err(|e| classify::by_error("declining an assignment", &e));
        };
        let mut starts = TopicPartitionList::with_capacity(partitions.count());
        let mut assigned = Vec::with_capacity(partitions.count());
        for (partition, known) in committed(consumer, partitions, COMMITTED_TIMEOUT)? {
            let (committed, metadata) = known.unzip();
            let fallback = || lock(&self.events).as_mut().and_then(|events| events.fallback(&partition));
            let from = committed.or_else(fallback);
            let queue = RawQueue::detach(&strong, &partition.topic, partition.partition, partitions.count())
                .ok_or_else(|| {
                    classify::error(ErrorKind::Fatal, &format!("queue of {}", partition.topic), "librdkafka has none")
                })?;
            let lease = Lease::new(partition.clone(), queue, from);
            let queue = lease.reader();
            if let Some(older) = lock(&self.leases).insert(partition.clone(), lease) {
                older.close();
            }
            starts
                .add_partition_offset(&partition.topic, partition.partition, lease::start(from))
                .map_err(|e| classify::by_error("starting offset", &e))?;
            assigned.push(Assigned { partition, committed, metadata, queue });
        }
        let done = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                self.put_back(consumer, starts.elements().iter().map(|p| name(p.topic(), p.partition())).collect())?;
                consumer.incremental_assign(&starts)
            }
            _ => consumer.assign(&starts),
        };
        done.map_err(|e| classify::by_error("taking an assignment", &e))?;
        if let Some(events) = &mut *lock(&self.events) {
            events.assigned(assigned);
        }
        Ok(())
    }

    fn revoke(&self, consumer: &Client, partitions: &TopicPartitionList) -> Result<(), BrokerError> {
        let gone: Vec<TopicPartition> = partitions.elements().iter().map(|p| name(p.topic(), p.partition())).collect();
        let lost = consumer.assignment_lost();
        if lost {
            // Before anyone is told, and so before the group can be joined again.
            self.losses.fetch_add(1, Ordering::Release);
        }
        if let Some(events) = &mut *lock(&self.events) {
            if lost { events.lost(&gone) } else { events.revoked(&gone) }
        }
        for partition in &gone {
            let lease = lock(&self.leases).remove(partition);
            if let Some(lease) = lease {
                lease.close();
            }
        }
        let done = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                self.put_back(consumer, gone)?;
                consumer.incremental_unassign(partitions)
            }
            _ => consumer.unassign(),
        };
        done.map_err(|e| classify::by_error("giving up an assignment", &e))
    }

    /// librdkafka has paused every partition for this rebalance, also those that stay, and resumes them once it is told
    /// about those that change. Before that they are put back to where their sources are.
    fn put_back(&self, consumer: &Client, changing: Vec<TopicPartition>) -> Result<(), BrokerError> {
        let leases = lock(&self.leases);
        let staying = leases.iter().filter(|(partition, _)| !changing.contains(partition));
        let staying: Vec<_> = staying.map(|(_, lease)| Arc::clone(lease)).collect();
        drop(leases);
        lease::seek(consumer, &staying)
    }

    pub(super) fn close_leases(&self) {
        for lease in std::mem::take(&mut *lock(&self.leases)).into_values() {
            lease.close();
        }
    }
}

fn name(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}
