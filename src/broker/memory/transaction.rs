//! The transaction coordinator and the producer.
//!
//! A transactional id has an epoch; a new producer raises it and ends what the one before left open, so whoever holds an
//! older epoch can neither write nor commit. Records go into the logs when they are sent; only the end of the transaction
//! decides whether a read_committed reader will ever see them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::log::Partition;
use super::member::MemoryGroupHandle;
use super::{Coordinator, Shared, partition_missing, topic_missing};
use crate::broker::{BrokerError, ErrorKind, GroupHandle, OutRecord, Position, Producer};
use crate::event::{RawRecord, stable_hash64};

/// A failure to be played, once, by an instance's producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The next `send` is refused as [`ErrorKind::Transient`]; the record is not sent.
    SendRefused,
    /// The next record sent never arrives: the following `commit` fails as [`ErrorKind::Abortable`], the following
    /// `flush` as [`ErrorKind::Transient`].
    Undelivered,
    /// The next `commit` fails as [`ErrorKind::Abortable`]; the transaction stays open.
    CommitAborted,
    /// The next `commit` fails as [`ErrorKind::Uncertain`], and the producer with it.
    CommitUncertain {
        /// Whether the transaction was committed nevertheless.
        applied: bool,
    },
}

/// The transactional id of an instance.
pub(super) fn transactional_id(application_id: &str, instance: &str) -> String {
    format!("{application_id}-{instance}")
}

struct Open {
    number: u64,
    partitions: Vec<Arc<Partition>>,
}

#[derive(Default)]
struct Transactional {
    epoch: u64,
    open: Option<Open>,
    faults: VecDeque<Fault>,
}

impl Transactional {
    fn end(&mut self, committed: bool) {
        if let Some(open) = self.open.take() {
            open.partitions.iter().for_each(|partition| partition.end_transaction(open.number, committed));
        }
    }

    /// Takes the first fault if it is of the operation that asks.
    fn fault(&mut self, wanted: fn(Fault) -> bool) -> Option<Fault> {
        self.faults.pop_front_if(|fault| wanted(*fault))
    }
}

/// All transactional ids.
#[derive(Default)]
pub(super) struct Transactions {
    ids: HashMap<String, Transactional>,
}

impl Transactions {
    /// Aborts what is open and fences the present producer. Returns the epoch of the next one.
    pub(super) fn fence(&mut self, id: &str) -> u64 {
        let transactional = self.ids.entry(id.to_owned()).or_default();
        transactional.end(false);
        transactional.epoch += 1;
        transactional.epoch
    }

    pub(super) fn inject(&mut self, id: &str, fault: Fault) {
        self.ids.entry(id.to_owned()).or_default().faults.push_back(fault);
    }
}

/// See the module.
pub(super) struct MemoryProducer {
    shared: Arc<Shared>,
    id: String,
    /// `None`: not transactional.
    epoch: Option<u64>,
    /// For records without a key.
    next_partition: usize,
    undelivered: bool,
    /// The outcome of a commit is unknown: nothing more may be done.
    broken: bool,
    log: Option<Arc<str>>,
    /// Ends of the log as written since the last commit or flush, and those before it that nobody has asked for yet.
    written: BTreeMap<i32, i64>,
    ends: BTreeMap<i32, i64>,
}

impl MemoryProducer {
    pub(super) fn new(shared: Arc<Shared>, id: String, transactional: bool, log: Option<&str>) -> Self {
        let epoch = transactional.then(|| shared.lock().transactions.fence(&id));
        MemoryProducer {
            shared,
            id,
            epoch,
            next_partition: 0,
            undelivered: false,
            broken: false,
            log: log.map(Into::into),
            written: BTreeMap::new(),
            ends: BTreeMap::new(),
        }
    }

    /// The state of our transactional id, if we are still its producer.
    fn state<'c>(&self, coordinator: &'c mut Coordinator) -> Result<&'c mut Transactional, BrokerError> {
        if self.broken {
            let message = format!("producer `{}` failed in a commit; make a new one", self.id);
            return Err(BrokerError::new(ErrorKind::Fatal, message));
        }
        let state = coordinator.transactions.ids.entry(self.id.clone()).or_default();
        if self.epoch.is_some_and(|epoch| epoch != state.epoch) {
            let message = format!("producer `{}` is fenced: a newer one of the same instance took its place", self.id);
            return Err(BrokerError::new(ErrorKind::Fenced, message));
        }
        Ok(state)
    }

    fn in_transaction<'c>(&self, coordinator: &'c mut Coordinator) -> Result<&'c mut Transactional, BrokerError> {
        let state = self.state(coordinator)?;
        if self.epoch.is_none() || state.open.is_none() {
            let message = format!("producer `{}` has no open transaction; begin one first", self.id);
            return Err(BrokerError::new(ErrorKind::Fatal, message));
        }
        Ok(state)
    }

    /// Where the record says; else by a stable hash of the key; without a key, in turn.
    fn place(&mut self, record: &OutRecord) -> Result<Arc<Partition>, BrokerError> {
        let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        let topic = topics.get(&record.topic).ok_or_else(|| topic_missing(&record.topic))?;
        let (bytes, bytes_max) = (record.bytes(), topic.message_bytes_max);
        if bytes > bytes_max {
            return Err(BrokerError::new(
                ErrorKind::TooLarge,
                format!("a record of {bytes} bytes is more than topic `{}` takes ({bytes_max} bytes)", record.topic),
            ));
        }
        let count = topic.partitions.len();
        let at = match (record.partition, &record.key) {
            (Some(number), _) => {
                let known = usize::try_from(number).ok().and_then(|at| topic.partitions.get(at));
                return known.map(Arc::clone).ok_or_else(|| partition_missing(&record.topic, number, count));
            }
            (None, Some(key)) => (stable_hash64(0, key) % count as u64) as usize,
            (None, None) => {
                self.next_partition = self.next_partition.wrapping_add(1);
                self.next_partition % count
            }
        };
        Ok(Arc::clone(&topic.partitions[at]))
    }
}

