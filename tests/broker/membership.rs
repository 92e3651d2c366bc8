//! Members coming and going, crashing, and being pushed out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use throughline::broker::kafka::KafkaBroker;
use throughline::broker::{Broker, ErrorKind, TopicPartition};

use crate::member::{Member, SOON, State, at, broker, position, settings, subscription};
use crate::support::client::NewRecord;
use crate::support::{kafka, unique, wait_until};

/// Short enough that the partitions of a member that left are free again within the test.
pub fn quick(app: &str, instance: &str) -> KafkaBroker {
    let mut settings = settings(kafka(), app, instance);
    settings.properties.insert("session.timeout.ms".into(), "1500".into());
    settings.properties.insert("heartbeat.interval.ms".into(), "300".into());
    KafkaBroker::new(settings).expect("settings")
}

#[test]
fn a_restart_under_the_same_name_goes_on_at_once() {
    let (topic, app) = (unique("restart"), unique("app"));
    kafka().create_topic(&topic, 3, &[]);
    kafka().produce(&topic, (0..30).map(|n| NewRecord::value(n.to_string()).to(n % 3)));
    let broker = broker(kafka(), &app, "one");
    let member = Member::join(&broker, &subscription(&[&topic]));
    member.wait_held(3);
    member.drain_until("all records", |held| held.values().all(|h| h.records.len() == 10));
    member.handle.commit(&member.positions()).expect("commit");
    member.crash();
    let crashed = Instant::now();
    kafka().produce(&topic, (0..3).map(|n| NewRecord::value("later").to(n)));
    let member = Member::join(&broker, &subscription(&[&topic]));
    member.wait_held(3);
    // The session of the dead one lasts 10 s; its place is taken without waiting for that.
    assert!(crashed.elapsed() < Duration::from_secs(9), "took {:?}", crashed.elapsed());
    member.drain_until("the later records", |held| held.values().all(|h| !h.records.is_empty()));
    let state = member.state.lock().expect("state");
    assert!(state.held.values().all(|h| h.committed == Some(10) && h.records == [(10, "later".to_owned())]));
    drop(state);
    member.leave();
}

#[test]
fn a_restart_with_another_topic_gets_that_too() {
    let (first, second, app) = (unique("first"), unique("second"), unique("app"));
    kafka().create_topic(&first, 1, &[]);
    kafka().create_topic(&second, 2, &[]);
    let broker = broker(kafka(), &app, "one");
    let member = Member::join(&broker, &subscription(&[&first]));
    member.wait_held(1);
    member.crash();
    let member = Member::join(&broker, &subscription(&[&first, &second]));
    member.wait_held(3);
    member.leave();
}

#[test]
fn after_a_loss_nothing_is_committed_of_what_was_read_before_it() {
    let (topic, app) = (unique("lost"), unique("app"));
    kafka().create_topic(&topic, 1, &[]);
    let mut settings = settings(kafka(), &app, "one");
    for (name, value) in
        [("session.timeout.ms", "1500"), ("heartbeat.interval.ms", "300"), ("max.poll.interval.ms", "1500")]
    {
        settings.properties.insert(name.into(), value.into());
    }
    let member = Member::join(&KafkaBroker::new(settings).expect("settings"), &subscription(&[&topic]));
    member.wait_held(1);
    member.handle.commit(&[position(&topic, 0, 7)]).expect("ours");
    // The group's thread stands still for too long: the partition is lost, and as nobody else is there, it comes back.
    member.group(|_| std::thread::sleep(Duration::from_secs(4)));
    wait_until("the partition was lost and came back", SOON, || {
        let state = member.state.lock().expect("state");
        state.lost == [at(&topic, 0)] && state.held.len() == 1
    });
    let refused = member.handle.commit(&[position(&topic, 0, 3)]).expect_err("of the membership before the loss");
    assert_eq!(refused.kind, ErrorKind::Fenced, "{refused}");
    assert_eq!(member.state.lock().expect("state").held[&at(&topic, 0)].committed, Some(7));
    member.group(|group| group.handle()).commit(&[position(&topic, 0, 8)]).expect("of the membership now");
    member.leave();
}

