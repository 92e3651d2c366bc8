//! A start on what it should not have found: damaged files, a directory of someone else, a changelog or offsets that are
//! gone or were changed. Either all goes on as if nothing had been, or it is refused with advice, and nothing is touched.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::attack_random::copy_directory;
use crate::harness::App;
use crate::oracle::finish_and_compare;
use crate::oracle_load::{Load, app};
use crate::support::{kafka, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// An application with small fetches, so that a backlog lasts, and sessions that are soon over.
fn app_of(seed: u64, settings: &str) -> (App, Load) {
    let hasty = "session.timeout.ms: 3000, heartbeat.interval.ms: 500, fetch.message.max.bytes: 4096";
    let app = app(kafka(), 4, &format!("epoch: 50ms\n{settings}")).properties(hasty);
    let load = Load::new(&app, seed);
    (app, load)
}

/// Runs until something more is committed, then kills it. Gives what it said.
fn live(app: &App, load: &mut Load) -> String {
    load.write(2_000);
    let before = app.lag();
    let mut service = app.start("one", &[]);
    wait_until("it commits something", SOON, || {
        assert!(service.is_running(), "{}", service.log());
        app.lag() < before
    });
    let log = service.log();
    service.kill();
    log
}

/// Runs to the end and must be refused. Gives what it said.
fn refused(app: &App) -> String {
    let before = app.kafka.committed(&app.id, &app.topic);
    let finished = app.start("one", &["--until-end"]).wait();
    assert_eq!(finished.status, Some(2), "{}", finished.log);
    assert_eq!(app.kafka.committed(&app.id, &app.topic), before, "it touched nothing");
    finished.log
}

fn database(app: &App) -> PathBuf {
    app.state("one").join(&app.id).join("db")
}

fn files(app: &App, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(database(app)).expect("a database").map(|entry| entry.expect("entry").path());
    entries.filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted)).collect()
}

/// Turns over one byte in each 256 of some eighths of a file.
fn flip(path: &PathBuf, eighths: std::ops::Range<usize>) {
    let mut bytes = fs::read(path).expect("readable");
    let (from, to) = (bytes.len() * eighths.start / 8, bytes.len() * eighths.end / 8);
    bytes[from..to].iter_mut().step_by(256).for_each(|byte| *byte ^= 0x55);
    fs::write(path, bytes).expect("written");
}

fn tables(app: &App) -> Vec<PathBuf> {
    let tables = files(app, |name| name.ends_with(".sst"));
    assert!(!tables.is_empty(), "there are tables");
    tables
}

fn logs(app: &App) -> Vec<PathBuf> {
    files(app, |name| name.ends_with(".log"))
}

/// A damage: what, how it is done, and what is said of it. A log whose end is missing is as good as one that is behind.
type Damage = (&'static str, fn(&App), &'static str);

const DAMAGES: [Damage; 6] = [
    (
        "the data in the largest table",
        |app| {
            let size = |path: &PathBuf| fs::metadata(path).expect("there").len();
            flip(&tables(app).into_iter().max_by_key(size).expect("a table"), 0..4);
        },
        "damaged; it is set aside",
    ),
    ("what tables end with", |app| tables(app).iter().for_each(|path| flip(path, 4..8)), "was moved to"),
    ("the middle of the log", |app| logs(app).iter().for_each(|path| flip(path, 4..5)), "usable"),
    (
        "the manifest",
        |app| {
            let manifests = files(app, |name| name.starts_with("MANIFEST"));
            assert!(!manifests.is_empty(), "there is a manifest");
            manifests.iter().for_each(|path| fs::remove_file(path).expect("removed"));
        },
        "was moved to",
    ),
    ("a table", |app| fs::remove_file(&tables(app)[0]).expect("removed"), "was moved to"),
    (
        "the end of the log",
        |app| {
            for path in logs(app) {
                let bytes = fs::read(&path).expect("readable");
                fs::write(&path, &bytes[..bytes.len() * 2 / 3]).expect("written");
            }
        },
        "usable",
    ),
];

