//! Hand-computed answers, straight from RULES.md: each sentence that is easy to get wrong is a case here. They hold the
//! oracle to the text; the engine is held to the same cases.
//!
//! A timeline is written `a@0 b@1.5 a@2:y`: kind, seconds, optionally the key (default `x`), optionally `=` and the value
//! of `v`. Ids are the kind and its running number: `a1 b1 a2`.

use crate::drive;
use crate::oracle::event::{Event, Field, Scalar, Value};
use crate::oracle::rule::{
    Aggregate, Body, By, Cond, Element, Extended, Measure, Op, Refire, Rule, Sequence, Suppress,
};
use crate::oracle::{self, Finding};

/// Events from a timeline as above.
pub fn timeline(text: &str) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for (number, word) in text.split_whitespace().enumerate() {
        let (kind, rest) = word.split_once('@').expect("kind@time");
        let (rest, value) = rest.split_once('=').map_or((rest, None), |(rest, value)| (rest, Some(value)));
        let (seconds, key) = rest.split_once(':').unwrap_or((rest, "x"));
        let kind = kind.chars().next().expect("a kind");
        let ordinal = events.iter().filter(|event| event.kind == kind).count() + 1;
        let halves = |value: &str| (value.parse::<f64>().expect("a number") * 2.0) as i64;
        events.push(Event {
            time_ms: (seconds.parse::<f64>().expect("seconds") * 1000.0) as i64,
            topic: 0,
            partition: 0,
            offset: number as i64,
            id: format!("{kind}{ordinal}"),
            kind,
            k: if key == "null" { Value::Null } else { Value::One(Scalar::Text(key.into())) },
            j: Value::Absent,
            u: value.map_or(Value::Absent, |value| Value::One(Scalar::Text(value.into()))),
            v: value.map_or(Value::Absent, |v| Value::One(Scalar::Number { halves: halves(v), decimal: false })),
        });
    }
    events
}

