//! Rules read again under a running service: what an unchanged one has begun goes on, a new one finds what comes from then on, wrong
//! ones change nothing and are told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::App;
use crate::oracle::finish_and_compare;
use crate::oracle_load::{self, Load};
use crate::support::client::NewRecord;
use crate::support::{kafka, wait_until};
use crate::watched::Watched;

/// How long a set of rules may take from the files into force.
const SOON: Duration = Duration::from_secs(60);

/// Time is that of the events alone: nothing here depends on how long a reload takes.
const INPUT: &str = "time: {field: time}\n    id: id\n    out_of_orderness: 0s\n    idle_timeout: 0s";

const PAIR: &str = r#"
id: pair
query: sequence by user with maxspan=10m [any where kind == "first"] [any where kind == "second"]
"#;

const SILENCE: &str = r#"
id: silence
query: |
  sequence by user with maxspan=1m
    [any where kind == "ask"]
    ![any where kind == "answer"]
"#;

/// Comes first in the order of ids: every other rule has another number with it.
const EARLY: &str = "id: a-single\nquery: any where kind == \"single\"\n";

const GONE: &str = "id: gone\nquery: any where kind == \"single\"\n";

fn set(rules: &[&str]) -> String {
    rules.join("---\n")
}

fn event(second: i64, kind: &str, user: &str) -> NewRecord {
    let time = 1_767_225_600_000 + second * 1_000;
    NewRecord::value(format!(r#"{{"time":{time},"id":"{second}","kind":"{kind}","user":"{user}"}}"#))
}

/// Rule and first event of all that was found, sorted.
fn found(app: &App) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let of = |found: &Value| (text(&found["rule"]["id"]), text(&found["events"][0]["id"]));
    let mut all: Vec<_> = app.correlations().iter().map(of).collect();
    all.sort();
    all
}

/// Waits until these rules are in force and the pipeline does its work.
fn in_force(watched: &Watched, ids: &[&str]) {
    watched.until(&format!("{ids:?} in force"), |status| {
        let rules = status["rules"].as_array().expect("rules");
        status["ready"] == true && rules.iter().map(|rule| &rule["id"]).eq(ids)
    });
}

fn reasons(watched: &Watched) -> Vec<String> {
    let ready = watched.get("/readyz");
    let json = ready.json();
    let reasons = json["reasons"].as_array().expect("reasons");
    assert_eq!(ready.status == 200, reasons.is_empty());
    reasons.iter().map(|reason| reason["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn what_unchanged_rules_have_begun_goes_on_and_new_ones_find_what_comes() {
    for settings in ["locality: instance", "locality: partition", "delivery: at_least_once"] {
        let app = App::new(kafka(), 1, &set(&[PAIR, SILENCE, GONE])).input(INPUT).settings(settings);
        // What both have begun stands open: nothing moves the time.
        app.kafka.produce(&app.topic, [event(0, "first", "ada"), event(1, "ask", "bob"), event(2, "single", "cid")]);
        let watched = Watched::start(&app, &[]);
        watched.until("the first three", |status| status["committed"]["records"] == 3);

        app.rules(&set(&[EARLY, PAIR, SILENCE]));
        let answer = watched.ask("POST", "/rules/reload", "");
        let expected =
            json!({"result": "accepted", "rules": 3, "added": ["a-single"], "changed": [], "removed": ["gone"]});
        assert_eq!((answer.status, answer.json()), (200, expected));
        in_force(&watched, &["a-single", "pair", "silence"]);
        // The absence is decided by the last event, a minute later and more.
        let later = [event(10, "second", "ada"), event(11, "single", "dan"), event(120, "other", "eve")];
        app.kafka.produce(&app.topic, later);
        watched.until("what was open", |status| status["committed"]["correlations"] == 4);

        // The same by a signal, back to a set without it: its number goes, what it found stays.
        app.kafka.produce(&app.topic, [event(130, "first", "flo"), event(131, "other", "flo")]);
        watched.until("an open one", |status| status["committed"]["records"] == 8);
        app.rules(&set(&[SILENCE, PAIR]));
        watched.service.signal("HUP");
        in_force(&watched, &["pair", "silence"]);
        app.kafka.produce(&app.topic, [event(140, "second", "flo"), event(141, "single", "gus"), event(150, "x", "x")]);
        watched.until("that one", |status| status["committed"]["correlations"] == 5);
        let metric = |series: &str| watched.metric(series);
        assert_eq!(metric("throughline_rule_reloads_total{result=\"accepted\"}"), Some(2.0));
        assert_eq!(metric("throughline_incarnations_total"), Some(1.0), "nothing failed");
        assert_eq!(metric("throughline_rules"), Some(2.0));

        let finished = watched.service.interrupt();
        assert_eq!(finished.status, Some(0), "{}", finished.log);
        let expected = [("a-single", "11"), ("gone", "2"), ("pair", "0"), ("pair", "130"), ("silence", "1")];
        let expected = expected.map(|(rule, event)| (rule.to_owned(), event.to_owned()));
        assert_eq!(found(&app), expected, "{settings}");
    }
}

#[test]
fn wrong_rules_are_refused_by_name_and_the_old_ones_go_on_until_right_ones_come() {
    let app = App::new(kafka(), 1, &set(&[PAIR, GONE])).input(INPUT);
    app.kafka.produce(&app.topic, [event(0, "first", "ada")]);
    let mut watched = Watched::start(&app, &[]);
    watched.until("the first", |status| status["committed"]["records"] == 1 && status["ready"] == true);

    app.rules(&set(&[PAIR, EARLY, "id: wrong\nquery: any where foo(1)\n"]));
    let answer = watched.ask("POST", "/rules/reload", "");
    assert_eq!(answer.status, 422, "{}", answer.text());
    let mistakes = &answer.json()["mistakes"];
    assert_eq!(mistakes.as_array().map(Vec::len), Some(1), "{mistakes}");
    let mistake = &mistakes[0];
    assert!(mistake["file"].as_str().is_some_and(|file| file.ends_with("rules.yaml")), "{mistake}");
    assert_eq!((&mistake["line"], &mistake["column"], &mistake["code"]), (&json!(9), &json!(18), &json!("E0301")));
    assert!(mistake["message"].as_str().is_some_and(|message| message.contains("foo")), "{mistake}");
    assert_eq!(reasons(&watched), ["rules_refused"]);
    let refused = || watched.metric("throughline_rules_refused");
    assert_eq!(refused(), Some(1.0));
    assert_eq!(watched.metric("throughline_rule_reloads_total{result=\"refused\"}"), Some(1.0));

    // The old ones go on, also the one that the wrong file leaves out.
    app.kafka.produce(&app.topic, [event(1, "single", "bob"), event(2, "second", "ada"), event(3, "other", "eve")]);
    watched.until("what the old ones find", |status| status["committed"]["correlations"] == 2);

    // What a start would fail for is a mistake too: a topic that does not exist.
    app.rules(&set(&[PAIR, "id: elsewhere\nquery: any where true\noutput: {topic: no-such-topic}\n"]));
    watched.service.signal("HUP");
    watched.service.wait_for("no-such-topic");
    watched.until("the second refusal", |status| {
        let detail = status["reasons"][0]["detail"].as_str().unwrap_or_default();
        status["reasons"][0]["name"] == "rules_refused" && detail.contains("no-such-topic")
    });
    // A file that cannot be read is none that is empty.
    std::fs::remove_file(app.path("rules/rules.yaml")).expect("removed");
    std::fs::remove_dir(app.path("rules")).expect("removed");
    assert_eq!(watched.ask("POST", "/rules/reload", "").status, 422);

    std::fs::create_dir(app.path("rules")).expect("made");
    app.rules(&set(&[PAIR, GONE]));
    assert_eq!(watched.ask("POST", "/rules/reload", "").json()["result"], "unchanged");
    assert!(reasons(&watched).is_empty());
    assert_eq!(watched.metric("throughline_rules_refused"), Some(0.0));
    let finished = watched.service.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    assert!(finished.log.contains("rules refused: ") && finished.log.contains(":9:18: [E0301]"), "{}", finished.log);
}

#[test]
fn reloads_under_load_change_nothing_for_the_rules_that_stay() {
    let app = oracle_load::app(kafka(), 4, "epoch: 50ms\nworkers: {shards: 2, sources: 2}");
    let app = app.properties("fetch.message.max.bytes: 4096");
    let rules = std::fs::read_to_string(app.path("rules/rules.yaml")).expect("rules");
    // It never finds anything, and gives every other rule another number, another dimension and another field.
    let guest = "id: a-guest\nquery: sequence by nobody [any where nothing == 1] [any where nothing == 2]\n";
    let mut load = Load::new(&app, 11);
    load.write(20_000);
    load.write_aborted(&app);
    let watched = Watched::start(&app, &[]);
    for turn in 0..12 {
        let with_guest = turn % 2 == 0;
        app.rules(&if with_guest { format!("{guest}---\n{rules}") } else { rules.clone() });
        let began = Instant::now();
        // While the rules of the turn before are being taken up it is told to come again.
        let answer = loop {
            let answer = watched.ask("POST", "/rules/reload", "");
            if answer.status != 409 {
                break answer;
            }
            assert!(began.elapsed() < SOON, "turn {turn}: {}", answer.text());
            load.trickle();
        };
        assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("accepted")), "{}", answer.text());
        let records = || watched.get("/status").json()["committed"]["records"].as_u64().expect("a number");
        let before = records();
        // In force, and at work with them.
        while !(watched.get("/rules").text().contains("a-guest") == with_guest && records() > before) {
            assert!(began.elapsed() < SOON, "turn {turn}\n{}", watched.service.log());
            load.trickle();
        }
    }
    wait_until("all is committed", SOON, || app.lag() == 0);
    assert_eq!(watched.metric("throughline_incarnations_total"), Some(1.0), "{}", watched.service.log());
    let finished = watched.service.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    finish_and_compare(&app, "");
}
