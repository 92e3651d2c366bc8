//! Disks that fail: full, read-only, unreadable. Each test that needs a disk of its own runs again in a child process that
//! mounts one in namespaces of its own, so that nothing is left behind and no privilege is needed.

use std::env;
use std::process::Command;

use super::*;
use crate::store::memory::MemoryStore;

/// Tells the child where its disk is.
const DISK: &str = "THROUGHLINE_TEST_DISK";

/// Does `work` on a disk of 6 MB in memory. `test` is the calling test's path.
fn on_a_small_disk(test: &str, work: impl FnOnce(&Path)) {
    if let Some(disk) = env::var_os(DISK) {
        work(Path::new(&disk));
        println!("the child is done");
        return;
    }
    let disk = tempfile::tempdir().expect("a directory");
    let script = format!("mount -t tmpfs -o size=6m none \"${DISK}\" && exec \"$0\" --exact {test} --nocapture");
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .arg(env::current_exe().expect("the test binary"))
        .env(DISK, disk.path())
        .output()
        .expect("`unshare` of util-linux is needed to mount a small disk");
    let said = [String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr)].concat();
    assert!(child.status.success() && said.contains("the child is done"), "{said}");
}

fn remount(disk: &Path, how: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk).status().expect("mount");
    assert!(status.success(), "remount,{how}");
}

#[test]
fn a_full_disk_takes_nothing_that_was_written_and_works_again_with_room() {
    on_a_small_disk(
        "store::rocks::tests::disk::a_full_disk_takes_nothing_that_was_written_and_works_again_with_room",
        |disk| {
            // More than half of the disk: what was in the log becomes a table before the log goes, and room for both must be there
            // once the ballast is away.
            let ballast = disk.join("ballast");
            fs::write(&ballast, vec![1; 13 << 18]).expect("room");
            let (store, _) = open(disk);
            let (mirror, mut number) = (MemoryStore::default(), 0);
            // Each batch is about 8 kB, and nothing is ever overwritten.
            let error = loop {
                number += 1;
                let mut changes = Changes::default();
                (0..8_u64).for_each(|part| {
                    changes.put(0, &[&[0x20][..], &(number * 8 + part).to_be_bytes()].concat(), &[7; 1000])
                });
                let applied = Applied { position: number as i64, written_ms: 0 };
                let batch = Batch { changes: vec![&changes], applied: vec![(0, applied)] };
                match store.write(&batch) {
                    Ok(()) => mirror.write(&batch).expect("memory"),
                    Err(error) => break error,
                }
                assert!(number < 10_000, "the disk never fills");
            };
            assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
            for words in ["cannot write a batch", "No space left on device", "; free some space there"] {
                assert!(error.message.contains(words), "`{words}` is not in: {error}");
            }
            assert_eq!(state(&store).expect("read"), state(&mirror).expect("read"), "after {number} batches");
            drop(store);
            // Whether it opens depends on the last bytes of room; if it does, it is right.
            match RocksStore::open(&options(disk)) {
                Ok((store, opened)) => {
                    assert_eq!(opened, Opened::Level { stale: Vec::new() });
                    assert_eq!(state(&store).expect("read"), state(&mirror).expect("read"));
                }
                Err(error) => assert_eq!(error.kind, StoreErrorKind::Full, "{error}"),
            }
            fs::remove_file(ballast).expect("removed");
            let (store, opened) = open(disk);
            assert_eq!(opened, Opened::Level { stale: Vec::new() });
            assert_eq!(state(&store).expect("read"), state(&mirror).expect("read"));
            write_batch(&store, 1);
        },
    );
}

#[test]
fn a_writer_does_not_wait_for_room_and_goes_on_when_there_is_some() {
    let test = "store::rocks::tests::disk::a_writer_does_not_wait_for_room_and_goes_on_when_there_is_some";
    on_a_small_disk(test, |disk| {
        let (store, _) = open(disk);
        write_batch(&store, 1);
        let before = state(&store).expect("read");
        let ballast = disk.join("ballast");
        // As much as there is room for, but for the few blocks that a new log begins with: a table needs more.
        drop(fs::write(&ballast, vec![1; 6 << 20]));
        let length = fs::metadata(&ballast).expect("there").len();
        fs::File::options().write(true).open(&ballast).expect("open").set_len(length - (24 << 10)).expect("cut");
        let mut number = 0_u64;
        let mut put = || {
            number += 1;
            store.scratch_put(&[(number.to_be_bytes().to_vec(), vec![7; 4000])])
        };
        // Without a log only memtables that cannot become tables notice, and RocksDB alone would wait for them.
        let failed = (0..10_000).find_map(|_| put().err()).expect("the disk never fills");
        assert_eq!(failed.kind, StoreErrorKind::Full, "{failed}");
        assert!(failed.message.contains("No space left on device"), "{failed}");
        assert_eq!(state(&store).expect("read"), before);
        fs::remove_file(ballast).expect("removed");
        // RocksDB looks for room every few seconds.
        let again = (0..600).any(|_| {
            thread::sleep(Duration::from_millis(100));
            put().is_ok()
        });
        assert!(again, "there is room again");
        write_batch(&store, 2);
    });
}

#[test]
fn a_read_only_disk_is_refused_in_clear_words() {
    on_a_small_disk("store::rocks::tests::disk::a_read_only_disk_is_refused_in_clear_words", |disk| {
        let (store, _) = open(disk);
        write_batch(&store, 1);
        let before = state(&store).expect("read");
        drop(store);
        remount(disk, "ro");
        for application_id in ["app", "another"] {
            let options = Options { application_id: application_id.to_string(), ..options(disk) };
            let error = RocksStore::open(&options).expect_err("read-only");
            assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
            for words in ["cannot open the store", "Read-only file system", "make it writable", application_id] {
                assert!(error.message.contains(words), "`{words}` is not in: {error}");
            }
        }
        remount(disk, "rw");
        let (store, opened) = open(disk);
        assert_eq!(opened, Opened::Level { stale: Vec::new() });
        assert_eq!(state(&store).expect("read"), before);
    });
}

#[test]
fn a_disk_that_cannot_be_read_is_an_error_and_sets_nothing_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    write_batch(&open(directory.path()).0, 1);
    let current = database(directory.path()).join("CURRENT");
    let kept = fs::read(&current).expect("read");
    fs::remove_file(&current).expect("removed");
    // No address of a process is zero: reading its memory from there is an input/output error.
    std::os::unix::fs::symlink("/proc/self/mem", &current).expect("linked");
    let error = RocksStore::open(&options(directory.path())).expect_err("unreadable");
    assert_eq!(error.kind, StoreErrorKind::Io, "{error}");
    assert!(error.message.contains("Input/output error") && error.message.contains("look at the disk"), "{error}");
    fs::remove_file(&current).expect("removed");
    fs::write(&current, kept).expect("written");
    assert_eq!(open(directory.path()).1, Opened::Level { stale: Vec::new() });
}

#[test]
fn a_place_where_no_directory_can_be_is_an_error() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = RocksStore::open(&options(file.path())).expect_err("a file is no directory");
    assert_eq!(error.kind, StoreErrorKind::Io, "{error}");
    assert!(error.message.contains("Not a directory") && error.message.contains("/app"), "{error}");
}
