//! INV-OWNER: an instance that stood still until another had taken over commits nothing when it wakes; one that dies while
//! partitions move takes nothing with it.

use std::time::{Duration, Instant};

use crate::attack_points::{start_to_die, was_killed};
use crate::harness::{App, Random, Service};
use crate::oracle::finish_and_compare;
use crate::oracle_load::{Load, app};
use crate::support::{kafka, wait_until};

const BY_PARTITION: &str = "locality: partition";

/// Sessions and transactions that time out soon, and small fetches, so that a backlog lasts.
const HASTY: &str = "session.timeout.ms: 3000, heartbeat.interval.ms: 500, transaction.timeout.ms: 4000, \
                     fetch.message.max.bytes: 4096";

/// Room for a session and a transaction to time out, and for what follows.
const SOON: Duration = Duration::from_secs(60);

fn app_of(settings: &str, seed: u64) -> (App, Load) {
    let app = app(kafka(), 4, &format!("epoch: 50ms\n{settings}")).properties(HASTY);
    let mut load = Load::new(&app, seed);
    if settings == BY_PARTITION {
        load = load.by_key();
    }
    load.write(10_000);
    (app, load)
}

/// Writes on until all that is written is committed, and more than was when it was called.
fn work_on(app: &App, load: &mut Load, services: &mut [&mut Service]) {
    load.write(500);
    wait_until("all is committed", SOON, || {
        services.iter_mut().for_each(|service| assert!(service.is_running(), "{}", service.log()));
        app.lag() == 0
    });
}

/// Starts an instance that stops itself where `point` says, and waits until it stands.
fn start_to_stop(app: &App, load: &mut Load, point: &str) -> Service {
    let service = start_to_die(app, "one", &format!("{point}:5=stop"));
    wait_until("it has stopped itself", SOON, || {
        load.trickle();
        service.is_stopped()
    });
    service
}

/// The end of the input is that of all partitions: for one that owns them all.
fn finish_alone(app: &App) {
    wait_until("the sessions of all members are over", SOON, || app.kafka.members(&app.id) == 0);
    finish_and_compare(app, BY_PARTITION);
}

/// `one` stops at `point`, `two` takes over, `one` wakes.
fn sleep_through_a_take_over(point: &str, seed: u64) {
    let (app, mut load) = app_of(BY_PARTITION, seed);
    let mut one = start_to_stop(&app, &mut load, point);
    let mut two = app.start("two", &[]);
    work_on(&app, &mut load, &mut [&mut two]);
    one.signal("CONT");
    one.wait_for("starting again from the committed offsets");
    work_on(&app, &mut load, &mut [&mut one, &mut two]);
    for service in [one, two] {
        let finished = service.interrupt();
        assert_eq!(finished.status, Some(0), "{}", finished.log);
    }
    finish_alone(&app);
}

#[test]
fn stopped_before_its_commit_until_another_took_over_it_commits_nothing() {
    sleep_through_a_take_over("epoch.before-commit", 1);
}

#[test]
fn stopped_after_its_commit_until_another_took_over_its_directory_is_only_behind() {
    sleep_through_a_take_over("epoch.committed", 2);
}

#[test]
fn stopped_until_its_own_name_took_over_elsewhere_it_commits_nothing() {
    let (app, mut load) = app_of("", 3);
    let mut first = start_to_stop(&app, &mut load, "epoch.before-commit");
    let mut second = Service::spawn(app.command_in(&app.path("elsewhere"), "one"));
    work_on(&app, &mut load, &mut [&mut second]);
    const TOLD: &str = "another process runs under the same";
    assert!(![&first, &second].iter().any(|service| service.log().contains(TOLD)), "{}", second.log());
    first.signal("CONT");
    first.wait_for("starting again from the committed offsets");
    // Mostly the first: but one whose requests timed out while it slept may come back, and then it is the second that is told.
    wait_until("one of them is told of the other", SOON, || {
        load.trickle();
        [&first, &second].iter().any(|service| service.log().contains(TOLD))
    });
    first.kill();
    work_on(&app, &mut load, &mut [&mut second]);
    let finished = second.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    finish_and_compare(&app, "");
}

/// Lets `one` die at `point`, where partitions are taken from it, and `two` go on alone.
fn die_in_a_rebalance(app: &App, load: &mut Load, point: &str) -> Service {
    let mut two = die_for(app, load, point);
    work_on(app, load, &mut [&mut two]);
    two
}

/// Lets `one` die at `point`, where partitions are taken from it for `two`.
fn die_for(app: &App, load: &mut Load, point: &str) -> Service {
    let mut one = start_to_die(app, "one", point);
    work_on(app, load, &mut [&mut one]);
    loop {
        let two = app.start("two", &[]);
        wait_until("partitions have moved", SOON, || {
            load.trickle();
            !one.is_running() || two.log().contains("going on from it")
        });
        if !one.is_running() {
            let status = one.feed_until_ended(|| {});
            assert!(was_killed(status), "{point}: ended with {status}\n{}", one.log());
            return two;
        }
        // A transaction met the new generation first: `one` began anew and had nothing to give. Once more.
        two.kill();
        wait_until("the session of the other is over", SOON, || app.kafka.members(&app.id) == 1);
    }
}

#[test]
fn killed_while_partitions_move_nothing_goes_with_it() {
    let (app, mut load) = app_of(BY_PARTITION, 4);
    die_in_a_rebalance(&app, &mut load, "revoke.released").kill();
    let mut two = die_in_a_rebalance(&app, &mut load, "revoke.committed");
    let mut one = app.start("one", &[]);
    work_on(&app, &mut load, &mut [&mut one, &mut two]);
    one.kill();
    two.kill();
    finish_alone(&app);
}

#[test]
fn what_a_member_had_given_up_finds_an_owner_though_it_dies_and_is_back_at_once() {
    let (app, mut load) = app_of(BY_PARTITION, 6);
    // Back within its session, it is given its old share by the coordinator, without a rebalance: what it had given up for the
    // other is nobody's. All records of it wait until somebody sees to it.
    let mut two = die_for(&app, &mut load, "revoke.committed");
    let mut one = app.start("one", &[]);
    work_on(&app, &mut load, &mut [&mut one, &mut two]);
    let logs = [one.log(), two.log()];
    assert!(
        logs.iter().any(|log| log.contains("have no owner in the group; staying away")),
        "{}",
        logs.join("\n---\n")
    );
    one.kill();
    two.kill();
    finish_alone(&app);
}

#[test]
fn of_two_that_are_killed_in_turn_each_goes_on_where_the_other_was() {
    let (app, mut load) = app_of(BY_PARTITION, 5);
    let mut random = Random(5);
    let mut running: [Option<Service>; 2] = [None, None];
    for life in 0..16 {
        // Either may have been dead for long, so that its directory is behind for what the other has done meanwhile.
        let (at, name) = if random.below(2) == 0 { (0, "one") } else { (1, "two") };
        match running[at].take() {
            Some(mut service) => {
                assert!(service.is_running(), "{}", service.log());
                service.kill();
            }
            None => running[at] = Some(app.start(name, &[])),
        }
        if life % 4 == 3 {
            let mut up = running.iter_mut().flatten().collect::<Vec<_>>();
            if !up.is_empty() {
                work_on(&app, &mut load, &mut up);
            }
        }
        let until = Instant::now() + Duration::from_millis(random.next() % 2_500);
        while Instant::now() < until {
            load.trickle();
        }
    }
    running.into_iter().flatten().for_each(Service::kill);
    finish_alone(&app);
}