#[test]
fn a_damaged_directory_is_rebuilt_from_the_changelog() {
    let (app, mut load) = app_of(1, "");
    live(&app, &mut load);
    for (what, damage, said) in DAMAGES {
        // The second start leaves tables behind, not only a log.
        live(&app, &mut load);
        live(&app, &mut load);
        damage(&app);
        let log = live(&app, &mut load);
        assert!(log.contains(said), "{what}:\n{log}");
    }
    finish_and_compare(&app, "");
}

#[test]
fn a_part_that_makes_no_sense_is_rebuilt_from_the_changelog() {
    let (app, mut load) = app_of(6, "");
    live(&app, &mut load);
    // Its checksum is right: only who reads the part itself can tell.
    let options = rocksdb::Options::default();
    let families = rocksdb::DB::list_cf(&options, database(&app)).expect("families");
    let db = rocksdb::DB::open_cf(&options, database(&app), families).expect("a database");
    let warm = db.cf_handle("warm").expect("warm");
    let kind_of = |key: &[u8]| key.get(2).copied();
    let parts = db.iterator_cf(warm, rocksdb::IteratorMode::Start).map(|entry| entry.expect("readable").0);
    let part = parts.into_iter().find(|key| kind_of(key) == Some(0x20)).expect("a rule's state");
    db.put_cf(warm, part, [1, 0xff]).expect("written");
    drop(db);
    let log = live(&app, &mut load);
    assert!(log.contains("cannot be read") && log.contains("it is set aside and rebuilt"), "{log}");
    // So much that every kind of rule finds something.
    load.write(8_000);
    finish_and_compare(&app, "");
}

#[test]
fn a_directory_of_another_application_is_refused_and_left_alone() {
    let (app, mut load) = app_of(2, "");
    let (other, mut of_other) = app_of(3, "");
    live(&app, &mut load);
    live(&other, &mut of_other);
    let own = app.path("own");
    fs::rename(app.state("one").join(&app.id), &own).expect("moved");
    copy_directory(&other.state("one").join(&other.id), &app.state("one").join(&app.id));
    let log = refused(&app);
    assert!(log.contains(&other.id) && log.contains("name another state directory"), "{log}");
    fs::remove_dir_all(app.state("one").join(&app.id)).expect("removed");
    fs::rename(&own, app.state("one").join(&app.id)).expect("moved back");
    finish_and_compare(&app, "");
}

#[test]
fn a_changelog_that_was_deleted_is_missed() {
    for settings in ["", "locality: partition"] {
        let (app, mut load) = app_of(4, settings);
        if !settings.is_empty() {
            load = load.by_key();
        }
        live(&app, &mut load);
        app.kafka.delete_topic(&format!("{}-changelog", app.id));
        for _ in 0..2 {
            let log = refused(&app);
            assert!(log.contains("do not belong together") && log.contains("another application_id"), "{log}");
        }
    }
}

#[test]
fn offsets_that_were_reset_are_refused_and_offsets_that_are_gone_are_known() {
    for settings in ["", "locality: partition"] {
        let (app, mut load) = app_of(5, settings);
        if !settings.is_empty() {
            load = load.by_key();
        }
        live(&app, &mut load);
        wait_until("nobody is in the group", SOON, || app.kafka.members(&app.id) == 0);
        let stood = app.kafka.committed(&app.id, &app.topic);
        let (partition, (offset, _)) =
            stood.iter().max_by_key(|(_, (offset, _))| *offset).expect("something committed");
        app.kafka.reset_offset(&app.id, &app.topic, *partition, offset / 2);
        let log = refused(&app);
        assert!(log.contains("do not belong together") && log.contains("--delete-offsets"), "{log}");
        wait_until("nobody is in the group", SOON, || app.kafka.members(&app.id) == 0);
        app.kafka.delete_group(&app.id);
        assert!(app.kafka.committed(&app.id, &app.topic).is_empty());
        load.write(1_000);
        finish_and_compare(&app, settings);
    }
}