#[test]
fn a_second_process_of_the_same_name_pushes_the_first_out() {
    let (topic, app) = (unique("fenced"), unique("app"));
    kafka().create_topic(&topic, 1, &[]);
    let broker = broker(kafka(), &app, "one");
    let first = Member::join(&broker, &subscription(&[&topic]));
    first.wait_held(1);
    let second = Member::join(&broker, &subscription(&[&topic]));
    second.wait_held(1);
    let state = Arc::clone(&first.state);
    let error = first.failure();
    assert_eq!(error.kind, ErrorKind::Fenced, "{error}");
    assert!(error.message.contains("`instance`"), "{error}");
    assert!(state.lock().expect("state").revoked.is_empty(), "nothing may be committed after being fenced");
    second.leave();
}

#[test]
fn the_others_in_the_group_are_known_by_name() {
    let (topic, app) = (unique("who"), unique("app"));
    kafka().create_topic(&topic, 2, &[]);
    let (one, two) = (broker(kafka(), &app, "one"), broker(kafka(), &app, "two"));
    assert!(one.other_members(SOON).expect("nobody yet").is_empty());
    let member = Member::join(&one, &subscription(&[&topic]));
    member.wait_held(2);
    assert!(one.other_members(SOON).expect("only us").is_empty());
    assert_eq!(two.other_members(SOON).expect("the first"), ["one"]);
    member.leave();
}

/// All that was taken, by partition: which member processed which offsets, in the order of their commits.
type Ledger = Arc<Mutex<BTreeMap<TopicPartition, Vec<i64>>>>;

/// Commits what was drained and writes it into the ledger, as an epoch would at a revocation.
fn settle(member: &Member, ledger: &Ledger) {
    let mut state = member.state.lock().expect("state");
    for held in state.held.values_mut() {
        held.drain(200);
    }
    let mut ledger = ledger.lock().expect("ledger");
    let mut positions = Vec::new();
    for (partition, held) in &mut state.held {
        if let Some((last, _)) = held.records.last() {
            positions.push(position(&partition.topic, partition.partition, last + 1));
        }
    }
    // The state stays locked: a revocation waits for this commit, so it is always of partitions that are ours.
    if member.handle.commit(&positions).is_ok() {
        for (partition, held) in &mut state.held {
            ledger.entry(partition.clone()).or_default().extend(held.records.drain(..).map(|(offset, _)| offset));
        }
    }
}

/// Drains and commits until told to stop, and checks at every look that no partition has two owners.
fn work(member: &Member, owners: &Mutex<BTreeMap<TopicPartition, String>>, name: &str, ledger: &Ledger) {
    let held: BTreeSet<TopicPartition> = member.held().into_iter().collect();
    {
        let mut owners = owners.lock().expect("owners");
        owners.retain(|partition, owner| owner != name || held.contains(partition));
    }
    settle(member, ledger);
}

/// Load on all four partitions of a topic until told to stop; gives the number of records.
fn produce_until(topic: &str, done: &Arc<AtomicBool>) -> std::thread::JoinHandle<i32> {
    let (topic, done) = (topic.to_owned(), Arc::clone(done));
    std::thread::spawn(move || {
        let mut sent = 0;
        while !done.load(Ordering::Relaxed) && sent < 200_000 {
            kafka().produce(&topic, (0..400).map(|n| NewRecord::value("x").to(n % 4)));
            sent += 400;
            std::thread::sleep(Duration::from_millis(20));
        }
        sent
    })
}

/// Every partition was taken from its first to its last offset, each once and in order.
fn assert_whole(ledger: &Ledger, each: i64) {
    for (partition, offsets) in &*ledger.lock().expect("ledger") {
        let expected: Vec<i64> = (0..each).collect();
        assert!(*offsets == expected, "{partition:?}: {} of {each} offsets, or not in order", offsets.len());
    }
}

