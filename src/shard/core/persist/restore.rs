//! Parts become state again.
//!
//! Parts come in key order, so a key's timeline (`22`) comes after its rules (`20`); windows, measures and deadlines follow
//! once all parts are there ([`TaskState::revive_all`]). What the present plan does not know (a rule that was changed or
//! removed) is left out, and its parts are buried with the next epoch. Of a key that is known here already, or on its way,
//! nothing is put back.

use smallvec::SmallVec;

use super::names::Names;
use super::{dedup, kind, order, read_key, rule, suppression, timeline};
use crate::event::{Key, RuleIndex, Signal, Timestamp};
use crate::fault::{self, Bug};
use crate::rules::plan::{Pattern, Plan};
use crate::shard::core::aggregate;
use crate::shard::core::matching::CLEAN;
use crate::shard::core::sequence::SequenceState;
use crate::shard::core::state::{KeyState, OfRule, RuleState};
use crate::shard::core::task::{Shared, TaskState};
use crate::shard::core::{Output, Settings};
use crate::store::codec::{Damaged, Reader};

/// Takes one part of a task's state.
pub(in super::super) fn restore_part(
    state: &mut TaskState,
    shared: &mut Shared,
    partition: u16,
    key: &[u8],
    value: &[u8],
) -> Result<(), Damaged> {
    let Some(mut ledger) = state.ledger.take() else { return Ok(()) };
    let mut reader = Reader::new(key);
    let names = &shared.names;
    let retention = shared.settings.retention;
    let read = match reader.byte()? {
        kind::DEDUP => dedup::read(&ledger, &mut reader, value, &mut state.dedup),
        kind::ORDER => {
            let see = |signal: &Signal| state.backfill.iter_mut().for_each(|backfill| backfill.wait(signal));
            order::read(&mut ledger, names, &mut reader, value, state.watermark, &mut state.order, see)
        }
        kind::SUPPRESSION => suppression::read_unplaced(&ledger, &mut reader, value, retention, &mut state.unplaced),
        kind::KEY => restore_of_key(state, shared, &mut reader, value).map(|known| {
            if !known {
                ledger.changes.delete(partition, key);
            }
        }),
        kind::TIMELINE => restore_timeline(state, names, &mut reader, value).map(|known| {
            if !known {
                ledger.changes.delete(partition, key);
            }
        }),
        other => Err(Damaged::newer(format_args!("a part of kind {other:#04x}"))),
    };
    state.ledger = Some(ledger);
    read
}

/// Where the parts of a key belong.
enum Place<'a> {
    /// Its dimension is not in the plan.
    Unknown,
    /// What is known of it here is newer.
    Elsewhere,
    /// Here.
    Restoring(&'a mut KeyState),
}

/// The state of a key, begun if there is none.
fn key_state<'a>(state: &'a mut TaskState, names: &Names, (dimension, key): (u64, Key)) -> Place<'a> {
    let Some(dimension) = names.dimension_of(dimension) else { return Place::Unknown };
    let id = match state.keys.find(dimension, &key) {
        Some(id) => id,
        None if !state.is_as_stored(dimension, &key) && !fault::planted(Bug::SweptTwice) => return Place::Elsewhere,
        None => {
            let id = state.keys.insert(dimension, key, KeyState::default());
            state.keys.get_mut(id).into_iter().for_each(|held| held.restoring = true);
            state.unrevived.push(id);
            id
        }
    };
    match state.keys.get_mut(id) {
        Some(held) if held.restoring => Place::Restoring(&mut held.state),
        _ => Place::Elsewhere,
    }
}

impl<'a> Place<'a> {
    /// The state, or whether the plan knows the key.
    fn here(self) -> Result<&'a mut KeyState, bool> {
        match self {
            Place::Unknown => Err(false),
            Place::Elsewhere => Err(true),
            Place::Restoring(state) => Ok(state),
        }
    }
}

/// Whether the plan knows what the part belongs to.
fn restore_of_key(
    state: &mut TaskState,
    shared: &Shared,
    reader: &mut Reader<'_>,
    value: &[u8],
) -> Result<bool, Damaged> {
    let key = read_key(reader)?;
    let tag = reader.byte()?;
    if tag != suppression::REPEAT {
        return restore_rule(state, shared, (key, tag), reader, value);
    }
    let repeat = suppression::read_repeat(reader)?;
    let held = match key_state(state, &shared.names, key).here() {
        Ok(held) => held,
        Err(known) => return Ok(known),
    };
    held.repeats.restore(repeat, suppression::read(value)?);
    Ok(true)
}

/// The same, for a part that belongs to a rule.
fn restore_rule(
    state: &mut TaskState,
    shared: &Shared,
    (key, tag): ((u64, Key), u8),
    reader: &mut Reader<'_>,
    value: &[u8],
) -> Result<bool, Damaged> {
    let Shared { names, plan, .. } = shared;
    let index = names.rule_of(reader.fixed()?);
    let Some((index, rule)) = index.and_then(|index| Some((index, plan.rules.get(index.0 as usize)?))) else {
        return keep_strays(state, names, key, tag, value).map(|()| false);
    };
    let held = match key_state(state, names, key).here() {
        Ok(held) => held,
        Err(known) => return Ok(known),
    };
    match tag {
        rule::STATE => {
            let restored = rule::read_state(names, plan, (index.0, rule), value)?;
            let at = held.rules.partition_point(|other| other.rule < index);
            held.rules.insert(at, OfRule { rule: index, changed: false, stored: true, state: restored });
        }
        rule::WAITING => {
            let number = reader.raw(4)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
            let waiting = rule::read_waiting(names, number, value)?;
            let begin = || RuleState::Sequence(Box::<SequenceState>::default());
            let RuleState::Sequence(sequence) = held.rule_or_begin(index, begin).state else {
                return Err(Damaged::new(format!("a waiting match for rule {}, which is no sequence", rule.id)));
            };
            sequence.absence.next_number = sequence.absence.next_number.max(number + 1);
            sequence.absence.waiting.push_back(waiting);
        }
        other => return Err(Damaged::newer(format_args!("a key's part of tag {other}"))),
    }
    Ok(true)
}

