//! The watermark without traffic: absence rules fire through idle partitions, and an idle partition holds nobody back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::App;
use crate::support::client::NewRecord;
use crate::support::kafka;

const RULES: &str = r#"
id: no-answer
query: |
  sequence by user with maxspan=3s
    [any where kind == "ask"]
    ![any where kind == "answer"]
"#;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("clock").as_millis() as i64
}

fn event(kind: &str, user: &str, time_ms: i64) -> NewRecord {
    let id = format!("{kind}-{user}-{time_ms}");
    NewRecord::value(format!(r#"{{"time":{time_ms},"id":"{id}","kind":"{kind}","user":"{user}"}}"#))
}

#[test]
fn an_absence_rule_fires_with_no_further_traffic() {
    // Three of four partitions are empty; the fourth falls silent after the events.
    let input = "time: {field: time}\n    id: id\n    out_of_orderness: 1s\n    idle_timeout: 2s";
    let app = App::new(kafka(), 4, RULES).input(input);
    let mut service = app.start("one", &[]);
    service.wait_for("produces");
    let time = now_ms();
    let sent = Instant::now();
    app.kafka.produce(&app.topic, [event("ask", "ada", time).to(1), event("ask", "bob", time).to(1)]);
    app.kafka.produce(&app.topic, [event("answer", "bob", time + 100).to(1)]);
    let found = app.kafka.read_committed_until(&app.output, 1, Duration::from_secs(20));
    let waited = sent.elapsed();
    assert_eq!(found.len(), 1, "{}", service.log());
    let record: serde_json::Value = serde_json::from_str(found[0].text()).expect("JSON");
    assert_eq!(record["key"]["user"], "ada");
    assert_eq!(record["events"][1], serde_json::Value::Null, "the missing event stands as null");
    // Deadline 3 s after the event, out_of_orderness 1 s, within 2 s of that; idle_timeout (2 s) is earlier.
    assert!(waited >= Duration::from_secs(3), "not before its time: {waited:?}");
    assert!(waited <= Duration::from_millis(3000 + 1000 + 2000), "{waited:?}");
    let finished = service.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    assert_eq!(app.correlations().len(), 1);
}

#[test]
fn with_idle_timeout_zero_a_silent_partition_holds_the_others_back() {
    let input = "time: {field: time}\n    id: id\n    out_of_orderness: 0s\n    idle_timeout: 0s";
    let app = App::new(kafka(), 2, RULES).input(input);
    let mut service = app.start("one", &[]);
    service.wait_for("produces");
    let time = now_ms() - 60_000;
    app.kafka.produce(&app.topic, [event("ask", "ada", time).to(0), event("ask", "eve", time + 30_000).to(0)]);
    std::thread::sleep(Duration::from_secs(4));
    assert!(app.correlations().is_empty(), "partition 1 may still bring ada's answer");
    app.kafka.produce(&app.topic, [event("ask", "zoe", time + 30_000).to(1)]);
    let found = app.kafka.read_committed_until(&app.output, 1, Duration::from_secs(10));
    assert_eq!(found.len(), 1, "{}", service.log());
    service.interrupt();
}
