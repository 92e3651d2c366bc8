//! INV-OWNER: two instances on one group never both own a partition; a restart under its own name goes on at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::App;
use crate::support::client::NewRecord;
use crate::support::{kafka, wait_until};

const RULES: &str = "id: seen\nquery: any where kind == \"x\"\n";

fn event(n: usize) -> NewRecord {
    NewRecord::value(format!(r#"{{"time":{},"id":"{n}","kind":"x"}}"#, 1_767_225_600_000 + n as i64))
}

/// How often each event id was reported.
fn reports(app: &App) -> BTreeMap<String, usize> {
    let mut reports = BTreeMap::new();
    for correlation in app.correlations() {
        *reports.entry(correlation["events"][0]["id"].as_str().expect("id").to_owned()).or_default() += 1;
    }
    reports
}

#[test]
fn with_locality_instance_a_second_instance_is_refused_with_advice() {
    let app = App::new(kafka(), 2, RULES);
    let mut first = app.start("one", &[]);
    app.kafka.produce(&app.topic, (0..10).map(|n| event(n).to((n % 2) as i32)));
    wait_until("the first instance works", Duration::from_secs(30), || app.correlations().len() == 10);
    let second = app.start("two", &[]).wait();
    assert_eq!(second.status, Some(2), "{}", second.log);
    for part in ["one", "locality: partition", "application_id"] {
        assert!(second.log.contains(part), "advice names {part}:\n{}", second.log);
    }
    assert!(first.is_running());
    assert_eq!(first.interrupt().status, Some(0));
}

#[test]
fn two_instances_share_the_partitions_and_no_event_is_reported_twice_or_lost() {
    // The input is partitioned by the key, so each instance works alone.
    let app = App::new(kafka(), 4, RULES).settings("locality: partition");
    let count = 3000;
    let mut first = app.start("one", &[]);
    first.wait_for("produces");
    let mut second = None;
    for n in 0..count / 100 {
        app.kafka.produce(&app.topic, (n * 100..(n + 1) * 100).map(|n| event(n).to((n % 4) as i32)));
        std::thread::sleep(Duration::from_millis(100));
        if n == 5 {
            second = Some(app.start("two", &[]));
        }
    }
    wait_until("all events are reported", Duration::from_secs(40), || reports(&app).len() == count);
    let second = second.expect("started");
    // The second leaves again, under load; its partitions come back after its session has timed out.
    assert_eq!(second.interrupt().status, Some(0));
    app.kafka.produce(&app.topic, (count..count + 200).map(|n| event(n).to((n % 4) as i32)));
    wait_until("the first takes over", Duration::from_secs(40), || reports(&app).len() == count + 200);
    assert_eq!(first.interrupt().status, Some(0));
    let twice: Vec<_> = reports(&app).into_iter().filter(|(_, times)| *times != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn a_restart_after_kill_9_under_its_own_name_goes_on_at_once() {
    let app = App::new(kafka(), 2, RULES);
    let first = app.start("one", &[]);
    app.kafka.produce(&app.topic, (0..10).map(|n| event(n).to((n % 2) as i32)));
    wait_until("the first run works", Duration::from_secs(30), || app.correlations().len() == 10);
    first.kill();
    app.kafka.produce(&app.topic, (10..20).map(|n| event(n).to((n % 2) as i32)));
    let started = Instant::now();
    let second = app.start("one", &[]);
    wait_until("the second run goes on", Duration::from_secs(30), || app.correlations().len() == 20);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(8), "a session would time out after 10 s; took {took:?}\n{}", second.log());
    assert_eq!(second.interrupt().status, Some(0));
    assert!(reports(&app).values().all(|times| *times == 1));
}
