//! The keys of one task that have state: found by dimension and key, named by a small id that deadlines can hold.
//!
//! Slots are reused; a generation, counted over all keys, tells an old id from a new one, so that a deadline of a key that is gone means nothing.

use ahash::AHashMap;

use super::state::KeyState;
use crate::event::{DimensionId, Key, allotted};

const NONE: u32 = u32::MAX;

/// Names a key with state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyId {
    slot: u32,
    generation: u32,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// Next slot with the same hash, or the next free one.
    next: u32,
    held: Option<Held>,
}

/// Slots in chunks of their own: growing copies nothing, and leaves nothing half empty but the last.
#[derive(Debug, Default)]
struct Slots {
    chunks: Vec<Vec<Slot>>,
}

/// Slots in a chunk: half a megabyte.
const CHUNK: usize = 1 << 12;

impl Slots {
    #[inline]
    fn get(&self, slot: u32) -> Option<&Slot> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)
    }

    #[inline]
    fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)
    }

    /// A slot that is there.
    fn at(&mut self, slot: u32) -> &mut Slot {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// One more, empty; its number.
    fn push(&mut self) -> u32 {
        let number = self.len();
        if number.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(last) = self.chunks.last_mut() {
            last.push(Slot { generation: 0, next: NONE, held: None });
        }
        number as u32
    }
}

/// A key and its state.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) dimension: DimensionId,
    pub(super) key: Key,
    pub(super) state: KeyState,
    /// In the list of keys to be stored with the next epoch.
    pub(super) noted: bool,
    /// Its parts are being put back.
    pub(super) restoring: bool,
    /// Looked at since the hand of eviction came by.
    pub(super) touched: bool,
    /// The epoch with which it was stored last.
    pub(super) stored_in: u32,
    /// Bytes on the heap when it was weighed last.
    bytes: u32,
}

/// All keys with state of one task.
#[derive(Debug)]
pub(super) struct Keys {
    /// Stable hash of dimension and key → first slot of its chain. The chain is almost always of one: 64-bit hashes.
    by_hash: AHashMap<u64, u32>,
    slots: Slots,
    free: u32,
    len: usize,
    generations: u32,
    /// Sum of what the keys weigh.
    bytes: usize,
}

/// What a key weighs until it is weighed: its bytes, a rule's state and an event.
const BYTES_AT_FIRST: u32 = 320;

impl Keys {
    pub(super) fn new() -> Keys {
        Keys { by_hash: AHashMap::new(), slots: Slots::default(), free: NONE, len: 0, generations: 0, bytes: 0 }
    }

    /// The id of a key, if it has state.
    pub(super) fn find(&self, dimension: DimensionId, key: &Key) -> Option<KeyId> {
        let mut at = *self.by_hash.get(&key.hash())?;
        while let Some(slot) = self.slots.get(at) {
            if slot.held.as_ref().is_some_and(|held| held.dimension == dimension && held.key == *key) {
                return Some(KeyId { slot: at, generation: slot.generation });
            }
            at = slot.next;
        }
        None
    }

    /// The key and its state; `None` if it is gone.
    pub(super) fn get_mut(&mut self, id: KeyId) -> Option<&mut Held> {
        self.slots.get_mut(id.slot).filter(|slot| slot.generation == id.generation)?.held.as_mut()
    }

    /// The key and its state, to look at; `None` if it is gone.
    pub(super) fn get(&self, id: KeyId) -> Option<&Held> {
        self.slots.get(id.slot).filter(|slot| slot.generation == id.generation)?.held.as_ref()
    }

    /// Gives a key without state one.
    pub(super) fn insert(&mut self, dimension: DimensionId, key: Key, state: KeyState) -> KeyId {
        let hash = key.hash();
        let at = if self.free == NONE {
            self.slots.push()
        } else {
            let at = self.free;
            self.free = self.slots.at(at).next;
            at
        };
        let next = self.by_hash.insert(hash, at).unwrap_or(NONE);
        let slot = self.slots.at(at);
        slot.next = next;
        self.generations = self.generations.wrapping_add(1);
        slot.generation = self.generations;
        slot.held = Some(Held {
            dimension,
            key,
            state,
            noted: false,
            restoring: false,
            touched: true,
            stored_in: 0,
            bytes: BYTES_AT_FIRST,
        });
        self.bytes += BYTES_AT_FIRST as usize;
        self.len += 1;
        KeyId { slot: at, generation: slot.generation }
    }

