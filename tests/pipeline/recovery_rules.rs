//! Rules that change over a restart: an unchanged one keeps what it has begun, a changed one begins anew, and of a removed
//! one nothing stays in the changelog.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::App;
use crate::support::client::NewRecord;
use crate::support::{kafka, wait_until};

/// Each rule looks for events of its own, about a user of its own.
fn rule(name: &str, maxspan: &str) -> String {
    format!(
        "id: {name}\nquery: |\n  sequence by user with maxspan={maxspan}\n    [any where kind == \"{name}-first\"]\n    \
         [any where kind == \"{name}-then\"]\n"
    )
}

fn count(name: &str) -> String {
    format!(
        "id: {name}\nevents:\n  some: any where kind == \"{name}\"\ncorrelation: {{type: event_count, rules: [some], \
         group-by: [user], timespan: 1h, condition: {{gte: 3}}}}\n"
    )
}

fn event(n: i64, kind: &str, user: &str) -> NewRecord {
    let time = 1_767_225_600_000 + n * 1_000;
    NewRecord::value(format!(r#"{{"time":{time},"id":"{n}","kind":"{kind}","user":"{user}"}}"#))
}

/// How many parts that name this user the changelog holds, replaced and deleted ones left out.
fn parts_of(app: &App, user: &str) -> usize {
    let mut newest: BTreeMap<(i32, Vec<u8>), bool> = BTreeMap::new();
    for record in app.kafka.read_committed(&format!("{}-changelog", app.id)) {
        newest.insert((record.partition, record.key.expect("a key")), record.value.is_some());
    }
    let names = |key: &[u8]| key.windows(user.len()).any(|bytes| bytes == user.as_bytes());
    newest.into_iter().filter(|((_, key), lives)| *lives && names(key)).count()
}

#[test]
fn what_is_unchanged_goes_on_what_is_changed_begins_anew_what_is_removed_leaves_nothing() {
    let before = [rule("kept", "1h"), rule("changed", "1h"), rule("gone", "1h"), count("counted"), count("dropped")];
    let after = [count("counted"), rule("changed", "2h"), rule("kept", "1h"), rule("new", "1h")];
    let input = "time: {field: time}\n    id: id\n    out_of_orderness: 0s\n    idle_timeout: 0s";
    let app = App::new(kafka(), 1, &before.join("---\n")).input(input);
    let firsts = ["kept-first", "changed-first", "gone-first", "counted", "counted", "dropped", "dropped", "new-first"];
    let users = ["kate", "chad", "gina", "cora", "cora", "dora", "dora", "nora"];
    app.kafka.produce(&app.topic, (0..).zip(firsts).zip(users).map(|((n, kind), user)| event(n, kind, user)));
    let service = app.start("one", &[]);
    wait_until("all is committed", Duration::from_secs(60), || app.lag() == 0);
    assert_eq!(service.interrupt().status, Some(0));
    assert!(app.correlations().is_empty());
    for user in ["kate", "chad", "gina", "cora", "dora"] {
        assert!(parts_of(&app, user) > 0, "{user} is in the changelog");
    }

    app.rules(&after.join("---\n"));
    let thens = ["kept-then", "changed-then", "gone-then", "counted", "dropped", "new-then"];
    let users = ["kate", "chad", "gina", "cora", "dora", "nora"];
    app.kafka.produce(&app.topic, (20..).zip(thens).zip(users).map(|((n, kind), user)| event(n, kind, user)));
    // The changed rule finds what begins after the change.
    app.kafka.produce(&app.topic, [event(30, "changed-first", "carl"), event(31, "changed-then", "carl")]);
    app.until_end();
    let mut found: Vec<(String, String)> = app
        .correlations()
        .iter()
        .map(|found| [&found["rule"]["id"], &found["key"]["user"]].map(|text| text.as_str().expect("text").to_owned()))
        .map(|[rule, user]| (rule, user))
        .collect();
    found.sort();
    let expected = [("changed", "carl"), ("counted", "cora"), ("kept", "kate")];
    assert_eq!(found, expected.map(|(rule, user)| (rule.to_owned(), user.to_owned())));
    for user in ["chad", "gina", "dora"] {
        assert_eq!(parts_of(&app, user), 0, "{user} has left the changelog");
    }
}

#[test]
fn a_rule_with_backfill_finds_once_what_happened_before_it_was_written() {
    let count = |id: &str, kind: &str, gte: u32, more: &str| {
        format!(
            "id: {id}\nevents:\n  some: login where kind == \"{kind}\"\ncorrelation: {{type: event_count, rules: [some], \
             group-by: [user], timespan: 1h, condition: {{gte: {gte}}}}}\n{more}"
        )
    };
    let input = "time: {field: time}\n    id: id\n    category: cat\n    out_of_orderness: 0s\n    idle_timeout: 0s";
    let login = |n: i64, kind: &str, user: &str| {
        let time = 1_767_225_600_000 + n * 1_000;
        NewRecord::value(format!(r#"{{"time":{time},"id":"{n}","cat":"login","kind":"{kind}","user":"{user}"}}"#))
    };
    let app = App::new(kafka(), 1, &count("failures", "failed", 10, "")).input(input);
    app.kafka.produce(&app.topic, (0..3).map(|n| login(n, "failed", "ada")));
    // Moves the clock, so that what came before no longer waits for order.
    app.kafka.produce(&app.topic, [login(5, "other", "bob")]);
    let run = |app: &App| {
        let service = app.start("one", &[]);
        wait_until("all is committed", Duration::from_secs(60), || app.lag() == 0);
        assert_eq!(service.interrupt().status, Some(0));
    };
    run(&app);
    assert!(app.correlations().is_empty());

    // The threshold is lowered, and a new rule comes: one looks back, one does not.
    let both = [
        count("failures", "failed", 3, "backfill: true\n"),
        count("not-asked", "failed", 3, ""),
        "id: then\nbackfill: true\nquery: |\n  sequence by user with maxspan=1h\n    [login where kind == \"failed\"] with \
         runs=3\n    [login where kind == \"passed\"]\n"
            .to_owned(),
    ];
    app.rules(&both.join("---\n"));
    app.kafka.produce(&app.topic, [login(20, "passed", "ada")]);
    run(&app);
    let found = || {
        let mut found: Vec<String> =
            app.correlations().iter().map(|found| found["rule"]["id"].as_str().expect("text").to_owned()).collect();
        found.sort();
        found
    };
    // What passed at the very end still waits for the clock.
    assert_eq!(found(), ["failures"]);
    // The first start after it finds nothing again, also without its directory.
    std::fs::remove_dir_all(app.state("one")).expect("removed");
    run(&app);
    app.until_end();
    assert_eq!(found(), ["failures", "then"]);
}
