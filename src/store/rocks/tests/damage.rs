//! Damage: bytes that flip, files that end early or are gone. Whatever is hit, the store gives the state of some moment of
//! its past with that moment's positions, or an error, or nothing; never anything else.

use super::*;

const BATCHES: i64 = 60;
const SHORT: i64 = 3;

/// What a store looked like after each batch; before the first it was empty.
fn history() -> Vec<State> {
    let store = crate::store::memory::MemoryStore::default();
    (0..=BATCHES)
        .map(|number| {
            if number > 0 {
                write_batch(&store, number);
            }
            state(&store).expect("read")
        })
        .collect()
}

/// Brings everything to the last level.
fn compact(store: &RocksStore) {
    for family in Family::ALL.map(|family| store.family(family).expect("there")) {
        store.db.flush_cf(family).expect("flushed");
        store.db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
    }
}

/// Directories as they are left: by a crash, with much in the log; closed after long, with all in tables of the last level;
/// closed after a short run, with one new table a family.
struct Images {
    crashed: tempfile::TempDir,
    closed: tempfile::TempDir,
    short: tempfile::TempDir,
    history: Vec<State>,
}

impl Images {
    fn new() -> Images {
        let (crashed, closed, short) = (directory_in_memory(), directory_in_memory(), directory_in_memory());
        let (store, _) = open(closed.path());
        for number in 1..=BATCHES {
            write_batch(&store, number);
            match BATCHES - number {
                // RocksDB sleeps for a second whenever a compaction meets damage: none is left to do.
                10 => compact(&store),
                // From here on one family is on disk while the log has the rest.
                5 => store.db.flush_cf(store.family(Family::Warm).expect("warm")).expect("flushed"),
                _ => {}
            }
        }
        settle(&store);
        copy(&database(closed.path()), &database(crashed.path()));
        drop(store);
        let (store, _) = open(short.path());
        (1..=SHORT).for_each(|number| write_batch(&store, number));
        drop(store);
        let images = Images { crashed, closed, short, history: history() };
        for (image, number) in [(&images.crashed, BATCHES), (&images.closed, BATCHES), (&images.short, SHORT)] {
            assert_eq!(images.judge(image.path(), |_| {}, "untouched"), Outcome::Right(number as usize));
        }
        images
    }

    /// Damages a copy of an image, opens it and judges what comes of it.
    fn judge(&self, image: &Path, damage: impl FnOnce(&Path), what: &str) -> Outcome {
        let directory = directory_in_memory();
        let database = database(directory.path());
        copy(&super::database(image), &database);
        damage(&database);
        let outcome = match RocksStore::open(&options(directory.path())) {
            Err(error) => {
                assert_ne!(error.kind, StoreErrorKind::Locked, "{what}: {error}");
                Outcome::Refused
            }
            Ok((store, Opened::Level { .. })) => match state(&store) {
                Ok(found) => {
                    let at = found[0].0.map_or(0, |position| position as usize);
                    assert_eq!(found, self.history[at], "{what}");
                    self.by_key(&store, at, what)
                }
                Err(error) => Outcome::Met(error),
            },
            Ok((store, Opened::SetAside { moved_to, .. })) => {
                assert!(moved_to.is_dir(), "{what}");
                assert_eq!(state(&store).expect("read"), self.history[0], "{what}");
                Outcome::SetAside
            }
            Ok((_, Opened::Fresh)) => panic!("{what}: begun anew over what was there"),
        };
        if let Outcome::Met(error) = &outcome {
            assert_eq!(error.kind, StoreErrorKind::Corrupt, "{what}: {error}");
            let (store, opened) = open(directory.path());
            assert!(matches!(&opened, Opened::SetAside { .. }), "{what}: damage that was met is set aside: {opened}");
            assert_eq!(state(&store).expect("read"), self.history[0], "{what}");
        }
        outcome
    }

    /// Reads key by key, which goes by the filters.
    fn by_key(&self, store: &RocksStore, at: usize, what: &str) -> Outcome {
        for (partition, (_, parts)) in (0..).zip(&self.history[at]) {
            for (key, _) in parts {
                let end = [&key[..9], &[0xff]].concat();
                match scanned(store, partition, &key[..9], &end) {
                    Ok(found) => assert!(found.iter().any(|(other, _)| other == key), "{what}: {key:?} is not found"),
                    Err(error) => return Outcome::Met(error),
                }
            }
        }
        Outcome::Right(at)
    }

    /// Does a damage to each file of the images, and tells what came of it by the file's type.
    fn each_file(&self, damage: impl Fn(&Path, &str) -> Vec<(Outcome, String)>) -> Tally {
        let mut tally = Tally::default();
        for image in [&self.crashed, &self.closed, &self.short] {
            for entry in fs::read_dir(database(image.path())).expect("list") {
                let name = entry.expect("entry").file_name().into_string().expect("text");
                // RocksDB's own diary, and the lock, are not read.
                if !name.starts_with("LO") {
                    tally.outcomes.extend(damage(image.path(), &name));
                }
            }
        }
        tally
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    /// The state after so many batches.
    Right(usize),
    /// The open was refused.
    Refused,
    /// The open set it aside.
    SetAside,
    /// Reading met the damage.
    Met(StoreError),
}

/// What came of each damage, and to which file it was done.
#[derive(Default)]
struct Tally {
    outcomes: Vec<(Outcome, String)>,
}

impl Tally {
    fn any(&self, file: &str, wanted: impl Fn(&Outcome) -> bool) -> bool {
        self.outcomes.iter().any(|(outcome, name)| name.contains(file) && wanted(outcome))
    }

