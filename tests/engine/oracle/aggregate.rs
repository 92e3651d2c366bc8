//! Aggregates: Sigma's correlations with RULES.md §3, one group at a time, every window collected anew.

use super::Match;
use super::event::{BASE_SECONDS, Event, Field, Scalar};
use super::key::{Key, keys_of};
use super::rule::{Aggregate, By, Measure, Refire};

/// Everything the aggregate finds in the sorted `events`.
pub fn matches(aggregate: &Aggregate, events: &[Event]) -> Vec<Match> {
    let by: Vec<By> = aggregate.group_by.iter().map(|&field| By { field, optional: false }).collect();
    let contributes =
        |event: &Event| aggregate.references.iter().any(|cond| cond.holds(event)) && usable(&aggregate.measure, event);
    let mut groups: Vec<Key> = events.iter().filter(|e| contributes(e)).flat_map(|e| keys_of(e, &by)).collect();
    groups.sort();
    groups.dedup();
    let newest_ms = events.last().map_or(0, |event| event.time_ms);
    groups
        .into_iter()
        .flat_map(|key| {
            let of_group = |at: &usize| contributes(&events[*at]) && keys_of(&events[*at], &by).contains(&key);
            let members: Vec<usize> = (0..events.len()).filter(of_group).collect();
            let group = Group { aggregate, events, key, members };
            if aggregate.tumbles() { group.tumbling(newest_ms) } else { group.sliding() }
        })
        .collect()
}

/// Whether the event has the value that is measured; one without is as if it were not there.
fn usable(measure: &Measure, event: &Event) -> bool {
    match measure {
        Measure::EventCount | Measure::Temporal(_) | Measure::TemporalOrdered => true,
        Measure::ValueCount(fields) => fields.iter().all(|field| event.get(*field).scalar().is_some()),
        Measure::Sum(field) | Measure::Avg(field) | Measure::Median(field) | Measure::Percentile(field, _) => {
            event.get(*field).halves().is_some()
        }
    }
}

struct Group<'a> {
    aggregate: &'a Aggregate,
    events: &'a [Event],
    key: Key,
    /// The contributing events of this group, in order.
    members: Vec<usize>,
}

