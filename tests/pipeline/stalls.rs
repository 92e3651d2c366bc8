//! INV-LIVE of the process itself: a thread that stands still ends it within seconds, and the next life goes on as if nothing had
//! been.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use crate::attack_points::start_to_die;
use crate::harness::Service;
use crate::oracle::finish_and_compare;
use crate::oracle_load::{Load, app};
use crate::support::{kafka, wait_until};

/// SIGABRT.
const ABORTED: i32 = 6;

const SOON: Duration = Duration::from_secs(60);

/// It ended because of this thread, and said so.
fn aborted_for(service: &mut Service, thread: &str, feed: impl FnMut()) {
    let status = service.feed_until_ended(feed);
    let log = service.log();
    assert_eq!(status.signal(), Some(ABORTED), "{thread}: ended with {status}\n{log}");
    let said: Vec<&str> = log.lines().filter(|line| line.contains("stands still")).collect();
    assert_eq!(said.len(), 1, "one clear line:\n{log}");
    assert!(said[0].contains(thread) && said[0].contains("start it again"), "{thread}: {}", said[0]);
}

#[test]
fn a_thread_that_stands_still_aborts_the_process_which_then_goes_on_where_it_was() {
    let app = app(kafka(), 4, "epoch: 50ms\nworkers: {shards: 2, sources: 2}");
    let mut load = Load::new(&app, 1);
    load.write(4_000);
    for (point, thread) in [("source.barrier", "source-"), ("shard.persist", "shard-"), ("epoch.begun", "transactor")] {
        // Longer than the test has patience: that it ends is not that it woke up.
        let mut service = start_to_die(&app, "one", &format!("{point}:5=sleep:600000"));
        aborted_for(&mut service, thread, || load.trickle());
    }
    finish_and_compare(&app, "");
}

#[test]
fn a_group_thread_that_stands_still_in_a_rebalance_gives_its_partitions_free() {
    let settings = "locality: partition";
    let app = app(kafka(), 4, &format!("epoch: 50ms\n{settings}"));
    let app = app.properties("session.timeout.ms: 3000, heartbeat.interval.ms: 500, transaction.timeout.ms: 4000");
    let mut load = Load::new(&app, 2).by_key();
    load.write(4_000);
    let mut one = start_to_die(&app, "one", "revoke.released=sleep:600000");
    wait_until("all is committed", SOON, || app.lag() == 0);
    let mut two = loop {
        let two = app.start("two", &[]);
        wait_until("partitions are asked for, or have moved", SOON, || {
            load.trickle();
            !one.is_running() || two.log().contains("going on from it")
        });
        if !one.is_running() {
            break two;
        }
        // A transaction met the new generation first: `one` began anew and had nothing to give. Once more.
        two.kill();
        wait_until("the session of the other is over", SOON, || app.kafka.members(&app.id) == 1);
    };
    aborted_for(&mut one, "group", || {});
    load.write(500);
    wait_until("the other has it all", SOON, || {
        assert!(two.is_running(), "{}", two.log());
        app.lag() == 0
    });
    two.kill();
    wait_until("the sessions of all members are over", SOON, || app.kafka.members(&app.id) == 0);
    finish_and_compare(&app, settings);
}

#[test]
fn a_drain_that_does_not_end_is_ended_by_its_deadline_and_nothing_is_lost() {
    let app = app(kafka(), 4, "epoch: 50ms\ndrain_timeout: 2s");
    let mut load = Load::new(&app, 3);
    load.write(4_000);
    // A transaction hangs for longer than the test has patience.
    let service = start_to_die(&app, "one", "epoch.begun:5=sleep:600000");
    wait_until("something is committed", SOON, || {
        load.trickle();
        app.lag() < 4_000
    });
    // Twenty epochs long: the hanging one has come.
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        load.trickle();
    }
    service.signal("TERM");
    let asked = Instant::now();
    let finished = service.wait();
    let took = asked.elapsed();
    assert_eq!(finished.status, Some(3), "{}", finished.log);
    assert!(finished.log.contains("the drain took longer than drain_timeout allows"), "{}", finished.log);
    // The deadline, what a thread that hangs is waited for, and what a loaded machine takes.
    assert!((Duration::from_secs(2)..Duration::from_secs(20)).contains(&took), "after {took:?}:\n{}", finished.log);
    finish_and_compare(&app, "");
}
