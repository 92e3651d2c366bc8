//! Disks that fail under a running service: it says so in one line, keeps what is committed, goes on from memory or stops
//! cleanly where it cannot, and what comes out in the end is what must.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use throughline::fault::ENVIRONMENT;

use crate::harness::{App, Service};
use crate::oracle::finish_and_compare_with;
use crate::oracle_load::{INPUT, Load, RULES, WIDE};
use crate::support::{kafka, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// The system's numbers for: input/output error, no space left, read-only file system.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// The least there may be: less than the state of [`KEYS`] takes.
const LITTLE_MEMORY: &str = "state: {memory: 16MiB}";
const KEYS: usize = 20_000;

/// As many as a short run finds something for.
const FEW_KEYS: usize = 300;

/// What is said when the disk takes no more.
const LEFT_BEHIND: &str = "state can no longer be written to disk";

/// Rules of every kind, and one that keeps more than fits in little memory.
fn rules() -> String {
    [RULES, WIDE].concat()
}

/// An application with small fetches, so that its epochs are many.
fn app_of(seed: u64, settings: &str, keys: usize) -> (App, Load) {
    let settings = format!("epoch: 50ms\nworkers: {{shards: 1, sources: 1}}\n{settings}");
    let app = App::new(kafka(), 4, &rules()).input(INPUT).settings(&settings);
    let app = app.properties("fetch.message.max.bytes: 4096");
    let load = Load::new(&app, seed).wide(keys);
    (app, load)
}

fn start_with(app: &App, fault: &str) -> Service {
    let mut command = app.command("one");
    command.env(ENVIRONMENT, fault);
    Service::spawn(command)
}

/// Writes until all that is written is committed.
fn work_on(app: &App, load: &mut Load, service: &mut Service, records: usize) {
    for _ in 0..records / 2_000 {
        load.write(2_000);
    }
    wait_until("all is committed", SOON, || {
        assert!(service.is_running(), "{}", service.log());
        app.lag() == 0
    });
}

/// Lines of the log with these words.
fn said<'a>(log: &'a str, words: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(words)).collect()
}

/// The disk fails at some time while it works: it goes on, and says so once.
fn goes_on(app: &App, load: &mut Load, mut service: Service, why: &str) {
    wait_until("the disk fails", SOON, || {
        load.trickle();
        assert!(service.is_running(), "{}", service.log());
        service.log().contains(LEFT_BEHIND)
    });
    work_on(app, load, &mut service, 4_000);
    let finished = service.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    let lines = said(&finished.log, LEFT_BEHIND);
    assert_eq!(lines.len(), 1, "one line:\n{}", finished.log);
    assert!(lines[0].contains(why), "`{why}`: {}", lines[0]);
    finish_and_compare_with(app, &rules(), "");
}

/// What it needs of the disk is more than the disk gives: it stops, and says why.
fn stops(app: &App, load: &mut Load, fault: &str, why: &str) {
    let mut service = start_with(app, fault);
    let status = service.feed_until_ended(|| {
        load.write(1_000);
        load.trickle();
    });
    assert_eq!(status.code(), Some(3), "{}", service.log());
    let log = service.log();
    let end: Vec<&str> = said(&log, "error: ");
    assert_eq!(end.len(), 1, "one line:\n{log}");
    assert!(end[0].contains(why), "`{why}`: {}", end[0]);
    assert!(!log.contains("damaged"), "a disk that fails has damaged nothing:\n{log}");
    finish_and_compare_with(app, &rules(), "");
}

#[test]
fn a_disk_that_takes_no_more_is_left_behind_and_caught_up_later() {
    for (seed, number, why) in [(1, EIO, "Input/output error"), (2, EROFS, "Read-only file system")] {
        let (app, mut load) = app_of(seed, "", FEW_KEYS);
        load.write(4_000);
        let service = start_with(&app, &format!("store.write:20=fail:{number}"));
        goes_on(&app, &mut load, service, why);
    }
}

