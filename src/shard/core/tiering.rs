//! A task whose keys and ids do not all fit in memory: who leaves, who waits, who comes back.

use super::keys::{Held, KeyId};
use super::persist::{self, kind};
use super::state::{KeyState, RuleState};
use super::task::{Shared, TaskState, Until};
use super::tier::{Entry, Evicted, Life, NextDeadline, Parked, Request, Runs, Stem};
use super::{Durable, Output};
use crate::event::{DimensionId, Key, Signal, Task, Timestamp};
use crate::rules::plan::{Pattern, Plan};
use crate::store::codec::{Damaged, Reader, Writer};

/// Part of a shard's budget for the filter of evicted keys: 1 / this.
const FILTER_SHARE: usize = 16;

/// Bytes of a shard's budget for each evicted key that may be taken up in one epoch at the end of the input: an eighth of it, with
/// keys of half a kilobyte.
const BYTES_TO_TAKE_UP: usize = 8 << 9;

/// What left a task's memory.
#[derive(Debug)]
pub(super) struct Tier {
    pub(super) evicted: Evicted,
    pub(super) runs: Runs,
    /// Evicted keys that were found due in this epoch.
    taken_up: usize,
    /// How many of them there may be when the input has ended.
    taken_up_max: usize,
}

impl Tier {
    pub(super) fn new(durable: &Durable, task: Task, life: Life) -> Option<Tier> {
        let budget = durable.budget?;
        let shard = durable.range.first;
        Some(Tier {
            evicted: Evicted::new(life, shard, task, budget / FILTER_SHARE),
            runs: Runs::new(life, shard, task),
            taken_up: 0,
            taken_up_max: (budget / BYTES_TO_TAKE_UP).max(1),
        })
    }
}

impl TaskState {
    /// What decides now: the watermark, or the end of the input.
    pub(super) fn until_now(&self) -> Until {
        let before = if self.finishing.is_some() { None } else { Some(self.watermark) };
        Until { before, decided_before: self.watermark, end: self.finishing }
    }

    /// Whether a key that is not in memory may be in the store.
    pub(super) fn is_away(&self, dimension: DimensionId, key: &Key) -> bool {
        self.tier.as_ref().is_some_and(|tier| {
            tier.evicted.perhaps(dimension, key)
                || tier.evicted.is_loading(dimension, key)
                || self.is_unswept(key) && !tier.evicted.is_forgotten(dimension, key)
        })
    }

    /// Whether what the store holds of a key that is being swept up is all there is of it.
    pub(super) fn is_as_stored(&self, dimension: DimensionId, key: &Key) -> bool {
        let Some(Tier { evicted, .. }) = &self.tier else { return true };
        !evicted.is_loading(dimension, key) && !evicted.is_forgotten(dimension, key)
    }

    pub(super) fn park(&mut self, signal: Signal, until: Until, shared: &Shared) {
        let evicted = !self.is_unswept(&signal.key);
        let (Some(tier), Some(ledger)) = (&mut self.tier, &self.ledger) else { return };
        let (dimension, key) = (shared.names.dimension(signal.dimension), signal.key.clone());
        let stem = || ledger.stem(dimension, &key);
        tier.evicted.park(stem, evicted, Parked { signal, decided_before: until.decided_before });
    }

    /// Whether an answer is owed.
    pub(super) fn waits(&self) -> bool {
        self.tier.as_ref().is_some_and(|tier| tier.evicted.waits() || tier.runs.waits())
    }

    /// The watermark moved, or the input ended: evicted keys may be due. At the end all that decide something are, and they come in
    /// portions: what one epoch took up may leave memory before the next is taken up.
    pub(super) fn look_for_due(&mut self) {
        let Some(tier) = &mut self.tier else { return };
        if self.finishing.is_none() {
            tier.evicted.look_for_due(self.watermark);
        } else if tier.taken_up < tier.taken_up_max {
            tier.evicted.look_for_undecided();
        }
    }

    /// An epoch has ended: the next portion may come.
    pub(super) fn take_up_more(&mut self) {
        if let Some(tier) = &mut self.tier {
            tier.taken_up = 0;
        }
        if self.finishing.is_some() {
            self.look_for_due();
        }
    }

    /// Whether the input has ended and not all is decided.
    pub(super) fn is_undecided(&self) -> bool {
        let evicted = || self.tier.as_ref().is_some_and(|tier| tier.evicted.is_undecided());
        self.finishing.is_some() && (self.unswept.is_some() || evicted())
    }

    /// These keys are due: they are wanted, if they are not in memory.
    pub(super) fn due(
        &mut self,
        decide: bool,
        due: &[Vec<u8>],
        next: Option<&[u8]>,
        shared: &Shared,
    ) -> Result<(), Damaged> {
        let Some(tier) = &mut self.tier else { return Ok(()) };
        tier.taken_up += due.len();
        for stem in tier.evicted.due(decide, due, next) {
            let (dimension, key) = persist::read_key(&mut Reader::new(&stem.bytes))?;
            let Some(dimension) = shared.names.dimension_of(dimension) else { continue };
            if self.keys.find(dimension, &key).is_none() && !tier.evicted.is_forgotten(dimension, &key) {
                tier.evicted.want(dimension, key, stem);
            }
        }
        self.look_for_due();
        Ok(())
    }