    /// Forgets a key; gives what was held, if it was.
    pub(super) fn remove(&mut self, id: KeyId) -> Option<Held> {
        let slot = self.slots.get_mut(id.slot).filter(|slot| slot.generation == id.generation)?;
        let held = slot.held.take()?;
        let after = std::mem::replace(&mut slot.next, self.free);
        self.free = id.slot;
        self.len -= 1;
        self.bytes -= held.bytes as usize;
        self.unlink(held.key.hash(), id.slot, after);
        if self.len == 0 && self.slots.len() > KEPT_SLOTS {
            *self = Keys { generations: self.generations, ..Keys::new() };
        } else if self.by_hash.capacity() > KEPT_SLOTS && self.len * 8 < self.by_hash.capacity() {
            self.by_hash.shrink_to(self.len * 2);
        }
        Some(held)
    }

    /// The key in the slot that the hand points to, if any; the hand moves on.
    pub(super) fn turn(&mut self, hand: &mut usize) -> Option<KeyId> {
        *hand = if *hand + 1 < self.slots.len() { *hand + 1 } else { 0 };
        let slot = self.slots.get(*hand as u32).filter(|slot| slot.held.is_some())?;
        Some(KeyId { slot: *hand as u32, generation: slot.generation })
    }

    /// Slots, also free ones.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Takes `slot` out of its hash's chain; `after` was its successor.
    fn unlink(&mut self, hash: u64, slot: u32, after: u32) {
        let Some(&head) = self.by_hash.get(&hash) else { return };
        if head == slot {
            if after == NONE {
                self.by_hash.remove(&hash);
            } else {
                self.by_hash.insert(hash, after);
            }
            return;
        }
        let mut at = head;
        while let Some(link) = self.slots.get_mut(at) {
            if link.next == slot {
                link.next = after;
                return;
            }
            at = link.next;
        }
    }

    /// Measures what a key holds now.
    pub(super) fn weigh(&mut self, id: KeyId) {
        let Some(held) = self.get_mut(id) else { return };
        let bytes = allotted(held.key.bytes().len()) + held.state.heap_bytes();
        let before = std::mem::replace(&mut held.bytes, u32::try_from(bytes).unwrap_or(u32::MAX));
        let now = held.bytes;
        self.bytes = self.bytes - before as usize + now as usize;
    }

    /// Bytes held: each key as it was weighed last, and the tables.
    pub(super) fn heap_bytes(&self) -> usize {
        // A table has a byte more for each slot, and at most seven of eight are filled.
        self.bytes
            + self.slots.chunks.len() * CHUNK * size_of::<Slot>()
            + self.by_hash.capacity() * 8 / 7 * (size_of::<(u64, u32)>() + 1)
    }

    /// Number of keys with state.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// Slots that are kept when no key has state any more; above that the memory is given back.
const KEPT_SLOTS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{KeyBuilder, Val};

    fn key(n: i64) -> Key {
        let mut builder = KeyBuilder::default();
        builder.push(Val::Int(n));
        builder.build(7)
    }

    #[test]
    fn keys_of_one_hash_share_a_chain() {
        // The same bytes and hash in three dimensions: one chain.
        let mut keys = Keys::new();
        let ids: Vec<_> = (0..3).map(|d| keys.insert(DimensionId(d), key(1), KeyState::default())).collect();
        for (d, id) in ids.iter().enumerate() {
            assert_eq!(keys.find(DimensionId(d as u32), &key(1)), Some(*id));
        }
        keys.remove(ids[1]);
        assert_eq!(keys.find(DimensionId(1), &key(1)), None);
        assert_eq!(keys.find(DimensionId(0), &key(1)), Some(ids[0]));
        assert_eq!(keys.find(DimensionId(2), &key(1)), Some(ids[2]));
        let again = keys.insert(DimensionId(9), key(2), KeyState::default());
        assert!(again.slot == ids[1].slot && again != ids[1]);
        assert!(keys.get_mut(ids[1]).is_none() && keys.get_mut(again).is_some());
        [ids[0], ids[2], again].into_iter().for_each(|id| drop(keys.remove(id)));
        assert_eq!((keys.len(), keys.by_hash.len()), (0, 0));
    }
}
