//! Content hashes: the same in every set, blind to wording, and moved by each thing that changes what a rule finds.

use super::*;

const SEQUENCE: &str = r#"
id: target
name: Some name
severity: high
description: whatever
tags: [one]
query: |
  sequence by user.name with maxspan=10m
    [login where event.action == "failed" and source.port > 1023 and not cidrMatch(source.ip, "10.0.0.0/8")] with runs=3
    ![login where event.action : "res*t" or ?flag]
    [login where length(message) + 2 >= 1.5 and name regex "a.c"]
    until [logout where host.id == ?other.id]
suppress: {for: 30m, by: [user.name, host.name]}
evidence: [host.name]
summary: "{{ count }} times"
output: {topic: found, key: user.name}
"#;

const AGGREGATE: &str = r#"
id: target
events:
  failed: login where outcome in ("no", 7)
  changed: login where startsWith~(action, "ch")
correlation:
  type: value_count
  rules: [failed, changed]
  group-by: [user.name]
  timespan: 5m
  condition: {field: [source.ip], gte: 10}
  refire: every
"#;

const TEMPORAL: &str = r#"
id: target
events:
  a: x where one == 1
  b: x where two == 2
correlation:
  type: temporal
  rules: [a, b]
  timespan: 5m
  condition: a and not b
"#;

const EVENT: &str = "id: target\nquery: login where x == 1\nsuppress: {for: 1m, by: [u, v]}\n";

fn hash_in(files: &[RuleFile]) -> u64 {
    let plan = compile(files).unwrap_or_else(|errors| panic!("{}", shown(&errors))).plan;
    plan.rules.iter().find(|rule| rule.id == "target").expect("the rule").content_hash
}

fn hash(text: &str) -> u64 {
    hash_in(&file(text))
}

/// `text` with one thing changed; the place must be there.
fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in the rule");
    text.replacen(from, to, 1)
}

#[test]
fn a_content_hash_never_drifts() {
    // State on disk and in changelogs is kept by these. A change here is a change of SEMANTICS in `content_hash`.
    assert_eq!(
        [SEQUENCE, AGGREGATE, TEMPORAL, EVENT].map(|text| format!("{:016x}", hash(text))),
        ["632648d505920f1a", "6e796193e948232e", "bb28174121436b7c", "c4c42a4a3850fd1f"]
    );
}

#[test]
fn other_rules_and_the_order_of_files_do_not_show() {
    // Rules that come before and behind, share fields, atoms, conditions and dimensions, and shift every id.
    let others = "id: aaa\nquery: login where event.action == \"failed\" and zzz == 1\n---\n\
                  id: zzz\nquery: sequence by user.name with maxspan=1h [logout where host.id == ?other.id] [a where b]\n";
    for text in [SEQUENCE, AGGREGATE, TEMPORAL, EVENT] {
        let own = RuleFile { path: "own.yaml".into(), text: text.into() };
        let other = RuleFile { path: "other.yaml".into(), text: others.into() };
        let alone = hash(text);
        assert_eq!(hash_in(&[own.clone(), other.clone()]), alone);
        assert_eq!(hash_in(&[other, own]), alone);
        assert_eq!(hash(&format!("{others}---\n{text}")), alone);
    }
}

#[test]
fn wording_does_not_show() {
    let base = hash(SEQUENCE);
    for (from, to) in [
        ("Some name", "Another name"),
        ("severity: high", "severity: low"),
        ("description: whatever", "description: else"),
        ("[one]", "[two, three]"),
        ("evidence: [host.name]", "evidence: [other.field]"),
        ("{{ count }} times", "so often: {{ rule }}"),
        ("topic: found", "topic: elsewhere"),
        ("key: user.name", "key: host.name"),
        ("[login where", "/* why */ [ login   where"),
    ] {
        assert_eq!(hash(&changed(SEQUENCE, from, to)), base, "{from}");
    }
    let renamed = AGGREGATE.replace("failed", "refused");
    assert_eq!(hash(&renamed), hash(AGGREGATE), "an event's name");
}

