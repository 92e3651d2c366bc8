//! Every starter rule on small cases: what it finds, and near misses in which it must stay silent.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use throughline::event::{Span, Timestamp};

use crate::support::{Found, Stream, compiled, rule_files, rules, run_rules};

/// One file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    shapes: BTreeMap<String, Map<String, Value>>,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    rule: String,
    what: String,
    events: Vec<Vec<Value>>,
    finds: Vec<Vec<Option<usize>>>,
}

impl Case {
    /// The events as lines of JSON, numbered from 1 by their ids.
    fn lines(&self, fixture: &Fixture) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for event in &self.events {
            let (at, shape) = match event.as_slice() {
                [Value::String(at), Value::String(shape), ..] => (Span::parse(at).expect("a duration"), shape),
                _ => panic!("{}: an event is [time, shape, fields, times]: {event:?}", self.what),
            };
            for n in 0..event.get(3).and_then(Value::as_i64).unwrap_or(1) {
                let number = (lines.len() + 1).to_string();
                let base = fixture.shapes.get(shape).unwrap_or_else(|| panic!("{}: no shape {shape}", self.what));
                let mut fields = base.clone();
                fields.extend(event.get(2).and_then(Value::as_object).cloned().unwrap_or_default());
                for value in fields.values_mut().filter(|value| value.as_str() == Some("#")) {
                    *value = number.as_str().into();
                }
                let time = Timestamp::from_millis(1_767_225_600_000) + at + Span::from_secs(n);
                fields.insert("@timestamp".into(), time.to_string().into());
                fields.insert("event.id".into(), number.into());
                lines.push(Value::Object(fields).to_string().into_bytes());
            }
        }
        lines
    }
}

fn fixture(directory: &str) -> Fixture {
    let path = format!("{}/tests/content/fixtures/{directory}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn check(directory: &str) {
    let fixture = fixture(directory);
    let stream = if directory == "cloudtrail" {
        Stream { time: "@timestamp", id: "event.id", out_of_orderness: Span::MAX, ..Stream::CLOUDTRAIL }
    } else {
        Stream::ECS
    };
    for case in &fixture.cases {
        let rule = rules(&format!("{directory}/{}.yaml", case.rule));
        let records = run_rules(&[rule], &case.lines(&fixture), &stream);
        let mut found: Vec<_> = records.iter().map(|record| Found::of(record).events).collect();
        found.sort();
        let expected: Vec<Vec<Option<String>>> =
            case.finds.iter().map(|events| events.iter().map(|n| n.map(|n| n.to_string())).collect()).collect();
        assert_eq!(found, expected, "{}: {}", case.rule, case.what);
    }
    // A rule without both kinds of cases could say anything.
    for file in rule_files(directory) {
        let of_rule = || fixture.cases.iter().filter(|case| case.rule == file);
        assert!(of_rule().any(|case| !case.finds.is_empty()), "{file} has no case in which it fires");
        assert!(of_rule().any(|case| case.finds.is_empty()), "{file} has no near miss");
    }
    assert!(fixture.cases.iter().all(|case| rule_files(directory).contains(&case.rule)), "a case of no rule");
}

#[test]
fn kubernetes_rules_find_their_cases_and_no_near_miss() {
    check("kubernetes");
}

#[test]
fn authentication_rules_find_their_cases_and_no_near_miss() {
    check("authentication");
}

#[test]
fn cloudtrail_rules_find_their_cases_and_no_near_miss() {
    check("cloudtrail");
}

#[test]
fn payments_rules_find_their_cases_and_no_near_miss() {
    check("payments");
}

#[test]
fn every_starter_rule_compiles_without_a_warning_and_says_what_it_is() {
    let compiled = compiled(&[rules("")]);
    assert!(compiled.warnings.is_empty(), "{:?}", compiled.warnings);
    for (directory, least) in [("kubernetes", 6), ("cloudtrail", 6), ("authentication", 4), ("payments", 1)] {
        assert!(rule_files(directory).len() >= least, "{directory}");
    }
    for rule in &compiled.plan.rules {
        assert!(rule.place.contains(&format!("/{}.yaml", rule.id)), "{} is named as its file", rule.place);
        assert!(rule.name.len() > 10 && rule.name.len() < 80, "{}", rule.id);
        assert!(rule.description.len() > 80, "{}", rule.id);
        assert!(rule.summary.is_some() && rule.tags.len() >= 2, "{}", rule.id);
    }
}
