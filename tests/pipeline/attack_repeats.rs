//! `delivery: at_least_once` under kill -9: everything comes, some of it again under the same id, and nothing else; state is
//! that of one run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::attack_points::live_until_killed;
use crate::harness::Random;
use crate::oracle::{Left, uninterrupted};
use crate::oracle_load::{Load, app};
use crate::support::{kafka, wait_until};

const SETTINGS: &str = "epoch: 50ms\ndelivery: at_least_once\nworkers: {shards: 2, sources: 2}";

#[test]
fn at_least_once_nothing_is_missing_and_what_comes_again_is_the_same() {
    let app = app(kafka(), 4, SETTINGS).properties("fetch.message.max.bytes: 4096");
    let mut load = Load::new(&app, 1);
    // No aborted transactions: read_uncommitted would see them.
    load.write(6_000);
    let mut random = Random(1);
    for life in 0..10 {
        // Each life finds something, however fast the one before was.
        load.write(1_500);
        // Once behind the delivery of outputs and in front of their commit, where they must come again;
        live_until_killed(&app, &mut load, &format!("epoch.before-commit:{}=kill", 1 + life % 3));
        // and once anywhere.
        let before = app.kafka.end_offsets(&app.output).values().sum::<i64>();
        let mut service = app.start("one", &[]);
        wait_until("it reports something", Duration::from_secs(120), || {
            assert!(service.is_running(), "{}", service.log());
            load.trickle();
            app.kafka.end_offsets(&app.output).values().sum::<i64>() > before
        });
        std::thread::sleep(Duration::from_millis(random.next() % 200));
        service.kill();
    }
    app.until_end();
    let (left, wanted) = (Left::by(&app), uninterrupted(&app, ""));
    let set = |records: &[String]| records.iter().cloned().collect::<BTreeSet<_>>();
    let (got, must) = (set(&left.correlations), set(&wanted.correlations));
    let lost: Vec<_> = must.difference(&got).take(3).collect();
    assert!(lost.is_empty(), "lost: {lost:#?}");
    let other: Vec<_> = got.difference(&must).take(3).collect();
    assert!(other.is_empty(), "no copy of what must come: {other:#?}");
    assert_eq!(set(&left.dead_letters), set(&wanted.dead_letters));
    assert_eq!(left.progress.counts, wanted.progress.counts, "INV-COUNT: outcomes");
    assert_eq!(left.progress.correlations, wanted.progress.correlations, "INV-COUNT: correlations");
    // One id for what is the same, and for nothing else.
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    for correlation in app.correlations() {
        *ids.entry(id(&correlation)).or_default() += 1;
    }
    assert_eq!(ids.len(), must.len());
    assert!(
        ids.values().any(|times| *times > 1),
        "no kill fell between an output and its commit: nothing was attacked"
    );
}

fn id(correlation: &Value) -> String {
    correlation["id"].as_str().expect("an id").to_owned()
}
