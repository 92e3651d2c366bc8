//! INV-LIVE: one bad record never stops a partition. Each becomes a dead letter with the right code, byte for byte, or an
//! event; the good ones around them are all processed.

use crate::harness::App;
use crate::support::client::NewRecord;
use crate::support::kafka;

const RULES: &str = r#"
id: seen
query: any where kind == "good"
"#;

/// 2026-01-01T00:00:00Z in milliseconds.
const NOW_MS: i64 = 1_767_225_600_000;

fn good(n: usize) -> Vec<u8> {
    format!(r#"{{"time":"2026-01-01T00:00:00Z","id":"good-{n}","kind":"good"}}"#).into_bytes()
}

fn nested(depth: usize) -> Vec<u8> {
    let mut value = br#"{"time":"2026-01-01T00:00:00Z","id":"deep","a":"#.to_vec();
    value.extend(std::iter::repeat_n(b'[', depth));
    value.extend(std::iter::repeat_n(b']', depth));
    value.push(b'}');
    value
}

fn large() -> Vec<u8> {
    let mut value = br#"{"time":"2026-01-01T00:00:00Z","id":"large","kind":"good","pad":""#.to_vec();
    value.resize(value.len() + 5_000_000, b'x');
    value.extend_from_slice(b"\"}");
    value
}

/// Payload and the code of its dead letter; `None`: it is an event like any other.
fn poison() -> Vec<(Vec<u8>, Option<&'static str>)> {
    vec![
        (b"".to_vec(), Some("empty_value")),
        (b"   ".to_vec(), Some("empty_value")),
        (br#"{"time":"2026-01-01T00:00:00Z","kind":"go"#.to_vec(), Some("invalid_json")),
        (vec![0, 159, 146, 150, 255], Some("invalid_utf8")),
        (b"\x00\x01\x02\x03".to_vec(), Some("invalid_json")),
        (b"[1,2,3]".to_vec(), Some("not_an_object")),
        (b"\"text\"".to_vec(), Some("not_an_object")),
        (nested(10_000), Some("too_deep")),
        (large(), None),
        (br#"{"time":{"a":1},"id":"t1","kind":"good"}"#.to_vec(), Some("invalid_time")),
        (br#"{"time":true,"id":"t2","kind":"good"}"#.to_vec(), Some("invalid_time")),
        (br#"{"id":"t3","kind":"good"}"#.to_vec(), Some("missing_time")),
        (br#"{"time":null,"id":"t4","kind":"good"}"#.to_vec(), Some("missing_time")),
        (br#"{"time":"soon","id":"t5","kind":"good"}"#.to_vec(), Some("invalid_time")),
        (br#"{"time":"2099-01-01T00:00:00Z","id":"t6","kind":"good"}"#.to_vec(), Some("future_timestamp")),
        (br#"{"time":"1970-01-01T00:00:00Z","id":"t7","kind":"good"}"#.to_vec(), Some("late")),
        // Wrong types where a rule looks: an event that satisfies nothing.
        (br#"{"time":"2026-01-01T00:00:00Z","id":5,"kind":{"good":true}}"#.to_vec(), None),
        (br#"{"time":"2026-01-01T00:00:00Z","id":["a"],"kind":[null,7]}"#.to_vec(), None),
    ]
}

#[test]
fn each_bad_record_becomes_a_dead_letter_and_the_partition_goes_on() {
    let app = App::new(kafka(), 1, RULES);
    let mut records = vec![NewRecord { timestamp_ms: Some(NOW_MS), ..NewRecord::value(good(0)) }];
    let poison = poison();
    for (at, (payload, _)) in poison.iter().enumerate() {
        records.push(NewRecord {
            partition: Some(0),
            key: Some(format!("key-{at}").into_bytes()),
            value: Some(payload.clone()),
            headers: vec![("origin".into(), Some(vec![0xff, 0x00])), ("none".into(), None)],
            timestamp_ms: Some(NOW_MS + at as i64),
        });
        records.push(NewRecord { timestamp_ms: Some(NOW_MS), ..NewRecord::value(good(at + 1)) });
    }
    records.push(NewRecord { value: None, timestamp_ms: Some(NOW_MS), ..NewRecord::value("") });
    let all = records.len() as u64;
    app.kafka.produce(&app.topic, records);

    let totals = app.until_end();
    let letters = app.dead_letters();
    for (at, (payload, code)) in poison.iter().enumerate() {
        let key = format!("key-{at}").into_bytes();
        let letter = letters.iter().find(|letter| letter.key.as_deref() == Some(&key));
        let Some(code) = code else {
            assert!(letter.is_none(), "record {at} is an event");
            continue;
        };
        let letter = letter.unwrap_or_else(|| panic!("no dead letter for record {at}, {code}"));
        let header = |name: &str| letter.header(name).unwrap_or_else(|| panic!("{code}: header {name}")).to_owned();
        assert_eq!(letter.value.as_deref(), Some(payload.as_slice()), "{code}: byte for byte");
        assert_eq!(letter.headers[0], ("origin".into(), Some(vec![0xff, 0x00])), "{code}: original headers first");
        assert_eq!(letter.headers[1], ("none".into(), None));
        assert_eq!(header("__throughline.errors.code"), *code);
        assert_eq!(header("__throughline.errors.timestamp"), (NOW_MS + at as i64).to_string());
        assert_eq!(header("__streams.errors.topic"), app.topic);
        assert_eq!(header("__streams.errors.partition"), "0");
        assert_eq!(header("__streams.errors.offset"), (2 * at + 1).to_string());
        assert!(!header("__streams.errors.message").is_empty());
        let stamped = letter.timestamp_ms.expect("stamp");
        assert!(stamped > NOW_MS + 1_000_000, "stamped with the time of writing, not of the event: {stamped}");
    }
    let expected = poison.iter().filter(|(_, code)| code.is_some()).count();
    assert_eq!(letters.len(), expected);
    let counts = &totals[&app.topic];
    assert_eq!(counts["tombstone"], 1);
    assert_eq!(counts["late"], 1);
    assert_eq!(counts["dead_letter"], expected as u64 - 1, "late is counted as late");
    assert_eq!(counts.values().sum::<u64>(), all);
    // Every good one, and the large one.
    assert_eq!(app.correlations().len(), poison.len() + 2);
}
