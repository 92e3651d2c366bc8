//! RocksDB's store against what happens to it: restarts, other owners, damage, disks that fail.

mod ageing;
mod damage;
mod disk;
mod model;
mod opening;

use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::WaitForCompactOptions;

use super::*;
use crate::event::Changes;
use crate::store::tests::{Entries, options, scanned, scratched};

const PARTITIONS: u16 = 3;

fn open(directory: &Path) -> (RocksStore, Opened) {
    RocksStore::open(&options(directory)).expect("opened")
}

/// A directory for tests that open again and again: in memory, if it can be, because each open waits for the disk.
fn directory_in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

fn database(directory: &Path) -> PathBuf {
    directory.join("app/db")
}

/// What stands in a store: for each partition its position and parts.
type State = Vec<(Option<i64>, Entries)>;

fn state(store: &dyn Store) -> Result<State, StoreError> {
    (0..PARTITIONS)
        .map(|partition| {
            let applied = store.applied(partition)?.map(|applied| applied.position);
            Ok((applied, scanned(store, partition, b"", b"\xff\xff")?))
        })
        .collect()
}

/// Writes batch number `number` of a fixed history: parts of every family, deletions, and the number as the position of all
/// partitions.
fn write_batch(store: &dyn Store, number: i64) {
    let mut changes = Changes::default();
    for part in 0..12_u64 {
        let random = crate::event::stable_hash64(number as u64, &part.to_be_bytes());
        let kind = [0x10, 0x20, 0x22, 0x30][part as usize % 4];
        let hash = random % 40;
        let deleted = part >= 10;
        let key = [&[kind][..], &hash.to_be_bytes(), &[if deleted { 0 } else { part as u8 / 4 }]].concat();
        let value: Vec<u8> = (0..100).flat_map(|at: u64| (random ^ at.wrapping_mul(random)).to_be_bytes()).collect();
        let partition = (hash % u64::from(PARTITIONS)) as u16;
        if deleted {
            changes.delete(partition, &key);
        } else {
            changes.put(partition, &key, &value);
        }
    }
    let applied = Applied { position: number, written_ms: number };
    let applied = (0..PARTITIONS).map(|partition| (partition, applied)).collect();
    store.write(&Batch { changes: vec![&changes], applied }).expect("written");
}

/// Copies a directory of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}

/// Waits until no flush or compaction runs, so that the files stand still.
fn settle(store: &RocksStore) {
    store.db.wait_for_compact(&WaitForCompactOptions::default()).expect("idle");
}
