//! Decode against a second reading of its promises: a tree walk over generated JSON, and `serde_json` for the grammar.

use proptest::prelude::*;

use super::*;
use crate::event::stable_hash128;
use crate::rules::plan::FieldPath;

const PATHS: [&str; 9] = ["", "a", "a.b", "a.b.c", "b", "b.a", "c.c.c", "ab", "b.long_field_name_x"];

fn decoder(paths: &[&str], stream: &StreamFields) -> Decoder {
    let fields = paths.iter().map(|p| FieldPath((*p).to_owned())).collect();
    Decoder::new(&Plan { fields, ..Plan::default() }, stream)
}

fn read(payload: &str, path: &str) -> Option<serde_json::Value> {
    let mut decoder = decoder(&["", path], &StreamFields::default());
    let mut event = decoder.new_event();
    let mut read = || {
        decoder.decode(payload.as_bytes(), &mut event).unwrap_or_else(|e| panic!("{payload}: {e}"));
        match event.get(FieldId(1)) {
            Val::Absent => None,
            value => Some(value.to_json()),
        }
    };
    let first = read();
    assert_eq!(read(), first, "its shape is known by now: {payload}");
    first
}

fn refuse(payload: &[u8]) -> DecodeError {
    let mut decoder = decoder(&["", "a"], &StreamFields::default());
    let mut event = decoder.new_event();
    let first = decoder.decode(payload, &mut event);
    assert_eq!(decoder.decode(payload, &mut event), first, "{:?}", String::from_utf8_lossy(payload));
    match first {
        Err(error) => error,
        Ok(_) => panic!("{:?} was taken for an event", String::from_utf8_lossy(payload)),
    }
}

/// JSON before it is text: an object may have a key twice.
#[derive(Debug, Clone)]
enum Json {
    Scalar(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn print(&self, space: &str, out: &mut String) {
        let list = |out: &mut String, ends: [char; 2], parts: &mut dyn Iterator<Item = (Option<&String>, &Json)>| {
            out.push(ends[0]);
            for (at, (key, value)) in parts.enumerate() {
                out.push_str(if at == 0 { space } else { "," });
                if let Some(key) = key {
                    out.push_str(space);
                    // The first letter as an escape now and then: another spelling of the same key.
                    match (space.is_empty(), key.strip_prefix('a')) {
                        (false, Some(rest)) => out.push_str(&format!("\"\\u0061{rest}\"")),
                        _ => out.push_str(&format!("\"{key}\"")),
                    }
                    out.push_str(space);
                    out.push(':');
                }
                out.push_str(space);
                value.print(space, out);
                out.push_str(space);
            }
            out.push(ends[1]);
        };
        match self {
            Json::Scalar(text) => out.push_str(text),
            Json::Array(items) => list(out, ['[', ']'], &mut items.iter().map(|v| (None, v))),
            Json::Object(members) => list(out, ['{', '}'], &mut members.iter().map(|(k, v)| (Some(k), v))),
        }
    }

    /// The same shape with other scalars.
    fn with_other_values(&self, seed: &mut u64) -> Json {
        const VALUES: [&str; 10] = [
            "null",
            "true",
            "0",
            "-17",
            "18446744073709551615",
            "2.5e3",
            r#""""#,
            r#""short""#,
            r#""a text of more than sixteen bytes""#,
            r#""esc\"\u0061ped""#,
        ];
        match self {
            Json::Scalar(text) => {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let value = VALUES.get((*seed >> 33) as usize % (VALUES.len() + 3));
                Json::Scalar(value.map_or(text.as_str(), |value| value).to_owned())
            }
            Json::Array(items) => Json::Array(items.iter().map(|item| item.with_other_values(seed)).collect()),
            Json::Object(members) => {
                let other = |(key, value): &(String, Json)| (key.clone(), value.with_other_values(seed));
                Json::Object(members.iter().map(other).collect())
            }
        }
    }

    fn value(&self) -> serde_json::Value {
        let mut text = String::new();
        self.print("", &mut text);
        serde_json::from_str(&text).expect("generated JSON is JSON")
    }
}

#[derive(Default)]
struct Reached {
    found: Option<serde_json::Value>,
    /// The outermost array that `found` collects, and how many arrays there were.
    array: Option<usize>,
    arrays: usize,
}

impl Reached {
    fn emit(&mut self, array: Option<usize>, value: Option<serde_json::Value>) {
        match array {
            None => self.found = value,
            Some(_) if self.array == array && self.found.is_some() => {
                if let Some(serde_json::Value::Array(items)) = &mut self.found {
                    items.extend(value);
                }
            }
            Some(_) => self.found = Some(value.into_iter().collect()),
        }
        self.array = array;
    }

