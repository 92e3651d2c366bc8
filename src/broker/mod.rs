//! Consumer and producer traits, and the brokers behind them: `kafka` (the only importer of `rdkafka`), `memory` (a peer
//! with partitions, groups, offsets, transactions and read_committed) and `file` (bounded files and stdin).
//!
//! A broker moves records and says what happened. It decides no policy: what an error means for an epoch, when to commit,
//! what to do with a revoked partition is for `source`, `epoch` and `pipeline`.
//!
//! Threads: a [`Group`] is driven by one thread (`group`), which also runs the [`GroupEvents`]; each [`PartitionQueue`]
//! is moved to one source thread; a [`Producer`] and a [`GroupHandle`] belong to the committer.

mod error;
pub mod file;
pub mod kafka;
pub mod memory;
mod patterns;
mod record;

pub use error::{BrokerError, ErrorKind};
pub use record::{Delivery, Flow, HeaderVisitor, Headers, LogRecord, NoHeaders, OutRecord, Record};

use std::sync::Arc;
use std::time::Duration;

use crate::ring::Bell;

/// How long a changelog that we make keeps tombstones: a state directory is set aside once it is half as old.
const LOG_DELETE_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A partition of a topic, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition number.
    pub partition: i32,
}

/// The offset of the next record to process of a partition: what is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Which partition.
    pub partition: TopicPartition,
    /// Next offset (last processed + 1).
    pub offset: i64,
    /// Committed with the offset and given back with it.
    pub metadata: String,
}

/// A partition that was just given to us.
pub struct Assigned {
    /// Which.
    pub partition: TopicPartition,
    /// Its committed offset; `None`: nothing is committed (any more), reading starts at what [`GroupEvents::fallback`]
    /// answered, else at the earliest record.
    pub committed: Option<i64>,
    /// What was committed with the offset.
    pub metadata: Option<String>,
    /// Its records, from where reading starts. Read by one source thread.
    pub queue: Box<dyn PartitionQueue>,
}

/// The records of one assigned partition.
pub trait PartitionQueue: Send {
    /// Gives what has arrived to `visit`, in offset order, until nothing is left or `visit` answers [`Flow::Stop`]; a
    /// delivery that was answered with `Stop` counts as taken. Never blocks. Returns the number of deliveries.
    fn drain(&mut self, visit: &mut dyn FnMut(Delivery<'_>) -> Flow) -> usize;

    /// Rings `bell` whenever the queue turns from empty to non-empty (it may ring more often).
    fn ring_on_data(&mut self, bell: Bell);
}

/// What happens to a membership; called on the thread that polls the [`Group`], which may wait inside.
pub trait GroupEvents: Send {
    /// Partitions were added.
    fn assigned(&mut self, partitions: Vec<Assigned>);

    /// Partitions are about to be taken away. When this returns, they may go to another member: everything read from them
    /// must be committed or abandoned by then, and their queues must not be read again.
    fn revoked(&mut self, partitions: &[TopicPartition]);

    /// Partitions are gone already (session timed out, fenced): nothing of them may be committed.
    fn lost(&mut self, partitions: &[TopicPartition]);

    /// Where to start a partition without a committed offset: the group's offsets expire before our state does. Asked before
    /// reading starts; `None`: at the earliest record.
    fn fallback(&mut self, partition: &TopicPartition) -> Option<i64> {
        let _ = partition;
        None
    }
}

/// A membership in a consumer group.
pub trait Group: Send {
    /// Serves the membership for up to `timeout`: rebalances (through the [`GroupEvents`]), errors, statistics. `Err` is
    /// final for this membership; transient trouble is logged and retried inside.
    fn poll(&mut self, timeout: Duration) -> Result<(), BrokerError>;

    /// Stops fetching these partitions and discards what was prefetched but not yet drained; nothing is lost, the position
    /// stays behind the last drained record.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), BrokerError>;

    /// Fetches them again from where draining stopped.
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), BrokerError>;

    /// The high watermark of each partition as the leader gives it now, open transactions included (ListOffsets,
    /// read_uncommitted). Same order as asked. Blocks up to `timeout`.
    fn end_offsets(&mut self, partitions: &[TopicPartition], timeout: Duration) -> Result<Vec<i64>, BrokerError>;

    /// For the committer's thread. It stands for the membership as it is now: once partitions were lost it commits nothing more, also
    /// if the same ones come back, since what was read of them before is no longer ours to say.
    fn handle(&self) -> Arc<dyn GroupHandle>;

    /// Leaves the group: remaining partitions are revoked first (through the [`GroupEvents`]).
    fn leave(&mut self) -> Result<(), BrokerError>;
}

/// What the committer needs of a membership.
pub trait GroupHandle: Send + Sync {
    /// Commits offsets outside a transaction (`delivery: at_least_once`). Blocks until acknowledged.
    fn commit(&self, positions: &[Position]) -> Result<(), BrokerError>;

    /// For the broker's own producer to downcast.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// Records on their way.
pub trait Deliveries: Send {
    /// Waits until all of them are acknowledged.
    fn wait(&self, timeout: Duration) -> Result<(), BrokerError>;
}

/// Sends records, in transactions or without.
pub trait Producer: Send {
    /// Begins a transaction.
    fn begin(&mut self) -> Result<(), BrokerError>;

    /// Hands a record over for sending. A full local queue is waited for inside. `Err` returns the record's fate: it was
    /// not sent. A failure after this is reported by `commit` or `flush`.
    fn send(&mut self, record: OutRecord) -> Result<(), BrokerError>;

