//! Much at once: changes as sorted files that RocksDB takes in whole, past its log and memtables.
//!
//! Threads sort and write the files while the caller reads on; RocksDB syncs each, so while one waits for the disk another writes.
//! They are taken in one after the other, in the order of the loads, the positions last: each step is in the manifest before the
//! next, so that a position is never there without what lies before it.
//! Files that are not taken in lie beside the database, and are removed. Compaction waits until all is loaded or level 0 is
//! full: it would read and write again what the next file replaces.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use rocksdb::{IngestExternalFileOptions, Options, SstFileWriter, properties};

use super::RocksStore;
use super::failure::Failure;
use super::layout::{self, Family};
use super::tuning::LEVEL0_STOP;
use crate::event::{Changed, Changes};
use crate::store::{Applied, Bulk, StoreError, StoreErrorKind};

/// Files of a load at most: one a family that it concerns.
type Files = Vec<(Family, PathBuf)>;

/// Loads that are written at once, each by a thread of its own. One more is gathered meanwhile; that is what loads take of memory.
const WRITERS: usize = 2;

struct Load {
    number: u64,
    changes: Changes,
    applied: Vec<(u16, Applied)>,
    /// The time that sealed parts bear.
    stamp: u32,
    done: Sender<Built>,
}

struct Built {
    /// To be filled again.
    changes: Changes,
    files: Result<Files, Failure>,
}

/// See [`Bulk`].
pub(super) struct RocksBulk<'a> {
    store: &'a RocksStore,
    directory: PathBuf,
    loads: Option<Sender<Load>>,
    writers: Vec<JoinHandle<()>>,
    spare: Vec<Changes>,
    begun: u64,
    /// Loads that are being written, oldest first.
    under_way: VecDeque<Receiver<Built>>,
}

impl<'a> RocksBulk<'a> {
    pub(super) fn new(store: &'a RocksStore) -> Result<RocksBulk<'a>, Failure> {
        let directory = store.home.path().join("loading");
        remove(&directory)?;
        store.compact_by_itself(false)?;
        let (loads, to_do) = bounded(WRITERS);
        let mut bulk = RocksBulk {
            store,
            directory: directory.clone(),
            loads: Some(loads),
            writers: Vec::new(),
            spare: Vec::new(),
            begun: 0,
            under_way: VecDeque::new(),
        };
        let families = [Family::Warm, Family::Cold, Family::Meta];
        let options = families.map(|family| (family, store.tuning.family(family)));
        let writer = Arc::new(Writer { directory, options });
        for _ in 0..WRITERS {
            let (writer, to_do) = (Arc::clone(&writer), to_do.clone());
            let write = move || to_do.iter().for_each(|load| writer.load(load));
            bulk.writers.push(thread::Builder::new().name("restore".to_owned()).spawn(write)?);
        }
        Ok(bulk)
    }

    fn begin(&mut self, changes: &mut Changes, applied: Vec<(u16, Applied)>) -> Result<(), Failure> {
        self.settle(WRITERS - 1)?;
        fs::create_dir_all(&self.directory)?;
        let changes = std::mem::replace(changes, self.spare.pop().unwrap_or_default());
        let stamp = self.store.ageing.stamp(&applied);
        let (done, built) = bounded(1);
        let load = Load { number: self.begun, changes, applied, stamp, done };
        self.begun += 1;
        self.under_way.push_back(built);
        self.loads.as_ref().and_then(|loads| loads.send(load).ok()).ok_or_else(gone)
    }

    /// Takes in what is written, in its order, and waits until no more than `most` loads are being written.
    fn settle(&mut self, most: usize) -> Result<(), Failure> {
        while self.under_way.len() > most {
            let Some(oldest) = self.under_way.pop_front() else { break };
            let Built { changes, files } = oldest.recv().map_err(|_| gone())?;
            self.spare.push(changes);
            self.store.attempt("store.write")?;
            files?.iter().try_for_each(|(family, path)| self.store.take_in(*family, path))?;
        }
        Ok(())
    }
}

fn gone() -> Failure {
    Failure::new(StoreErrorKind::Io, "the thread that writes files has ended")
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Bulk for RocksBulk<'_> {
    fn take(&mut self, changes: &mut Changes, applied: Vec<(u16, Applied)>) -> Result<(), StoreError> {
        let store = self.store;
        store.told("write files", || {
            applied.iter().try_for_each(|(partition, _)| store.known(*partition))?;
            changes.iter().try_for_each(|(partition, ..)| store.known(partition))?;
            self.begin(changes, applied)
        })
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let store = self.store;
        store.told("write files", || {
            self.settle(0)?;
            store.compact_by_itself(true)
        })
    }
}

impl Drop for RocksBulk<'_> {
    fn drop(&mut self) {
        self.loads = None;
        // They hold nothing that anybody waits for.
        self.writers.drain(..).for_each(|writer| drop(writer.join()));
        drop(remove(&self.directory));
        // Without it a store fills up level 0 and says so; the next open has it again.
        drop(self.store.compact_by_itself(true));
    }
}

impl RocksStore {
    /// Whether RocksDB compacts as it sees fit.
    fn compact_by_itself(&self, it_does: bool) -> Result<(), Failure> {
        let value = if it_does { "false" } else { "true" };
        [Family::Warm, Family::Cold].into_iter().try_for_each(|family| {
            Ok(self.db.set_options_cf(self.family(family)?, &[("disable_auto_compactions", value)])?)
        })
    }