impl Producer for MemoryProducer {
    fn begin(&mut self) -> Result<(), BrokerError> {
        let mut coordinator = self.shared.lock();
        let number = coordinator.next_id();
        let state = self.state(&mut coordinator)?;
        if self.epoch.is_none() || state.open.is_some() {
            let why = if self.epoch.is_none() { "is not transactional" } else { "has an open transaction already" };
            return Err(BrokerError::new(ErrorKind::Fatal, format!("producer `{}` {why}", self.id)));
        }
        state.open = Some(Open { number, partitions: Vec::new() });
        self.undelivered = false;
        self.written.clear();
        Ok(())
    }

    fn send(&mut self, record: OutRecord) -> Result<(), BrokerError> {
        let partition = self.place(&record)?;
        let mut coordinator = self.shared.lock();
        let state =
            if self.epoch.is_some() { self.in_transaction(&mut coordinator)? } else { self.state(&mut coordinator)? };
        match state.fault(|fault| matches!(fault, Fault::SendRefused | Fault::Undelivered)) {
            Some(Fault::Undelivered) => {
                self.undelivered = true;
                return Ok(());
            }
            Some(_) => return Err(BrokerError::new(ErrorKind::Transient, "send refused: injected by the test")),
            None => {}
        }
        let number = state.open.as_mut().map(|open| {
            if !open.partitions.iter().any(|known| known.is(&partition)) {
                open.partitions.push(Arc::clone(&partition));
            }
            open.number
        });
        // Under the coordinator's lock: a fenced producer's record can never come after its abort marker.
        let of_log = self.log.as_ref() == Some(&record.topic);
        let offset =
            partition.append(Arc::new(self.shared.stamped(raw(record))), number.filter(|_| self.epoch.is_some()));
        if of_log {
            self.written.insert(partition.number(), offset + 1);
        }
        Ok(())
    }

    fn commit(&mut self, positions: &[Position], group: &dyn GroupHandle) -> Result<(), BrokerError> {
        let Some(handle) = group.as_any().downcast_ref::<MemoryGroupHandle>() else {
            return Err(BrokerError::new(ErrorKind::Fatal, "the group belongs to another kind of broker"));
        };
        let mut coordinator = self.shared.lock();
        let state = self.in_transaction(&mut coordinator)?;
        let fault = state.fault(|fault| matches!(fault, Fault::CommitAborted | Fault::CommitUncertain { .. }));
        if fault == Some(Fault::CommitAborted) || std::mem::take(&mut self.undelivered) {
            return Err(BrokerError::new(ErrorKind::Abortable, "commit failed: injected by the test"));
        }
        if fault == Some(Fault::CommitUncertain { applied: false }) {
            self.broken = true;
            return Err(uncertain());
        }
        let group = coordinator.groups.entry(handle.application_id.clone()).or_default();
        // Kafka refuses the offsets of a former member; the transaction can only be aborted then.
        group
            .check(handle.member(), positions)
            .map_err(|error| BrokerError::new(ErrorKind::Abortable, error.message))?;
        group.commit(positions);
        self.in_transaction(&mut coordinator)?.end(true);
        if fault.is_some() {
            self.broken = true;
            return Err(uncertain());
        }
        self.ends.append(&mut self.written);
        Ok(())
    }

    fn abort(&mut self) -> Result<(), BrokerError> {
        let mut coordinator = self.shared.lock();
        self.in_transaction(&mut coordinator)?.end(false);
        self.written.clear();
        self.ends.clear();
        Ok(())
    }

    fn flush(&mut self, _: Duration) -> Result<(), BrokerError> {
        self.state(&mut self.shared.lock())?;
        if std::mem::take(&mut self.undelivered) {
            return Err(BrokerError::new(ErrorKind::Transient, "a record was not delivered: injected by the test"));
        }
        if self.epoch.is_none() {
            self.ends.append(&mut self.written);
        }
        Ok(())
    }

    fn log_ends(&mut self) -> Vec<(i32, i64)> {
        std::mem::take(&mut self.ends).into_iter().collect()
    }
}

fn uncertain() -> BrokerError {
    BrokerError::new(ErrorKind::Uncertain, "the outcome of the commit is unknown: injected by the test")
}

fn raw(record: OutRecord) -> RawRecord {
    RawRecord {
        key: record.key.map(Into::into),
        value: record.value.map(Into::into),
        headers: record.headers.into_iter().map(|(name, value)| (name, value.map(Into::into))).collect(),
        timestamp_ms: None,
    }
}
