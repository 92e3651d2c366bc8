//! The rules of a simulation: every kind of state that a rule can keep, with spans short enough that windows open, close and
//! expire many times in a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use throughline::rules::RuleFile;
use throughline::rules::plan::Plan;

/// Rules by the kind of their state; every document names its own id.
pub const RULES: &[&str] = &[
    "id: single
query: any where t == \"a\" and v >= 7
",
    "id: sequence
query: |
  sequence by k with maxspan=20s
    [any where t == \"a\"]
    [any where t == \"b\"]
    [any where t == \"c\"]
",
    "id: runs
query: |
  sequence by k with maxspan=30s
    [any where t == \"d\"] with runs=3
",
    "id: until
query: |
  sequence by k
    [any where t == \"a\"]
    [any where t == \"c\"]
    until [any where t == \"d\"]
",
    "id: gap
query: |
  sequence by k with maxspan=10s
    [any where t == \"a\"]
    ![any where t == \"b\"]
    [any where t == \"c\"]
",
    "id: silence
query: |
  sequence by k with maxspan=6s
    [any where t == \"b\"]
    ![any where t == \"c\"]
",
    "id: burst
events:
  some: any where t != \"z\"
correlation:
  type: event_count
  rules: [some]
  group-by: [k]
  timespan: 12s
  condition: {gte: 4}
",
    "id: quiet
events:
  some: any where t in (\"a\", \"b\")
correlation:
  type: event_count
  rules: [some]
  group-by: [k]
  timespan: 10s
  condition: {lt: 2}
",
    "id: spread
events:
  some: any where t in (\"c\", \"d\")
correlation:
  type: value_count
  rules: [some]
  group-by: [k]
  timespan: 25s
  condition: {field: v, gte: 3}
",
    "id: sum
events:
  some: any where t in (\"a\", \"d\")
correlation:
  type: value_sum
  rules: [some]
  group-by: [k]
  timespan: 15s
  condition: {field: v, gt: 15}
  refire: every
",
    "id: both
events:
  first: any where t == \"b\"
  second: any where t == \"d\"
correlation:
  type: temporal
  rules: [first, second]
  group-by: [k]
  timespan: 9s
",
    "id: muted
query: |
  sequence by k with maxspan=25s
    [any where t in (\"a\", \"b\")]
    [any where t in (\"c\", \"d\")]
suppress: {for: 30s}
",
];

/// The plan of the rules whose bits are set. Compiled once for each choice.
pub fn plan(choice: u16) -> Arc<Plan> {
    static PLANS: Mutex<Option<HashMap<u16, Arc<Plan>>>> = Mutex::new(None);
    let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
    let plan = plans.get_or_insert_default().entry(choice).or_insert_with(|| compile(choice));
    Arc::clone(plan)
}

fn compile(choice: u16) -> Arc<Plan> {
    let chosen = RULES.iter().enumerate().filter(|(at, _)| choice & (1 << at) != 0);
    let files: Vec<RuleFile> =
        chosen.map(|(at, text)| RuleFile { path: format!("rule-{at}.yaml"), text: (*text).to_owned() }).collect();
    match throughline::rules::compile(&files) {
        Ok(compiled) => Arc::new(compiled.plan),
        Err(errors) => panic!("{}", errors.iter().map(ToString::to_string).collect::<String>()),
    }
}