    /// Makes a file part of the database, as its newest.
    fn take_in(&self, family: Family, path: &Path) -> Result<(), Failure> {
        let family = self.family(family)?;
        let full = || {
            let files = self.db.property_int_value_cf(family, properties::num_files_at_level(0))?;
            Ok(files.unwrap_or_default() >= u64::from(LEVEL0_STOP.unsigned_abs()))
        };
        if full()? {
            self.compact_by_itself(true)?;
            self.wait_while("files wait for compaction", full)?;
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        Ok(self.db.ingest_external_file_cf_opts(family, &options, vec![path])?)
    }
}

/// Makes files of changes.
struct Writer {
    directory: PathBuf,
    options: [(Family, Options); 3],
}

impl Writer {
    /// Writes a load and says so to whoever began it, unless that one gave up.
    fn load(&self, Load { number, mut changes, applied, stamp, done }: Load) {
        let files = self.write(number, &changes, &applied, stamp);
        changes.clear();
        drop(done.send(Built { changes, files }));
    }

    /// Writes a load; gives the files in the order in which they are to be taken in.
    fn write(&self, number: u64, changes: &Changes, applied: &[(u16, Applied)], stamp: u32) -> Result<Files, Failure> {
        let (newest, mut files) = (newest(changes), Files::new());
        for (family, options) in &self.options {
            let path = self.directory.join(format!("{number}-{}.sst", family.name()));
            let mut file = SstFileWriter::create(options);
            file.open(&path)?;
            let written = match family {
                Family::Meta => positions(&mut file, applied)?,
                Family::Cold => buried(&mut file, &newest)?,
                _ => parts(&mut file, &newest, stamp)?,
            };
            if written > 0 {
                file.finish()?;
                files.push((*family, path));
            }
        }
        Ok(files)
    }
}

fn positions(file: &mut SstFileWriter<'_>, applied: &[(u16, Applied)]) -> Result<usize, Failure> {
    let entry =
        |(partition, applied): &(u16, Applied)| (layout::applied_key(*partition), layout::encode_applied(*applied));
    let mut entries: Vec<_> = applied.iter().map(entry).collect();
    entries.sort_unstable();
    entries.iter().try_for_each(|(key, value)| file.put(key, value))?;
    Ok(entries.len())
}

/// Parts that are fetched from memory together. In key order they lie anywhere in the load: one by one, each would be waited for. (A third
/// of a writer's samples were in `memmove`; that this is why, and that it helps, is likely and not shown.)
const FETCHED_AT_ONCE: usize = 32;

/// Writes the parts to `warm`.
fn parts(file: &mut SstFileWriter<'_>, newest: &[Changed<'_>], stamp: u32) -> Result<usize, Failure> {
    let (mut stored, mut stamped) = (Vec::new(), Vec::new());
    for together in newest.chunks(FETCHED_AT_ONCE) {
        fetch(together);
        for (partition, key, value) in together {
            layout::part_key(&mut stored, *partition, key);
            match value {
                Some(value) if layout::is_sealed(key) => {
                    file.put(&stored, layout::stamped(&mut stamped, stamp, value))?;
                }
                Some(value) => file.put(&stored, value)?,
                None => file.delete(&stored)?,
            }
        }
    }
    Ok(newest.len())
}

/// Looks at some bytes of each part, none of which waits for another.
fn fetch(together: &[Changed<'_>]) {
    let ends = |bytes: &[u8]| bytes.first().copied().unwrap_or_default() ^ bytes.last().copied().unwrap_or_default();
    let looked = together.iter().map(|(_, key, value)| ends(key) ^ value.map_or(0, ends));
    std::hint::black_box(looked.fold(0, |all, one| all ^ one));
}

/// Takes from `cold` the sealed parts that are gone; what `warm` has of the others counts before what lies there.
fn buried(file: &mut SstFileWriter<'_>, newest: &[Changed<'_>]) -> Result<usize, Failure> {
    let (mut stored, mut written) = (Vec::new(), 0);
    for (partition, key, _) in newest.iter().filter(|(_, key, value)| value.is_none() && layout::is_sealed(key)) {
        layout::part_key(&mut stored, *partition, key);
        file.delete(&stored)?;
        written += 1;
    }
    Ok(written)
}

/// The newest change of each key, in key order.
fn newest(changes: &Changes) -> Vec<Changed<'_>> {
    // Numbers of changes are moved about, behind the beginnings of their keys, which decide nearly always and are at hand.
    let mut order: Vec<_> = changes.iter().zip(0u32..).map(|(changed, number)| (beginning(&changed), number)).collect();
    let key = |number: u32| changes.get(number as usize).map(|(_, key, _)| key);
    let same_beginning = |a: u32, b: u32| key(a).cmp(&key(b)).then(a.cmp(&b));
    order.sort_unstable_by(|(a, a_number), (b, b_number)| a.cmp(b).then_with(|| same_beginning(*a_number, *b_number)));
    order.dedup_by(|next, kept| {
        let same = next.0 == kept.0 && key(next.1) == key(kept.1);
        if same {
            *kept = *next;
        }
        same
    });
    order.into_iter().filter_map(|(_, number)| changes.get(number as usize)).collect()
}

/// The partition and the first 14 bytes of the key, shorter ones before longer ones that go on with zeros.
fn beginning((partition, key, _): &Changed<'_>) -> u128 {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&partition.to_be_bytes());
    let most = key.len().min(14);
    bytes[2..2 + most].copy_from_slice(&key[..most]);
    u128::from_be_bytes(bytes)
}
