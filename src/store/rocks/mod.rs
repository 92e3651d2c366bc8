//! The store on RocksDB: parts on disk, in bounded memory, with one writer that never waits for the disk to sync.
//!
//! Owns `<directory>/<application_id>/`. Families, keys and records are in `layout`, what is found at an open in `open`,
//! memory and durability in `tuning`, what becomes of old parts in `ageing`, the directory in `home`, the meaning of errors in
//! `failure`.
//!
//! Damage that is met while running is noted in the directory, so that the next open sets the contents aside instead of
//! meeting it again. Wrong data is never given out: every block has a checksum, and what fails it is an error.

mod ageing;
mod bulk;
mod failure;
mod home;
mod layout;
mod open;
mod tuning;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use std::{fmt, io};

use rocksdb::{ColumnFamily, DB, ErrorKind, ReadOptions, WriteBatch, WriteOptions, properties};

use super::{Applied, Batch, Bulk, ControlFlow, KeyRange, KeyVisit, Store, StoreError, StoreErrorKind, Visit};
use crate::fault;
use ageing::{Ageing, Sealed};
use failure::Failure;
use home::Home;
use layout::Family;
use tuning::Tuning;

pub use layout::SEALED_KINDS;
pub use open::{Opened, Options};

/// How often a writer that must wait looks whether it may go on.
const STALL_LOOK: Duration = Duration::from_millis(1);

/// So many looks in a row at which nothing is under way, after something has failed, mean that waiting is in vain.
const STALL_LOOKS_MAX: u32 = 500;

/// State of one application in RocksDB. Dropping it closes the database and gives the directory free.
pub struct RocksStore {
    // Fields are dropped in this order: the database is closed before the lock is given up.
    db: DB,
    tuning: Tuning,
    home: Home,
    partitions: u16,
    /// Number of the last batch, see `layout`.
    batches: AtomicU64,
    ageing: Ageing,
}

impl fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksStore").field("home", &self.home).finish_non_exhaustive()
    }
}

impl RocksStore {
    /// Opens the store of an application, or begins a new one where there is none or none that can be used.
    ///
    /// # Errors
    /// Another process holds it, it belongs to another application or a newer version, or the disk fails.
    pub fn open(options: &Options) -> Result<(RocksStore, Opened), StoreError> {
        let path = home::path_of(&options.directory, &options.application_id);
        let open::Open { db, home, tuning, opened, batches } =
            open::open(options).map_err(|failure| failure.told("open the store", &path))?;
        let partitions = options.partitions;
        let ageing = Ageing::new(options.warm_ttl, options.now_ms);
        let store = RocksStore { db, tuning, home, partitions, batches: AtomicU64::new(batches), ageing };
        if let Opened::Level { stale } = &opened {
            stale.iter().try_for_each(|partition| store.clear(*partition))?;
        }
        Ok((store, opened))
    }

    /// Reads everything there is, past the cache, and so checks every checksum.
    ///
    /// # Errors
    /// What is damaged. It is noted, so that the next open sets the contents aside.
    pub fn verify(&self) -> Result<(), StoreError> {
        self.told("verify everything", || {
            for family in Family::ALL {
                let mut options = ReadOptions::default();
                options.fill_cache(false);
                options.set_total_order_seek(true);
                let mut entries = self.db.raw_iterator_cf_opt(self.family(family)?, options);
                entries.seek_to_first();
                while let Some((key, value)) = entries.item() {
                    if family == Family::Meta && layout::applied_partition(key).is_some() {
                        layout::decode_applied(value)?;
                    }
                    entries.next();
                }
                entries.status()?;
            }
            Ok(())
        })
    }

    /// Bytes of memory that blocks and memtables take now.
    pub fn memory_bytes(&self) -> usize {
        self.tuning.memory_bytes()
    }

