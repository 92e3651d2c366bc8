//! Keys that left memory: which may be among them, when one of them is due, and who waits for one.

use ahash::AHashMap;

use super::{DUE_AT_ONCE, Entry, Filter, Life, Request, SCRATCH_HEAD, Stem, remove_all, scratch, scratch_of, sortable};
use crate::event::{DimensionId, Key, Signal, Task, Timestamp};

/// Keys in one question: enough for the store to read them in one go, few enough that the first do not wait for long.
const KEYS_AT_ONCE: usize = 256;

/// Deadlines of evicted keys, in scratch space.
#[derive(Debug)]
struct Deadlines {
    /// None is before this.
    next: Timestamp,
    /// A question for what is due is on its way.
    asked: bool,
}

/// When an evicted key has to be looked at next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct NextDeadline {
    /// The first of its deadlines.
    pub(in super::super) at: Timestamp,
    /// One of them decides something; at the others the key is only cleaned.
    pub(in super::super) decides: bool,
}

impl Deadlines {
    const NONE: Deadlines = Deadlines { next: Timestamp::MAX, asked: false };
}

/// A signal that waits for its key.
#[derive(Debug)]
pub(in super::super) struct Parked {
    pub(in super::super) signal: Signal,
    /// The watermark up to which deadlines had fired when it was released.
    pub(in super::super) decided_before: Timestamp,
}

/// A key on its way.
#[derive(Debug)]
struct Coming {
    /// Who waits for it.
    parked: Vec<Parked>,
    /// It is among those that were evicted.
    evicted: bool,
}

/// The evicted keys of one task.
#[derive(Debug)]
pub(in super::super) struct Evicted {
    life: Life,
    shard: u16,
    task: Task,
    /// Which keys may be in the store only.
    filter: Filter,
    /// Keys evicted and not loaded again; a bound from above.
    count: usize,
    /// Of keys that have something to decide: the end of the input asks for these alone.
    deciding: Deadlines,
    /// Of the others.
    cleaning: Deadlines,
    loading: AHashMap<(DimensionId, Key), Coming>,
    /// Signals that wait.
    parked: usize,
    /// Keys that were forgotten, with the epoch that tells the store so: until it is written, the store still has them.
    forgotten: AHashMap<(DimensionId, Key), u32>,
    requests: Vec<Request>,
    /// Keys to ask for.
    wanted: Vec<Stem>,
}

impl Evicted {
    pub(in super::super) fn new(life: Life, shard: u16, task: Task, filter_bytes: usize) -> Evicted {
        Evicted {
            life,
            shard,
            task,
            filter: Filter::of_bytes(filter_bytes),
            count: 0,
            deciding: Deadlines::NONE,
            cleaning: Deadlines::NONE,
            loading: AHashMap::new(),
            parked: 0,
            forgotten: AHashMap::new(),
            requests: [scratch::DECIDE, scratch::CLEAN].map(|kind| remove_all(shard, kind, task)).into(),
            wanted: Vec::new(),
        }
    }

    /// Whether a key that is not in memory may be in the store.
    #[inline]
    pub(in super::super) fn perhaps(&self, dimension: DimensionId, key: &Key) -> bool {
        self.count > 0 && self.filter.perhaps(key.hash()) && !self.is_forgotten(dimension, key)
    }

    /// Whether the key is nowhere, whatever the store still says.
    pub(in super::super) fn is_forgotten(&self, dimension: DimensionId, key: &Key) -> bool {
        !self.forgotten.is_empty() && self.forgotten.contains_key(&(dimension, key.clone()))
    }

    /// A key is forgotten with this epoch.
    pub(in super::super) fn forget(&mut self, dimension: DimensionId, key: &Key, epoch: u32) {
        self.forgotten.insert((dimension, key.clone()), epoch);
    }

    /// The store has all epochs up to this one.
    pub(in super::super) fn written(&mut self, epoch: u64) {
        self.forgotten.retain(|_, forgotten| u64::from(*forgotten) > epoch);
    }

    /// Whether an answer is owed.
    pub(in super::super) fn waits(&self) -> bool {
        self.deciding.asked || self.cleaning.asked || !self.loading.is_empty()
    }

    /// Signals that wait, and keys on their way.
    pub(in super::super) fn owed(&self) -> usize {
        self.loading.len() + self.parked
    }

    /// A key leaves memory; it is due at `at`, and may then `decide` something. The entry is for scratch space.
    pub(in super::super) fn evict(
        &mut self,
        dimension: DimensionId,
        key: &Key,
        stem: &Stem,
        NextDeadline { at, decides }: NextDeadline,
    ) -> Entry {
        if !self.forgotten.is_empty() {
            self.forgotten.remove(&(dimension, key.clone()));
        }
        self.filter.insert(key.hash());
        self.count += 1;
        let deadlines = if decides { &mut self.deciding } else { &mut self.cleaning };
        deadlines.next = deadlines.next.min(at);
        let mut entry = self.due_key(decides, at);
        entry.extend_from_slice(&stem.partition.to_be_bytes());
        entry.extend_from_slice(&stem.bytes);
        (entry, Vec::new())
    }

