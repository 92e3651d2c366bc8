//! What an open finds: a fresh directory, its own state, somebody else's, another format's, another changelog's.

use std::time::Duration;

use rocksdb::{DB, DEFAULT_COLUMN_FAMILY_NAME};

use super::super::layout::{APPLICATION_KEY, FORMAT, FORMAT_KEY};
use super::*;

/// Does something to the database that the store would not do.
fn meddle(directory: &Path, work: impl FnOnce(&mut DB)) {
    let families = Family::ALL.map(Family::name).into_iter().chain([DEFAULT_COLUMN_FAMILY_NAME]);
    let mut db = DB::open_cf(&rocksdb::Options::default(), database(directory), families).expect("opened");
    work(&mut db);
}

fn write_meta(directory: &Path, key: &[u8], value: &[u8]) {
    meddle(directory, |db| db.put_cf(db.cf_handle("meta").expect("meta"), key, value).expect("written"));
}

/// A directory with one batch.
fn with_one_batch() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, opened) = open(directory.path());
    assert_eq!(opened, Opened::Fresh);
    write_batch(&store, 1);
    directory
}

/// Opens with other options and expects that the contents were set aside for a reason that has these words.
fn set_aside(options: Options, words: &str) {
    let (store, opened) = RocksStore::open(&options).expect("opened");
    let Opened::SetAside { reason, moved_to } = &opened else { panic!("{opened:?}") };
    assert!(reason.contains(words), "{reason}");
    assert!(moved_to.join("CURRENT").exists() && opened.to_string().contains("db.set-aside-1"), "{opened}");
    assert_eq!(state(&store).expect("read"), vec![(None, Vec::new()); 3], "empty");
    write_batch(&store, options.now_ms);
    drop(store);
    assert_eq!(RocksStore::open(&options).expect("opened").1, Opened::Level { stale: Vec::new() });
}

/// Opens and expects a refusal with these words, and that nothing was touched.
fn refused(directory: &Path, kind: StoreErrorKind, words: &[&str]) {
    let error = RocksStore::open(&options(directory)).expect_err("refused");
    assert_eq!(error.kind, kind, "{error}");
    for word in words {
        assert!(error.message.contains(word), "`{word}` is not in: {error}");
    }
    assert!(database(directory).join("CURRENT").exists());
}

#[test]
fn state_survives_a_close_and_a_crash_and_scratch_neither() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    for number in 1..=40 {
        write_batch(&store, number);
        store.scratch_put(&[(b"s".to_vec(), vec![7; 9000])]).expect("written");
    }
    let before = state(&store).expect("read");
    settle(&store);
    // What kill -9 leaves: whatever was written, closed or not.
    let crashed = tempfile::tempdir().expect("a directory");
    copy(&database(directory.path()), &database(crashed.path()));
    drop(store);
    for directory in [directory.path(), crashed.path()] {
        for _ in 0..2 {
            let (store, opened) = open(directory);
            assert_eq!(opened, Opened::Level { stale: Vec::new() });
            assert_eq!(state(&store).expect("read"), before);
            assert_eq!(scratched(&store, b"", b"z").expect("read"), []);
            store.verify().expect("whole");
        }
    }
}

#[test]
fn a_second_open_is_refused_and_told_who_holds_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    refused(directory.path(), StoreErrorKind::Locked, &["another process holds it (instance test, process", "/app"]);
    write_batch(&store, 1);
    drop(store);
    assert_eq!(open(directory.path()).1, Opened::Level { stale: Vec::new() });
}

#[test]
fn a_database_that_another_program_has_open_is_refused() {
    let directory = with_one_batch();
    meddle(directory.path(), |_| {
        refused(directory.path(), StoreErrorKind::Locked, &["LOCK", "stop the other process"])
    });
}