#[test]
fn a_disk_that_fills_is_left_behind_and_what_was_on_it_is_not_missed() {
    let (app, mut load) = app_of(3, "", FEW_KEYS);
    load.write(4_000);
    // A disk in memory, in a mount namespace of its own: it goes with the process.
    let state = app.state("one");
    fs::create_dir_all(&state).expect("a place to mount on");
    let run = app.command("one");
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=16m none \"$0\" && exec \"$@\"";
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(&state);
    command.arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut service = Service::spawn(command);
    work_on(&app, &mut load, &mut service, 2_000);
    // The process's own view of the files.
    let own = PathBuf::from(format!("/proc/{}/root", service.pid())).join(state.strip_prefix("/").expect("absolute"));
    assert!(own.join(&app.id).is_dir(), "its state is on its own disk");
    let full = fs::write(own.join("ballast"), vec![1; 32 << 20]).expect_err("it fills");
    assert_eq!(full.raw_os_error(), Some(ENOSPC));
    goes_on(&app, &mut load, service, "No space left on device");
}

#[test]
fn without_a_disk_it_stops_before_it_takes_more_memory_than_it_may() {
    let (app, mut load) = app_of(4, LITTLE_MEMORY, KEYS);
    stops(&app, &mut load, &format!("store.write:20=fail:{EIO}"), "are its share of state.memory");
}

#[test]
fn scratch_space_that_takes_no_more_stops_it() {
    let (app, mut load) = app_of(5, LITTLE_MEMORY, KEYS);
    stops(&app, &mut load, &format!("store.scratch:2=fail:{ENOSPC}"), "No space left on device");
}

#[test]
fn a_key_that_cannot_be_read_back_stops_it() {
    let (app, mut load) = app_of(6, LITTLE_MEMORY, KEYS);
    // Past what a start reads.
    stops(&app, &mut load, &format!("store.read:300=fail:{EIO}"), "Input/output error");
}

#[test]
fn a_slow_disk_makes_it_slow_and_nothing_else() {
    let (app, mut load) = app_of(7, LITTLE_MEMORY, KEYS);
    for fault in ["store.read:300=slow:1", "store.write=slow:50", "store.write:5=sleep:13000"] {
        let mut service = start_with(&app, fault);
        work_on(&app, &mut load, &mut service, 40_000);
        let finished = service.interrupt();
        assert_eq!(finished.status, Some(0), "{fault}\n{}", finished.log);
        let waits = said(&finished.log, "has been waiting for the disk").len();
        assert_eq!(waits, usize::from(fault.contains("sleep")), "{fault}\n{}", finished.log);
    }
    finish_and_compare_with(&app, &rules(), "");
}

/// Turns over one byte in each 256 of every table and log, in place.
fn flip_everything(app: &App) {
    let database = app.state("one").join(&app.id).join("db");
    for entry in fs::read_dir(database).expect("a database") {
        let path = entry.expect("entry").path();
        let ours = path.extension().is_some_and(|kind| kind == "sst" || kind == "log");
        // It may be gone meanwhile, by a compaction.
        let Some(mut file) = ours.then(|| fs::File::options().read(true).write(true).open(&path).ok()).flatten() else {
            continue;
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("readable");
        for at in (0..bytes.len()).step_by(256) {
            file.seek(SeekFrom::Start(at as u64)).expect("sought");
            file.write_all(&[bytes[at] ^ 0x55]).expect("written");
        }
    }
}

#[test]
fn bytes_that_flip_under_it_are_noticed_and_state_is_rebuilt_while_it_runs() {
    let (app, mut load) = app_of(8, LITTLE_MEMORY, KEYS);
    let mut service = app.start("one", &[]);
    work_on(&app, &mut load, &mut service, 60_000);
    flip_everything(&app);
    let rebuilt = "state on disk is damaged; it is set aside and rebuilt";
    wait_until("it meets the damage", SOON, || {
        load.trickle();
        assert!(service.is_running(), "{}", service.log());
        service.log().contains(rebuilt)
    });
    work_on(&app, &mut load, &mut service, 20_000);
    let finished = service.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    assert_eq!(said(&finished.log, rebuilt).len(), 1, "{}", finished.log);
    finish_and_compare_with(&app, &rules(), "");
}