fn element(text: &str) -> Element {
    let (missing, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
    let (kinds, runs) = text.split_once('*').map_or((text, 1), |(kinds, runs)| (kinds, runs.parse().expect("runs")));
    Element { missing, cond: kinds_cond(kinds), runs, by: Vec::new() }
}

fn kinds_cond(kinds: &str) -> Cond {
    let all: Vec<char> = kinds.chars().collect();
    if let [one] = all[..] { Cond::Kind(one) } else { Cond::KindIn(all) }
}

/// A sequence by `k` from `a !b c*2`, with `maxspan` in seconds (0: none) and `until` kinds (empty: none).
fn sequence(elements: &str, maxspan: f64, until: &str) -> Rule {
    let body = Sequence {
        by: vec![By { field: Field::K, optional: false }],
        elements: elements.split_whitespace().map(element).collect(),
        maxspan_ms: (maxspan > 0.0).then_some((maxspan * 1000.0) as i64),
        until: (!until.is_empty()).then(|| (kinds_cond(until), Vec::new())),
    };
    Rule { id: "s".into(), body: Body::Sequence(body), suppress: None }
}

fn aggregate(references: &str, seconds: i64, measure: Measure, condition: &[(Op, i64)], refire: Refire) -> Rule {
    let body = Aggregate {
        references: references.split_whitespace().map(kinds_cond).collect(),
        group_by: vec![Field::K],
        timespan_ms: seconds * 1000,
        measure,
        condition: condition.iter().map(|(op, n)| (*op, n * 100)).collect(),
        refire,
    };
    Rule { id: "g".into(), body: Body::Aggregate(body), suppress: None }
}

/// `a1,-,b1` with `+n` for what was folded in: findings in the order of their windows' ends.
fn brief(findings: &[Finding]) -> Vec<String> {
    let mut ordered: Vec<&Finding> = findings.iter().collect();
    ordered.sort_by_key(|found| (found.end, found.start, found.events.clone()));
    let one = |found: &&Finding| {
        let events: Vec<&str> = found.events.iter().map(|event| event.as_deref().unwrap_or("-")).collect();
        let folded = if found.suppressed > 0 { format!("+{}", found.suppressed) } else { String::new() };
        format!("{}{folded}", events.join(","))
    };
    ordered.iter().map(one).collect()
}

/// Oracle and engine both give exactly this.
#[track_caller]
fn check(rule: &Rule, text: &str, expected: &[&str]) -> Vec<Finding> {
    let events = timeline(text);
    let found = oracle::evaluate(std::slice::from_ref(rule), &events);
    assert_eq!(brief(&found), expected, "the oracle on {text}\n{}", oracle::yaml::render(rule));
    drive::assert_agrees(std::slice::from_ref(rule), &events);
    found
}

#[test]
fn at_most_one_match_stands_in_each_state() {
    check(&sequence("a b", 0.0, ""), "a@0 a@1 b@2 b@3", &["a2,b1"]);
    check(&sequence("a b c", 0.0, ""), "a@0 b@1 a@2 b@3 c@4 c@5", &["a2,b2,c1"]);
}

#[test]
fn an_event_never_fills_two_steps_of_one_match() {
    check(&sequence("ab b", 0.0, ""), "a@0 b@1 b@2", &["a1,b1", "b1,b2"]);
    check(&sequence("a*3", 0.0, ""), "a@0 a@1 a@2 a@3", &["a1,a2,a3", "a2,a3,a4"]);
}

#[test]
fn keys_do_not_mix_and_null_keys_are_ignored() {
    check(&sequence("a b", 0.0, ""), "a@0:x b@1:y a@2:null b@3:null b@4:x", &["a1,b3"]);
}

#[test]
fn maxspan_is_inclusive_and_spans_the_whole_sequence() {
    check(&sequence("a b", 2.0, ""), "a@0 b@2", &["a1,b1"]);
    check(&sequence("a b", 2.0, ""), "a@0 b@2.001", &[]);
    check(&sequence("a b c", 2.0, ""), "a@0 b@1.5 c@2.5", &[]);
}

#[test]
fn until_comes_after_the_steps() {
    check(&sequence("a b", 0.0, "c"), "a@0 c@1 b@2", &[]);
    check(&sequence("a bc", 0.0, "c"), "a@0 c@1", &["a1,c1"]);
    check(&sequence("ac b", 0.0, "c"), "c@0 b@1", &[]);
    check(&sequence("a b", 0.0, "c"), "a@0 c@1:y b@2", &["a1,b1"]);
}

#[test]
fn a_missing_event_between_breaks_only_strictly_between() {
    check(&sequence("a !b c", 9.0, ""), "a@0 b@1 c@2", &[]);
    check(&sequence("a !b c", 9.0, ""), "b@0 a@1 c@2 b@3", &["a1,-,c1"]);
    check(&sequence("a !b bc", 9.0, ""), "a@0 b@1", &["a1,-,b1"]);
    check(&sequence("a !a b", 9.0, ""), "a@0 a@1 b@2", &["a2,-,b1"]);
}

#[test]
fn a_missing_event_at_the_end_waits_until_the_span_is_over() {
    let found = check(&sequence("a !b", 5.0, ""), "a@0 c@9", &["a1,-"]);
    assert_eq!(found[0].end - found[0].start, 5_000_000_000, "decided at its deadline");
    check(&sequence("a !b", 5.0, ""), "a@0 b@5", &[]);
    check(&sequence("a !b", 5.0, ""), "a@0 b@5.001", &["a1,-"]);
    check(&sequence("a !b", 5.0, ""), "a@0 a@1 a@2 b@6.5", &["a1,-", "a2,-"]);
    check(&sequence("a !b", 5.0, ""), "a@0 a@1", &["a1,-", "a2,-"]);
    check(&sequence("a !b", 5.0, "c"), "a@0 c@5", &[]);
    check(&sequence("a !b", 5.0, "a"), "a@0", &[]);
}

#[test]
fn a_missing_event_at_the_start_looks_back_one_span_from_the_last() {
    check(&sequence("!b a c", 5.0, ""), "b@0 a@1 c@5", &[]);
    check(&sequence("!b a c", 5.0, ""), "b@0 a@1 c@5.001", &["-,a1,c1"]);
    check(&sequence("!a a", 5.0, ""), "a@0 a@1 a@6 a@12", &["-,a1", "-,a4"]);
}

#[test]
fn missing_at_both_ends_breaks_only_within_one_span() {
    check(&sequence("!b a !c", 5.0, ""), "b@0 a@2 c@5", &[]);
    check(&sequence("!b a !c", 5.0, ""), "b@0 a@2 c@5.5", &["-,a1,-"]);
    check(&sequence("!b a !c", 5.0, ""), "b@0 a@2", &["-,a1,-"]);
    check(&sequence("!b a !c", 5.0, ""), "b@0 b@1 a@2 c@5.5", &[]);
}

#[test]
fn a_missing_event_with_runs_stands_as_that_many_nulls() {
    check(&sequence("a !b*2 c", 5.0, ""), "a@0 c@1", &["a1,-,-,c1"]);
}

#[test]
fn a_count_fires_when_it_turns_true_and_again_after_its_span() {
    let rule = aggregate("a", 5, Measure::EventCount, &[(Op::Gte, 2)], Refire::Edge);
    check(&rule, "a@0 a@1 a@2 a@3", &["a1,a2"]);
    check(&rule, "a@0 a@5", &["a1,a2"]);
    check(&rule, "a@0 a@5.001", &[]);
    // Fired at 1, folded at 3, re-armed at 6 by time.
    check(&rule, "a@0 a@1 a@3 a@6", &["a1,a2", "a2,a3,a4+1"]);
    // Re-armed at 20 by an event that finds it false.
    check(&rule, "a@0 a@1 a@2 a@20 a@21", &["a1,a2", "a4,a5+1"]);
}

#[test]
fn refire_every_and_reset() {
    let rule = |refire| aggregate("a", 5, Measure::EventCount, &[(Op::Gte, 2)], refire);
    check(&rule(Refire::Every), "a@0 a@1 a@2", &["a1,a2", "a1,a2,a3"]);
    check(&rule(Refire::Reset), "a@0 a@1 a@2 a@3", &["a1,a2", "a3,a4"]);
}

#[test]
fn an_event_of_two_references_counts_once() {
    let rule = aggregate("ab bc", 5, Measure::EventCount, &[(Op::Gte, 2)], Refire::Every);
    check(&rule, "b@0 d@1 a@2", &["b1,a1"]);
}

#[test]
fn measures_ignore_events_without_a_value() {
    let rule = |measure, n| aggregate("a", 9, measure, &[(Op::Gte, n)], Refire::Every);
    let found = check(&rule(Measure::Sum(Field::V), 5), "a@0=2 a@1 a@2=3.5", &["a1,a3"]);
    assert_eq!(found[0].values, [("count".into(), oracle::value_text(2.0)), ("sum".into(), oracle::value_text(5.5))]);
    check(&rule(Measure::ValueCount(vec![Field::U]), 2), "a@0=1 a@1=1 a@2=2", &["a1,a2,a3"]);
    let found = check(&rule(Measure::Avg(Field::V), 2), "a@0=1 a@1=3", &["a1,a2"]);
    assert_eq!(found[0].values[1], ("avg".into(), oracle::value_text(2.0)));
    let found = check(&rule(Measure::Median(Field::V), 2), "a@0=1 a@1=3.5", &["a1,a2"]);
    assert_eq!(found[0].values[1], ("median".into(), oracle::value_text(2.25)));
    let found = check(&rule(Measure::Percentile(Field::V, 90), 4), "a@0=0 a@1=5", &["a1,a2"]);
    assert_eq!(found[0].values[1], ("percentile".into(), oracle::value_text(4.5)));
}

#[test]
fn tumbling_windows_close_on_the_clock_and_one_silent_window_counts() {
    // Windows of 7 s since the epoch; 1_700_000_003 s = 7 * 242_857_143 + 2, so they end at 5, 12, 19, 26 s.
    let rule = aggregate("a", 7, Measure::EventCount, &[(Op::Lt, 2)], Refire::Edge);
    let found = check(&rule, "a@0 a@1 d@30", &[""]);
    assert_eq!(found[0].end, oracle::event::nanos(12_000), "the silent window after the seen one, and no other");
    check(&rule, "a@0 a@5 a@6 d@30", &["a1", ""]);
    // The end of the input closes what has begun, here [5, 12) only because an event of any kind has reached it.
    check(&rule, "a@0 a@1", &[]);
    check(&rule, "a@0 a@1 d@5", &[""]);
    check(&rule, "a@0", &["a1"]);
}

#[test]
fn temporal_takes_any_order_and_one_event_for_two() {
    let rule = |measure| aggregate("a b", 5, measure, &[], Refire::Edge);
    check(&rule(Measure::Temporal(None)), "b@0 a@3", &["b1,a1"]);
    check(&rule(Measure::Temporal(None)), "b@0 a@5.001", &[]);
    check(&rule(Measure::TemporalOrdered), "b@0 a@1 b@2", &["b1,a1,b2"]);
    check(&aggregate("ab b", 5, Measure::Temporal(None), &[], Refire::Edge), "b@0", &["b1"]);
    check(&aggregate("ab b", 5, Measure::TemporalOrdered, &[], Refire::Edge), "b@0 b@1", &["b1,b2"]);
}

#[test]
fn an_extended_condition_with_not_is_decided_at_the_windows_end() {
    let not_b = Extended::Not(Box::new(Extended::Reference(1)));
    let condition = Extended::And(Box::new(Extended::Reference(0)), Box::new(not_b));
    let rule = aggregate("a b", 7, Measure::Temporal(Some(condition)), &[], Refire::Edge);
    check(&rule, "a@0 a@5 b@6 a@13 d@30", &["a1", "a3"]);
}

#[test]
fn suppression_counts_what_it_holds_back_into_the_next() {
    let mut rule = sequence("a b", 0.0, "");
    rule.suppress = Some(Suppress { window_ms: 4250, beyond: Vec::new() });
    check(&rule, "a@0 b@0 a@1 b@1 a@2 b@2 a@5 b@5 a@6:y b@6:y", &["a1,b1", "a4,b4+2", "a5,b5"]);
}

#[test]
fn suppression_by_a_further_field_tells_repeats_apart() {
    let mut rule = sequence("a b", 0.0, "");
    rule.suppress = Some(Suppress { window_ms: 4250, beyond: vec![Field::U] });
    check(&rule, "a@0=1 b@0 a@1=2 b@1 a@2=1 b@2", &["a1,b1", "a2,b2"]);
}

/// A sequence whose brackets have a `by` of their own.
fn joined(elements: &[(&str, Field, bool)]) -> Rule {
    let with =
        |&(text, field, optional): &(&str, Field, bool)| Element { by: vec![By { field, optional }], ..element(text) };
    let elements = elements.iter().map(with).collect();
    let body = Sequence { by: Vec::new(), elements, maxspan_ms: None, until: None };
    Rule { id: "s".into(), body: Body::Sequence(body), suppress: None }
}

#[track_caller]
fn check_events(rule: &Rule, events: &[Event], expected: &[&str]) {
    let found = oracle::evaluate(std::slice::from_ref(rule), events);
    assert_eq!(brief(&found), expected, "the oracle on\n{}", oracle::yaml::render(rule));
    drive::assert_agrees(std::slice::from_ref(rule), events);
}

fn text(value: &str) -> Value {
    Value::One(Scalar::Text(value.into()))
}

#[test]
fn steps_join_on_fields_of_different_names() {
    let mut events = timeline("a@0:x b@1:z b@2:z");
    events[1].j = text("y");
    events[2].j = text("x");
    check_events(&joined(&[("a", Field::K, false), ("b", Field::J, false)]), &events, &["a1,b2"]);
}

#[test]
fn an_optional_key_field_lets_nulls_meet() {
    let mut events = timeline("a@0:null b@1:null a@2:x b@3:x");
    events[0].k = Value::Absent;
    let both = joined(&[("a", Field::K, true), ("b", Field::K, true)]);
    check_events(&both, &events, &["a1,b1", "a2,b2"]);
    let one = joined(&[("a", Field::K, true), ("b", Field::K, false)]);
    check_events(&one, &events, &["a2,b2"]);
}

#[test]
fn an_array_in_a_key_stands_for_each_distinct_element() {
    let mut events = timeline("a@0 b@1:x b@2:y b@3:null");
    let one = |value: &str| Some(Scalar::Text(value.into()));
    events[0].k = Value::Many(vec![one("x"), None, one("y"), one("x")]);
    check_events(&sequence("a b", 0.0, ""), &events, &["a1,b1", "a1,b2"]);
    events[0].k = Value::Many(vec![None]);
    check_events(&sequence("a b", 0.0, ""), &events, &[]);
    check_events(&joined(&[("a", Field::K, true), ("b", Field::K, true)]), &events, &["a1,b3"]);
}

#[test]
fn a_repeated_element_does_not_count_against_the_limit_of_keys() {
    let mut events = timeline("a@0 b@1:y");
    let one = |value: &str| Some(Scalar::Text(value.into()));
    events[0].k = Value::Many((0..100).map(|_| one("x")).chain([one("y")]).collect());
    check_events(&sequence("a b", 0.0, ""), &events, &["a1,b1"]);
}

#[test]
fn whole_floats_and_integers_are_one_key_and_text_is_another() {
    let mut events = timeline("a@0 b@1 b@2:1");
    events[0].k = Value::One(Scalar::Number { halves: 2, decimal: true });
    events[1].k = Value::One(Scalar::Number { halves: 2, decimal: false });
    check_events(&sequence("a b", 0.0, ""), &events, &["a1,b1"]);
}

#[test]
fn ties_in_time_are_ordered_by_topic_partition_and_offset() {
    let mut events = timeline("b@0 a@0");
    (events[0].topic, events[1].partition) = (1, 5);
    check_events(&sequence("a b", 0.0, ""), &events, &["a1,b1"]);
    (events[0].topic, events[1].partition) = (0, 0);
    (events[0].partition, events[0].offset) = (1, 0);
    check_events(&sequence("a b", 0.0, ""), &events, &["a1,b1"]);
    (events[0].partition, events[1].partition) = (1, 1);
    (events[0].offset, events[1].offset) = (7, 8);
    check_events(&sequence("a b", 0.0, ""), &events, &[]);
}

#[test]
fn a_long_correlation_keeps_its_first_and_last_events_and_the_true_count() {
    let every_second: String = (0..150).map(|second| format!("a@{second} ")).collect();
    let rule = aggregate("a", 200, Measure::EventCount, &[(Op::Gte, 150)], Refire::Edge);
    let kept: Vec<String> = (1..=50).chain(101..=150).map(|number| format!("a{number}")).collect();
    let found = check(&rule, &every_second, &[&kept.join(",")]);
    assert_eq!(found[0].values, [("count".into(), oracle::value_text(150.0))]);
    check(&sequence("a*150", 0.0, ""), &every_second, &[&kept.join(",")]);
}
