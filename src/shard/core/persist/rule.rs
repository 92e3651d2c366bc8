//! Kind `20`: the state of one rule for one key, and each match of it that waits for its end.
//!
//! State, key suffix `01 · rule's content hash`. Value, version 1, by the rule's pattern:
//! * sequence: `names · 0 · absent_before? · expires? · next number · count, (state, match)…`
//! * sliding: `names · 1 · newest · fired? · folded · since`
//! * tumbling: `names · 2 · window number · since`
//!
//! Waiting match, key suffix `02 · rule's content hash · number (4 bytes)`. Value, version 1: `names · deadline · match`.
//!
//! A match is `before? · count, evidence…`. What a window holds and measures follows from the timeline.

use std::sync::Arc;

use smallvec::SmallVec;

use super::names::{Known, Names, Used};
use super::{Ledger, evidence};
use crate::event::{Evidence, Span, Timestamp};
use crate::rules::plan::{Pattern, Rule};
use crate::shard::core::aggregate::{self, Sliding, Tumbling};
use crate::shard::core::sequence::{Absence, Match, Pending, SequenceState, Waiting};
use crate::shard::core::state::{OfRule, RuleState};
use crate::store::codec::{Damaged, Reader, Writer};

const VERSION: u8 = 1;

/// After the key: the rule's state.
pub(super) const STATE: u8 = 1;
/// After the key: a match that waits.
pub(super) const WAITING: u8 = 2;

const SEQUENCE: u8 = 0;
const SLIDING: u8 = 1;
const TUMBLING: u8 = 2;

pub(super) fn state_key(rule: u64, key: &mut Writer) {
    key.byte(STATE);
    key.fixed(rule);
}

pub(super) fn waiting_key(rule: u64, number: u32, key: &mut Writer) {
    key.byte(WAITING);
    key.fixed(rule);
    key.raw(&number.to_be_bytes());
}

/// Stores a rule's state; the ledger's key names the correlation key.
pub(super) fn store(ledger: &mut Ledger, partition: u16, held: &mut OfRule, names: &mut Names) {
    let hash = names.rule(held.rule);
    let stem = ledger.key.len();
    if let RuleState::Sequence(sequence) = &mut held.state {
        for number in sequence.absence.written().into_iter().flat_map(|absence| absence.gone.drain(..)) {
            waiting_key(hash, number, &mut ledger.key);
            ledger.changes.delete(partition, ledger.key.bytes());
            ledger.key.truncate(stem);
        }
        let Absence { waiting, unstored, .. } = match sequence.absence.written() {
            Some(absence) => absence,
            None => &mut Absence::default(),
        };
        for waiting in waiting.iter_mut().rev() {
            if *unstored == 0 {
                break;
            }
            if std::mem::replace(&mut waiting.stored, true) {
                continue;
            }
            *unstored -= 1;
            ledger.body.int(waiting.deadline.0);
            write_match(&waiting.matched, &mut ledger.used, &mut ledger.body);
            ledger.seal(VERSION, names);
            waiting_key(hash, waiting.number, &mut ledger.key);
            ledger.changes.put(partition, ledger.key.bytes(), ledger.value.bytes());
            ledger.key.truncate(stem);
        }
    }
    write_state(&held.state, &mut ledger.used, &mut ledger.body);
    ledger.seal(VERSION, names);
    state_key(hash, &mut ledger.key);
    ledger.changes.put(partition, ledger.key.bytes(), ledger.value.bytes());
}

fn write_time(body: &mut Writer, time: Timestamp) {
    body.int(time.0);
}

fn write_state(state: &RuleState, used: &mut Used, body: &mut Writer) {
    match state {
        RuleState::Sequence(sequence) => {
            body.byte(SEQUENCE);
            body.option(sequence.absence.absent_before, write_time);
            body.option(sequence.expires, write_time);
            body.uint(sequence.absence.next_number.into());
            body.uint(sequence.pending.len() as u64);
            for pending in &sequence.pending {
                body.uint(pending.state.into());
                write_match(&pending.matched, used, body);
            }
        }
        RuleState::Sliding(sliding) => {
            body.byte(SLIDING);
            write_time(body, sliding.newest);
            body.option(sliding.fired, write_time);
            body.uint(sliding.folded);
            body.uint(sliding.since);
        }
        RuleState::Tumbling(tumbling) => {
            body.byte(TUMBLING);
            body.int(tumbling.number);
            body.uint(tumbling.since);
        }
    }
}

