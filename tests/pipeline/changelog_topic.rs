//! A changelog topic that was made by hand: refused with advice where it would lose state, adapted to where it only is tight.

use crate::harness::App;
use crate::support::client::NewRecord;
use crate::support::kafka;

/// Two events that belong together, with evidence of any size.
const RULES: &str = r#"
id: pair
query: |
  sequence by user with maxspan=1h
    [any where kind == "a"]
    [any where kind == "b"]
evidence: [pad]
"#;

const INPUT: &str = "time: {field: time}\n    id: id\n    out_of_orderness: 0s\n    idle_timeout: 0s";

fn event(n: i64, kind: &str, user: &str, pad: usize) -> NewRecord {
    let (time, pad) = (1_767_225_600_000 + n * 1_000, "p".repeat(pad));
    NewRecord::value(format!(r#"{{"time":{time},"id":"{n}","kind":"{kind}","user":"{user}","pad":"{pad}"}}"#))
}

fn app(settings: &[(&str, &str)], partitions: i32) -> App {
    let app = App::new(kafka(), 1, RULES).input(INPUT);
    app.kafka.create_topic(&format!("{}-changelog", app.id), partitions, settings);
    app
}

fn users(app: &App) -> Vec<usize> {
    let mut users: Vec<usize> =
        app.correlations().iter().map(|found| found["key"]["user"].as_str().expect("text").len()).collect();
    users.sort_unstable();
    users
}

#[test]
fn one_that_would_lose_state_is_refused_with_advice() {
    for (settings, partitions, words) in [
        (&[("cleanup.policy", "delete")][..], 4, ["cleanup.policy=delete", "--add-config cleanup.policy=compact"]),
        (&[("cleanup.policy", "compact,delete")], 4, ["cleanup.policy=compact,delete", "exactly `compact`"]),
        (&[("cleanup.policy", "compact")], 3, ["has 3 partitions and 4 are needed", "kafka-topics.sh --alter"]),
        // More are no better: parts would be looked for in four of them.
        (&[("cleanup.policy", "compact")], 16, ["has 16 partitions and 4 are needed", "another application_id"]),
        (
            &[("cleanup.policy", "compact"), ("max.message.bytes", "1000")],
            4,
            ["max.message.bytes=1000, at least 262144", "--add-config max.message.bytes="],
        ),
    ] {
        let app = app(settings, partitions);
        app.kafka.produce(&app.topic, [event(0, "a", "ada", 0)]);
        let finished = app.start("one", &["--until-end"]).wait();
        assert_eq!(finished.status, Some(2), "{}", finished.log);
        for words in words {
            assert!(finished.log.contains(words), "`{words}` is not in\n{}", finished.log);
        }
        assert!(app.kafka.committed(&app.id, &app.topic).is_empty(), "nothing was read");
        assert!(!app.state("one").join(&app.id).exists(), "and nothing was made");
    }
}

#[test]
fn state_goes_through_the_least_record_that_is_accepted() {
    let app = app(&[("cleanup.policy", "compact"), ("max.message.bytes", "262144")], 4);
    // The largest keys there may be, values of megabytes, and both at once.
    let long = "k".repeat(128 * 1024 - 64);
    let users_of = ["ada", long.as_str()];
    app.kafka.produce(&app.topic, (0..).zip(users_of).map(|(n, user)| event(n, "a", user, 3_000_000)));
    let service = app.start("one", &[]);
    crate::support::wait_until("all is committed", std::time::Duration::from_secs(60), || app.lag() == 0);
    assert_eq!(service.interrupt().status, Some(0));
    std::fs::remove_dir_all(app.state("one")).expect("removed");
    app.kafka.produce(&app.topic, (10..).zip(users_of).map(|(n, user)| event(n, "b", user, 0)));
    app.until_end();
    assert_eq!(users(&app), [3, long.len()]);
}

#[test]
fn a_key_too_large_for_any_record_is_a_dead_letter() {
    let app = App::new(kafka(), 1, RULES).input(INPUT);
    let long = "k".repeat(2_000_000);
    let events = [("a", "ada"), ("a", long.as_str()), ("b", "ada"), ("b", long.as_str())];
    app.kafka.produce(&app.topic, (0..).zip(events).map(|(n, (kind, user))| event(n, kind, user, 0)));
    let totals = app.until_end();
    assert_eq!((totals[&app.topic]["matched"], totals[&app.topic]["dead_letter"]), (2, 2), "{totals:?}");
    assert_eq!(users(&app), [3]);
    for letter in app.dead_letters() {
        let header = |name: &str| {
            let value = letter.headers.iter().find(|(own, _)| own == name).and_then(|(_, value)| value.clone());
            String::from_utf8(value.expect(name)).expect("text")
        };
        assert_eq!(header("__throughline.errors.code"), "too_large");
        assert_eq!(header("__throughline.errors.stage"), "route");
        assert!(letter.value.expect("a value").len() > long.len(), "byte for byte");
    }
}
