//! State as it is stored: which parts there are, what their keys and values look like, and how they become state again.
//!
//! A part's key begins with its kind; every value begins with the version of its layout. One file a kind:
//!
//! | kind | part | key after the kind | file |
//! |---|---|---|---|
//! | `10` | a segment of dedup ids | writer, bucket, number | `dedup` |
//! | `11` | signals that wait for the watermark | writer, number | `order` |
//! | `20` | a rule's state for a key | hash, dimension, key, `01`, rule | `rule` |
//! | `20` | a match that waits for its end | hash, dimension, key, `02`, rule, number | `rule` |
//! | `20` | a repeat that suppression remembers | hash, dimension, key, `03`, repeat | `suppression` |
//! | `22` | a segment of a key's timeline | hash, dimension, key, first position | `timeline` |
//! | `30` | such a repeat, as it was written before; only read | repeat | `suppression` |
//!
//! Whatever one shard writes, any number of shards can read: keys, ids and repeats carry the hash that says whose they are.
//! Deadlines, windows and measures are not stored: they follow from the rest. What the cost of an epoch follows is what
//! changed in it: segments are bounded, a match that waits is a part of its own.

mod dedup;
mod evidence;
mod names;
mod order;
mod restore;
mod rule;
mod suppression;
mod timeline;

use std::collections::BTreeMap;

pub(super) use names::Names;
pub(super) use restore::restore_part;

use names::Used;

use super::keys::KeyId;
use super::state::{Gone, KeyState};
use super::task::{Shared, TaskState};
use super::tier::Stem;
use crate::event::{Changes, DimensionId, HashRange, Key, Task, Timestamp};
use crate::fault::{self, Bug};
use crate::store::codec::{Damaged, Reader, Writer};
use crate::timeline::Cut as Segment;

/// First bytes of part keys.
pub mod kind {
    /// Dedup ids.
    pub const DEDUP: u8 = 0x10;
    /// Waiting signals.
    pub const ORDER: u8 = 0x11;
    /// Rule states and waiting matches of a key.
    pub const KEY: u8 = 0x20;
    /// Timeline segments of a key.
    pub const TIMELINE: u8 = 0x22;
    /// Suppression, before it lay with the keys.
    pub const SUPPRESSION: u8 = 0x30;

    /// All of them, ascending.
    pub const ALL: [u8; 5] = [DEDUP, ORDER, KEY, TIMELINE, SUPPRESSION];

    /// Below are records of the task, behind are names that the changelog gives.
    pub const RANGE: std::ops::Range<u8> = 0x10..0xf0;
}

/// Into how many changelog partitions the state is cut, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// By the key's hash, into this many (`locality: instance`).
    ByHash(u16),
    /// By the task (`locality: partition`).
    ByTask,
}

impl Cut {
    /// The changelog partition of what belongs to a task and a key's hash.
    pub fn partition(self, task: Task, key_hash: u64) -> u16 {
        match self {
            Cut::ByHash(partitions) => (((key_hash >> 48) * u64::from(partitions)) >> 16) as u16,
            Cut::ByTask => task as u16,
        }
    }

    /// The lowest hash whose keys lie behind those of a partition of a task; `None`: there is none.
    pub fn end(self, partition: u16) -> Option<u64> {
        match self {
            Cut::ByHash(partitions) if partition + 1 < partitions => {
                Some(((u64::from(partition) + 1) << 16).div_ceil(u64::from(partitions)) << 48)
            }
            Cut::ByHash(_) | Cut::ByTask => None,
        }
    }

    /// All changelog partitions of a task.
    pub fn partitions_of(self, task: Task) -> std::ops::Range<u16> {
        match self {
            Cut::ByHash(partitions) => 0..partitions,
            Cut::ByTask => task as u16..task as u16 + 1,
        }
    }
}

/// How a core's state is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    /// Into which partitions.
    pub cut: Cut,
    /// What this shard owns.
    pub range: HashRange,
    /// Bytes of memory for what may leave it; `None`: nothing leaves.
    pub budget: Option<usize>,
}

/// What a task has to store with the next epoch.
#[derive(Debug)]
pub(in super::super) struct Ledger {
    durable: Durable,
    task: Task,
    /// Keys whose state may have changed.
    pub(super) noted: Vec<KeyId>,
    /// Told already: what is gone.
    changes: Changes,
    /// Segments of waiting signals: the newest time in each → their names.
    waiting: BTreeMap<Timestamp, Vec<order::Name>>,
    next_order: u64,
    key: Writer,
    value: Writer,
    body: Writer,
    used: Used,
}

impl Ledger {
    pub(super) fn new(durable: Durable, task: Task) -> Ledger {
        Ledger {
            durable,
            task,
            noted: Vec::new(),
            changes: Changes::default(),
            waiting: BTreeMap::new(),
            next_order: 0,
            key: Writer::default(),
            value: Writer::default(),
            body: Writer::default(),
            used: Used::default(),
        }
    }

    /// Whose it is.
    pub(super) fn task(&self) -> Task {
        self.task
    }

    /// What is not keyed lies in the partition of the first hash that its writer owned.
    fn partition_of_writer(&self, writer: u16) -> u16 {
        self.partition(u64::from(writer) << 48)
    }

