//! Exact dedup: the ids of the last `window` of event time, by 128-bit hash of (event identity, dimension, key).
//!
//! One table answers for all buckets, whatever time a copy bears. Each id lies in the bucket of its event's time (of the
//! watermark, if the event is behind it), and a bucket expires as a whole once the watermark has passed its end by
//! `window`: an id lives at least that long. An id of an expired bucket counts as gone at once, so what is a duplicate
//! follows from watermarks alone; its memory is given back in small steps, because a bucket may hold millions.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use crate::event::{Hash128, Signal, Span, Timestamp, stable_hash128};

/// Buckets in one window: an id lives at most 1/8 longer than asked for.
const BUCKETS_PER_WINDOW: i64 = 8;

/// Expired ids removed for each id that is looked up: twice what comes in, so a backlog of removals always shrinks.
const REMOVED_PER_LOOKUP: usize = 2;

/// Expired ids removed each time the watermark moves: about 50 µs of work.
const REMOVED_PER_ADVANCE: usize = 1024;

/// Ids are hashes already. Halves, so that an entry is aligned to 8 bytes, not 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id {
    high: u64,
    low: u64,
}

impl Id {
    /// Length in bytes of [`Id::to_bytes`].
    pub(super) const BYTES: usize = 16;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        (u128::from(self.high) << 64 | u128::from(self.low)).to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Id {
        Id::from(Hash128(u128::from_be_bytes(bytes)))
    }

    /// The lower half: all of it hash.
    #[inline]
    pub(super) fn low(self) -> u64 {
        self.low
    }

    /// Where the shard's bits are.
    pub(super) fn key_hash(self) -> u64 {
        self.high
    }
}

impl From<Hash128> for Id {
    fn from(hash: Hash128) -> Id {
        Id { high: (hash.0 >> 64) as u64, low: hash.0 as u64 }
    }
}

impl std::hash::Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
    }
}

#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// The dedup set of one task.
#[derive(Debug, Default)]
pub(super) struct Dedup {
    /// Id → bucket.
    ids: HashMap<Id, i64, BuildHasherDefault<AsIs>>,
    buckets: BTreeMap<i64, Vec<Id>>,
    /// Buckets below this are expired.
    live_from: i64,
    /// Expired buckets whose ids are still in the table.
    expired: Vec<(i64, Vec<Id>)>,
    bytes: Vec<u8>,
    /// What is stored, and what is not yet; `None`: nobody asks.
    stored: Option<Stored>,
}

/// How the set stands to the store: ids lie there in segments of one bucket each, numbered as they were begun.
#[derive(Debug, Default)]
struct Stored {
    /// Ids taken since the last [`Dedup::take_changes`], with their buckets.
    fresh: Vec<(i64, Id)>,
    /// The newest segment of a bucket while it is short: it is written again with the next ids.
    open: BTreeMap<i64, (u64, Vec<Id>)>,
    /// All segments of live buckets.
    segments: BTreeMap<i64, Vec<SegmentName>>,
    next_number: u64,
}

impl Stored {
    /// Approximate bytes held.
    fn bytes(&self) -> usize {
        let names: usize = self.segments.values().map(Vec::capacity).sum();
        self.fresh.capacity() * size_of::<(i64, Id)>() + names * size_of::<SegmentName>()
    }
}

/// Names a segment beside its bucket: who wrote it, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub(super) writer: u16,
    pub(super) number: u64,
}

/// Ids at which a segment takes no more: bounds what one more id costs to half a kilobyte.
const SEALED_AT: usize = 32;

/// Most ids in one segment: 16 KiB.
const SEGMENT_IDS: usize = 1024;

impl Dedup {
    /// An empty set; one that `remembers` tells what changed ([`Dedup::take_changes`]).
    pub(super) fn new(remembers: bool) -> Dedup {
        Dedup { live_from: i64::MIN, stored: remembers.then(Stored::default), ..Dedup::default() }
    }

    /// What the signal is known by.
    pub(super) fn id(&mut self, signal: &Signal, dimension: u64) -> Id {
        self.bytes.clear();
        self.bytes.extend_from_slice(&signal.identity.0.to_le_bytes());
        self.bytes.extend_from_slice(&dimension.to_le_bytes());
        self.bytes.extend_from_slice(signal.key.bytes());
        Id::from(stable_hash128(0, &self.bytes).of_key(signal.key.hash()))
    }

    /// Whether the id is here.
    pub(super) fn knows(&mut self, id: Id) -> bool {
        self.remove_expired(REMOVED_PER_LOOKUP);
        self.ids.get(&id).is_some_and(|held| *held >= self.live_from)
    }

    /// Remembers an id that is not here, of an event of `time`. `window` must not be zero.
    pub(super) fn remember(&mut self, id: Id, time: Timestamp, window: Span, watermark: Timestamp) {
        let bucket = bucket_of(time.max(watermark), window);
        self.ids.insert(id, bucket);
        self.buckets.entry(bucket).or_default().push(id);
        if let Some(stored) = &mut self.stored {
            stored.fresh.push((bucket, id));
        }
    }