impl Group<'_> {
    fn time(&self, at: usize) -> i64 {
        self.events[at].time_ms
    }

    /// `gt`, `gte` and temporal: looked at at each event, over the window that ends with it.
    fn sliding(&self) -> Vec<Match> {
        let span = self.aggregate.timespan_ms;
        let mut found = Vec::new();
        let mut emptied_before = 0; // members before this one left with a reset
        let mut fired: Option<i64> = None; // disarmed since
        let mut folded = 0;
        for (place, &at) in self.members.iter().enumerate() {
            let in_window = |member: &usize| self.time(at) - self.time(*member) <= span;
            let window: Vec<usize> = self.members[emptied_before..=place].iter().copied().filter(in_window).collect();
            if !self.holds(&window) {
                fired = None;
                continue;
            }
            let armed = fired.is_none_or(|fired| self.time(at) >= fired + span);
            match self.aggregate.refire {
                Refire::Edge if !armed => {
                    folded += 1;
                    continue;
                }
                Refire::Edge => fired = Some(self.time(at)),
                Refire::Every => {}
                Refire::Reset => emptied_before = place + 1,
            }
            found.push(Match {
                key: self.key.clone(),
                start_ms: self.time(window[0]),
                end_ms: self.time(at),
                values: self.values(&window),
                events: window.into_iter().map(Some).collect(),
                folded: std::mem::take(&mut folded),
            });
        }
        found
    }

    /// `lt`, `lte`, `eq`, `neq`, `not`: decided when a window aligned to the epoch closes, for a group seen in it or in
    /// the one before; at the end of the input those that had begun.
    fn tumbling(&self, newest_ms: i64) -> Vec<Match> {
        let span = self.aggregate.timespan_ms;
        let window_of = |time_ms: i64| (BASE_SECONDS * 1000 + time_ms).div_euclid(span);
        let mut numbers: Vec<i64> =
            self.members.iter().flat_map(|at| [window_of(self.time(*at)), window_of(self.time(*at)) + 1]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|number| *number <= window_of(newest_ms));
        let mut found = Vec::new();
        for number in numbers {
            let window: Vec<usize> =
                self.members.iter().copied().filter(|at| window_of(self.time(*at)) == number).collect();
            if self.holds(&window) {
                found.push(Match {
                    key: self.key.clone(),
                    start_ms: number * span - BASE_SECONDS * 1000,
                    end_ms: (number + 1) * span - BASE_SECONDS * 1000,
                    values: self.values(&window),
                    events: window.into_iter().map(Some).collect(),
                    folded: 0,
                });
            }
        }
        found
    }

    fn holds(&self, window: &[usize]) -> bool {
        let references = &self.aggregate.references;
        match &self.aggregate.measure {
            Measure::Temporal(extended) => {
                let seen = |number: usize| window.iter().any(|at| references[number].holds(&self.events[*at]));
                match extended {
                    None => (0..references.len()).all(seen),
                    Some(extended) => extended.holds(&seen),
                }
            }
            Measure::TemporalOrdered => {
                // The earliest event for each reference after the one before leaves most room for the rest.
                let mut rest = window.iter();
                references.iter().all(|reference| rest.any(|at| reference.holds(&self.events[*at])))
            }
            _ => self.measured(window).is_some_and(|(_, measured)| {
                self.aggregate.condition.iter().all(|(op, hundredths)| op.holds(measured, *hundredths as f64 / 100.0))
            }),
        }
    }

    /// What is printed: the number of events, and the measure by its name where it is another.
    fn values(&self, window: &[usize]) -> Vec<(&'static str, f64)> {
        let count = ("count", window.len() as f64);
        let measured = self.measured(window).filter(|(name, _)| *name != "count");
        std::iter::once(count).chain(measured).collect()
    }

    /// The measure and its name; `None` is null.
    fn measured(&self, window: &[usize]) -> Option<(&'static str, f64)> {
        Some(match &self.aggregate.measure {
            Measure::EventCount | Measure::Temporal(_) | Measure::TemporalOrdered => ("count", window.len() as f64),
            Measure::ValueCount(fields) => ("distinct", self.distinct(window, fields) as f64),
            Measure::Sum(field) => ("sum", self.numbers(window, *field).iter().fold(0.0, |sum, n| sum + n)),
            Measure::Avg(field) => {
                let numbers = self.numbers(window, *field);
                if numbers.is_empty() {
                    return None;
                }
                ("avg", numbers.iter().sum::<f64>() / numbers.len() as f64)
            }
            Measure::Median(field) => ("median", percentile(self.numbers(window, *field), 50)?),
            Measure::Percentile(field, percent) => ("percentile", percentile(self.numbers(window, *field), *percent)?),
        })
    }

    fn distinct(&self, window: &[usize], fields: &[Field]) -> usize {
        let tuple = |at: &usize| -> Vec<Scalar> {
            fields.iter().filter_map(|f| self.events[*at].get(*f).scalar().map(Scalar::canonical)).collect()
        };
        let mut tuples: Vec<Vec<Scalar>> = window.iter().map(tuple).collect();
        tuples.sort();
        tuples.dedup();
        tuples.len()
    }

    fn numbers(&self, window: &[usize], field: Field) -> Vec<f64> {
        window.iter().filter_map(|at| self.events[*at].get(field).halves()).map(|halves| halves as f64 / 2.0).collect()
    }
}

/// Linear between closest ranks; `None` of nothing.
fn percentile(mut numbers: Vec<f64>, percent: u8) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let hundredths = (numbers.len().checked_sub(1)?) * usize::from(percent);
    let (below, part) = (hundredths / 100, (hundredths % 100) as f64 / 100.0);
    let low = numbers[below];
    let high = numbers.get(below + 1).copied().unwrap_or(low);
    Some(low + (high - low) * part)
}