    fn partition(&self, key_hash: u64) -> u16 {
        self.durable.cut.partition(self.task, key_hash)
    }

    /// Names, then the body, behind a version: a value's bytes.
    fn seal(&mut self, version: u8, names: &mut Names) {
        self.value.clear();
        self.value.byte(version);
        self.used.finish(names, &mut self.value);
        self.value.raw(self.body.bytes());
        self.body.clear();
    }

    /// Names a key in the store.
    pub(super) fn stem(&self, dimension: u64, key: &Key) -> Stem {
        let mut bytes = Writer::default();
        bytes.fixed(key.hash());
        bytes.fixed(dimension);
        bytes.blob(key.bytes());
        Stem { partition: self.partition(key.hash()), bytes: bytes.bytes().into() }
    }

    fn begin_key(&mut self, kind: u8, dimension: u64, key: &Key) {
        self.key.clear();
        self.key.byte(kind);
        self.key.fixed(key.hash());
        self.key.fixed(dimension);
        self.key.blob(key.bytes());
    }

    /// A key has no state any more: what the store holds of it goes.
    pub(super) fn forget_key(&mut self, dimension: DimensionId, key: &Key, state: &mut KeyState, names: &mut Names) {
        let dimension = names.dimension(dimension);
        self.bury(dimension, key, state, names);
        let partition = self.partition(key.hash());
        for first in state.timeline.stored() {
            self.begin_key(kind::TIMELINE, dimension, key);
            self.key.fixed(first);
            self.changes.delete(partition, self.key.bytes());
        }
    }

    /// Tombstones for what rules have left behind.
    fn bury(&mut self, dimension: u64, key: &Key, state: &mut KeyState, names: &Names) {
        let partition = self.partition(key.hash());
        for gone in state.gone.take().into_iter().flat_map(|gone| *gone) {
            self.begin_key(kind::KEY, dimension, key);
            match gone {
                Gone::Rule(rule) => rule::state_key(names.rule(rule), &mut self.key),
                Gone::Waiting(rule, number) => rule::waiting_key(names.rule(rule), number, &mut self.key),
                Gone::Repeat(repeat) => suppression::repeat_key(repeat, &mut self.key),
            }
            self.changes.delete(partition, self.key.bytes());
        }
    }

    fn store_key(&mut self, dimension: DimensionId, key: &Key, state: &mut KeyState, names: &mut Names) {
        let dimension = names.dimension(dimension);
        self.bury(dimension, key, state, names);
        let partition = self.partition(key.hash());
        let KeyState { timeline, rules, repeats, .. } = state;
        timeline.cut(|cut| {
            self.begin_key(kind::TIMELINE, dimension, key);
            match cut {
                Segment::Drop(first) => {
                    self.key.fixed(first);
                    self.changes.delete(partition, self.key.bytes());
                }
                Segment::Write(first, events) => {
                    self.key.fixed(first);
                    timeline::write(events, &mut self.used, &mut self.body);
                    self.seal(timeline::VERSION, names);
                    self.changes.put(partition, self.key.bytes(), self.value.bytes());
                }
            }
        });
        for held in rules.iter_mut().filter(|held| held.changed) {
            self.begin_key(kind::KEY, dimension, key);
            rule::store(self, partition, held, names);
            held.changed = false;
            held.stored = true;
        }
        if let Some(repeats) = repeats.written().filter(|_| !fault::planted(Bug::SuppressionLost)) {
            self.begin_key(kind::KEY, dimension, key);
            suppression::store(self, partition, repeats);
        }
    }
}

impl TaskState {
    /// Everything that changed since the last call, as parts.
    pub(super) fn store(&mut self, epoch: u32, shared: &mut Shared, out: &mut Changes) {
        self.epoch = epoch;
        let Some(mut ledger) = self.ledger.take() else { return };
        let names = &mut shared.names;
        for id in std::mem::take(&mut ledger.noted) {
            let Some(held) = self.keys.get_mut(id) else { continue };
            held.noted = false;
            held.stored_in = epoch;
            ledger.store_key(held.dimension, &held.key, &mut held.state, names);
            self.keys.weigh(id);
        }
        if !fault::planted(Bug::DedupNotInState) {
            dedup::store(&mut ledger, &mut self.dedup);
        }
        suppression::bury_unplaced(&mut ledger, &mut self.unplaced);
        if !fault::planted(Bug::OrderHeapNotInState) {
            let ended = self.finishing.is_some() && self.order.is_empty();
            order::store(&mut ledger, &mut self.order, (self.watermark, ended), names);
        }
        if out.is_empty() {
            std::mem::swap(out, &mut ledger.changes);
        } else {
            out.append(&ledger.changes);
        }
        ledger.changes.clear();
        self.ledger = Some(ledger);
    }
}

/// The key that a part's key names, behind its kind: the reader stands behind it.
pub(super) fn read_key(reader: &mut Reader<'_>) -> Result<(u64, Key), Damaged> {
    let hash = reader.fixed()?;
    let dimension = reader.fixed()?;
    Ok((dimension, Key::from_parts(hash, reader.blob()?)))
}