#[test]
fn a_second_member_coming_and_going_under_load_takes_nothing_twice_and_loses_nothing() {
    let (topic, app) = (unique("load"), unique("app"));
    let partitions = 4;
    kafka().create_topic(&topic, partitions, &[]);
    let (owners, ledger) = (Arc::new(Mutex::new(BTreeMap::<TopicPartition, String>::new())), Ledger::default());
    let done = Arc::new(AtomicBool::new(false));
    let producing = produce_until(&topic, &done);
    let join = |name: &'static str| {
        let owners = Arc::clone(&owners);
        let released = Box::new(move |held: &mut BTreeMap<TopicPartition, _>, gone: &[TopicPartition]| {
            let mut owners = owners.lock().expect("owners");
            for partition in gone {
                assert!(held.contains_key(partition));
                owners.remove(partition);
            }
        });
        let state = State { on_revoke: Some(released), ..State::default() };
        Member::join_with(&quick(&app, name), &subscription(&[&topic]), state)
    };
    // Claims what a member holds; a claim on what another still holds is the failure this test is for.
    let claim = |member: &Member, name: &str| {
        let state = member.state.lock().expect("state");
        let mut owners = owners.lock().expect("owners");
        for partition in state.held.keys() {
            let owner = owners.entry(partition.clone()).or_insert_with(|| name.to_owned());
            assert_eq!(owner, name, "two owners of {partition:?}");
        }
    };
    let first = join("first");
    first.wait_held(4);
    for _ in 0..2 {
        let second = join("second");
        wait_until("the load is shared", SOON, || {
            for (member, name) in [(&first, "first"), (&second, "second")] {
                claim(member, name);
                work(member, &owners, name, &ledger);
            }
            first.held().len() == 2 && second.held().len() == 2
        });
        for _ in 0..20 {
            for (member, name) in [(&first, "first"), (&second, "second")] {
                claim(member, name);
                work(member, &owners, name, &ledger);
            }
        }
        // What it has read and not committed is read again by whoever comes after.
        second.leave();
        owners.lock().expect("owners").retain(|_, owner| owner != "second");
        wait_until("the first has all again", SOON, || {
            claim(&first, "first");
            work(&first, &owners, "first", &ledger);
            first.held().len() == 4
        });
    }
    done.store(true, Ordering::Relaxed);
    let sent: i64 = i64::from(producing.join().expect("producer"));
    wait_until("everything is taken", SOON, || {
        work(&first, &owners, "first", &ledger);
        ledger.lock().expect("ledger").values().map(|offsets| offsets.len() as i64).sum::<i64>() >= sent
    });
    assert_whole(&ledger, sent / i64::from(partitions));
    first.leave();
}

#[test]
fn a_rebalance_at_the_very_end_of_a_partition_does_not_stall_it() {
    let (topic, app) = (unique("end"), unique("app"));
    kafka().create_topic(&topic, 2, &[]);
    kafka().produce(&topic, (0..10).map(|n| NewRecord::value(n.to_string()).to(n % 2)));
    let first = Member::join(&quick(&app, "first"), &subscription(&[&topic]));
    first.wait_held(2);
    for round in 0..2 {
        first.drain_until("the ends", |held| held.values().all(|h| h.ends.last() == Some(&(5 + round))));
        first.handle.commit(&first.positions()).expect("commit");
        let second = Member::join(&quick(&app, "second"), &subscription(&[&topic]));
        wait_until("one each", SOON, || first.held().len() == 1 && second.held().len() == 1);
        second.leave();
        // The partition comes back to where it was before: its queue must be detached again, or it stalls in silence.
        first.wait_held(2);
        kafka().produce(&topic, (0..2).map(|n| NewRecord::value("next").to(n)));
        first.drain_until("what came after", |held| held.values().all(|h| h.next() == Some(6 + round)));
    }
    let failed = first.with(&at(&topic, 0), |held| held.failed.len());
    assert_eq!(failed, 0);
    first.leave();
}
