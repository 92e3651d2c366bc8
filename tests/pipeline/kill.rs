//! INV-COMMIT under kill -9: whatever the moment, no correlation twice in read_committed output, no dead letter lost or
//! twice. (Open sequences may be lost until state is durable; rules of single events have none.)

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::{App, Random};
use crate::support::client::NewRecord;
use crate::support::kafka;

const RULES: &str = "id: seen\nquery: any where kind == \"x\"\n";
const EVENTS: usize = 60_000;

/// Every tenth record is no JSON.
fn record(n: usize) -> NewRecord {
    let partition = (n % 4) as i32;
    match n % 10 {
        9 => NewRecord::value(format!("not JSON {n}")).to(partition),
        _ => NewRecord::value(format!(r#"{{"time":{},"id":"{n}","kind":"x"}}"#, 1_767_225_600_000 + n as i64))
            .to(partition),
    }
}

#[test]
fn killed_at_random_moments_under_load_it_reports_everything_once() {
    let app = App::new(kafka(), 4, RULES).settings("epoch: 50ms");
    app.kafka.produce(&app.topic, (0..EVENTS).map(record));
    let mut random = Random(20_261_121);
    let mut kills = 0;
    let mut committed = 0;
    // Until the input is used up: each run lives from a few to some hundred milliseconds beyond its start.
    while kills < 12 {
        let mut service = app.start("one", &[]);
        service.wait_for("produces");
        std::thread::sleep(Duration::from_millis(150 + random.next() % 700));
        service.kill();
        kills += 1;
        let now: i64 = app.kafka.committed(&app.id, &app.topic).values().map(|(offset, _)| offset).sum();
        assert!(now >= committed, "committed offsets never go back");
        committed = now;
    }
    app.until_end();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for correlation in app.correlations() {
        *seen.entry(correlation["events"][0]["id"].as_str().expect("id").to_owned()).or_default() += 1;
    }
    for letter in app.dead_letters() {
        *seen.entry(letter.text().trim_start_matches("not JSON ").to_owned()).or_default() += 1;
    }
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).take(5).collect();
    assert!(twice.is_empty(), "twice: {twice:?}");
    let lost: Vec<usize> = (0..EVENTS).filter(|n| !seen.contains_key(&n.to_string())).take(5).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}
