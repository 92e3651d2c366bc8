//! What is not there, not allowed or not to be reached: one clear message and the right exit status; nothing spins.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::App;
use crate::support::client::NewRecord;
use crate::support::jvm::PrivateBroker;
use crate::support::{kafka, wait_until};

const RULES: &str = "id: seen\nquery: any where kind == \"x\"\n";

fn event(n: usize) -> NewRecord {
    NewRecord::value(format!(r#"{{"time":{},"id":"{n}","kind":"x"}}"#, 1_767_225_600_000 + n as i64))
}

/// Dated now: while all partitions are idle the watermark follows the wall clock, so an event dated long before would be late.
fn event_now(n: usize) -> NewRecord {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("clock").as_millis();
    NewRecord::value(format!(r#"{{"time":{now},"id":"{n}","kind":"x"}}"#))
}

#[test]
fn a_missing_topic_is_named_with_what_to_do() {
    let app = App::new(kafka(), 1, RULES);
    for (missing, what) in [(&app.topic, "input"), (&app.dead_letters, "output")] {
        app.kafka.delete_topic(missing);
        let finished = app.start("one", &["--until-end"]).wait();
        assert_eq!(finished.status, Some(3), "{}", finished.log);
        assert!(finished.log.contains(missing.as_str()), "{}", finished.log);
        assert!(finished.log.contains(what) && finished.log.contains("create"), "{}", finished.log);
        app.kafka.create_topic(missing, 1, &[]);
    }
}

#[test]
fn validate_asks_the_broker_before_anything_runs() {
    let app = App::new(kafka(), 2, RULES);
    let fine = app.validate();
    assert_eq!(fine.0, Some(0), "{}", fine.1);
    app.kafka.delete_topic(&app.output);
    let wrong = app.validate();
    assert_eq!(wrong.0, Some(2), "{}", wrong.1);
    assert!(wrong.1.contains("E0701") && wrong.1.contains(&app.output), "{}", wrong.1);
}

#[test]
fn a_broker_that_is_down_at_the_start_is_waited_for_and_then_reported() {
    let app = App::new(kafka(), 1, RULES).settings("instance: one");
    // Nothing listens on port 1.
    let config = ["-c", "/dev/null"];
    let mut command = crate::harness::throughline();
    command.args(config).args(["--set", "kafka.brokers=127.0.0.1:1", "--set", "input.0.topics.0=x"]);
    command.args(["--set", &format!("rules.paths.0={}", app.path("rules").display())]);
    let output = command.args(["run"]).output().expect("runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{log}");
    assert!(log.contains("127.0.0.1:1"), "{log}");
}

#[test]
fn a_broker_that_goes_away_in_flight_is_waited_for_and_nothing_is_lost() {
    let mut broker = PrivateBroker::start();
    let app = App::new(&broker, 2, RULES);
    app.kafka.produce(&app.topic, (0..500).map(|n| event_now(n).to((n % 2) as i32)));
    let mut service = app.start("one", &[]);
    wait_until("the first events are reported", Duration::from_secs(30), || app.correlations().len() == 500);
    broker.stop();
    std::thread::sleep(Duration::from_secs(5));
    assert!(service.is_running(), "{}", service.log());
    broker.restart();
    app.kafka.produce(&app.topic, (500..1000).map(|n| event_now(n).to((n % 2) as i32)));
    let restarted = Instant::now();
    while app.correlations().len() < 1000 {
        assert!(restarted.elapsed() < Duration::from_secs(60), "does not come back:\n{}", service.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let finished = service.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    assert_eq!(app.correlations().len(), 1000, "nothing twice");
    assert!(finished.log.lines().count() < 200, "it does not fill the log:\n{}", finished.log);
}

#[test]
fn a_topic_that_may_not_be_read_or_written_is_named() {
    let broker = PrivateBroker::start();
    let app = App::new(&broker, 1, RULES);
    let properties: String = PrivateBroker::sasl_properties("alice")
        .iter()
        .map(|(name, value)| format!("    {name}: {value:?}\n"))
        .collect();
    let sasl = format!("kafka:\n  brokers: {}\n  properties:\n{properties}", broker.sasl_brokers());
    let app = app.kafka_section(&sasl);
    app.kafka.produce(&app.topic, [event(1)]);
    let refused = app.start("one", &["--until-end"]).wait();
    assert_eq!(refused.status, Some(3), "{}", refused.log);
    assert!(refused.log.contains("auth") || refused.log.contains("not exist"), "{}", refused.log);
    let id = app.id.clone();
    let (input, output) = (app.topic.clone(), app.output.clone());
    broker.allow("alice", &["--operation", "Read", "--operation", "Describe", "--topic", &input]);
    broker.allow("alice", &["--operation", "Read", "--operation", "Describe", "--group", &id]);
    broker.allow(
        "alice",
        &["--operation", "Write", "--operation", "Describe", "--transactional-id", &format!("{id}-one")],
    );
    broker.allow("alice", &["--operation", "Write", "--operation", "Describe", "--topic", &app.dead_letters]);
    broker.allow("alice", &["--operation", "Describe", "--topic", &output]);
    let changelog = format!("{id}-changelog");
    let rights = ["Create", "Describe", "DescribeConfigs", "Read", "Write"].map(|right| ["--operation", right]);
    broker.allow("alice", &[&rights.concat()[..], &["--topic", &changelog]].concat());
    let refused = app.start("one", &["--until-end"]).wait();
    assert_eq!(refused.status, Some(3), "{}", refused.log);
    assert!(refused.log.to_lowercase().contains("authoriz"), "{}", refused.log);
    broker.allow("alice", &["--operation", "Write", "--topic", &output]);
    app.until_end();
    assert_eq!(app.correlations().len(), 1, "after the right was given nothing is lost");
}

#[test]
fn an_output_too_large_for_its_topic_is_trimmed_and_said() {
    let rules = r#"
id: burst
events:
  x: any where kind == "x"
correlation: {type: event_count, rules: [x], group-by: [user], timespan: 1h, condition: {gte: 50}}
evidence: [pad]
"#;
    let app = App::new(kafka(), 1, rules);
    app.kafka.delete_topic(&app.output);
    app.kafka.create_topic(&app.output, 1, &[("max.message.bytes", "20000")]);
    let pad = "p".repeat(1000);
    let record = |n: usize| {
        let time = 1_767_225_600_000 + n as i64;
        NewRecord::value(format!(r#"{{"time":{time},"id":"{n}","kind":"x","user":"ada","pad":"{pad}"}}"#))
    };
    app.kafka.produce(&app.topic, (0..60).map(record));
    let finished = app.start("one", &["--until-end"]).wait();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    let found = app.correlations();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["values"]["count"], 50, "the true number");
    assert!(found[0]["events"].as_array().expect("events").len() < 50);
    assert!(finished.log.contains("trimmed"), "{}", finished.log);
}
