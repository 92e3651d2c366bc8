//! The store in memory, for tests and simulations: a map, with writes that fail on demand and images as a crash leaves them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Applied, Batch, Bulk, Store, StoreError, StoreErrorKind, Visit};
use crate::event::Changes;

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

/// What a crash of the process leaves of a store: parts and positions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    parts: BTreeMap<(u16, Vec<u8>), Vec<u8>>,
    applied: BTreeMap<u16, Applied>,
}

#[derive(Debug, Default)]
struct Inner {
    image: Image,
    scratch: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Calls so far that write.
    writes: u64,
    /// Which of them fail, and how.
    faults: Vec<(Range<u64>, StoreErrorKind)>,
}

impl MemoryStore {
    /// A store that was left like this, with an empty scratch space.
    pub fn from_snapshot(image: Image) -> Self {
        MemoryStore { inner: Mutex::new(Inner { image, ..Inner::default() }) }
    }

    /// What a crash at this moment would leave.
    pub fn snapshot(&self) -> Image {
        self.lock().image.clone()
    }

    /// How many calls that write were made: `write`, `clear`, `scratch_put` and `scratch_delete`, failed ones included.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Lets the calls that write with these numbers, from 0, fail and write nothing. `store.writes()..` that plus one is
    /// the next one; an open end is a disk that stays broken.
    pub fn fail_writes(&self, numbers: Range<u64>, kind: StoreErrorKind) {
        self.lock().faults.push((numbers, kind));
    }

    /// Forgets all faults: the disk works again.
    pub fn repair(&self) {
        self.lock().faults.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that writes; fails if that one is to fail.
    fn writing(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let mut inner = self.lock();
        let number = inner.writes;
        inner.writes += 1;
        match inner.faults.iter().find(|(numbers, _)| numbers.contains(&number)) {
            Some((_, kind)) => Err(StoreError::new(*kind, format!("write {number} was told to fail ({kind:?})"))),
            None => Ok(inner),
        }
    }
}

/// Loads as batches.
struct Batches<'a>(&'a MemoryStore);

impl Bulk for Batches<'_> {
    fn take(&mut self, changes: &mut Changes, applied: Vec<(u16, Applied)>) -> Result<(), StoreError> {
        self.0.write(&Batch { changes: vec![changes], applied })?;
        changes.clear();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Store for MemoryStore {
    fn applied(&self, partition: u16) -> Result<Option<Applied>, StoreError> {
        Ok(self.lock().image.applied.get(&partition).copied())
    }

    fn write(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut inner = self.writing()?;
        for (partition, key, value) in batch.changes.iter().flat_map(|changes| changes.iter()) {
            let key = (partition, key.to_vec());
            match value {
                Some(value) => inner.image.parts.insert(key, value.to_vec()),
                None => inner.image.parts.remove(&key),
            };
        }
        inner.image.applied.extend(batch.applied.iter().copied());
        Ok(())
    }

    fn bulk(&self) -> Result<Box<dyn Bulk + '_>, StoreError> {
        Ok(Box::new(Batches(self)))
    }

    fn scan(&self, partition: u16, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        // Taken out first: `visit` may ask the store.
        let range = (partition, from.to_vec())..(partition, to.to_vec());
        let found: Vec<_> = self.lock().image.parts.range(range).map(|((_, k), v)| (k.clone(), v.clone())).collect();
        give(&found, visit);
        Ok(())
    }

    fn clear(&self, partition: u16) -> Result<(), StoreError> {
        let mut inner = self.writing()?;
        inner.image.parts.retain(|(of, _), _| *of != partition);
        inner.image.applied.remove(&partition);
        Ok(())
    }

    /// Memory has no next open.
    fn condemn(&self, _: &str) {}

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn scratch_put(&self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError> {
        self.writing()?.scratch.extend(entries.iter().cloned());
        Ok(())
    }

    fn scratch_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let inner = self.lock();
        Ok(keys.iter().map(|key| inner.scratch.get(*key).cloned()).collect())
    }

    fn scratch_scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let range = from.to_vec()..to.to_vec();
        let found: Vec<_> = self.lock().scratch.range(range).map(|(k, v)| (k.clone(), v.clone())).collect();
        give(&found, visit);
        Ok(())
    }

    fn scratch_delete(&self, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        self.writing()?.scratch.retain(|key, _| !(from <= key.as_slice() && key.as_slice() < to));
        Ok(())
    }
}

fn give(found: &[(Vec<u8>, Vec<u8>)], visit: &mut Visit<'_>) {
    for (key, value) in found {
        if visit(key, value).is_break() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &[u8], value: &[u8]) -> Changes {
        let mut changes = Changes::default();
        changes.put(0, key, value);
        changes
    }

    #[test]
    fn a_write_that_fails_writes_nothing_and_the_next_one_works() {
        let store = MemoryStore::default();
        let changes = one(b"k", b"v");
        let batch = Batch { changes: vec![&changes], applied: vec![(0, Applied { position: 1, written_ms: 2 })] };
        store.fail_writes(1..3, StoreErrorKind::Full);
        store.write(&batch).expect("number 0");
        let before = store.snapshot();
        let empty = Changes::default();
        let later = Batch { changes: vec![&empty], applied: vec![(0, Applied { position: 9, written_ms: 9 })] };
        assert_eq!(store.write(&later).expect_err("number 1").kind, StoreErrorKind::Full);
        assert_eq!(store.clear(0).expect_err("number 2").kind, StoreErrorKind::Full);
        assert_eq!(store.snapshot(), before);
        store.write(&later).expect("number 3");
        assert_eq!(store.writes(), 4);
        store.fail_writes(store.writes()..u64::MAX, StoreErrorKind::Io);
        store.scratch_delete(b"", b"x").expect_err("broken");
        store.repair();
        store.scratch_delete(b"", b"x").expect("repaired");
    }

    #[test]
    fn a_crash_image_has_no_scratch_and_does_not_follow() {
        let store = MemoryStore::default();
        let changes = one(b"k", b"v");
        store.write(&Batch { changes: vec![&changes], applied: Vec::new() }).expect("written");
        store.scratch_put(&[(b"s".to_vec(), b"1".to_vec())]).expect("written");
        let image = store.snapshot();
        store.clear(0).expect("cleared");
        let again = MemoryStore::from_snapshot(image.clone());
        assert_eq!(again.scratch_get(&[b"s"]).expect("read"), [None]);
        assert_eq!(again.snapshot(), image);
        assert_ne!(store.snapshot(), image);
    }
}
