//! INV-ONCE under kill -9 at random moments of a life: on the directory as it was left, on none, on an old copy of it, and
//! on a changelog that was compacted meanwhile.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{App, Random, Service};
use crate::oracle::finish_and_compare;
use crate::oracle_load::{Load, app};
use crate::support::{kafka, wait_until};

const SETTINGS: &str = "epoch: 50ms";

/// What waits at first, fetched in small pieces.
const BACKLOG: usize = 20_000;

/// How long a changelog that is compacted eagerly keeps tombstones: a directory older than half of this is of no use, it
/// holds what they deleted.
const TOMBSTONES_KEPT: Duration = Duration::from_secs(2);

/// One application that is killed again and again.
struct Victim {
    app: App,
    load: Load,
    random: Random,
    /// Committed offsets, summed up.
    committed: i64,
}

impl Victim {
    fn new(seed: u64) -> Victim {
        let app = app(kafka(), 4, SETTINGS).properties("fetch.message.max.bytes: 4096");
        let mut load = Load::new(&app, seed);
        load.write(BACKLOG / 2);
        load.write_aborted(&app);
        load.write(BACKLOG / 2);
        Victim { app, load, random: Random(seed), committed: 0 }
    }

    /// Starts on any number of threads: state is cut by keys, not by shards.
    fn start(&mut self) -> Service {
        let mut command = self.app.command("one");
        command.env("THROUGHLINE_WORKERS__SHARDS", (1 + self.random.below(3)).to_string());
        command.env("THROUGHLINE_WORKERS__SOURCES", (1 + self.random.below(3)).to_string());
        Service::spawn(command)
    }

    /// Lives on load for a while and is killed: one time in two after it has committed something.
    fn live(&mut self) {
        let mut service = self.start();
        let mut for_ms = self.random.below(1_000);
        if self.random.below(2) == 0 {
            let before = self.committed;
            wait_until("it commits something", Duration::from_secs(60), || {
                assert!(service.is_running(), "{}", service.log());
                self.load.trickle();
                self.look();
                self.committed > before
            });
            for_ms /= 4;
        }
        let until = Instant::now() + Duration::from_millis(for_ms as u64);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if left > Duration::from_millis(60) {
                self.load.trickle();
            } else {
                std::thread::sleep(left);
            }
        }
        assert!(service.is_running(), "{}", service.log());
        service.kill();
        self.look();
    }

    /// Looks where the group stands.
    fn look(&mut self) {
        let now = self.app.kafka.committed(&self.app.id, &self.app.topic).values().map(|(offset, _)| offset).sum();
        assert!(now >= self.committed, "committed offsets never go back");
        self.committed = now;
    }

    /// Replaces the directory by an old copy of it.
    fn put_back(&self, copy: &Path) {
        self.lose_directory();
        copy_directory(copy, &self.app.state("one"));
    }

    fn lose_directory(&self) {
        let directory = self.app.state("one");
        if directory.exists() {
            fs::remove_dir_all(directory).expect("removed");
        }
    }
}

/// Copies a directory whole.
pub fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("directory");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[test]
fn killed_a_hundred_times_under_load_the_output_is_that_of_one_run() {
    let mut victim = Victim::new(100);
    for _ in 0..100 {
        victim.live();
    }
    finish_and_compare(&victim.app, "");
}

#[test]
fn with_its_directory_lost_or_replaced_by_an_old_one_the_output_is_that_of_one_run() {
    let mut victim = Victim::new(200);
    let copy = victim.app.path("copy");
    for life in 0..20 {
        victim.live();
        match life % 5 {
            1 => victim.lose_directory(),
            2 => {
                // Renewed now and then, so that some are old and some are older.
                if copy.exists() && life > 10 {
                    fs::remove_dir_all(&copy).expect("removed");
                }
                if !copy.exists() {
                    copy_directory(&victim.app.state("one"), &copy);
                }
            }
            4 => victim.put_back(&copy),
            _ => {}
        }
    }
    finish_and_compare(&victim.app, "");
}

#[test]
fn with_the_changelog_compacted_the_output_is_that_of_one_run() {
    let mut victim = Victim::new(300);
    let log = format!("{}-changelog", victim.app.id);
    let eager = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "200"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "300"),
        ("delete.retention.ms", &TOMBSTONES_KEPT.as_millis().to_string()),
    ];
    victim.app.kafka.create_topic(&log, 4, &eager);
    let copy = victim.app.path("copy");
    let mut copied = Instant::now();
    for round in 0..3 {
        for _ in 0..2 {
            victim.live();
        }
        let service = victim.start();
        wait_until("most of the changelog is compacted", Duration::from_secs(60), || {
            victim.load.trickle();
            let stored = victim.app.kafka.read_committed(&log).len() as i64;
            let written: i64 = victim.app.kafka.end_offsets(&log).values().sum();
            stored > 0 && stored * 2 < written && copied.elapsed() > TOMBSTONES_KEPT
        });
        service.kill();
        if round == 1 {
            copy_directory(&victim.app.state("one"), &copy);
            copied = Instant::now();
        }
        victim.lose_directory();
    }
    victim.put_back(&copy);
    let finished = victim.app.start("one", &["--until-end"]).wait();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    assert!(finished.log.contains("can be caught up"), "the old copy is set aside:\n{}", finished.log);
    finish_and_compare(&victim.app, "");
}