#[test]
fn another_application_s_state_is_refused_and_left_alone() {
    let directory = with_one_batch();
    write_meta(directory.path(), APPLICATION_KEY, b"payments");
    refused(directory.path(), StoreErrorKind::Foreign, &["the application `payments`, not to `app`"]);
    write_meta(directory.path(), APPLICATION_KEY, b"app");
    assert_eq!(state(&open(directory.path()).0).expect("read")[0].0, Some(1));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let directory = with_one_batch();
    write_meta(directory.path(), FORMAT_KEY, &(FORMAT + 1).to_be_bytes());
    let words =
        ["in format 3, written by a newer version", "reads formats from 1 to 2", "start the program that wrote it"];
    refused(directory.path(), StoreErrorKind::Foreign, &words);
    // One that even has families that this version does not know.
    meddle(directory.path(), |db| db.create_cf("frozen", &rocksdb::Options::default()).expect("created"));
    refused(directory.path(), StoreErrorKind::Foreign, &["in format 3, with the unknown column family `frozen`"]);
    meddle_away(directory.path());
    assert_eq!(state(&open(directory.path()).0).expect("read")[0].0, Some(1));
}

/// Takes the newer version's marks away again.
fn meddle_away(directory: &Path) {
    let families = DB::list_cf(&rocksdb::Options::default(), database(directory)).expect("listed");
    let mut db = DB::open_cf(&rocksdb::Options::default(), database(directory), families).expect("opened");
    db.drop_cf("frozen").expect("dropped");
    db.put_cf(db.cf_handle("meta").expect("meta"), FORMAT_KEY, FORMAT.to_be_bytes()).expect("written");
}

#[test]
fn an_older_format_is_set_aside() {
    let directory = with_one_batch();
    write_meta(directory.path(), FORMAT_KEY, &0_u32.to_be_bytes());
    set_aside(options(directory.path()), "it is in format 0, this version reads formats from 1 to 2");
}

/// In format 1 sealed parts lay in `cold` from the first on.
#[test]
fn format_1_is_read_and_written_on_in_format_2() {
    let directory = with_one_batch();
    meddle(directory.path(), |db| {
        let (warm, cold) = (db.cf_handle("warm").expect("warm"), db.cf_handle("cold").expect("cold"));
        db.put_cf(cold, b"\0\0\x22old", b"part").expect("written");
        for kind in [0x10, 0x22] {
            db.delete_range_cf(warm, [0, 0, kind], [0, 0, kind + 1]).expect("deleted");
        }
        db.put_cf(db.cf_handle("meta").expect("meta"), FORMAT_KEY, 1_u32.to_be_bytes()).expect("written");
    });
    for _ in 0..2 {
        let (store, opened) = open(directory.path());
        assert_eq!(opened, Opened::Level { stale: Vec::new() });
        let sealed = scanned(&store, 0, b"\x22", b"\x23").expect("read");
        assert_eq!(sealed, [(b"\x22old".to_vec(), b"part".to_vec())]);
        let meta = store.family(Family::Meta).expect("meta");
        assert_eq!(store.db.get_cf(meta, FORMAT_KEY).expect("read").expect("there"), FORMAT.to_be_bytes());
    }
}

#[test]
fn a_creation_that_was_not_finished_is_set_aside() {
    let directory = with_one_batch();
    meddle(directory.path(), |db| db.delete_cf(db.cf_handle("meta").expect("meta"), FORMAT_KEY).expect("deleted"));
    set_aside(options(directory.path()), "its creation was not finished");
}

#[test]
fn state_of_another_changelog_is_set_aside() {
    let directory = with_one_batch();
    let other = Options { changelog_id: "topic-2".to_string(), ..options(directory.path()) };
    set_aside(other, "the id `topic-1`, the topic now has the id `topic-2`");
    let directory = with_one_batch();
    let smaller = Options { partitions: 2, ..options(directory.path()) };
    let (_, opened) = RocksStore::open(&smaller).expect("opened");
    assert!(opened.to_string().contains("it holds partition 2, the changelog has only 2"), "{opened}");
}