    fn visit(&mut self, json: &Json, path: Option<&str>, array: Option<usize>) {
        match (json, path) {
            (Json::Array(items), _) => {
                let array = array.or_else(|| {
                    self.arrays += 1;
                    Some(self.arrays)
                });
                if path.is_none() {
                    self.emit(array, None);
                }
                items.iter().for_each(|item| self.visit(item, path, array));
            }
            (Json::Object(members), Some(path)) => {
                for (at, (key, value)) in members.iter().enumerate() {
                    if members.iter().skip(at + 1).any(|(later, _)| later == key) {
                        continue;
                    }
                    if key == path {
                        self.visit(value, None, array);
                    } else if let Some(rest) = path.strip_prefix(key.as_str()).and_then(|r| r.strip_prefix('.')) {
                        self.visit(value, Some(rest), array);
                    }
                }
            }
            (value, None) => self.emit(array, Some(value.value())),
            (Json::Scalar(_), Some(_)) => {}
        }
    }
}

fn expected(json: &Json, path: &str) -> Option<serde_json::Value> {
    let mut reached = Reached::default();
    reached.visit(json, Some(path), None);
    let null = |v: &serde_json::Value| matches!(v, serde_json::Value::Array(a) if a.iter().all(|e| e.is_null()));
    reached.found.map(|v| if null(&v) { serde_json::Value::Null } else { v })
}

fn scalar() -> impl Strategy<Value = Json> {
    let number = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        (-1000i32..1000).prop_map(|n| format!("{n}.5")),
        Just("-0".to_owned()),
        Just("1E+2".to_owned()),
    ];
    let text = prop_oneof![
        "[ -~äß✓🦀]{0,20}".prop_map(|s| serde_json::to_string(&s).expect("text is JSON")),
        Just(r#""\ud83e\udd80 \/\b\f\n\r\t\"\\""#.to_owned()),
        "[a-z]{0,12}".prop_map(|s| format!("\"{s}\\u00e4\"")),
    ];
    let word = prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(str::to_owned);
    prop_oneof![number, text, word].prop_map(Json::Scalar)
}

fn object() -> impl Strategy<Value = Json> {
    let key =
        || proptest::sample::select(vec!["a", "b", "c", "ab", "a.b", "b.c", "c.c", "a.b.c", "", "long_field_name_x"]);
    let members = move |value: BoxedStrategy<Json>| {
        proptest::collection::vec((key().prop_map(str::to_owned), value), 0..5).prop_map(Json::Object)
    };
    let tree = scalar().prop_recursive(5, 48, 5, move |inner| {
        prop_oneof![proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::Array), members(inner.boxed())]
    });
    members(tree.boxed())
}

/// All that decode says of a payload: what it answers, and the values of these many fields.
fn outcome(
    decoder: &mut Decoder,
    event: &mut Projected,
    payload: &[u8],
    fields: usize,
) -> (Result<Header, DecodeError>, Vec<String>) {
    let header = decoder.decode(payload, event);
    let values = (0..fields).map(|field| format!("{:?}", event.get(FieldId(field as u16)))).collect();
    (header, values)
}

