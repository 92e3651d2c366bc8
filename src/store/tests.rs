//! What both stores must do alike, case by case; the property test beside RocksDB does it at random.

use std::path::Path;
use std::time::Duration;

use super::memory::MemoryStore;
use super::rocks::{Options, RocksStore};
use super::*;
use crate::event::Changed;

/// Options for a store in a directory, with the smallest memtables, so that little data makes files.
pub(in crate::store) fn options(directory: &Path) -> Options {
    Options {
        directory: directory.to_path_buf(),
        application_id: "app".to_string(),
        instance: "test".to_string(),
        changelog_id: "topic-1".to_string(),
        cache_bytes: 1 << 20,
        write_buffer_bytes: 0,
        max_age: None,
        warm_ttl: Duration::from_secs(60),
        partitions: 8,
        now_ms: 0,
    }
}

/// Keys and values.
pub(in crate::store) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The parts of a range.
pub(in crate::store) fn scanned(
    store: &dyn Store,
    partition: u16,
    from: &[u8],
    to: &[u8],
) -> Result<Entries, StoreError> {
    let mut found = Vec::new();
    store.scan(partition, from, to, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The scratch entries of a range.
pub(in crate::store) fn scratched(store: &dyn Store, from: &[u8], to: &[u8]) -> Result<Entries, StoreError> {
    let mut found = Vec::new();
    store.scratch_scan(from, to, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn both(test: impl Fn(&dyn Store)) {
    test(&MemoryStore::default());
    let directory = tempfile::tempdir().expect("a directory");
    test(&RocksStore::open(&options(directory.path())).expect("opened").0);
}

fn changes(entries: &[Changed<'_>]) -> Changes {
    let mut changes = Changes::default();
    for (partition, key, value) in entries {
        match value {
            Some(value) => changes.put(*partition, key, value),
            None => changes.delete(*partition, key),
        }
    }
    changes
}

fn write(store: &dyn Store, entries: &[Changed<'_>]) {
    let changes = changes(entries);
    store.write(&Batch { changes: vec![&changes], applied: Vec::new() }).expect("written");
}

fn keys(entries: &Entries) -> Vec<&[u8]> {
    entries.iter().map(|(key, _)| key.as_slice()).collect()
}

const ALL: (&[u8], &[u8]) = (b"", b"\xff\xff");

#[test]
fn parts_and_positions_come_back_and_later_changes_win() {
    both(|store| {
        let first = changes(&[(1, b"\x20a", Some(b"1")), (1, b"\x20b", Some(b"1")), (2, b"\x20a", Some(b"2"))]);
        let second = changes(&[(1, b"\x20a", None), (1, b"\x20b", Some(b"")), (1, b"\x20b", Some(b"3"))]);
        let applied = Applied { position: 10, written_ms: 20 };
        store.write(&Batch { changes: vec![&first, &second], applied: vec![(1, applied)] }).expect("written");
        assert_eq!(scanned(store, 1, ALL.0, ALL.1).expect("read"), [(b"\x20b".to_vec(), b"3".to_vec())]);
        assert_eq!(scanned(store, 2, ALL.0, ALL.1).expect("read"), [(b"\x20a".to_vec(), b"2".to_vec())]);
        assert_eq!(store.applied(1).expect("read"), Some(applied));
        assert_eq!(store.applied(2).expect("read"), None);
    });
}

#[test]
fn a_scan_gives_its_range_in_order_over_all_kinds_and_stops_when_told() {
    both(|store| {
        let all: [&[u8]; 8] = [b"\x0f", b"\x10a", b"\x10b", b"\x11", b"\x20\xff", b"\x22", b"\x22\0", b"\x23"];
        for key in all.iter().rev() {
            write(store, &[(3, key, Some(b"x")), (2, key, Some(b"y")), (4, key, Some(b"y"))]);
        }
        let within = |from: &[u8], to: &[u8]| scanned(store, 3, from, to).expect("read");
        assert_eq!(keys(&within(ALL.0, ALL.1)), all);
        assert_eq!(keys(&within(b"\x10b", b"\x22\0")), all[2..6]);
        assert_eq!(keys(&within(b"\x22", b"\x23")), all[5..7]);
        assert_eq!(keys(&within(b"\x22", b"\x22")), [b""; 0]);
        assert_eq!(keys(&within(b"\x23", b"\x10")), [b""; 0]);
        let mut seen = 0;
        let mut visit = |_: &[u8], _: &[u8]| {
            seen += 1;
            if seen == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        store.scan(3, ALL.0, ALL.1, &mut visit).expect("read");
        assert_eq!(seen, 4, "stopped behind the first family");
    });
}

#[test]
fn clearing_a_partition_leaves_its_neighbours() {
    both(|store| {
        let applied = Applied { position: 1, written_ms: 1 };
        for partition in [0, 6, 7] {
            let changes = changes(&[
                (partition, b"", Some(b"")),
                (partition, b"\x10\xff\xff", Some(b"1")),
                (partition, b"\xff\xff\xff", Some(b"2")),
            ]);
            store.write(&Batch { changes: vec![&changes], applied: vec![(partition, applied)] }).expect("written");
        }
        store.clear(7).expect("cleared");
        store.clear(0).expect("cleared");
        store.clear(3).expect("nothing to clear");
        for (partition, left) in [(0, 0), (6, 3), (7, 0)] {
            assert_eq!(scanned(store, partition, b"", b"\xff\xff\xff\xff").expect("read").len(), left, "{partition}");
            assert_eq!(store.applied(partition).expect("read"), (left > 0).then_some(applied));
        }
        write(store, &[(7, b"\x10again", Some(b"1"))]);
        assert_eq!(keys(&scanned(store, 7, ALL.0, ALL.1).expect("read")), [b"\x10again"]);
    });
}

#[test]
fn the_scratch_space_is_apart_from_the_parts() {
    both(|store| {
        write(store, &[(0, b"a", Some(b"part"))]);
        let entries = [(b"c", b"3"), (b"a", b"1"), (b"b", b"2"), (b"d", b"4")];
        store.scratch_put(&entries.map(|(key, value)| (key.to_vec(), value.to_vec()))).expect("written");
        let values = store.scratch_get(&[b"d", b"x", b"a", b"d"]).expect("read");
        assert_eq!(values, [Some(b"4".to_vec()), None, Some(b"1".to_vec()), Some(b"4".to_vec())]);
        assert_eq!(keys(&scratched(store, b"b", b"d").expect("read")), [b"b", b"c"]);
        store.scratch_delete(b"b", b"d").expect("deleted");
        store.scratch_delete(b"d", b"a").expect("an empty range");
        assert_eq!(keys(&scratched(store, b"", b"z").expect("read")), [b"a", b"d"]);
        store.clear(0).expect("cleared");
        assert_eq!(keys(&scratched(store, b"", b"z").expect("read")), [b"a", b"d"]);
        assert_eq!(scratched(store, b"z", b"").expect("an empty range"), []);
    });
}

#[test]
fn a_visit_may_ask_and_write_and_does_not_see_what_it_writes() {
    both(|store| {
        write(store, &[(0, b"\x10", Some(b"")), (0, b"\x20", Some(b""))]);
        let mut seen = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            write(store, &[(0, b"\x21", Some(b"")), (0, b"\x22", Some(b""))]);
            assert_eq!(scanned(store, 0, ALL.0, ALL.1).expect("read").len(), 4);
            seen.push(key.to_vec());
            ControlFlow::Continue(())
        };
        store.scan(0, ALL.0, ALL.1, &mut visit).expect("read");
        assert_eq!(seen, [b"\x10", b"\x20"]);
    });
}
