//! Sequences: the state machine of RULES.md §2, one key at a time, with missing events answered by scanning all events.

use super::Match;
use super::event::Event;
use super::key::{Key, keys_of};
use super::rule::{By, Cond, Sequence};

/// One key's view: which events satisfy what, under that key.
struct Scene<'a> {
    sequence: &'a Sequence,
    events: &'a [Event],
    key: Key,
}

/// Everything the sequence finds in the sorted `events`, keys in any order, the matches of one key as they were decided.
pub fn matches(sequence: &Sequence, events: &[Event]) -> Vec<Match> {
    let mut keys: Vec<Key> = Vec::new();
    for element in &sequence.elements {
        let by = full_by(sequence, &element.by);
        keys.extend(events.iter().filter(|e| element.cond.holds(e)).flat_map(|event| keys_of(event, &by)));
    }
    keys.sort();
    keys.dedup();
    keys.into_iter().flat_map(|key| Scene { sequence, events, key }.run()).collect()
}

fn full_by(sequence: &Sequence, own: &[By]) -> Vec<By> {
    sequence.by.iter().chain(own).copied().collect()
}

impl Scene<'_> {
    /// Whether event `at` satisfies a bracket under this key.
    fn satisfies(&self, at: usize, cond: &Cond, by: &[By]) -> bool {
        let event = &self.events[at];
        cond.holds(event) && keys_of(event, &full_by(self.sequence, by)).contains(&self.key)
    }

    /// Whether event `at` is a missing event of gap `gap`.
    fn breaks(&self, at: usize, gap: usize) -> bool {
        let mut positives = 0;
        for element in &self.sequence.elements {
            if !element.missing {
                positives += element.runs;
            } else if positives == gap && self.satisfies(at, &element.cond, &element.by) {
                return true;
            }
        }
        false
    }

    fn gap_has_missing(&self, gap: usize) -> bool {
        let mut positives = 0;
        for element in &self.sequence.elements {
            if !element.missing {
                positives += element.runs;
            } else if positives == gap {
                return true;
            }
        }
        false
    }

    /// Brackets by state, runs expanded.
    fn states(&self) -> Vec<(&Cond, &[By])> {
        let positive = self.sequence.elements.iter().filter(|e| !e.missing);
        positive.flat_map(|e| std::iter::repeat_n((&e.cond, e.by.as_slice()), e.runs)).collect()
    }

    fn time(&self, at: usize) -> i64 {
        self.events[at].time_ms
    }

    fn is_until(&self, at: usize) -> bool {
        self.sequence.until.as_ref().is_some_and(|(cond, by)| self.satisfies(at, cond, by))
    }

    fn run(&self) -> Vec<Match> {
        let states = self.states();
        let mut found = Vec::new();
        // standing[i]: the match pending with i events filled.
        let mut standing: Vec<Option<Vec<usize>>> = vec![None; states.len()];
        for at in 0..self.events.len() {
            for state in (0..states.len()).rev() {
                let (cond, by) = states[state];
                if !self.satisfies(at, cond, by) {
                    continue;
                }
                let mut pending = match state {
                    0 => Vec::new(),
                    _ => match standing[state].take() {
                        Some(pending) if self.may_advance(&pending, at) => pending,
                        _ => continue,
                    },
                };
                pending.push(at);
                if pending.len() == states.len() {
                    found.extend(self.decide(&pending));
                } else {
                    standing[state + 1] = Some(pending);
                }
            }
            if self.is_until(at) {
                standing.fill(None);
            }
        }
        found.sort_by_key(|found| found.end_ms); // stable: those that waited are decided at their deadlines
        found
    }

    /// Whether a pending match is still alive when event `at` would advance it.
    fn may_advance(&self, pending: &[usize], at: usize) -> bool {
        let (first, last) = (pending[0], pending[pending.len() - 1]);
        let in_span = self.sequence.maxspan_ms.is_none_or(|span| self.time(at) - self.time(first) <= span);
        in_span && !(last + 1..at).any(|between| self.breaks(between, pending.len()))
    }

    /// A match whose positive steps are all filled: whether and when it is reported.
    fn decide(&self, filled: &[usize]) -> Option<Match> {
        let (first, last) = (filled[0], filled[filled.len() - 1]);
        let span = self.sequence.maxspan_ms.unwrap_or(i64::MAX / 4);
        let before = (0..first).rev().find(|at| self.breaks(*at, 0));
        let after = (last + 1..self.events.len()).find(|at| self.breaks(*at, filled.len()));
        let ends_missing = self.gap_has_missing(filled.len());
        let deadline = self.time(first) + span;
        let broken = match (self.gap_has_missing(0), ends_missing) {
            (false, false) => false,
            (true, false) => before.is_some_and(|at| self.time(at) >= self.time(last) - span),
            (false, true) => after.is_some_and(|at| self.time(at) <= deadline),
            (true, true) => before.zip(after).is_some_and(|(b, a)| self.time(a) - self.time(b) <= span),
        };
        let ended = ends_missing && (last..self.events.len()).any(|at| self.time(at) <= deadline && self.is_until(at));
        if broken || ended {
            return None;
        }
        Some(Match {
            key: self.key.clone(),
            start_ms: self.time(first),
            end_ms: if ends_missing { deadline } else { self.time(last) },
            events: self.with_nulls(filled),
            values: Vec::new(),
            folded: 0,
        })
    }

    /// The events in source order, nulls where missing events stand.
    fn with_nulls(&self, filled: &[usize]) -> Vec<Option<usize>> {
        let mut filled = filled.iter();
        let mut all = Vec::new();
        for element in &self.sequence.elements {
            for _ in 0..element.runs {
                all.push(if element.missing { None } else { filled.next().copied() });
            }
        }
        all
    }
}