proptest! {
    #[test]
    fn what_came_before_changes_nothing(
        shapes in proptest::collection::vec(object(), 1..5),
        events in proptest::collection::vec(
            (any::<proptest::sample::Index>(), any::<u64>(), proptest::option::weighted(0.2, any::<proptest::sample::Index>()), 0..3usize),
            1..60,
        ),
    ) {
        let stream = StreamFields { time: Some("a".into()), id: vec!["b".into(), "a.b".into()], category: "c".into() };
        // Slots of the plan, and behind them those of time and ids.
        let fields = PATHS.len() + 3;
        let mut learned = decoder(&PATHS, &stream);
        let mut event = learned.new_event();
        for (shape, mut seed, damage, space) in events {
            let mut text = String::new();
            shapes[shape.index(shapes.len())].with_other_values(&mut seed).print(["", " ", "\r\n\t"][space], &mut text);
            let mut payload = text.into_bytes();
            if let Some(at) = damage {
                let at = at.index(payload.len());
                match seed % 3 {
                    0 => payload.truncate(at),
                    1 => payload[at] = b"{}[],:\"\\1 x"[(seed >> 8) as usize % 11],
                    _ => payload.insert(at, b"{}[],:\"\\1 x"[(seed >> 8) as usize % 11]),
                }
            }
            let mut fresh = decoder(&PATHS, &stream);
            let expected = outcome(&mut fresh, &mut event, &payload, fields);
            let got = outcome(&mut learned, &mut event, &payload, fields);
            prop_assert_eq!(&got.0, &expected.0, "{}", String::from_utf8_lossy(&payload));
            if got.0.is_ok() {
                prop_assert_eq!(&got.1, &expected.1, "{}", String::from_utf8_lossy(&payload));
            }
        }
    }

    #[test]
    fn every_path_reads_as_a_tree_walk_would(
        jsons in proptest::collection::vec(object(), 1..4),
        space in proptest::sample::select(vec!["", " ", "\r\n\t"]),
    ) {
        // One decoder for several events: nothing may remain from the one before.
        let mut decoder = decoder(&PATHS, &StreamFields { category: "b.c".into(), ..StreamFields::default() });
        let mut event = decoder.new_event();
        for json in jsons {
            let mut text = String::new();
            json.print(space, &mut text);
            decoder.decode(text.as_bytes(), &mut event).expect("generated JSON is an event");
            for (field, path) in PATHS.iter().enumerate() {
                let path = if field == 0 { "b.c" } else { path };
                let got = match event.get(FieldId(field as u16)) {
                    Val::Absent => None,
                    value => Some(value.to_json()),
                };
                prop_assert_eq!(got, expected(&json, path), "path {} of {}", path, text);
            }
        }
    }

    #[test]
    fn damaged_payloads_are_refused_exactly_where_serde_json_refuses_them(
        json in object(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), 0..3, "[\\[\\]{},:\"\\\\0-9a-fu.eE+ \u{1}-]"), 1..4),
    ) {
        let mut text = String::new();
        json.print("", &mut text);
        let mut chars: Vec<char> = text.chars().collect();
        for (at, kind, with) in damage {
            if chars.is_empty() {
                break;
            }
            let at = at.index(chars.len());
            match kind {
                0 => drop(chars.remove(at)),
                1 => chars[at] = with.chars().next().unwrap_or('x'),
                _ => chars.truncate(at),
            }
        }
        let text: String = chars.into_iter().collect();
        let mut decoder = decoder(&PATHS, &StreamFields::default());
        let mut event = decoder.new_event();
        let ours = decoder.decode(text.as_bytes(), &mut event);
        match (serde_json::from_str::<serde_json::Value>(&text), ours) {
            (Ok(value), ours) => prop_assert_eq!(value.is_object(), ours.is_ok(), "{}: {:?}", text, ours),
            (Err(theirs), Ok(_)) => {
                // Where we are more generous on purpose.
                let why = theirs.to_string();
                let ok = why.contains("surrogate") || why.contains("hex escape") || why.contains("out of range");
                prop_assert!(ok, "{}: serde_json says {}", text, why);
            }
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), wrap in any::<bool>()) {
        let stream = StreamFields { time: Some("a".into()), id: vec!["b".into(), "a.b".into()], category: "c".into() };
        let mut decoder = decoder(&PATHS, &stream);
        let mut event = decoder.new_event();
        let payload = if wrap { [b"{\"a\":", bytes.as_slice()].concat() } else { bytes };
        if decoder.decode(&payload, &mut event).is_ok() {
            decoder.id_text(&event);
        }
    }
}

