//! What users' consumers rely on, byte for byte: golden files under `tests/golden/sink`, rewritten with
//! `THROUGHLINE_BLESS=1` and only on purpose.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::event::*;
use crate::rules::{RuleFile, compile};

const RULE: &str = r#"
id: crash
name: Crash "loop"
severity: high
tags: [kubernetes, memory]
query: |
  sequence by k8s.pod.uid, ?zone with maxspan=10m
    [kernel where event.action == "oom"]
    [any where event.reason == "BackOff"]
    ![any where event.reason == "Ready"]
evidence: [labels]
summary: "{{ k8s.pod.uid }} restarted {{ count }} times: {{ labels }}"
output: {topic: correlations.k8s}
"#;

fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sink").join(name);
    if std::env::var_os("THROUGHLINE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        std::fs::write(&path, actual).expect("golden file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(actual, expected, "{name} changed; THROUGHLINE_BLESS=1 rewrites it");
}

fn plan() -> Arc<crate::rules::plan::Plan> {
    let file = RuleFile { path: "crash.yaml".into(), text: RULE.into() };
    Arc::new(compile(&[file]).unwrap_or_else(|errors| panic!("{errors:?}")).plan)
}

fn topics() -> (TopicTable, TopicId) {
    let topics = TopicTable::default();
    let id = topics.intern("k8s-events").expect("room");
    (topics, id)
}

fn found(plan: &crate::rules::plan::Plan, topic: TopicId, events: usize) -> Correlation {
    let field = |path: &str| FieldId(plan.fields.iter().position(|f| f.0 == path).expect("field") as u16);
    let mut projected = Projected::with_fields(plan.fields.len());
    projected.set_str(field("k8s.pod.uid"), "pod-1");
    projected.set_str(field("event.reason"), "Back\u{2028}Off\n");
    projected.elements.extend([Slot::Int(1), Slot::Float(0.5)]);
    projected.slots[field("labels").index()] = Slot::Array { start: 0, len: 2 };
    let event = |n: usize| {
        Some(MatchedEvent {
            step: n.min(1) as u16,
            event: Arc::new(Evidence {
                time: Timestamp(1_767_225_600_000_000_000 + n as i64 * 1_500_000_000),
                origin: Origin { topic, partition: 3, offset: 17 + n as i64 },
                id: (n == 0).then(|| "event-1".into()),
                fields: projected.extract(&plan.rules[0].fields),
                trace: None,
            }),
        })
    };
    let mut key = KeyBuilder::default();
    key.push(Val::Str("pod-1"));
    key.push(Val::Null);
    let mut list: Vec<_> = (0..events).map(event).collect();
    list.push(None);
    Correlation {
        rule: RuleIndex(0),
        key: key.build(0),
        id: Hash128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        window_start: Timestamp(1_767_225_600_000_000_000),
        window_end: Timestamp(1_767_226_200_000_000_000),
        events: list,
        values: vec![(Measure::Count, MeasuredValue::Int(events as i128)), (Measure::Avg, MeasuredValue::Float(0.25))],
        suppressed: 4,
    }
}

/// A record as text: topic, key, headers, value.
fn show(record: &crate::broker::OutRecord) -> String {
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_deref().map_or("(null)".into(), |b| String::from_utf8_lossy(b).into_owned());
    let mut shown = format!("topic: {}\nkey: {}\n", record.topic, text(&record.key));
    for (name, value) in &record.headers {
        shown += &format!("{name}: {}\n", text(value));
    }
    shown + "\n" + &text(&record.value) + "\n"
}

#[test]
fn a_correlation_is_written_in_the_documented_form() {
    let (plan, (topics, topic)) = (plan(), topics());
    let mut encoder = CorrelationEncoder::new(Arc::clone(&plan), topics, "correlations".into(), false);
    let encoded = encoder.encode(&found(&plan, topic, 2), |_| usize::MAX);
    assert!(!encoded.trimmed);
    golden("correlation.txt", &show(&encoded.record));
}

#[test]
fn a_correlation_too_large_loses_events_from_the_middle_then_their_fields() {
    let (plan, (topics, topic)) = (plan(), topics());
    let mut encoder = CorrelationEncoder::new(Arc::clone(&plan), topics, "correlations".into(), false);
    let large = found(&plan, topic, 50);
    for limit in [4000, 900, 700] {
        let encoded = encoder.encode(&large, |_| limit);
        assert!(encoded.trimmed && encoded.record.bytes() <= limit, "{} of {limit}", encoded.record.bytes());
        let json: serde_json::Value =
            serde_json::from_slice(encoded.record.value.as_deref().expect("value")).expect("JSON");
        assert_eq!(json["values"]["count"], 50);
    }
}

#[test]
fn a_key_of_a_megabyte_still_gives_a_record_that_fits() {
    let (plan, (topics, topic)) = (plan(), topics());
    let mut encoder = CorrelationEncoder::new(Arc::clone(&plan), topics, "correlations".into(), false);
    let mut key = KeyBuilder::default();
    key.push(Val::Str(&"k".repeat(1_000_000)));
    key.push(Val::Null);
    let large = Correlation { key: key.build(0), ..found(&plan, topic, 5) };
    let encoded = encoder.encode(&large, |_| 5_000);
    assert!(encoded.trimmed && encoded.record.bytes() <= 5_000, "{}", encoded.record.bytes());
    assert_eq!(encoded.record.key.as_ref().map(Vec::len), Some(16), "the key's hash stands for it");
}

#[test]
fn a_dead_letter_keeps_the_record_and_says_why() {
    let (topics, topic) = topics();
    let encoder = DeadLetterEncoder::new(topics, "dlq".into());
    let letter = DeadLetter {
        code: DeadCode::InvalidJson,
        stage: Stage::Decode,
        message: "expected `:` at byte 7".into(),
        origin: Origin { topic, partition: 3, offset: 99 },
        event_time: None,
        record: RawRecord {
            key: Some(b"k".as_slice().into()),
            value: Some(b"{\"a\" 1}".as_slice().into()),
            headers: vec![
                ("trace".into(), Some(b"1".as_slice().into())),
                ("__throughline.errors.redrive_count".into(), Some(b"2".as_slice().into())),
            ],
            timestamp_ms: Some(1_767_225_600_123),
        },
    };
    let now = Timestamp(1_767_225_700_000_000_000);
    golden("dead_letter.txt", &show(&encoder.encode(letter.clone(), now, |_| usize::MAX)));
    let cut = encoder.encode(letter, now, |_| 10);
    assert_eq!(cut.value, None, "too large for the topic: the reason goes without the value");
    assert_eq!(cut.headers.last().expect("header"), &("__throughline.errors.value_bytes".into(), Some(b"7".to_vec())));
}
