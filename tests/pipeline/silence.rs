//! The watermark without traffic: absence rules fire through idle partitions, and an idle partition holds nobody back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    app.kafka.produce(&app.topic, [event("ask", "ada", time).to(1), event("ask", "bob", time).to(1)]);
    app.kafka.produce(&app.topic, [event("answer", "bob", time + 100).to(1)]);
    let found = app.kafka.read_committed_until(&app.output, 1, Duration::from_secs(30));
    assert_eq!(found.len(), 1, "{}", service.log());
    let record: serde_json::Value = serde_json::from_str(found[0].text()).expect("JSON");
    assert_eq!(record["key"]["user"], "ada");
    assert_eq!(record["events"][1], serde_json::Value::Null, "the missing event stands as null");
    // Measured between the stamps of the log, so that the test's own clients, which share the machine with it, are not in the
    // figure. The newest event (`time + 100`) has had its usual delay when it was written; from there event time runs
    // with the wall clock: the deadline is 2.9 s after it, out_of_orderness 1 s more; idle_timeout (2 s) is earlier.
    let newest = app.kafka.read_committed(&app.topic).iter().filter_map(|r| r.timestamp_ms).max().expect("stamps");
    let waited = found[0].timestamp_ms.expect("a stamp") - newest;
    assert!((3900..=3900 + 2000).contains(&waited), "{waited} ms\n{}", service.log());
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