#[test]
fn state_that_is_too_old_is_set_aside_whole_or_by_partition() {
    let directory = tempfile::tempdir().expect("a directory");
    let aged = |now_ms| Options { max_age: Some(Duration::from_secs(60)), now_ms, ..options(directory.path()) };
    let (store, _) = open(directory.path());
    write_batch(&store, 1_000);
    let changes = Changes::default();
    let fresh = Applied { position: 2_000, written_ms: 30_000 };
    store.write(&Batch { changes: vec![&changes], applied: vec![(1, fresh)] }).expect("written");
    let before = state(&store).expect("read");
    drop(store);
    let (store, opened) = RocksStore::open(&aged(61_000)).expect("opened");
    assert_eq!(opened, Opened::Level { stale: Vec::new() }, "60 s are not too old");
    drop(store);
    let (store, opened) = RocksStore::open(&aged(61_001)).expect("opened");
    assert_eq!(opened, Opened::Level { stale: vec![0, 2] });
    assert!(opened.to_string().contains("[0, 2]"));
    let empty = (None, Vec::new());
    assert_eq!(state(&store).expect("read"), [empty.clone(), before[1].clone(), empty]);
    drop(store);
    set_aside(aged(90_001), "it was last written 60s ago, at most 60s can be caught up");
}

#[test]
fn partitions_beyond_the_changelog_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = RocksStore::open(&Options { partitions: u16::MAX, ..options(directory.path()) }).expect("opened");
    let mut changes = Changes::default();
    changes.put(u16::MAX - 1, b"\xff\xff", b"x");
    changes.put(u16::MAX - 2, b"\xff\xff", b"x");
    store.write(&Batch { changes: vec![&changes], applied: Vec::new() }).expect("the last one");
    store.clear(u16::MAX - 1).expect("the last one");
    assert_eq!(scanned(&store, u16::MAX - 1, b"", b"\xff\xff\xff").expect("read"), []);
    assert_eq!(scanned(&store, u16::MAX - 2, b"", b"\xff\xff\xff").expect("read").len(), 1);
    let error = store.clear(u16::MAX).expect_err("beyond");
    assert!(error.message.contains("partition 65535 is asked for, the changelog has only 65535"), "{error}");
    changes.put(u16::MAX, b"k", b"v");
    store.write(&Batch { changes: vec![&changes], applied: Vec::new() }).expect_err("beyond");
    store.applied(u16::MAX).expect_err("beyond");
}

#[test]
fn memory_stays_within_its_budgets() {
    let directory = tempfile::tempdir().expect("a directory");
    let (cache_bytes, write_buffer_bytes) = (4 << 20, 8 << 20);
    let options = Options { cache_bytes, write_buffer_bytes, ..options(directory.path()) };
    let (store, _) = RocksStore::open(&options).expect("opened");
    let value = [0x5a; 4000];
    let mut most = 0;
    for round in 0..200_u64 {
        let mut changes = Changes::default();
        for part in 0..64_u64 {
            let kind = [0x10, 0x20, 0x22, 0x30][part as usize % 4];
            changes.put(0, &[&[kind][..], &(round << 32 | part).to_be_bytes()].concat(), &value);
        }
        let scratch: Vec<_> =
            (0..64_u64).map(|part| ((round << 32 | part).to_be_bytes().to_vec(), value.to_vec())).collect();
        store.scratch_put(&scratch).expect("written");
        store.write(&Batch { changes: vec![&changes], applied: Vec::new() }).expect("written");
        assert_eq!(scanned(&store, 0, b"\x20\0\0\0\0", b"\x20\0\0\0\x01").expect("read").len(), 16);
        most = most.max(store.memory_bytes());
    }
    // A memtable may end in the middle of a batch that began below its bound.
    let slack = 64 * value.len() * 4;
    assert!(most <= cache_bytes + write_buffer_bytes + slack, "{most} bytes");
    assert!(most > write_buffer_bytes / 8, "{most} bytes: the budget was never put to the test");
}

#[test]
fn what_was_condemned_is_set_aside() {
    let directory = with_one_batch();
    let (store, _) = open(directory.path());
    store.condemn("a part of it makes no sense");
    drop(store);
    set_aside(options(directory.path()), "makes no sense");
}