/// The rule is gone; the events of its matches are held a moment longer, for rules that are to be run over the past.
fn keep_strays(
    state: &mut TaskState,
    names: &Names,
    (dimension, key): (u64, Key),
    tag: u8,
    value: &[u8],
) -> Result<(), Damaged> {
    let (Some(_), Some(id)) = (&state.backfill, names.dimension_of(dimension)) else { return Ok(()) };
    let events = rule::read_events(names, tag, value)?;
    if events.is_empty() || key_state(state, names, (dimension, key.clone())).here().is_err() {
        return Ok(());
    }
    if let (Some(id), Some(backfill)) = (state.keys.find(id, &key), &mut state.backfill) {
        backfill.stray(id, events);
    }
    Ok(())
}

fn restore_timeline(
    state: &mut TaskState,
    names: &Names,
    reader: &mut Reader<'_>,
    value: &[u8],
) -> Result<bool, Damaged> {
    let key = read_key(reader)?;
    let first = reader.fixed()?;
    let held = match key_state(state, names, key).here() {
        Ok(held) => held,
        Err(known) => return Ok(known),
    };
    timeline::read(names, value, first, &mut held.timeline)?;
    Ok(true)
}

impl TaskState {
    /// All parts of the task are there but those of its keys.
    pub(in super::super) fn restored(&mut self) {
        // What was put back is in the store already.
        drop(self.order.take_fresh());
        if let Some(newest) = self.order.newest() {
            self.newest = self.newest.max(newest);
        }
    }

    /// All parts of the keys put back are there: windows, measures and deadlines follow from them; new rules are run over them.
    pub(in super::super) fn revive_all(&mut self, shared: &mut Shared, out: &mut Output) {
        for id in std::mem::take(&mut self.unrevived) {
            let Some(held) = self.keys.get_mut(id) else { continue };
            held.restoring = false;
            let mut state = std::mem::take(&mut held.state);
            let past = self.past_of(id, &state);
            let mut deadlines: SmallVec<[(Timestamp, RuleIndex); 4]> = SmallVec::new();
            self.pending += revive(&mut state, &shared.plan, &shared.settings, |at, rule| deadlines.push((at, rule)));
            self.held += state.timeline.len();
            self.repeats += state.repeats.len();
            if state.is_empty() && past.is_empty() {
                self.put_back(id, state, shared);
                continue;
            }
            if let Some(held) = self.keys.get_mut(id) {
                held.state = state;
            }
            self.keys.weigh(id);
            if !fault::planted(Bug::TimerLost) {
                self.deadlines.extend(deadlines);
            }
            self.set_deadlines(Some(id));
            if !past.is_empty() {
                self.replay(past, shared, out);
            }
        }
    }
}

/// Fills a key's windows and says its deadlines. Returns the number of matches begun and not decided.
fn revive(
    state: &mut KeyState,
    plan: &Plan,
    settings: &Settings,
    mut deadline: impl FnMut(Timestamp, RuleIndex),
) -> usize {
    let KeyState { timeline, rules, repeats, armed, .. } = state;
    let (mut pending, mut expires) = (0, repeats.expires(Timestamp::MIN, settings.retention));
    for held in rules.iter_mut() {
        match (&mut held.state, plan.rules.get(held.rule.0 as usize).map(|rule| &rule.pattern)) {
            (RuleState::Sequence(sequence), _) => {
                if let Some(absence) = sequence.absence.written() {
                    absence.waiting.make_contiguous().sort_by_key(|waiting| (waiting.deadline, waiting.number));
                }
                sequence.absence.waiting.iter().for_each(|waiting| deadline(waiting.deadline, held.rule));
                pending += sequence.matches();
                expires = expires.min(sequence.expires());
            }
            (RuleState::Sliding(sliding), Some(Pattern::Aggregate(aggregate))) => {
                let rule = aggregate::Rule { plan, index: held.rule.0, aggregate };
                timeline.skip_to(sliding.since);
                sliding.refill(rule, timeline);
                expires = expires.min(sliding.expires(rule, settings.retention));
            }
            (RuleState::Tumbling(tumbling), Some(Pattern::Aggregate(aggregate))) => {
                let rule = aggregate::Rule { plan, index: held.rule.0, aggregate };
                timeline.skip_to(tumbling.since);
                tumbling.refill(rule, timeline);
                deadline(tumbling.deadline(rule), held.rule);
            }
            _ => {}
        }
    }
    // What no window took in is let go.
    timeline.positions().for_each(|position| timeline.release_restored(position));
    *armed = (expires != Timestamp::MAX).then_some(expires);
    if let Some(at) = *armed {
        deadline(at, CLEAN);
    }
    pending
}
