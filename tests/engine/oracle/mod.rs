//! What RULES.md says a rule finds, computed in the plainest way there is: all events at hand, sorted, and scanned again
//! for every question. Written apart from the engine and from RULES.md alone; it imports nothing of the engine, so an
//! error can hide only where two people made it independently.

pub mod aggregate;
pub mod event;
pub mod key;
pub mod rule;
pub mod sequence;
mod suppress;
pub mod yaml;

use event::{Event, Scalar, nanos};
use key::Key;
use rule::{Body, Cond, Rule, Suppress};

/// One correlation, in the form in which oracle and engine are compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The rule's id.
    pub rule: String,
    /// The key's values as JSON.
    pub key: Vec<String>,
    /// Start of its window, nanoseconds since the epoch.
    pub start: i64,
    /// End of its window.
    pub end: i64,
    /// Ids of its events; `None` is a missing event.
    pub events: Vec<Option<String>>,
    /// What an aggregate measured, by name.
    pub values: Vec<(String, String)>,
    /// How many were folded into it.
    pub suppressed: u64,
}

/// A match before suppression. Times in milliseconds, events as indices into the sorted list.
#[derive(Debug, Clone)]
pub struct Match {
    pub key: Key,
    pub start_ms: i64,
    pub end_ms: i64,
    pub events: Vec<Option<usize>>,
    pub values: Vec<(&'static str, f64)>,
    pub folded: u64,
}

/// A measured value as text that does not depend on how it was computed.
pub fn value_text(value: f64) -> String {
    format!("{value:.6}")
}

/// Everything that `rules` find in `events` once all of them were read, in any order; sorted.
pub fn evaluate(rules: &[Rule], events: &[Event]) -> Vec<Finding> {
    let mut sorted = events.to_vec();
    sorted.sort_by_key(Event::order);
    let mut findings: Vec<Finding> = rules.iter().flat_map(|rule| evaluate_rule(rule, &sorted)).collect();
    findings.sort();
    findings
}

fn evaluate_rule(rule: &Rule, events: &[Event]) -> Vec<Finding> {
    let matches = match &rule.body {
        Body::Event(cond) => single_events(cond, rule.suppress.as_ref(), events),
        Body::Sequence(sequence) => sequence::matches(sequence, events),
        Body::Aggregate(aggregate) => aggregate::matches(aggregate, events),
    };
    let reported = match &rule.suppress {
        Some(suppress) => suppress::fold(suppress, events, matches),
        None => matches,
    };
    reported.into_iter().map(|found| to_finding(rule, events, found)).collect()
}

/// A rule of single events finds each of them. What tells repeats apart, if they are suppressed, is its key; nothing is
/// hidden for lack of it.
fn single_events(cond: &Cond, suppress: Option<&Suppress>, events: &[Event]) -> Vec<Match> {
    let by = suppress.map_or(&[][..], |suppress| &suppress.beyond);
    let found = |at: usize| Match {
        key: by.iter().map(|field| events[at].get(*field).scalar().map(Scalar::canonical)).collect(),
        start_ms: events[at].time_ms,
        end_ms: events[at].time_ms,
        events: vec![Some(at)],
        values: Vec::new(),
        folded: 0,
    };
    (0..events.len()).filter(|at| cond.holds(&events[*at])).map(found).collect()
}

/// Most events that are printed: first and last halves.
pub const EVENTS_KEPT: usize = 100;

fn to_finding(rule: &Rule, events: &[Event], mut found: Match) -> Finding {
    if found.events.len() > EVENTS_KEPT {
        let last = found.events.split_off(found.events.len() - EVENTS_KEPT / 2);
        found.events.truncate(EVENTS_KEPT / 2);
        found.events.extend(last);
    }
    let json = |part: &Option<Scalar>| part.as_ref().map_or("null".into(), |p| p.to_json().to_string());
    Finding {
        rule: rule.id.clone(),
        key: found.key.iter().map(json).collect(),
        start: nanos(found.start_ms),
        end: nanos(found.end_ms),
        events: found.events.iter().map(|at| at.map(|at| events[at].id.clone())).collect(),
        values: found.values.iter().map(|(name, value)| ((*name).to_owned(), value_text(*value))).collect(),
        suppressed: found.folded,
    }
}
