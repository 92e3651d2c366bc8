//! What an aggregate measures, kept up to date as events enter and leave its window.

use ahash::AHashMap;
use smallvec::SmallVec;

use super::number::{Number, holds};
use super::ranks::Ranks;
use super::sum::Sum;
use crate::event::{
    Evidence, FieldId, KeyBuilder, Measure, MeasuredValue, Origin, Timestamp, Val, allotted, stable_hash128,
};
use crate::limits;
use crate::rules::plan::{Aggregate, AggregateKind, TemporalCond};

/// Whether an event counts for a measure: `value_*` need a usable value.
pub(super) fn usable(kind: &AggregateKind, event: &Evidence) -> bool {
    match kind {
        AggregateKind::EventCount | AggregateKind::Temporal | AggregateKind::TemporalOrdered => true,
        AggregateKind::ValueCount(fields) => fields.iter().all(|field| match event.fields.get(*field) {
            Val::Array(elements) => elements.iter().any(|element| !element.is_null()),
            value => !value.is_null(),
        }),
        AggregateKind::ValueSum(field)
        | AggregateKind::ValueAvg(field)
        | AggregateKind::ValueMedian(field)
        | AggregateKind::ValuePercentile(field, _) => Number::of(event.fields.get(*field)).is_some(),
    }
}

fn number(field: FieldId, event: &Evidence) -> Number {
    // Only usable events are measured.
    Number::of(event.fields.get(field)).unwrap_or(Number::Int(0))
}

/// An event that stands for `references`, entering or leaving.
#[derive(Clone, Copy)]
pub(super) struct Entering<'a> {
    pub(super) event: &'a Evidence,
    pub(super) references: &'a [u16],
}

/// The state of a measure.
#[derive(Debug)]
enum State {
    Count,
    /// How many events have each tuple, by its hash.
    Distinct(AHashMap<u128, u32>),
    Sum(Sum),
    Ranks(Ranks),
    /// How many events stand for each reference.
    References(Box<[u32]>),
    /// For each reference the latest possible first event of an ordered chain that ends with it. A chain lies in the window
    /// exactly if its first event does, so leaving events need no work.
    Chains {
        counts: Box<[u32]>,
        firsts: Box<[Option<(Timestamp, Origin)>]>,
    },
}

/// A measure over the events of a window.
#[derive(Debug)]
pub(super) struct Measured {
    count: u64,
    state: State,
}

