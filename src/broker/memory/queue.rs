//! The records of one assigned partition, lent to its source thread.
//!
//! A drain takes the partition's lock once for up to [`SOURCE_TURN_RECORDS`] records and visits them without it, so a
//! slow visitor holds no producer up. What was fetched but not visited waits in the queue; it was visible when it was
//! fetched and stays so.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::log::Partition;
use crate::broker::{Delivery, Flow, HeaderVisitor, Headers, PartitionQueue, Record};
use crate::event::RawRecord;
use crate::limits::SOURCE_TURN_RECORDS;
use crate::ring::Bell;

/// What the membership tells the queue, from its own thread.
#[derive(Default)]
pub(super) struct QueueControl {
    paused: AtomicBool,
    /// Revoked or lost: gives nothing any more.
    closed: AtomicBool,
    /// How often it was resumed: the end is told again after each.
    resumed: AtomicU64,
    bell: Mutex<Option<Bell>>,
}

impl QueueControl {
    pub(super) fn pause(&self) {
        self.paused.store(true, Ordering::Release);
    }

    pub(super) fn resume(&self) {
        if self.paused.swap(false, Ordering::AcqRel) {
            self.resumed.fetch_add(1, Ordering::AcqRel);
            if let Some(bell) = &*self.bell.lock().unwrap_or_else(PoisonError::into_inner) {
                bell.ring();
            }
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn readable(&self) -> bool {
        !self.paused.load(Ordering::Acquire) && !self.closed.load(Ordering::Acquire)
    }
}

/// See the module.
pub(super) struct MemoryQueue {
    id: u64,
    partition: Arc<Partition>,
    control: Arc<QueueControl>,
    read_committed: bool,
    fetched: VecDeque<(i64, Arc<RawRecord>)>,
    /// Where the next fetch begins.
    position: i64,
    /// The last end that was told, with the number of resumes then.
    end_told: Option<(i64, u64)>,
}

impl MemoryQueue {
    /// A queue from `start`, or from the earliest record if there is none or it lies outside the log (Kafka's
    /// `auto.offset.reset=earliest`).
    pub(super) fn new(
        id: u64,
        partition: Arc<Partition>,
        control: Arc<QueueControl>,
        read_committed: bool,
        start: Option<i64>,
    ) -> Self {
        let (first, end) = partition.bounds();
        let position = start.filter(|offset| (first..=end).contains(offset)).unwrap_or(first);
        MemoryQueue { id, partition, control, read_committed, fetched: VecDeque::new(), position, end_told: None }
    }
}

impl PartitionQueue for MemoryQueue {
    fn drain(&mut self, visit: &mut dyn FnMut(Delivery<'_>) -> Flow) -> usize {
        let mut deliveries = 0;
        while self.control.readable() {
            let mut at_end = false;
            if self.fetched.is_empty() {
                let from = self.position;
                let fetched = self.partition.fetch(from, SOURCE_TURN_RECORDS, self.read_committed, &mut self.fetched);
                // The stable end never moves back below what was read; a position beyond it (after a commit of offsets
                // past an open transaction) is kept until the log catches up.
                self.position = from.max(fetched.position);
                at_end = fetched.at_end;
            }
            while let Some((offset, record)) = self.fetched.pop_front() {
                deliveries += 1;
                if visit(Delivery::Record(&lend(offset, &record))) == Flow::Stop {
                    // The end, if this was the last record, is told by the next drain.
                    return deliveries;
                }
            }
            if at_end {
                let end = Some((self.position, self.control.resumed.load(Ordering::Acquire)));
                if self.end_told != end {
                    self.end_told = end;
                    deliveries += 1;
                    visit(Delivery::End { position: self.position });
                }
                return deliveries;
            }
        }
        deliveries
    }

    fn ring_on_data(&mut self, bell: Bell) {
        self.partition.listen(self.id, bell.clone());
        *self.control.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some(bell.clone());
        // What arrived before anyone listened.
        bell.ring();
    }
}

impl Drop for MemoryQueue {
    fn drop(&mut self) {
        self.partition.unlisten(self.id);
    }
}

fn lend(offset: i64, record: &RawRecord) -> Record<'_> {
    Record {
        offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: record,
    }
}

impl Headers for RawRecord {
    fn visit(&self, visit: &mut HeaderVisitor<'_>) {
        self.headers.iter().for_each(|(name, value)| visit(name, value.as_deref()));
    }
}
