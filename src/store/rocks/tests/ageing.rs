//! Where sealed parts lie, and that nobody notices who reads them.

use super::*;
use crate::store::tests::Entries;

/// As in the options of these tests.
const WARM_TTL_MS: i64 = 60_000;

/// More than one batch looks at.
const PARTS: u64 = 1_000;

fn key(number: u64) -> Vec<u8> {
    [&[[0x10, 0x22][number as usize % 2]][..], &number.to_be_bytes(), b"\0\0\0\x01"].concat()
}

/// Packs to next to nothing.
fn value(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(128)
}

fn write(store: &RocksStore, changes: &Changes, now_ms: i64) {
    let applied = vec![(1, Applied { position: now_ms, written_ms: now_ms })];
    store.write(&Batch { changes: vec![changes], applied }).expect("written");
}

/// Batches without changes, until a round must be over.
fn let_pass(store: &RocksStore, now_ms: i64) {
    (0..16).for_each(|_| write(store, &Changes::default(), now_ms));
}

fn sealed_parts() -> Changes {
    let mut changes = Changes::default();
    (0..PARTS).for_each(|number| changes.put(1, &key(number), &value(number)));
    // The kinds around them, which never grow old.
    changes.put(1, b"\x0fbefore", b"1");
    changes.put(1, b"\x21between", b"2");
    changes.put(2, b"\x23behind", b"3");
    changes
}

/// How many entries a family has, but for the batch's number.
fn entries(store: &RocksStore, family: Family) -> usize {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    let mut entries = store.db.raw_iterator_cf_opt(store.family(family).expect("there"), options);
    let mut count = 0;
    entries.seek_to_first();
    while entries.key().is_some_and(|key| key != b"\xff\xff") {
        count += 1;
        entries.next();
    }
    count
}

fn everything(store: &RocksStore) -> Vec<Entries> {
    (0..PARTITIONS).map(|partition| scanned(store, partition, b"", b"\xff\xff").expect("read")).collect()
}

/// What the files of a family take on disk.
fn file_bytes(store: &RocksStore, family: Family) -> u64 {
    let of = store.family(family).expect("there");
    store.db.flush_cf(of).expect("flushed");
    store.db.compact_range_cf(of, None::<&[u8]>, None::<&[u8]>);
    store.db.property_int_value_cf(of, properties::TOTAL_SST_FILES_SIZE).expect("asked").expect("told")
}

#[test]
fn sealed_parts_are_packed_when_they_are_old_a_few_at_a_time_and_read_alike() {
    let directory = directory_in_memory();
    let (store, _) = open(directory.path());
    let all = usize::try_from(PARTS).expect("few");
    write(&store, &sealed_parts(), 0);
    let before = everything(&store);
    let unpacked = file_bytes(&store, Family::Warm);
    let_pass(&store, WARM_TTL_MS - 1);
    assert_eq!((entries(&store, Family::Warm), entries(&store, Family::Cold)), (all + 3, 0), "none is old");

    // A round may just have ended.
    let old = WARM_TTL_MS + WARM_TTL_MS / 8;
    write(&store, &Changes::default(), old);
    let first = entries(&store, Family::Cold);
    assert!(0 < first && first < all, "a batch moves some, not all: {first}");
    assert_eq!(everything(&store), before, "in the middle of a round");
    let_pass(&store, old);
    assert_eq!((entries(&store, Family::Warm), entries(&store, Family::Cold)), (3, all));
    assert_eq!(everything(&store), before);
    let packed = file_bytes(&store, Family::Cold);
    assert!(packed * 5 < unpacked, "{packed} of {unpacked} bytes");

    drop(store);
    assert_eq!(everything(&open(directory.path()).0), before);
}

#[test]
fn a_packed_part_that_is_written_again_or_deleted_is_what_it_was_last() {
    let directory = directory_in_memory();
    let (store, _) = open(directory.path());
    write(&store, &sealed_parts(), 0);
    let_pass(&store, 2 * WARM_TTL_MS);
    let mut changes = Changes::default();
    changes.put(1, &key(2), b"again");
    changes.delete(1, &key(4));
    write(&store, &changes, 2 * WARM_TTL_MS);
    // The same by files.
    changes.clear();
    changes.put(1, &key(6), b"again");
    changes.delete(1, &key(8));
    let mut bulk = store.bulk().expect("begun");
    bulk.take(&mut changes, Vec::new()).expect("taken");
    bulk.finish().expect("finished");
    drop(bulk);

    let look = || {
        let within = |number| (1, key(number), [key(number), vec![0xff]].concat());
        let mut found = vec![None; 5];
        store
            .scan_keys(&[0, 2, 4, 6, 8].map(within), &mut |at, _, value| found[at] = Some(value.to_vec()))
            .expect("read");
        assert_eq!(found, [Some(value(0)), Some(b"again".to_vec()), None, Some(b"again".to_vec()), None]);
        assert_eq!(scanned(&store, 1, b"\x10", b"\x11").expect("read").len(), 500 - 2);
    };
    look();
    // What was written again grows old again, and takes the place of what lay there.
    let_pass(&store, 4 * WARM_TTL_MS);
    assert_eq!(entries(&store, Family::Warm), 3);
    look();
}