    fn due_key(&self, decides: bool, at: Timestamp) -> Vec<u8> {
        let kind = if decides { scratch::DECIDE } else { scratch::CLEAN };
        let mut key = scratch_of(self.shard, kind, self.task, self.life);
        key.extend_from_slice(&sortable(at));
        key
    }

    /// The time and the key of a scratch entry of [`Evicted::due_key`].
    fn read_due(&self, entry: &[u8]) -> Option<(Timestamp, Stem)> {
        let rest = entry.get(SCRATCH_HEAD..)?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (partition, bytes) = rest.split_first_chunk::<2>()?;
        let at = Timestamp((u64::from_be_bytes(*at) ^ super::SIGN) as i64);
        let stem = Stem { partition: u16::from_be_bytes(*partition), bytes: bytes.into() };
        Some((at, stem))
    }

    /// The signal waits until its key is there: one that was `evicted`, or lies where it lay at the restart.
    pub(in super::super) fn park(&mut self, stem: impl FnOnce() -> Stem, evicted: bool, parked: Parked) {
        let name = (parked.signal.dimension, parked.signal.key.clone());
        self.parked += 1;
        if let Some(coming) = self.loading.get_mut(&name) {
            return coming.parked.push(parked);
        }
        self.loading.insert(name, Coming { parked: vec![parked], evicted });
        self.wanted.push(stem());
    }

    /// Whether the key is on its way.
    pub(in super::super) fn is_loading(&self, dimension: DimensionId, key: &Key) -> bool {
        !self.loading.is_empty() && self.loading.contains_key(&(dimension, key.clone()))
    }

    /// A key that is due is wanted though no signal waits for it.
    pub(in super::super) fn want(&mut self, dimension: DimensionId, key: Key, stem: Stem) {
        self.loading.entry((dimension, key)).or_insert_with(|| {
            self.wanted.push(stem);
            Coming { parked: Vec::new(), evicted: true }
        });
    }

    /// The key is there, or is known not to be: who waited for it.
    pub(in super::super) fn loaded(&mut self, dimension: DimensionId, key: &Key, was_there: bool) -> Vec<Parked> {
        let Some(Coming { parked, evicted }) = self.loading.remove(&(dimension, key.clone())) else {
            return Vec::new();
        };
        self.count -= usize::from(was_there && evicted && self.count > 0);
        if self.count == 0 && self.loading.is_empty() {
            self.filter.clear();
        }
        self.parked -= parked.len();
        parked
    }

    /// The watermark is here now: asks for the keys that are due.
    pub(in super::super) fn look_for_due(&mut self, before: Timestamp) {
        self.ask_for(true, before);
        self.ask_for(false, before);
    }

    /// The input has ended: asks for some of the keys that have something to decide.
    pub(in super::super) fn look_for_undecided(&mut self) {
        self.ask_for(true, Timestamp::MAX);
    }

    /// Whether evicted keys have something to decide.
    pub(in super::super) fn is_undecided(&self) -> bool {
        self.count > 0 && self.deciding.next < Timestamp::MAX
    }

    fn ask_for(&mut self, decide: bool, before: Timestamp) {
        let deadlines = if decide { &mut self.deciding } else { &mut self.cleaning };
        if self.count == 0 || deadlines.asked || deadlines.next >= before {
            return;
        }
        deadlines.asked = true;
        let mut end = self.due_key(decide, Timestamp::MAX);
        end.push(0xff);
        let (from, to) = (self.due_key(decide, Timestamp::MIN), self.due_key(decide, before));
        let to = if before == Timestamp::MAX { end.clone() } else { to };
        self.requests.push(Request::Due { life: self.life, decide, from, to, end });
    }

    /// What is due, and what comes next.
    pub(in super::super) fn due(&mut self, decide: bool, due: &[Vec<u8>], next: Option<&[u8]>) -> Vec<Stem> {
        let at = next.and_then(|entry| self.read_due(entry)).map_or(Timestamp::MAX, |(at, _)| at);
        let deadlines = if decide { &mut self.deciding } else { &mut self.cleaning };
        (deadlines.asked, deadlines.next) = (false, at);
        if let (Some(first), Some(last)) = (due.first(), due.last()) {
            let mut behind = last.clone();
            behind.push(0);
            self.requests.push(Request::Remove(first.clone(), behind));
        }
        debug_assert!(due.len() <= DUE_AT_ONCE);
        due.iter().filter_map(|entry| self.read_due(entry)).map(|(_, stem)| stem).collect()
    }

    /// What is to be asked now.
    pub(in super::super) fn take_requests(&mut self, out: &mut Vec<Request>) {
        out.append(&mut self.requests);
        let mut wanted = std::mem::take(&mut self.wanted);
        while !wanted.is_empty() {
            let rest = wanted.split_off(wanted.len().min(KEYS_AT_ONCE));
            out.push(Request::Keys(self.life, std::mem::replace(&mut wanted, rest)));
        }
    }

    pub(in super::super) fn put(&mut self, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.requests.push(Request::Put(entries));
        }
    }

    /// Keys in the store only; a bound from above.
    pub(in super::super) fn len(&self) -> usize {
        self.count
    }

    /// Bytes held.
    pub(in super::super) fn bytes(&self) -> usize {
        self.filter.bytes() * usize::from(self.count > 0)
    }
}
