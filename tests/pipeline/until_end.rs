//! `--until-end` on every kind of end: transaction markers, an aborted tail, compaction holes, no records, a producer that
//! goes on; and a second run goes on from there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::App;
use crate::support::client::NewRecord;
use crate::support::{kafka, wait_until};

const RULES: &str = "id: seen\nquery: any where kind == \"x\"\n";

fn event(n: usize) -> NewRecord {
    NewRecord::value(format!(r#"{{"time":{},"id":"{n}","kind":"x"}}"#, 1_767_225_600_000 + n as i64))
}

#[test]
fn it_ends_on_transaction_markers_and_an_aborted_tail() {
    let app = App::new(kafka(), 1, RULES);
    app.kafka.produce_transaction(&app.topic, (0..10).map(event), true);
    app.kafka.produce_transaction(&app.topic, (10..15).map(event), false);
    let totals = app.until_end();
    assert_eq!(totals[&app.topic]["matched"], 10);
    assert_eq!(app.correlations().len(), 10);
}

#[test]
fn it_ends_where_there_is_nothing() {
    let app = App::new(kafka(), 3, RULES);
    assert!(app.until_end().is_empty());
    // One partition with records, two without.
    app.kafka.produce(&app.topic, (0..5).map(|n| event(n).to(1)));
    assert_eq!(app.until_end()[&app.topic]["matched"], 5);
}

#[test]
fn it_ends_where_only_an_aborted_transaction_is() {
    let app = App::new(kafka(), 1, RULES);
    app.kafka.produce_transaction(&app.topic, (0..5).map(event), false);
    assert!(app.until_end().is_empty());
}

#[test]
fn it_ends_where_records_were_deleted() {
    let app = App::new(kafka(), 1, RULES);
    app.kafka.produce(&app.topic, (0..20).map(event));
    app.kafka.delete_records(&app.topic, 0, 15);
    assert_eq!(app.until_end()[&app.topic]["matched"], 5);
}

#[test]
fn it_ends_on_compaction_holes() {
    let app = App::new(kafka(), 1, RULES);
    app.kafka.delete_topic(&app.topic);
    let compact = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "200"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "300"),
        ("delete.retention.ms", "0"),
    ];
    app.kafka.create_topic(&app.topic, 1, &compact);
    // One key: of all these only the last can stay, once its segment is no longer the active one.
    for round in 0..10 {
        app.kafka.produce(&app.topic, (0..20).map(|n| event(round * 20 + n).key("same")));
        std::thread::sleep(Duration::from_millis(250));
    }
    wait_until("the cleaner has left holes", Duration::from_secs(60), || {
        // Each write rolls the active segment, so that what was before it can be cleaned.
        app.kafka.produce(&app.topic, [event(1000).key("same")]);
        app.kafka.read_committed(&app.topic).len() < 150
    });
    let totals = app.until_end();
    let seen: u64 = totals[&app.topic].values().sum();
    let end = app.kafka.end_offsets(&app.topic)[&0];
    assert!(seen > 0 && (seen as i64) < end, "{seen} records of {end} offsets");
}

#[test]
fn it_ends_while_a_producer_goes_on_and_a_second_run_takes_up_from_there() {
    let app = App::new(kafka(), 2, RULES);
    app.kafka.produce(&app.topic, (0..1000).map(|n| event(n).to((n % 2) as i32)));
    let stop = AtomicBool::new(false);
    let mut sent = 1000;
    let first = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut n = 1000;
            while !stop.load(Ordering::Relaxed) {
                app.kafka.produce(&app.topic, (n..n + 10).map(|n| event(n).to((n % 2) as i32)));
                n += 10;
            }
            n
        });
        let totals = app.until_end();
        stop.store(true, Ordering::Relaxed);
        sent = writer.join().expect("writer");
        totals
    });
    let first = first[&app.topic]["matched"];
    assert!((1000..sent as u64).contains(&first), "{first} of {sent}");
    let second = app.until_end()[&app.topic]["matched"];
    assert_eq!(first + second, sent as u64, "nothing skipped, nothing twice");
    let mut ids: Vec<String> =
        app.correlations().iter().map(|c| c["events"][0]["id"].as_str().expect("id").to_owned()).collect();
    ids.sort_by_key(|id| id.parse::<usize>().expect("number"));
    assert_eq!(ids, (0..sent).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(app.until_end().is_empty(), "a third run finds nothing new");
}

#[test]
fn what_waited_for_order_at_the_end_is_decided_once() {
    let rules =
        "id: silence\nquery: |\n  sequence by kind with maxspan=30s [any where true] ![any where kind == \"y\"]\n";
    let input = "time: {field: time}\n    id: id\n    out_of_orderness: 2s\n    idle_timeout: 0s";
    let app = App::new(kafka(), 1, rules).input(input);
    app.kafka.produce(&app.topic, [event(0)]);
    let service = app.start("one", &[]);
    wait_until("the event is stored as one that waits", Duration::from_secs(30), || {
        app.kafka.committed(&app.id, &app.topic).get(&0).is_some_and(|(offset, _)| *offset == 1)
    });
    service.kill();
    assert!(app.correlations().is_empty(), "the watermark stands 2 s behind it");
    app.until_end();
    assert_eq!(app.correlations().len(), 1, "the end decides that nothing follows");
    app.until_end();
    assert_eq!(app.correlations().len(), 1, "the next run does not find it again");
}

#[test]
fn keys_that_have_left_memory_are_decided_and_what_is_half_open_goes_on_in_the_next_run() {
    const USERS: usize = 40_000;
    let rules = "id: silence\nquery: |\n  sequence by user with maxspan=1h [any where kind == \"a\"] ![any where kind == \"b\"]\n---\n\
                 id: pair\nquery: |\n  sequence by user with maxspan=1h [any where kind == \"a\"] [any where kind == \"c\"]\n";
    // A fifth of it fits.
    let app = App::new(kafka(), 2, rules).settings("state: {memory: 16MiB}\nepoch: 50ms");
    let event = |n: usize, kind: &str, user: usize| {
        let time = 1_767_225_600_000 + n as i64;
        NewRecord::value(format!(r#"{{"time":{time},"id":"{n}","kind":"{kind}","user":"user-{user}"}}"#))
    };
    let of = |rule: &str| {
        let found = app.correlations().into_iter().filter(|found| found["rule"]["id"] == rule);
        let mut users: Vec<String> = found.map(|c| c["key"]["user"].as_str().expect("a user").to_owned()).collect();
        users.sort_unstable();
        users
    };
    app.kafka.produce(&app.topic, (0..USERS).map(|n| event(n, "a", n).to((n % 2) as i32)));
    assert_eq!(app.until_end()[&app.topic]["matched"], USERS as u64);
    let mut everyone: Vec<String> = (0..USERS).map(|user| format!("user-{user}")).collect();
    everyone.sort_unstable();
    assert!(of("silence") == everyone, "{} of {USERS} were decided", of("silence").len());
    assert!(of("pair").is_empty());
    // The end of the input was no time of the data: those that left memory first are there still.
    let come_back = [0, 1, 7_000, USERS - 1];
    let later = (0..).zip(come_back).map(|(n, user)| event(USERS + n, "c", user).to((user % 2) as i32));
    app.kafka.produce(&app.topic, later);
    app.until_end();
    let mut completed: Vec<String> = come_back.iter().map(|user| format!("user-{user}")).collect();
    completed.sort_unstable();
    assert_eq!(of("pair"), completed);
    assert_eq!(of("silence").len(), USERS, "nobody is decided twice");
}