impl Measured {
    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.state {
            State::Count => 0,
            // A table has a byte more for each slot, and at most seven of eight are filled.
            State::Distinct(tuples) => allotted(tuples.capacity() * 8 / 7 * (size_of::<(u128, u32)>() + 1)),
            State::Sum(sum) => sum.heap_bytes(),
            State::Ranks(ranks) => ranks.heap_bytes(),
            State::References(counts) => allotted(size_of_val(&**counts)),
            State::Chains { counts, firsts } => allotted(size_of_val(&**counts)) + allotted(size_of_val(&**firsts)),
        }
    }

    pub(super) fn new(aggregate: &Aggregate) -> Measured {
        let references = aggregate.references.len();
        let state = match &aggregate.kind {
            AggregateKind::EventCount => State::Count,
            AggregateKind::ValueCount(_) => State::Distinct(AHashMap::new()),
            AggregateKind::ValueSum(_) | AggregateKind::ValueAvg(_) => State::Sum(Sum::default()),
            AggregateKind::ValueMedian(_) | AggregateKind::ValuePercentile(..) => State::Ranks(Ranks::default()),
            AggregateKind::Temporal => State::References(vec![0; references].into()),
            AggregateKind::TemporalOrdered => {
                State::Chains { counts: vec![0; references].into(), firsts: vec![None; references].into() }
            }
        };
        Measured { count: 0, state }
    }

    /// An event enters; for ordered chains it must be the last in total order.
    pub(super) fn add(&mut self, kind: &AggregateKind, entering: Entering<'_>) {
        self.count += 1;
        match (&mut self.state, kind) {
            (State::Distinct(tuples), AggregateKind::ValueCount(fields)) => {
                for tuple in tuples_of(fields, entering.event) {
                    *tuples.entry(tuple).or_default() += 1;
                }
            }
            (State::Sum(sum), AggregateKind::ValueSum(field) | AggregateKind::ValueAvg(field)) => {
                sum.add(number(*field, entering.event));
            }
            (State::Ranks(ranks), AggregateKind::ValueMedian(field) | AggregateKind::ValuePercentile(field, _)) => {
                ranks.insert(number(*field, entering.event).to_f64());
            }
            (State::References(counts), _) => {
                entering.references.iter().for_each(|r| bump(counts, *r, true));
            }
            (State::Chains { counts, firsts }, _) => {
                let order = (entering.event.time, entering.event.origin);
                // From the last to the first, so that one event never stands for two of a chain.
                for &reference in entering.references.iter().rev() {
                    bump(counts, reference, true);
                    let first = match reference.checked_sub(1) {
                        None => Some(order),
                        Some(before) => firsts.get(usize::from(before)).copied().flatten(),
                    };
                    if let Some(held) = firsts.get_mut(usize::from(reference)) {
                        *held = (*held).max(first);
                    }
                }
            }
            _ => {}
        }
    }

    /// The oldest event leaves.
    pub(super) fn remove(&mut self, kind: &AggregateKind, leaving: Entering<'_>) {
        self.count = self.count.saturating_sub(1);
        match (&mut self.state, kind) {
            (State::Distinct(tuples), AggregateKind::ValueCount(fields)) => {
                for tuple in tuples_of(fields, leaving.event) {
                    if let Some(count) = tuples.get_mut(&tuple) {
                        *count -= 1;
                        if *count == 0 {
                            tuples.remove(&tuple);
                        }
                    }
                }
            }
            (State::Sum(sum), AggregateKind::ValueSum(field) | AggregateKind::ValueAvg(field)) => {
                sum.remove(number(*field, leaving.event));
            }
            (State::Ranks(ranks), AggregateKind::ValueMedian(field) | AggregateKind::ValuePercentile(field, _)) => {
                ranks.remove(number(*field, leaving.event).to_f64());
            }
            (State::References(counts) | State::Chains { counts, .. }, _) => {
                leaving.references.iter().for_each(|r| bump(counts, *r, false));
            }
            _ => {}
        }
    }

    /// Whether the order of events matters to the state.
    pub(super) fn ordered(&self) -> bool {
        matches!(self.state, State::Chains { .. })
    }

    /// What is compared with thresholds; `None` is null.
    fn compared(&self, kind: &AggregateKind) -> Option<MeasuredValue> {
        match (&self.state, kind) {
            (State::Distinct(tuples), _) => Some(MeasuredValue::Int(tuples.len() as i128)),
            (State::Sum(sum), AggregateKind::ValueAvg(_)) => sum.mean(),
            (State::Sum(sum), _) => Some(sum.value()),
            (State::Ranks(ranks), AggregateKind::ValuePercentile(_, percent)) => {
                ranks.percentile(*percent).map(MeasuredValue::Float)
            }
            (State::Ranks(ranks), _) => ranks.percentile(50).map(MeasuredValue::Float),
            // A temporal correlation with a number compares how many of its rules are there.
            (State::References(counts) | State::Chains { counts, .. }, _) => {
                Some(MeasuredValue::Int(counts.iter().filter(|count| **count > 0).count() as i128))
            }
            (State::Count, _) => Some(MeasuredValue::Int(self.count.into())),
        }
    }

    /// Whether the aggregate's condition is true for a window that begins at `start`.
    pub(super) fn holds(&self, aggregate: &Aggregate, start: Timestamp) -> bool {
        let compared = || self.compared(&aggregate.kind);
        if !aggregate.condition.iter().all(|threshold| holds(compared(), threshold)) {
            return false;
        }
        let (State::References(counts) | State::Chains { counts, .. }) = &self.state else { return true };
        let there = |reference: u16| counts.get(usize::from(reference)).is_some_and(|count| *count > 0);
        if let Some(temporal) = &aggregate.temporal
            && !temporal_holds(temporal, &there)
        {
            return false;
        }
        match &self.state {
            State::Chains { firsts, .. } => firsts.last().copied().flatten().is_some_and(|(first, _)| first >= start),
            _ => {
                let explicit = aggregate.temporal.is_some() || !aggregate.condition.is_empty();
                explicit || counts.iter().all(|count| *count > 0)
            }
        }
    }

    /// What is printed: the number of events, and the measure unless it is null.
    pub(super) fn values(&self, kind: &AggregateKind) -> Vec<(Measure, MeasuredValue)> {
        let measure = match kind {
            AggregateKind::EventCount | AggregateKind::Temporal | AggregateKind::TemporalOrdered => None,
            AggregateKind::ValueCount(_) => Some(Measure::Distinct),
            AggregateKind::ValueSum(_) => Some(Measure::Sum),
            AggregateKind::ValueAvg(_) => Some(Measure::Avg),
            AggregateKind::ValueMedian(_) => Some(Measure::Median),
            AggregateKind::ValuePercentile(..) => Some(Measure::Percentile),
        };
        let mut values = vec![(Measure::Count, MeasuredValue::Int(self.count.into()))];
        values.extend(measure.zip(self.compared(kind)));
        values
    }
}

fn bump(counts: &mut [u32], reference: u16, up: bool) {
    if let Some(count) = counts.get_mut(usize::from(reference)) {
        *count = if up { *count + 1 } else { count.saturating_sub(1) };
    }
}

fn temporal_holds(condition: &TemporalCond, there: &impl Fn(u16) -> bool) -> bool {
    match condition {
        TemporalCond::Reference(reference) => there(*reference),
        TemporalCond::And(all) => all.iter().all(|c| temporal_holds(c, there)),
        TemporalCond::Or(any) => any.iter().any(|c| temporal_holds(c, there)),
        TemporalCond::Not(not) => !temporal_holds(not, there),
    }
}

/// The distinct tuples an event stands for, by hash: of arrays each element, of several every combination, as for keys.
fn tuples_of(fields: &[FieldId], event: &Evidence) -> SmallVec<[u128; 4]> {
    let mut tuples = SmallVec::new();
    combine(fields, event, &mut KeyBuilder::default(), &mut tuples);
    tuples.sort_unstable();
    tuples.dedup();
    tuples
}

fn combine(fields: &[FieldId], event: &Evidence, tuple: &mut KeyBuilder, tuples: &mut SmallVec<[u128; 4]>) {
    if tuples.len() >= limits::KEYS_PER_EVENT_MAX {
        return;
    }
    let Some((field, rest)) = fields.split_first() else {
        tuples.push(stable_hash128(0, tuple.bytes()).0);
        return;
    };
    let len = tuple.len();
    let mut with = |value: Val<'_>| {
        tuple.push(value);
        combine(rest, event, tuple, tuples);
        tuple.truncate(len);
    };
    match event.fields.get(*field) {
        Val::Array(elements) => elements.iter().filter(|element| !element.is_null()).for_each(with),
        value => with(value),
    }
}