fn write_match(matched: &Match, used: &mut Used, body: &mut Writer) {
    body.option(matched.before, write_time);
    body.uint(matched.events.len() as u64);
    matched.events.iter().for_each(|event| evidence::write(event, used, body));
}

fn read_time(reader: &mut Reader<'_>) -> Result<Timestamp, Damaged> {
    Ok(Timestamp(reader.int()?))
}

fn read_match(known: &Known, reader: &mut Reader<'_>) -> Result<Match, Damaged> {
    let before = reader.option(read_time)?;
    let count = reader.count()?;
    let events: SmallVec<[_; 2]> = (0..count).map(|_| evidence::read(known, reader)).collect::<Result<_, _>>()?;
    if events.is_empty() {
        return Err(Damaged::new("a match without events"));
    }
    Ok(Match { before, events })
}

/// The state of a rule, windows still empty.
pub(super) fn read_state(
    names: &Names,
    plan: &crate::rules::plan::Plan,
    (index, rule): (u32, &Rule),
    value: &[u8],
) -> Result<RuleState, Damaged> {
    let mut reader = Reader::new(value);
    reader.version(VERSION)?;
    let known = Known::read(names, &mut reader)?;
    let tag = reader.byte()?;
    match (tag, &rule.pattern) {
        (SEQUENCE, Pattern::Sequence(_)) => {
            let (absent_before, expires) = (reader.option(read_time)?, reader.option(read_time)?);
            let next_number = reader.small()?;
            let mut pending = SmallVec::new();
            for _ in 0..reader.count()? {
                let state = reader.small()?;
                pending.push(Pending { state, matched: read_match(&known, &mut reader)? });
            }
            let mut state = SequenceState { pending, expires, ..SequenceState::default() };
            if absent_before.is_some() || next_number > 0 {
                (state.absence.absent_before, state.absence.next_number) = (absent_before, next_number);
            }
            Ok(RuleState::Sequence(Box::new(state)))
        }
        (SLIDING, Pattern::Aggregate(aggregate)) if !aggregate.tumbling => {
            let mut sliding = Sliding::new(aggregate::Rule { plan, index, aggregate }, 0);
            sliding.newest = read_time(&mut reader)?;
            sliding.fired = reader.option(read_time)?;
            sliding.folded = reader.uint()?;
            sliding.since = reader.uint()?;
            Ok(RuleState::Sliding(Box::new(sliding)))
        }
        (TUMBLING, Pattern::Aggregate(aggregate)) if aggregate.tumbling && aggregate.timespan > Span::ZERO => {
            let rule = aggregate::Rule { plan, index, aggregate };
            let number = reader.int()?;
            Ok(RuleState::Tumbling(Box::new(Tumbling::new(rule, number, reader.uint()?))))
        }
        _ => Err(Damaged::new(format!("state of pattern {tag} for rule {}, which has another pattern", rule.id))),
    }
}

/// The events of all matches in a part, whatever its rule.
pub(super) fn read_events(names: &Names, tag: u8, value: &[u8]) -> Result<Vec<Arc<Evidence>>, Damaged> {
    let mut reader = Reader::new(value);
    reader.version(VERSION)?;
    let known = Known::read(names, &mut reader)?;
    let mut events = Vec::new();
    if tag == WAITING {
        read_time(&mut reader)?;
        events.extend(read_match(&known, &mut reader)?.events);
    } else if reader.byte()? == SEQUENCE {
        // What forbids it, and until when it matters.
        reader.option(read_time)?;
        reader.option(read_time)?;
        reader.small::<u32>()?;
        for _ in 0..reader.count()? {
            reader.small::<u16>()?;
            events.extend(read_match(&known, &mut reader)?.events);
        }
    }
    Ok(events)
}

/// A match that waits.
pub(super) fn read_waiting(names: &Names, number: u32, value: &[u8]) -> Result<Waiting, Damaged> {
    let mut reader = Reader::new(value);
    reader.version(VERSION)?;
    let known = Known::read(names, &mut reader)?;
    let deadline = read_time(&mut reader)?;
    Ok(Waiting { matched: read_match(&known, &mut reader)?, deadline, number, stored: true })
}