    /// A key comes back with its parts, or nothing is there of it. Those who waited for it come in their order, each after the
    /// key's own deadlines before it: what a key decides does not depend on other keys.
    pub(super) fn loaded(
        &mut self,
        stem: &Stem,
        parts: &[Entry],
        shared: &mut Shared,
        out: &mut Output,
    ) -> Result<(), Damaged> {
        let (dimension, key) = persist::read_key(&mut Reader::new(&stem.bytes))?;
        let Some(dimension) = shared.names.dimension_of(dimension) else { return Ok(()) };
        let parked =
            self.tier.as_mut().map_or_else(Vec::new, |tier| tier.evicted.loaded(dimension, &key, !parts.is_empty()));
        for (part, value) in parts {
            persist::restore_part(self, shared, stem.partition, part, value)?;
        }
        let others = std::mem::take(&mut self.wheel);
        self.revive_all(shared, out);
        for Parked { signal, decided_before } in parked {
            let until = Until { before: Some(signal.event.time), decided_before, ..self.until_now() };
            while let Some(at) = self.wheel.next_time().filter(|at| *at < signal.event.time) {
                self.fire(at, until, shared, out);
            }
            self.step_here(signal, until, shared, out);
        }
        let own = std::mem::replace(&mut self.wheel, others);
        self.wheel.absorb(own);
        Ok(())
    }

    /// A key leaves memory, if all of it is in the store.
    fn evict(&mut self, id: KeyId, written: u64, shared: &Shared, entries: &mut Vec<Entry>) -> bool {
        let stored = |held: &Held| !held.noted && held.state.gone.is_empty() && u64::from(held.stored_in) <= written;
        let (Some(tier), Some(ledger)) = (&mut self.tier, &self.ledger) else { return false };
        let Some(held) = self.keys.get_mut(id) else { return false };
        if std::mem::take(&mut held.touched) || !stored(held) {
            return false;
        }
        let Some(held) = self.keys.remove(id) else { return false };
        self.pending -= held.state.matches();
        self.held -= held.state.timeline.len();
        self.repeats -= held.state.repeats.len();
        let stem = ledger.stem(shared.names.dimension(held.dimension), &held.key);
        entries.push(tier.evicted.evict(held.dimension, &held.key, &stem, next_deadline(&held.state, &shared.plan)));
        true
    }

    /// Lets these keys go, though they were just touched.
    pub(super) fn evict_all(&mut self, ids: &[KeyId], written: u64, shared: &Shared) -> usize {
        let (mut gone, mut entries) = (0, Vec::new());
        for id in ids {
            self.keys.get_mut(*id).into_iter().for_each(|held| held.touched = false);
            gone += usize::from(self.evict(*id, written, shared, &mut entries));
        }
        if let Some(tier) = &mut self.tier {
            tier.evicted.put(entries);
        }
        gone
    }

    /// Lets up to `most` keys go, those first that were not touched for long; looks at `looks` slots at most.
    pub(super) fn evict_some(&mut self, most: usize, looks: usize, written: u64, shared: &Shared) -> usize {
        let (mut gone, mut entries, mut hand) = (0, Vec::new(), self.hand);
        for _ in 0..looks.min(self.keys.slots() * 2) {
            if gone >= most {
                break;
            }
            if let Some(id) = self.keys.turn(&mut hand) {
                gone += usize::from(self.evict(id, written, shared, &mut entries));
            }
        }
        self.hand = hand;
        if let Some(tier) = &mut self.tier {
            tier.evicted.put(entries);
        }
        gone
    }

    /// Dedup ids leave memory until they take no more than `budget`.
    pub(super) fn spill_ids(&mut self, budget: usize) {
        let Some(tier) = &mut self.tier else { return };
        tier.runs.expire(self.dedup.live_from());
        while self.dedup.bytes() > budget {
            let Some((bucket, ids)) = self.dedup.give_up_largest() else { return };
            tier.runs.spill(bucket, ids);
        }
    }

    pub(super) fn take_requests(&mut self, out: &mut Vec<Request>) {
        if let Some(tier) = &mut self.tier {
            tier.evicted.take_requests(out);
            tier.runs.take_requests(out);
        }
    }
}

impl KeyState {
    /// Matches begun and not decided.
    fn matches(&self) -> usize {
        let of_rule = |held: &super::state::OfRule| match &held.state {
            RuleState::Sequence(sequence) => sequence.matches(),
            RuleState::Sliding(_) | RuleState::Tumbling(_) => 0,
        };
        self.rules.iter().map(of_rule).sum()
    }
}

/// When a key has to be looked at next.
fn next_deadline(state: &KeyState, plan: &Plan) -> NextDeadline {
    let of_rule = |held: &super::state::OfRule| match &held.state {
        RuleState::Sequence(sequence) => sequence.absence.waiting.front().map(|waiting| waiting.deadline),
        RuleState::Sliding(_) => None,
        RuleState::Tumbling(tumbling) => match plan.rules.get(held.rule.0 as usize).map(|rule| &rule.pattern) {
            Some(Pattern::Aggregate(aggregate)) => {
                Some(tumbling.deadline(super::aggregate::Rule { plan, index: held.rule.0, aggregate }))
            }
            _ => None,
        },
    };
    let decides = state.rules.iter().filter_map(of_rule).min();
    let at = decides.into_iter().chain(state.armed).min().unwrap_or(Timestamp::MAX);
    NextDeadline { at, decides: decides.is_some() }
}

/// The ranges of part keys that hold all of a key.
pub fn ranges(stem: &Stem) -> [(Vec<u8>, Vec<u8>); 2] {
    [kind::KEY, kind::TIMELINE].map(|kind| {
        let mut from = Writer::default();
        from.byte(kind);
        from.raw(&stem.bytes);
        let mut to = from.bytes().to_vec();
        // Behind every suffix: those are longer, and no suffix begins with so many.
        to.extend([0xff; 9]);
        (from.bytes().to_vec(), to)
    })
}