#[test]
fn each_change_of_meaning_shows() {
    let sequence = [
        ("by user.name", "by host.name"),
        ("by user.name", "by user.name, host.name"),
        ("by user.name", "by ?user.name"),
        ("maxspan=10m", "maxspan=11m"),
        ("[login where event.action ==", "[logon where event.action =="),
        ("\"failed\"", "\"Failed\""),
        ("event.action == \"failed\"", "event.kind == \"failed\""),
        ("1023", "1024"),
        ("> 1023", ">= 1023"),
        ("not cidrMatch", "cidrMatch"),
        ("10.0.0.0/8", "10.0.0.0/9"),
        ("runs=3", "runs=4"),
        ("![login", "[login"),
        (" : ", " == "),
        ("res*t", "res?t"),
        ("?flag", "flag"),
        ("or ?flag", "and ?flag"),
        ("+ 2", "- 2"),
        ("+ 2", "+ 3"),
        ("1.5", "1.25"),
        ("length(message)", "length(text)"),
        ("a.c", "a.d"),
        ("until [logout where host.id == ?other.id]", ""),
        ("== ?other.id", "== other.id"),
        ("== ?other.id", "< ?other.id"),
        ("for: 30m", "for: 31m"),
        (", host.name]", ", host.id]"),
        ("suppress: {for: 30m, by: [user.name, host.name]}\n", ""),
    ];
    let aggregate = [
        ("\"no\"", "\"yes\""),
        ("7", "7.5"),
        ("startsWith~", "startsWith"),
        ("startsWith~", "endsWith~"),
        ("rules: [failed, changed]", "rules: [changed, failed]"),
        ("value_count", "value_sum"),
        ("[user.name]", "[user.id]"),
        ("timespan: 5m", "timespan: 6m"),
        ("[source.ip]", "[source.port]"),
        ("gte: 10", "gt: 10"),
        ("gte: 10", "gte: 11"),
        ("gte: 10", "lt: 10"),
        ("refire: every", "refire: reset"),
    ];
    let temporal = [
        ("a and not b", "b and not a"),
        ("a and not b", "a and b"),
        ("\n  condition: a and not b", ""),
        ("\n  rules: [a, b]\n  timespan: 5m\n  condition: a and not b", "_ordered\n  rules: [a, b]\n  timespan: 5m"),
    ];
    let event = [("x == 1", "x == 2"), ("[u, v]", "[u]"), ("[u, v]", "[v, u]"), ("for: 1m", "for: 2m")];
    let tables: [(&str, &[(&str, &str)]); 4] =
        [(SEQUENCE, &sequence), (AGGREGATE, &aggregate), (TEMPORAL, &temporal), (EVENT, &event)];
    for (text, changes) in tables {
        let mut seen = vec![hash(text)];
        for (from, to) in changes {
            let hash = hash(&changed(text, from, to));
            assert!(!seen.contains(&hash), "{from} to {to}");
            seen.push(hash);
        }
    }
}

#[test]
fn the_id_is_part_of_it() {
    let plan = compiled("id: a\nquery: x where y == 1\n---\nid: b\nquery: x where y == 1\n").plan;
    assert_ne!(plan.rules[0].content_hash, plan.rules[1].content_hash);
}

#[test]
fn a_field_spelled_as_the_category_is_not_the_category() {
    let hash = |text: &str| query(text).rules[0].content_hash;
    assert_ne!(hash("any where `@category` == \"a\""), hash("a where true"));
}

#[test]
fn a_rule_has_its_own_steps() {
    let plan = compiled(&format!("{SEQUENCE}---\nid: aaa\nquery: a where b\n---\nid: zzz\nquery: a where c\n")).plan;
    for at in 0..plan.rules.len() as u32 {
        let (first, steps) = plan.steps_of(crate::event::RuleIndex(at));
        let own: Vec<u32> = (0..).zip(&plan.steps).filter(|(_, step)| step.rule.0 == at).map(|(id, _)| id).collect();
        assert_eq!((own.first(), own.len()), (Some(&first.0), steps.len()));
        assert!(steps.iter().all(|step| step.rule.0 == at));
    }
}

#[test]
fn looking_back_is_no_part_of_what_a_rule_finds() {
    let asking = format!("{AGGREGATE}backfill: true\n");
    let plan = |text: &str| compile(&file(text)).unwrap_or_else(|errors| panic!("{}", shown(&errors))).plan;
    let (before, after) = (plan(AGGREGATE), plan(&asking));
    assert!(!before.rules[0].backfill && after.rules[0].backfill);
    assert!(!plan(&format!("{AGGREGATE}backfill: false\n")).rules[0].backfill);
    assert_eq!(before.rules[0].content_hash, after.rules[0].content_hash);
    assert_eq!(before.rules[0].version, after.rules[0].version);
    let refused = compile(&file(&format!("{EVENT}backfill: true\n"))).expect_err("a rule of single events");
    assert!(shown(&refused).contains("E0116") && shown(&refused).contains("no past"), "{}", shown(&refused));
    let refused = compile(&file(&format!("{AGGREGATE}backfill: maybe\n"))).expect_err("neither true nor false");
    assert!(shown(&refused).contains("known are: true, false"), "{}", shown(&refused));
}