    /// Sends `positions` of `group` with the transaction and commits it. Kind [`ErrorKind::Uncertain`]: it may have been
    /// committed; drop this producer, make a new one, and ask the committed offsets.
    fn commit(&mut self, positions: &[Position], group: &dyn GroupHandle) -> Result<(), BrokerError>;

    /// Aborts the open transaction.
    fn abort(&mut self) -> Result<(), BrokerError>;

    /// Waits until everything sent is acknowledged (`delivery: at_least_once`).
    fn flush(&mut self, timeout: Duration) -> Result<(), BrokerError>;

    /// Waits, on whatever thread, for what was sent so far, while this producer goes on sending (`delivery: at_least_once`). `None`:
    /// [`Producer::flush`] is all there is.
    fn deliveries(&self) -> Option<Box<dyn Deliveries>> {
        None
    }

    /// Where the log given to [`Broker::producer`] stands after the last successful `commit` or `flush`: for each partition
    /// that it wrote to, the offset of its last record there + 1, by partition. From the delivery reports, so it asks the
    /// broker nothing. Told once; an abort forgets it.
    fn log_ends(&mut self) -> Vec<(i32, i64)>;
}

/// What a broker must be asked for at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The topic's name.
    pub topic: Arc<str>,
    /// Number of partitions.
    pub partitions: i32,
    /// Largest record batch the topic takes, in bytes, if the broker said.
    pub message_bytes_max: Option<usize>,
}

/// What to consume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Topic names, or regular expressions starting with `^`.
    pub topics: Vec<String>,
    /// Only committed records (`delivery: exactly_once`).
    pub read_committed: bool,
}

/// A changelog topic, as the broker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogInfo {
    /// Number of partitions.
    pub partitions: i32,
    /// Names this topic and no later one of the same name; empty if the broker gives none.
    pub id: String,
    /// How long a tombstone stays readable at least.
    pub delete_retention: Duration,
    /// Its `max.message.bytes`.
    pub record_bytes_max: usize,
    /// It was missing, and we made it.
    pub created: bool,
}

/// A way to a broker: makes memberships and producers, as often as needed (a failed incarnation is replaced whole).
pub trait Broker: Send + Sync {
    /// The topics that exist and match `patterns` (names, or regular expressions starting with `^`). A name that does not
    /// exist is simply not in the answer.
    fn topics(&self, patterns: &[String], timeout: Duration) -> Result<Vec<TopicInfo>, BrokerError>;

    /// Joins the group.
    fn join(&self, subscription: &Subscription, events: Box<dyn GroupEvents>) -> Result<Box<dyn Group>, BrokerError>;

    /// How long the group keeps the place of a member that is silent.
    fn session_timeout(&self) -> Duration {
        Duration::ZERO
    }

    /// The instances now in the group, by instance name, ours excluded.
    fn other_members(&self, timeout: Duration) -> Result<Vec<String>, BrokerError>;

    /// All partitions that members of our group own. `None`: it is not settled, or this kind of broker leaves no partition without
    /// an owner.
    fn owned(&self, timeout: Duration) -> Result<Option<Vec<TopicPartition>>, BrokerError> {
        let _ = timeout;
        Ok(None)
    }

    /// A producer. Transactional: earlier transactions of the same instance are finished and its older producer is fenced
    /// before this returns. `log`: the topic that [`Producer::log_ends`] tells of.
    fn producer(&self, transactional: bool, log: Option<&str>) -> Result<Box<dyn Producer>, BrokerError>;

    /// What our group has committed for each partition, offset and metadata, in the order asked, without being a member.
    /// Offsets of an open transaction are waited for, up to `timeout`.
    fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<(i64, String)>>, BrokerError>;

    /// Makes sure that `topic` can keep state: creates it, compacted, if it is missing, and looks at its settings if it is
    /// not. Kind [`ErrorKind::Setting`]: it would lose records (`cleanup.policy`).
    fn prepare_log(&self, topic: &str, partitions: i32, timeout: Duration) -> Result<LogInfo, BrokerError>;

    /// First offset and high watermark (open transactions included) of each partition, in the order asked.
    fn log_bounds(&self, topic: &str, partitions: &[i32], timeout: Duration) -> Result<Vec<(i64, i64)>, BrokerError>;

    /// Gives `visit` the committed records of each range (partition, from, to) with from <= offset < to, in offset order
    /// within a partition, partitions as they come. Returns once every range is read to its end, whatever gaps markers,
    /// aborted and compacted records leave, or when `visit` answers [`Flow::Stop`].
    ///
    /// A transaction that is open below `to` is waited for. Kind [`ErrorKind::Transient`], naming the partition: it stayed
    /// open, or the partition gave nothing for too long.
    fn read_log(
        &self,
        topic: &str,
        ranges: &[(i32, i64, i64)],
        visit: &mut dyn FnMut(LogRecord<'_>) -> Flow,
    ) -> Result<(), BrokerError>;
}

/// The refusal of [`Broker::prepare_log`].
fn log_not_compacted(topic: &str, policy: &str) -> BrokerError {
    let message = format!(
        "topic {topic} has cleanup.policy={policy} and would lose state; a changelog needs exactly `compact`: \
         kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config cleanup.policy=compact"
    );
    BrokerError::new(ErrorKind::Setting, message)
}