    /// Does something, and says what and where if it fails.
    fn told<T>(&self, doing: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, StoreError> {
        work().map_err(|failure| {
            if failure.kind == StoreErrorKind::Corrupt {
                home::mark_damaged(&self.home.database(), &failure.detail);
            }
            failure.told(doing, self.home.path())
        })
    }

    /// Where a test plants a disk that fails or is slow.
    fn attempt(&self, call: &'static str) -> Result<(), Failure> {
        fault::fails(call).map_or(Ok(()), |number| Err(io::Error::from_raw_os_error(number).into()))
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily, Failure> {
        open::family(&self.db, family)
    }

    fn known(&self, partition: u16) -> Result<(), Failure> {
        if partition < self.partitions {
            return Ok(());
        }
        let detail = format!("partition {partition} is asked for, the changelog has only {}", self.partitions);
        Err(Failure::new(StoreErrorKind::Io, detail))
    }

    /// Writes a batch of state under the next number. `fill` may be asked again.
    fn commit(&self, fill: impl Fn(&mut WriteBatch) -> Result<(), Failure>) -> Result<(), Failure> {
        // Relaxed: a number need only differ from others, and travels within its batch.
        let number = self.batches.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let numbered = |batch: &mut WriteBatch| {
            fill(batch)?;
            for (family, key) in layout::BATCH_KEYS {
                batch.put_cf(self.family(family)?, key, number.to_be_bytes());
            }
            Ok(())
        };
        self.put(numbered, true)
    }

    /// Writes a batch. It waits while memtables or level 0 are full and RocksDB works on it, see `tuning`. RocksDB itself
    /// would wait without end where it cannot, because the disk is full. A batch is gone once it was tried, and made anew.
    fn put(&self, fill: impl Fn(&mut WriteBatch) -> Result<(), Failure>, log: bool) -> Result<(), Failure> {
        let mut options = WriteOptions::default();
        options.set_no_slowdown(true);
        options.disable_wal(!log);
        self.wait_while("what was written cannot leave memory", || {
            let mut batch = WriteBatch::default();
            fill(&mut batch)?;
            match self.db.write_opt(batch, &options) {
                Err(error) if error.kind() == ErrorKind::Incomplete => Ok(true),
                done => Ok(done.map(|()| false)?),
            }
        })
    }

    /// Waits while RocksDB is busy, and fails once it is not: then a lack of space keeps it.
    fn wait_while(&self, why: &str, mut busy: impl FnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
        let mut idle = 0;
        while busy()? {
            idle = if self.failed_and_idle()? { idle + 1 } else { 0 };
            if idle == STALL_LOOKS_MAX {
                let detail = format!("No space left on device, or too little: {why}");
                return Err(Failure::new(StoreErrorKind::Full, detail));
            }
            thread::sleep(STALL_LOOK);
        }
        Ok(())
    }

    /// Whether a flush or compaction has failed and none is running. RocksDB tries again by itself only after a lack of
    /// space; after other failures writes fail at once.
    fn failed_and_idle(&self) -> Result<bool, Failure> {
        let number = |name| Ok::<u64, Failure>(self.db.property_int_value(name)?.unwrap_or_default());
        Ok(number(properties::BACKGROUND_ERRORS)? > 0
            && number(properties::NUM_RUNNING_FLUSHES)? == 0
            && number(properties::NUM_RUNNING_COMPACTIONS)? == 0)
    }

    /// Gives the entries of a family with `from <= key < to`, all of one moment if `options` have a snapshot.
    fn entries(
        &self,
        family: Family,
        mut options: ReadOptions,
        (from, to): (&[u8], &[u8]),
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, Failure> {
        options.set_iterate_upper_bound(to);
        let mut entries = self.db.raw_iterator_cf_opt(self.family(family)?, options);
        entries.seek(from);
        while let Some((key, value)) = entries.item() {
            if visit(key, value).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            entries.next();
        }
        entries.status()?;
        Ok(ControlFlow::Continue(()))
    }
}

impl Store for RocksStore {
    fn applied(&self, partition: u16) -> Result<Option<Applied>, StoreError> {
        self.told("read a position", || {
            self.known(partition)?;
            let found = self.db.get_pinned_cf(self.family(Family::Meta)?, layout::applied_key(partition))?;
            found.map(|bytes| layout::decode_applied(&bytes)).transpose()
        })
    }

    fn write(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        self.told("write a batch", || {
            self.attempt("store.write")?;
            let (meta, warm, cold) =
                (self.family(Family::Meta)?, self.family(Family::Warm)?, self.family(Family::Cold)?);
            // Before the batch: if it fails, the store holds what it held before.
            let stamp = self.age(&batch.applied)?;
            self.commit(|writes| {
                let (mut stored, mut stamped) = (Vec::new(), Vec::new());
                for (partition, key, value) in batch.changes.iter().flat_map(|changes| changes.iter()) {
                    self.known(partition)?;
                    layout::part_key(&mut stored, partition, key);
                    let sealed = layout::is_sealed(key);
                    match value {
                        Some(value) if sealed => {
                            writes.put_cf(warm, &stored, layout::stamped(&mut stamped, stamp, value))
                        }
                        Some(value) => writes.put_cf(warm, &stored, value),
                        None => writes.delete_cf(warm, &stored),
                    }
                    if sealed && value.is_none() {
                        writes.delete_cf(cold, &stored);
                    }
                }
                for (partition, applied) in &batch.applied {
                    self.known(*partition)?;
                    writes.put_cf(meta, layout::applied_key(*partition), layout::encode_applied(*applied));
                }
                Ok(())
            })
        })
    }

    fn bulk(&self) -> Result<Box<dyn Bulk + '_>, StoreError> {
        self.told("write files", || Ok(Box::new(bulk::RocksBulk::new(self)?) as Box<dyn Bulk>))
    }

    fn scan(&self, partition: u16, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.told("read parts", || {
            self.attempt("store.read")?;
            self.known(partition)?;
            let pieces = layout::pieces(from, to);
            // One family has one moment by itself; several need a snapshot.
            let several = pieces.len() > 1 || pieces.iter().any(|(sealed, ..)| *sealed);
            let snapshot = several.then(|| self.db.snapshot());
            let (mut first, mut last) = (Vec::new(), Vec::new());
            for (sealed, from, to) in pieces {
                layout::part_key(&mut first, partition, from);
                layout::part_key(&mut last, partition, to);
                // Filters know prefixes: they answer for a range within one, and for no other.
                let one_prefix = layout::one_prefix(&first, &last);
                let options = || {
                    let mut options = ReadOptions::default();
                    if let Some(snapshot) = &snapshot {
                        options.set_snapshot(snapshot);
                    }
                    options.set_prefix_same_as_start(one_prefix);
                    options.set_total_order_seek(!one_prefix);
                    options.set_iterate_upper_bound(last.as_slice());
                    options
                };
                let visit = &mut |key: &[u8], value: &[u8]| visit(layout::own_key(key), value);
                let done = if sealed {
                    Sealed::of(self, options)?.visit(&first, &last, visit)?
                } else {
                    self.entries(Family::Warm, options(), (&first, &last), visit)?
                };
                if done.is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn scan_keys(&self, ranges: &[KeyRange], visit: &mut KeyVisit<'_>) -> Result<(), StoreError> {
        self.told("read keys", || {
            let mut sought = Vec::with_capacity(ranges.len());
            for (at, (partition, from, to)) in ranges.iter().enumerate() {
                self.known(*partition)?;
                for (sealed, from, to) in layout::pieces(from, to) {
                    let (mut first, mut last) = (Vec::new(), Vec::new());
                    layout::part_key(&mut first, *partition, from);
                    layout::part_key(&mut last, *partition, to);
                    debug_assert!(layout::one_prefix(&first, &last), "a range lies within one key");
                    sought.push((sealed, first, last, at));
                }
            }
            // In key order, so that neighbours share blocks; one iterator for all ranges of a family, because to make one
            // costs more than to move it.
            sought.sort_unstable();
            let snapshot = sought.last().is_some_and(|(sealed, ..)| *sealed).then(|| self.db.snapshot());
            let options = || {
                let mut options = ReadOptions::default();
                options.set_prefix_same_as_start(true);
                if let Some(snapshot) = &snapshot {
                    options.set_snapshot(snapshot);
                }
                options
            };
            let (other, sealed) = sought.split_at(sought.partition_point(|(sealed, ..)| !sealed));
            if !other.is_empty() {
                let mut entries = self.db.raw_iterator_cf_opt(self.family(Family::Warm)?, options());
                for (_, first, last, at) in other {
                    self.attempt("store.read")?;
                    entries.seek(first);
                    while let Some((key, value)) = entries.item().filter(|(key, _)| key < &last.as_slice()) {
                        visit(*at, layout::own_key(key), value);
                        entries.next();
                    }
                    entries.status()?;
                }
            }
            if !sealed.is_empty() {
                let mut entries = Sealed::of(self, options)?;
                for (_, first, last, at) in sealed {
                    self.attempt("store.read")?;
                    let visit = &mut |key: &[u8], value: &[u8]| {
                        visit(*at, layout::own_key(key), value);
                        ControlFlow::Continue(())
                    };
                    let _ = entries.visit(first, last, visit)?;
                }
            }
            Ok(())
        })
    }

    fn clear(&self, partition: u16) -> Result<(), StoreError> {
        self.told("clear a partition", || {
            self.known(partition)?;
            // The last partition has a successor too: there are at most 65,535 of them.
            let (from, to) = (partition.to_be_bytes(), (partition + 1).to_be_bytes());
            self.commit(|writes| {
                for family in [Family::Warm, Family::Cold] {
                    writes.delete_range_cf(self.family(family)?, from, to);
                }
                writes.delete_cf(self.family(Family::Meta)?, layout::applied_key(partition));
                Ok(())
            })
        })
    }

    fn condemn(&self, reason: &str) {
        home::mark_damaged(&self.home.database(), reason);
    }

    fn disk_bytes(&self) -> u64 {
        // What cannot be told shows as nothing: it is only shown.
        let of = |family| {
            let files = self.db.property_int_value_cf(self.family(family).ok()?, properties::TOTAL_SST_FILES_SIZE);
            files.ok().flatten()
        };
        Family::ALL.into_iter().filter_map(of).sum()
    }

    // The scratch space is empty after a crash, so its writes need no log.
    fn scratch_put(&self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError> {
        self.told("write to the scratch space", || {
            self.attempt("store.scratch")?;
            let scratch = self.family(Family::Scratch)?;
            let fill = |writes: &mut WriteBatch| {
                entries.iter().for_each(|(key, value)| writes.put_cf(scratch, key, value));
                Ok(())
            };
            self.put(fill, false)
        })
    }

    fn scratch_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.told("read the scratch space", || {
            let found = self.db.batched_multi_get_cf(self.family(Family::Scratch)?, keys.iter().copied(), false);
            found.into_iter().map(|value| Ok(value?.map(|bytes| bytes.to_vec()))).collect()
        })
    }

    fn scratch_scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.told("read the scratch space", || {
            if from < to {
                let _ = self.entries(Family::Scratch, ReadOptions::default(), (from, to), visit)?;
            }
            Ok(())
        })
    }

    fn scratch_delete(&self, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        self.told("clear scratch space", || {
            if from >= to {
                return Ok(());
            }
            let scratch = self.family(Family::Scratch)?;
            let fill = |writes: &mut WriteBatch| {
                writes.delete_range_cf(scratch, from, to);
                Ok(())
            };
            self.put(fill, false)
        })
    }
}