    fn none_refused(&self) {
        let refused = |(outcome, name): &(Outcome, String)| (*outcome == Outcome::Refused).then(|| name.clone());
        let refused: Vec<_> = self.outcomes.iter().filter_map(refused).collect();
        assert!(refused.is_empty(), "damage is no reason to refuse: {refused:?}");
    }
}

#[test]
fn flipped_bytes_are_never_taken_for_data() {
    let images = Images::new();
    let tally = images.each_file(|image, name| {
        let size = fs::metadata(database(image).join(name)).expect("there").len() as usize;
        let places =
            if name.ends_with("sst") || name.ends_with("log") || name.starts_with("MANIFEST") { 10 } else { 2 };
        let mut outcomes = Vec::new();
        for place in 0..places.min(size) {
            // Spread evenly, the first and the last byte among them.
            let at = place * (size - 1) / (places.min(size) - 1).max(1);
            let flip = |database: &Path| {
                let mut bytes = fs::read(database.join(name)).expect("read");
                bytes[at] ^= 0x41;
                fs::write(database.join(name), bytes).expect("write");
            };
            outcomes.push((images.judge(image, flip, &format!("byte {at} of {name}")), name.to_string()));
        }
        outcomes
    });
    tally.none_refused();
    assert!(tally.any("sst", |outcome| matches!(outcome, Outcome::Met(_))), "a block");
    assert!(tally.any("log", |outcome| matches!(outcome, Outcome::Right(at) if *at < BATCHES as usize)), "the log");
    assert!(tally.any("MANIFEST", |outcome| *outcome == Outcome::SetAside));
    assert!(tally.any("CURRENT", |outcome| *outcome == Outcome::SetAside));
    assert!(tally.any("OPTIONS", |outcome| *outcome == Outcome::Right(BATCHES as usize)), "which nobody reads");
}

#[test]
fn files_that_end_early_are_never_taken_for_whole() {
    let images = Images::new();
    let tally = images.each_file(|image, name| {
        let size = fs::metadata(database(image).join(name)).expect("there").len();
        // The manifest is where a cut does the most harm: families that go back to different moments.
        let pieces = if name.starts_with("MANIFEST") { 48 } else { 4 };
        let lengths = (0..pieces).map(|piece| size * piece / pieces).chain([1, size.saturating_sub(1)]);
        let cut = |length| {
            let cut = |database: &Path| {
                let file = fs::File::options().write(true).open(database.join(name)).expect("open");
                file.set_len(length).expect("cut");
            };
            (images.judge(image, cut, &format!("{name} cut to {length} bytes")), name.to_string())
        };
        lengths.filter(|length| *length < size).map(cut).collect()
    });
    tally.none_refused();
    assert!(tally.any("sst", |outcome| *outcome == Outcome::SetAside), "sizes are checked at the open");
    assert!(tally.any("log", |outcome| matches!(outcome, Outcome::Right(at) if *at < BATCHES as usize)), "the log");
    assert!(tally.any("MANIFEST", |outcome| *outcome == Outcome::SetAside));
}

#[test]
fn files_that_are_gone_are_missed() {
    let images = Images::new();
    let tally = images.each_file(|image, name| {
        let remove = |database: &Path| fs::remove_file(database.join(name)).expect("removed");
        vec![(images.judge(image, remove, &format!("{name} removed")), name.to_string())]
    });
    tally.none_refused();
    for file in ["sst", "MANIFEST", "CURRENT"] {
        assert!(!tally.any(file, |outcome| *outcome != Outcome::SetAside), "{file}");
    }
}

#[test]
fn verify_finds_what_no_one_has_read_yet() {
    let images = Images::new();
    let directory = tempfile::tempdir().expect("a directory");
    copy(&database(images.closed.path()), &database(directory.path()));
    let (store, _) = open(directory.path());
    store.verify().expect("whole");
    drop(store);
    let files = fs::read_dir(database(directory.path())).expect("list").map(|entry| entry.expect("entry").path());
    let tables = files.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    // The largest is one of parts, which the open does not read.
    let name = tables.max_by_key(|path| fs::metadata(path).expect("there").len()).expect("a table");
    let mut bytes = fs::read(&name).expect("read");
    bytes[5] ^= 1;
    fs::write(&name, bytes).expect("write");
    let (store, opened) = open(directory.path());
    assert_eq!(opened, Opened::Level { stale: Vec::new() });
    let error = store.verify().expect_err("damaged");
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    assert!(error.message.contains("checksum") && error.message.contains("restart"), "{error}");
    drop(store);
    assert!(matches!(open(directory.path()).1, Opened::SetAside { reason, .. } if reason.contains("checksum")));
}
