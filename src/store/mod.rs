//! The tiers of state on disk: parts by key, with the changelog position that they stand at.
//!
//! A store holds bytes and interprets none. Part keys sort as bytes; the first byte is the part's kind, the next eight are
//! the stable hash of its correlation key (big-endian), so that a range of hashes is one range of keys for each kind.
//! INV-BEHIND: whoever writes here has seen the epoch committed in Kafka; a store is a cache that is never ahead of it.
//!
//! [`rocks`] keeps parts in RocksDB, [`memory`] in a map, for tests and simulations. Both answer alike; a property test
//! holds them to it.

pub mod codec;
mod error;
pub mod memory;
pub mod rocks;

#[cfg(test)]
mod tests;

pub use error::{StoreError, StoreErrorKind};

use crate::event::Changes;

/// What a store knows of one changelog partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Offset of the next changelog record to apply.
    pub position: i64,
    /// When the store was last written for this partition, milliseconds since the epoch by the wall clock. A copy that stood
    /// still for longer than the changelog keeps its tombstones must not be caught up: deletions would be missed.
    pub written_ms: i64,
}

/// Parts and positions, written together or not at all.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// In this order; later changes win.
    pub changes: Vec<&'a Changes>,
    /// For each partition touched, what it stands at after this batch.
    pub applied: Vec<(u16, Applied)>,
}

/// Answers a scan: go on, or enough.
pub use std::ops::ControlFlow;

/// Takes what a scan finds: key and value.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A partition, and part keys from .. to within one key.
pub type KeyRange = (u16, Vec<u8>, Vec<u8>);

/// Takes what is found of many keys: the range's index, key and value.
pub type KeyVisit<'a> = dyn FnMut(usize, &[u8], &[u8]) + 'a;

/// Loads on their way into a store. What was not finished may be there in part, from the first on, each with its positions.
pub trait Bulk {
    /// Takes the next load; `changes` comes back empty. Nothing of it is sure to be there before [`Bulk::finish`].
    fn take(&mut self, changes: &mut Changes, applied: Vec<(u16, Applied)>) -> Result<(), StoreError>;

    /// Waits until all of it is there.
    fn finish(&mut self) -> Result<(), StoreError>;
}

/// State on disk (or, for simulations, in memory). Shared by the committer, which writes, and shards, which read.
///
/// An error of kind [`StoreErrorKind::Corrupt`] means that nothing more is to be believed: the store is dropped and opened
/// anew, which sets its contents aside. After any other error the store holds what it held before.
pub trait Store: Send + Sync {
    /// What this partition stands at; `None`: nothing of it is here.
    fn applied(&self, partition: u16) -> Result<Option<Applied>, StoreError>;

    /// Writes a batch atomically. Survives a crash of the process; a crash of the machine may lose the newest batches
    /// together with their positions, never a part of one. A batch that failed must be in before any later one, by another
    /// try or out of the changelog: positions say that all before them is here.
    fn write(&self, batch: &Batch<'_>) -> Result<(), StoreError>;

    /// Begins to take in much at once, as a rebuild does: quicker than batches, and each load is written on its own.
    fn bulk(&self) -> Result<Box<dyn Bulk + '_>, StoreError>;

    /// Gives the parts of `partition` with `from <= key < to`, in key order, to `visit`. All of them are of one moment: a
    /// batch that is written meanwhile is not seen. Within one key (nine equal bytes) it costs one seek, and usually
    /// nothing at all if the key is absent. `visit` should be quick: while it runs, what it reads cannot be freed.
    fn scan(&self, partition: u16, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// Gives the parts of many keys: of each range (partition, from, to), all within one key (nine equal bytes), in key order,
    /// with the range's index. Ranges come in any order. Much cheaper than a scan for each.
    fn scan_keys(&self, ranges: &[KeyRange], visit: &mut KeyVisit<'_>) -> Result<(), StoreError> {
        for (at, (partition, from, to)) in ranges.iter().enumerate() {
            self.scan(*partition, from, to, &mut |key, value| {
                visit(at, key, value);
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    /// Removes everything of a partition: its parts and its position, together or not at all.
    fn clear(&self, partition: u16) -> Result<(), StoreError>;

    /// What is here was found to be wrong by whoever understands it: the next open sets it aside.
    fn condemn(&self, reason: &str);

    /// Bytes of files on disk; what was written last may not be among them yet.
    fn disk_bytes(&self) -> u64;

    /// Scratch space of this process: spilled deadlines and dedup runs, found again through memory only. Empty at every
    /// open; not part of the state.
    fn scratch_put(&self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError>;

    /// Values of scratch keys, in the order asked.
    fn scratch_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// Gives the scratch entries with `from <= key < to`, in key order, to `visit`.
    fn scratch_scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// Removes the scratch entries with `from <= key < to`, cheaply whatever their number.
    fn scratch_delete(&self, from: &[u8], to: &[u8]) -> Result<(), StoreError>;
}