#[test]
fn numbers_are_exact_and_escapes_are_resolved() {
    let cases = [
        ("9007199254740993", serde_json::json!(9_007_199_254_740_993_i64)),
        ("-9223372036854775808", serde_json::json!(i64::MIN)),
        ("18446744073709551615", serde_json::json!(u64::MAX)),
        ("18446744073709551616", serde_json::json!(18_446_744_073_709_551_616.0)),
        ("-9223372036854775809", serde_json::json!(-9_223_372_036_854_775_809.0)),
        ("-0", serde_json::json!(-0.0)),
        ("1e-400", serde_json::json!(0.0)),
        ("1e400", serde_json::json!(null)), // infinite: JSON has no word for it
        (r#""\ud83e\udd80""#, serde_json::json!("🦀")),
        (r#""\ud83e x \udd80\u0041""#, serde_json::json!("\u{fffd} x \u{fffd}A")),
        (r#""\ud83e\ud83e\udd80""#, serde_json::json!("\u{fffd}🦀")),
    ];
    for (text, value) in cases {
        assert_eq!(read(&format!("{{\"a\":{text}}}"), "a"), Some(value), "{text}");
    }
}

#[test]
fn the_last_of_equal_keys_counts_and_later_paths_win() {
    assert_eq!(read(r#"{"a":1,"a":2}"#, "a"), Some(2.into()));
    assert_eq!(read(r#"{"a":{"b":1},"a":{"c":2}}"#, "a.b"), None);
    assert_eq!(read(r#"{"a":[{"b":1,"b":2},{"b":3}]}"#, "a.b"), Some(serde_json::json!([2, 3])));
    assert_eq!(read(r#"{"a":{"b":1},"a.b":2}"#, "a.b"), Some(2.into()));
    assert_eq!(read(r#"{"a.b":2,"a":{"b":1}}"#, "a.b"), Some(1.into()));
    assert_eq!(read(r#"{"a.b":2,"a":{"c":1}}"#, "a.b"), Some(2.into()));
    assert_eq!(read(r#"{"a.b":{"c.d":7}}"#, "a.b.c.d"), Some(7.into()));
}

#[test]
fn arrays_are_flat_and_bounded_and_null_without_values() {
    assert_eq!(read(r#"{"a":[1,[2,[3]],{"x":[4]}]}"#, "a"), Some(serde_json::json!([1, 2, 3, {"x": [4]}])));
    assert_eq!(read(r#"{"a":[{"b":[1,2]},[{"b":3}],{"c":4}]}"#, "a.b"), Some(serde_json::json!([1, 2, 3])));
    for null in ["[]", "[[],[null]]", "null"] {
        assert_eq!(read(&format!("{{\"a\":{null}}}"), "a"), Some(serde_json::Value::Null), "{null}");
    }
    assert_eq!(read(r#"{"a":[]}"#, "a.b"), None);
    let long = format!("{{\"a\":[{}0]}}", "1,".repeat(5000));
    let kept = read(&long, "a").and_then(|v| v.as_array().map(Vec::len));
    assert_eq!(kept, Some(limits::ARRAY_ELEMENTS_MAX));
}

#[test]
fn what_is_no_event_has_its_code() {
    use DeadCode::*;
    let deep = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    let unwanted = |depth: usize| format!("{{\"z\":{}{}}}", "{\"z\":[".repeat(depth / 2), "]}".repeat(depth / 2));
    let cases: Vec<(Vec<u8>, DeadCode)> = vec![
        (b"".to_vec(), EmptyValue),
        (b" \r\n\t".to_vec(), EmptyValue),
        (b"{\"a\":\"\xff\"}".to_vec(), InvalidUtf8),
        (b"\x00\x01\x80binary".to_vec(), InvalidUtf8),
        (b"[1]".to_vec(), NotAnObject),
        (b"\"text\"".to_vec(), NotAnObject),
        (b"null".to_vec(), NotAnObject),
        (b"[1".to_vec(), InvalidJson),
        (b"hello".to_vec(), InvalidJson),
        (b"{\"a\":1} x".to_vec(), InvalidJson),
        (b"{\"a\":1".to_vec(), InvalidJson),
        (b"{\"a\":01}".to_vec(), InvalidJson),
        (b"{\"a\":1,}".to_vec(), InvalidJson),
        (b"{\"z\":[1,]}".to_vec(), InvalidJson),
        (b"{\"z\":{\"y\":[}]}".to_vec(), InvalidJson),
        (b"{\"a\":\"\x01\"}".to_vec(), InvalidJson),
        (deep(10_000).into_bytes(), TooDeep),
        (deep(limits::JSON_DEPTH_MAX).into_bytes(), TooDeep),
        (unwanted(limits::JSON_DEPTH_MAX + 2).into_bytes(), TooDeep),
        (vec![b' '; limits::PAYLOAD_BYTES_MAX + 1], TooLarge),
    ];
    for (payload, code) in cases {
        let error = refuse(&payload);
        let start = String::from_utf8_lossy(payload.get(..20).unwrap_or(&payload)).into_owned();
        assert_eq!(error.code, code, "{start}: {error}");
    }
    assert_eq!(refuse(b"{\"a\" 1}").message, "expected `:` after a key, at byte 5");
    read(&deep(limits::JSON_DEPTH_MAX - 1), "a");
    read(&unwanted(limits::JSON_DEPTH_MAX - 2), "a");
}

#[test]
fn the_time_comes_from_text_number_or_first_element() {
    let stream = StreamFields { time: Some("@timestamp".into()), ..StreamFields::default() };
    let mut decoder = decoder(&["", "@timestamp"], &stream);
    let mut event = decoder.new_event();
    let mut time = |value: &str| {
        let payload = format!("{{\"@timestamp\":{value}}}");
        decoder.decode(payload.as_bytes(), &mut event).map(|header| header.time.map_or(0, |t| t.0)).map_err(|e| e.code)
    };
    assert_eq!(time("\"2023-07-10T11:42:36Z\""), Ok(1_688_989_356_000_000_000));
    assert_eq!(time("\"2023-07-10T11:42:36\\u005a\""), Ok(1_688_989_356_000_000_000));
    assert_eq!(time("1588205199.82437"), Ok(1_588_205_199_824_370_000));
    assert_eq!(time("\"1588205199824\""), Ok(1_588_205_199_824_000_000));
    assert_eq!(time("[1588205199.000000001, 7]"), Ok(1_588_205_199_000_000_001));
    for missing in ["null", "[]", "[null, 5]"] {
        assert_eq!(time(missing), Err(DeadCode::MissingTime), "{missing}");
    }
    for invalid in ["true", "{\"at\":1}", "\"soon\"", "1e99", "\"\""] {
        assert_eq!(time(invalid), Err(DeadCode::InvalidTime), "{invalid}");
    }
    // The rule that names the same path sees a number.
    decoder.decode(b"{\"@timestamp\":1588205199.5}", &mut event).expect("an event");
    assert_eq!(event.get(FieldId(1)).to_json(), serde_json::json!(1_588_205_199.5));
    // A payload cut off behind its time still tells it.
    let error = decoder.decode(b"{\"@timestamp\":1588205199,\"x\":", &mut event).expect_err("truncated");
    assert_eq!((error.code, error.time), (DeadCode::InvalidJson, Some(Timestamp(1_588_205_199_000_000_000))));
    let error = decoder.decode(b"{}", &mut event).expect_err("no time");
    assert_eq!(error.message, "the time field `@timestamp` is absent");
}

#[test]
fn a_memory_of_shapes_that_is_full_is_only_slower() {
    let mut decoder = decoder(&["", "a.b", "c"], &StreamFields::default());
    let mut event = decoder.new_event();
    // Keys that never come again, wanted objects in unwanted ones and around them, until long after all is full.
    for n in 0..2 * limits::SHAPE_STRIDES_MAX + limits::SHAPE_KEPT_EVENTS as usize {
        let payload = format!(
            r#"{{"k{n}":{{"x{n}":[{n}],"y":{{"z{}":1}}}},"a":{{"n{n}":null,"b":{n}}},"c":"{}"}}"#,
            n % 7,
            "long ".repeat(n % 5)
        );
        decoder.decode(payload.as_bytes(), &mut event).expect("an event");
        assert!(matches!(event.get(FieldId(1)), Val::Int(value) if value == n as i64), "{payload}");
        assert!(matches!(event.get(FieldId(2)), Val::Str(text) if text.len() == n % 5 * 5), "{payload}");
    }
    // More objects than are told apart, and deeper than is allowed.
    let wide: Vec<String> = (0..2 * limits::SHAPE_CONTEXTS_MAX).map(|n| format!("p{n}.q")).collect();
    let paths: Vec<&str> = std::iter::once("").chain(wide.iter().map(String::as_str)).collect();
    let mut decoder = self::decoder(&paths, &StreamFields::default());
    let mut event = decoder.new_event();
    let members: Vec<String> = (0..wide.len()).map(|n| format!(r#""p{n}":{{"q":{n}}}"#)).collect();
    let payload = format!("{{{}}}", members.join(","));
    for _ in 0..3 {
        decoder.decode(payload.as_bytes(), &mut event).expect("an event");
        for n in 0..wide.len() {
            assert!(matches!(event.get(FieldId(n as u16 + 1)), Val::Int(value) if value == n as i64), "p{n}.q");
        }
    }
}

#[test]
fn a_key_that_comes_twice_counts_where_it_comes_last_also_when_the_shape_is_known() {
    let mut decoder = decoder(&["", "a.b", "a.c", "d"], &StreamFields::default());
    let mut event = decoder.new_event();
    let once = r#"{"a":{"b":1,"c":2},"d":3}"#;
    let twice = [
        (r#"{"a":{"b":1,"c":2},"a":{"c":4},"d":3}"#, [None, Some(4), Some(3)]),
        (r#"{"a":{"b":1,"c":2,"b":5},"d":3}"#, [Some(5), Some(2), Some(3)]),
        (r#"{"a":{"b":1,"c":2},"d":3,"d":6}"#, [Some(1), Some(2), Some(6)]),
        (r#"{"a":{"b":1,"c":2},"d":3,"a":7}"#, [None, None, Some(3)]),
        (r#"{"a.b":8,"a":{"c":2},"d":3}"#, [Some(8), Some(2), Some(3)]),
    ];
    for round in 0..3 {
        for (payload, expected) in [(once, [Some(1), Some(2), Some(3)])].into_iter().chain(twice) {
            decoder.decode(payload.as_bytes(), &mut event).expect("an event");
            let got = [1, 2, 3].map(|field| match event.get(FieldId(field)) {
                Val::Int(value) => Some(value),
                _ => None,
            });
            assert_eq!(got, expected, "{payload}, round {round}");
        }
    }
}

#[test]
fn identity_is_the_text_of_the_id_fields() {
    let id = |fields: &[&str], payload: &str| {
        let stream = StreamFields { id: fields.iter().map(|f| (*f).to_owned()).collect(), ..StreamFields::default() };
        let mut decoder = decoder(&["", "event.id"], &stream);
        let mut event = decoder.new_event();
        decoder.decode(payload.as_bytes(), &mut event).expect("an event");
        let text = decoder.id_text(&event);
        let hash = text.as_ref().map(|t| stable_hash128(7, t.as_bytes()));
        assert_eq!(decoder.id_hash(&event, 7), hash, "{payload}");
        text
    };
    assert_eq!(id(&["event.id"], r#"{"event":{"id":"a\"b"}}"#).as_deref(), Some("a\"b"));
    assert_eq!(
        id(&["event.id"], r#"{"event.id":123456789012345678901234567890}"#).as_deref(),
        Some("123456789012345678901234567890")
    );
    assert_eq!(id(&["a", "b"], r#"{"a":"x\"","b":1.50}"#).as_deref(), Some(r#"["x\"",1.50]"#));
    assert_eq!(id(&["a"], r#"{"a":["x",null,2]}"#).as_deref(), Some(r#"["x",null,2]"#));
    for (fields, payload) in [(&["a", "b"][..], r#"{"a":1}"#), (&["a"], r#"{"a":null}"#), (&[], r#"{"a":1}"#)] {
        assert_eq!(id(fields, payload), None, "{payload}");
    }
}
