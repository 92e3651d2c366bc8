//! One partition: an append-only log in which transactions interleave.
//!
//! A record's offset is its index. A record knows the transaction it was written in; whether that one is open, committed
//! or aborted is known to the log alone, so ending a transaction touches no record. Each end takes one offset for its
//! control marker, in every partition the transaction wrote to. What compaction or retention takes away leaves its offset
//! behind.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::RawRecord;
use crate::ring::Bell;

struct Slot {
    /// `None`: a control marker, or taken away by compaction or retention.
    record: Option<Arc<RawRecord>>,
    transaction: Option<u64>,
}

#[derive(Default)]
struct Log {
    slots: Vec<Slot>,
    /// Records below this were deleted.
    start: i64,
    /// Open transactions with the offset of their first record here.
    open: BTreeMap<u64, i64>,
    aborted: HashSet<u64>,
    /// Rung after every change, by the number of the queue that listens.
    bells: Vec<(u64, Bell)>,
}

/// What a fetch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Everything visible below this was given.
    pub(super) position: i64,
    /// Nothing more is visible now.
    pub(super) at_end: bool,
}

/// A partition of a topic.
pub(super) struct Partition {
    topic: Arc<str>,
    number: i32,
    log: Mutex<Log>,
}

impl Partition {
    pub(super) fn new(topic: Arc<str>, number: i32) -> Self {
        Partition { topic, number, log: Mutex::default() }
    }

    pub(super) fn number(&self) -> i32 {
        self.number
    }

    pub(super) fn is(&self, other: &Partition) -> bool {
        self.number == other.number && self.topic == other.topic
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends and returns the offset.
    pub(super) fn append(&self, record: Arc<RawRecord>, transaction: Option<u64>) -> i64 {
        let mut log = self.lock();
        let offset = log.slots.len() as i64;
        if let Some(transaction) = transaction {
            log.open.entry(transaction).or_insert(offset);
        }
        log.slots.push(Slot { record: Some(record), transaction });
        log.ring();
        offset
    }

    /// Writes the control marker of a transaction that wrote here.
    pub(super) fn end_transaction(&self, transaction: u64, committed: bool) {
        let mut log = self.lock();
        if log.open.remove(&transaction).is_none() {
            return;
        }
        if !committed {
            log.aborted.insert(transaction);
        }
        log.slots.push(Slot { record: None, transaction: Some(transaction) });
        log.ring();
    }

    /// Puts up to `records_max` visible records from offset `from` into `into`, under one lock.
    pub(super) fn fetch(
        &self,
        from: i64,
        records_max: usize,
        read_committed: bool,
        into: &mut VecDeque<(i64, Arc<RawRecord>)>,
    ) -> Fetched {
        let log = self.lock();
        let end = if read_committed { log.last_stable() } else { log.slots.len() as i64 };
        let mut position = from.clamp(log.start.min(end), end);
        let mut room = records_max;
        for slot in &log.slots[position as usize..end as usize] {
            let hidden = read_committed && slot.transaction.is_some_and(|t| log.aborted.contains(&t));
            if let (Some(record), false) = (&slot.record, hidden) {
                if room == 0 {
                    break;
                }
                room -= 1;
                into.push_back((position, Arc::clone(record)));
            }
            position += 1;
        }
        Fetched { position, at_end: position == end }
    }

    /// The first offset, and that of the next record, open transactions included.
    pub(super) fn bounds(&self) -> (i64, i64) {
        let log = self.lock();
        (log.start, log.slots.len() as i64)
    }

    /// Deletes the records below `offset`.
    pub(super) fn delete_below(&self, offset: i64) {
        let mut log = self.lock();
        log.start = offset.clamp(log.start, log.slots.len() as i64);
        let start = log.start as usize;
        log.slots[..start].iter_mut().for_each(|slot| slot.record = None);
    }

    /// Keeps of every key only the last record, of what has been decided: below the last stable offset.
    pub(super) fn compact(&self) {
        let mut log = self.lock();
        let end = log.last_stable() as usize;
        let Log { slots, aborted, .. } = &mut *log;
        let mut seen = HashSet::new();
        for slot in slots[..end].iter_mut().rev() {
            let hidden = slot.transaction.is_some_and(|t| aborted.contains(&t));
            let older = |r: &Arc<RawRecord>| r.key.as_ref().is_some_and(|key| !seen.insert(key.clone()));
            if hidden || slot.record.as_ref().is_some_and(older) {
                slot.record = None;
            }
        }
    }

    /// Behind the last committed record; at least the last stable offset.
    pub(super) fn committed_end(&self) -> i64 {
        let log = self.lock();
        let undecided = |t: u64| log.open.contains_key(&t) || log.aborted.contains(&t);
        let committed = |slot: &Slot| slot.record.is_some() && !slot.transaction.is_some_and(undecided);
        let last = log.slots.iter().rposition(committed).map_or(0, |at| at as i64 + 1);
        last.max(log.last_stable())
    }

    /// The offset of the newest record that a read_committed reader sees.
    pub(super) fn last_visible(&self) -> Option<i64> {
        let log = self.lock();
        let visible =
            |slot: &Slot| slot.record.is_some() && !slot.transaction.is_some_and(|t| log.aborted.contains(&t));
        log.slots[..log.last_stable() as usize].iter().rposition(visible).map(|at| at as i64)
    }

    /// Rings `bell` after every change from now on, for the queue of this number.
    pub(super) fn listen(&self, queue: u64, bell: Bell) {
        let mut log = self.lock();
        log.bells.retain(|(known, _)| *known != queue);
        log.bells.push((queue, bell));
    }

    pub(super) fn unlisten(&self, queue: u64) {
        self.lock().bells.retain(|(known, _)| *known != queue);
    }
}

impl Log {
    /// Below this every transaction has ended.
    fn last_stable(&self) -> i64 {
        self.open.values().min().copied().unwrap_or(self.slots.len() as i64)
    }

    fn ring(&self) {
        self.bells.iter().for_each(|(_, bell)| bell.ring());
    }
}
