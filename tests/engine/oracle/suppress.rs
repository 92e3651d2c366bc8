//! Suppression: after matching, per correlation key and the further fields it names.

use super::event::{Event, Scalar};
use super::rule::Suppress;
use super::{Key, Match};

/// The matches that are reported, each with the number of those folded into it.
pub fn fold(suppress: &Suppress, events: &[Event], mut matches: Vec<Match>) -> Vec<Match> {
    matches.sort_by_key(|found| found.end_ms); // stable: what was decided first stays first
    let mut reported: Vec<(Key, Match)> = Vec::new();
    let mut waiting: Vec<(Key, u64)> = Vec::new();
    for mut found in matches {
        let key = suppression_key(suppress, events, &found);
        let last = reported.iter().rev().find(|(other, _)| *other == key);
        if last.is_some_and(|(_, last)| found.end_ms - last.end_ms < suppress.window_ms) {
            waiting.push((key, 1 + found.folded));
            continue;
        }
        found.folded += waiting.iter().filter(|(other, _)| *other == key).map(|(_, n)| n).sum::<u64>();
        waiting.retain(|(other, _)| *other != key);
        reported.push((key, found));
    }
    reported.into_iter().map(|(_, found)| found).collect()
}

/// The correlation key, and each further field as the first event that has it has it.
fn suppression_key(suppress: &Suppress, events: &[Event], found: &Match) -> Key {
    let further = suppress.beyond.iter().map(|field| {
        let mut values = found.events.iter().flatten().map(|at| events[*at].get(*field).scalar());
        values.find_map(|value| value.map(Scalar::canonical))
    });
    found.key.iter().cloned().chain(further).collect()
}