    /// Takes the ids of the bucket that has most out of memory; what is to be stored of them stays.
    pub(super) fn give_up_largest(&mut self) -> Option<(i64, Vec<Id>)> {
        let (&bucket, _) = self.buckets.iter().max_by_key(|(_, ids)| ids.len())?;
        let ids = self.buckets.remove(&bucket)?;
        for id in &ids {
            if self.ids.get(id) == Some(&bucket) {
                self.ids.remove(id);
            }
        }
        if self.ids.len() * 4 < self.ids.capacity() {
            self.ids.shrink_to(self.ids.len() * 2);
        }
        Some((bucket, ids))
    }

    /// Buckets below this are expired.
    pub(super) fn live_from(&self) -> i64 {
        self.live_from
    }

    /// Tells what changed since the last call, segment by segment: its bucket, name, and ids; none of a segment that is gone.
    pub(super) fn take_changes(&mut self, writer: u16, mut tell: impl FnMut(i64, SegmentName, Option<&[Id]>)) {
        let Some(stored) = &mut self.stored else { return };
        while let Some(first) = stored.segments.first_entry().filter(|first| *first.key() < self.live_from) {
            let (bucket, names) = first.remove_entry();
            stored.open.remove(&bucket);
            names.into_iter().for_each(|name| tell(bucket, name, None));
        }
        stored.fresh.sort_by_key(|(bucket, _)| *bucket);
        for fresh in stored.fresh.chunk_by(|a, b| a.0 == b.0) {
            let Some(&(bucket, _)) = fresh.first() else { continue };
            if bucket < self.live_from {
                continue;
            }
            let mut fresh = fresh.iter().map(|(_, id)| *id).peekable();
            while fresh.peek().is_some() {
                let (number, mut ids) = stored.open.remove(&bucket).unwrap_or_else(|| {
                    let number = stored.next_number;
                    stored.next_number += 1;
                    stored.segments.entry(bucket).or_default().push(SegmentName { writer, number });
                    (number, Vec::new())
                });
                ids.extend(fresh.by_ref().take(SEGMENT_IDS - ids.len().min(SEGMENT_IDS - 1)));
                tell(bucket, SegmentName { writer, number }, Some(&ids));
                if ids.len() < SEALED_AT {
                    stored.open.insert(bucket, (number, ids));
                }
            }
        }
        stored.fresh.clear();
        if stored.fresh.capacity() > 1 << 16 {
            stored.fresh.shrink_to(1 << 12);
        }
    }

    /// Puts a stored segment back: those of its ids that belong to this shard.
    pub(super) fn restore(&mut self, bucket: i64, name: SegmentName, ids: impl Iterator<Item = Id>) {
        for id in ids {
            self.ids.insert(id, bucket);
            self.buckets.entry(bucket).or_default().push(id);
        }
        if let Some(stored) = &mut self.stored {
            stored.segments.entry(bucket).or_default().push(name);
            stored.next_number = stored.next_number.max(name.number + 1);
        }
    }

    /// Expires what the watermark allows.
    pub(super) fn advance(&mut self, window: Span, watermark: Timestamp) {
        if watermark == Timestamp::MIN || window == Span::MAX {
            return;
        }
        // The events of bucket b have times up to (b + 1) * width - 1; they are needed up to that + window.
        let live_from = bucket_of(watermark - window, window);
        if live_from > self.live_from {
            self.live_from = live_from;
            while let Some(first) = self.buckets.first_entry().filter(|first| *first.key() < live_from) {
                self.expired.push(first.remove_entry());
            }
        }
        self.remove_expired(REMOVED_PER_ADVANCE);
        if self.ids.capacity() > 1 << 16 && self.ids.len() * 8 < self.ids.capacity() {
            self.ids.shrink_to(self.ids.len() * 2);
        }
    }

    fn remove_expired(&mut self, most: usize) {
        for _ in 0..most {
            let Some((bucket, ids)) = self.expired.last_mut() else { return };
            match ids.pop() {
                // An id that came again after its expiry lies in a later bucket now and stays.
                Some(id) => {
                    if self.ids.get(&id) == Some(bucket) {
                        self.ids.remove(&id);
                    }
                }
                None => {
                    self.expired.pop();
                }
            }
        }
    }

    /// Ids in the table.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Approximate bytes held.
    pub(super) fn bytes(&self) -> usize {
        // The table has 8/7 of the slots that it calls its capacity; the lists of buckets grow by doubling.
        self.ids.capacity() * 8 / 7 * (std::mem::size_of::<(Id, i64)>() + 1)
            + self.buckets.values().map(|ids| ids.capacity() * std::mem::size_of::<Id>()).sum::<usize>()
            + self.stored.as_ref().map_or(0, Stored::bytes)
    }
}

fn bucket_of(time: Timestamp, window: Span) -> i64 {
    time.0.div_euclid((window.0 / BUCKETS_PER_WINDOW).max(1))
}
