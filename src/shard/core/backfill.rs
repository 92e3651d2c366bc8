//! A rule that was written after the fact, run over what is still held of the past: `backfill: true`.
//!
//! While a task is being restored, each key gives the events that its state holds (its timeline, and the matches that sequences have
//! begun, those of rules that are gone included) once more to the rules that are new, in total order and mixed with their
//! deadlines, up to the watermark. Events that wait for order get the new rules' steps too. What comes out of it commits with
//! the first epoch, and so does the note that these rules have run: none runs over the past twice.
//!
//! What is not held was never there: events of other dimensions, events that no rule kept, and fields that no rule named. An
//! event is taken only where what was kept of it decides the condition; that a field is missing counts only if a rule that
//! this event satisfied would have kept it.

use std::sync::Arc;

use ahash::AHashMap;
use smallvec::SmallVec;

use super::Output;
use super::keys::KeyId;
use super::state::{KeyState, RuleState};
use super::task::{Shared, TaskState, Until};
use crate::detect::{Detector, fields_of, keys_of};
use crate::event::{
    DimensionId, Evidence, FieldId, Hash128, Key, KeyBuilder, Projected, RuleIndex, Signal, StepId, Task, Timestamp,
    Val,
};
use crate::rules::plan::{ConditionId, Plan};

/// An event with the rules that are known to have kept it.
type Held = (Arc<Evidence>, SmallVec<[RuleIndex; 4]>);

/// The new rules of a task that is being restored.
#[derive(Debug)]
pub(super) struct Backfill {
    plan: Arc<Plan>,
    detector: Detector,
    /// Steps of the new rules, by condition, with the fields that decide them: what the condition reads, and the key.
    steps: AHashMap<ConditionId, Vec<(StepId, Vec<FieldId>)>>,
    /// Events that matches of rules that are gone held.
    strays: AHashMap<KeyId, Vec<Arc<Evidence>>>,
    /// Signals that wait for order, for the new rules alone.
    waiting: Vec<Signal>,
    event: Projected,
    hits: Vec<ConditionId>,
    builder: KeyBuilder,
}

impl Backfill {
    /// For these rules of a plan; `None`: there are none.
    pub(super) fn of(plan: &Arc<Plan>, rules: &[RuleIndex]) -> Option<Box<Backfill>> {
        if rules.is_empty() {
            return None;
        }
        let mut steps: AHashMap<ConditionId, Vec<(StepId, Vec<FieldId>)>> = AHashMap::new();
        for (step, of) in (0..).map(StepId).zip(&plan.steps).filter(|(_, of)| rules.contains(&of.rule)) {
            let condition = plan.conditions.get(of.condition.0 as usize);
            let mut fields = condition.map_or_else(Vec::new, |condition| fields_of(plan, condition));
            fields.extend(of.key.iter().map(|key| key.field));
            steps.entry(of.condition).or_default().push((step, fields));
        }
        Some(Box::new(Backfill {
            plan: Arc::clone(plan),
            detector: Detector::new(Arc::clone(plan)),
            steps,
            strays: AHashMap::new(),
            waiting: Vec::new(),
            event: Projected::with_fields(plan.fields.len()),
            hits: Vec::new(),
            builder: KeyBuilder::default(),
        }))
    }

    /// Events of a key that a rule held which is gone.
    pub(super) fn stray(&mut self, key: KeyId, events: impl IntoIterator<Item = Arc<Evidence>>) {
        self.strays.entry(key).or_default().extend(events);
    }

    /// A signal that waits for order: for the new rules it waits beside itself.
    pub(super) fn wait(&mut self, signal: &Signal) {
        let rules = signal.steps.iter().filter_map(|step| self.rule_of(*step)).collect::<SmallVec<[_; 4]>>();
        let steps = self.steps_of(&signal.event, &rules, signal.dimension, &signal.key);
        if !steps.is_empty() {
            let (event, key) = (Arc::clone(&signal.event), signal.key.clone());
            self.waiting.push(Signal { event, key, steps, counts: false, late: None, ..*signal });
        }
    }

    /// What a key holds of the past, in total order, each event with the steps of new rules that it satisfies.
    fn past(&mut self, id: KeyId, (dimension, key): (DimensionId, &Key), state: &KeyState, task: Task) -> Vec<Signal> {
        let mut held: Vec<Held> = Vec::new();
        for position in state.timeline.positions() {
            let Some((event, steps)) = state.timeline.get(position) else { continue };
            held.push((Arc::clone(event), steps.iter().filter_map(|step| self.rule_of(*step)).collect()));
        }
        for of_rule in &state.rules {
            let RuleState::Sequence(sequence) = &of_rule.state else { continue };
            let matches = sequence.pending.iter().map(|pending| &pending.matched);
            let matches = matches.chain(sequence.absence.waiting.iter().map(|waiting| &waiting.matched));
            let events = matches.flat_map(|matched| &matched.events);
            held.extend(events.map(|event| (Arc::clone(event), SmallVec::from_iter([of_rule.rule]))));
        }
        held.extend(self.strays.remove(&id).into_iter().flatten().map(|event| (event, SmallVec::new())));
        held.sort_by_key(|(event, _)| (event.time, event.origin));
        let mut past = Vec::new();
        for same in held.chunk_by(|a, b| (a.0.time, a.0.origin) == (b.0.time, b.0.origin)) {
            let rules: SmallVec<[RuleIndex; 4]> = same.iter().flat_map(|(_, rules)| rules.iter().copied()).collect();
            // Several may have kept it, and not the same of it.
            let Some((event, _)) = same.iter().max_by_key(|(event, _)| event.fields.iter().count()) else { continue };
            let steps = self.steps_of(event, &rules, dimension, key);
            if !steps.is_empty() {
                let (event, key, identity) = (Arc::clone(event), key.clone(), Hash128(0));
                past.push(Signal { event, identity, dimension, key, task, steps, counts: false, late: None });
            }
        }
        past
    }

    fn rule_of(&self, step: StepId) -> Option<RuleIndex> {
        self.plan.steps.get(step.0 as usize).map(|step| step.rule)
    }

    /// The steps of new rules that an event is known to satisfy for a key.
    fn steps_of(
        &mut self,
        event: &Evidence,
        kept_by: &[RuleIndex],
        dimension: DimensionId,
        key: &Key,
    ) -> SmallVec<[StepId; 4]> {
        let Backfill { plan, detector, steps, event: projected, hits, builder, .. } = self;
        let keeps =
            |rule: &RuleIndex, field| plan.rules.get(rule.0 as usize).is_some_and(|r| r.fields.contains(&field));
        projected.load(&event.fields);
        detector.detect(projected, hits);
        let mut found = SmallVec::new();
        for (step, fields) in hits.iter().filter_map(|condition| steps.get(condition)).flatten() {
            let known = |field: &FieldId| {
                !matches!(projected.get(*field), Val::Absent) || kept_by.iter().any(|rule| keeps(rule, *field))
            };
            let Some(of) = plan.steps.get(step.0 as usize) else { continue };
            if of.dimension != dimension || !fields.iter().all(known) {
                continue;
            }
            let hash = plan.dimensions.get(dimension.0 as usize).map_or(0, |dimension| dimension.hash);
            let mut ours = false;
            keys_of(projected, &of.key, hash, builder, &mut |one| ours |= one == *key);
            if ours {
                found.push(*step);
            }
        }
        found.sort_unstable();
        found
    }
}

impl TaskState {
    /// What a key that is put back holds of the past, if there are rules to be run over it.
    pub(super) fn past_of(&mut self, id: KeyId, state: &KeyState) -> Vec<Signal> {
        let (Some(backfill), Some(held), Some(ledger)) = (&mut self.backfill, self.keys.get(id), &self.ledger) else {
            return Vec::new();
        };
        backfill.past(id, (held.dimension, &held.key), state, ledger.task())
    }

    /// Gives a key's past to the new rules: events and the key's deadlines in one order, up to the watermark.
    pub(super) fn replay(&mut self, past: Vec<Signal>, shared: &mut Shared, out: &mut Output) {
        let others = std::mem::take(&mut self.wheel);
        let until = |before| Until { before: Some(before), decided_before: Timestamp::MIN, end: None };
        for signal in past {
            let time = signal.event.time;
            self.fire_before(time, until(time), shared, out);
            self.step_here(signal, until(time), shared, out);
        }
        let reached = self.watermark;
        self.fire_before(reached, until(reached), shared, out);
        let own = std::mem::replace(&mut self.wheel, others);
        self.wheel.absorb(own);
    }

    fn fire_before(&mut self, time: Timestamp, until: Until, shared: &mut Shared, out: &mut Output) {
        while let Some(at) = self.wheel.next_time().filter(|at| *at < time) {
            self.fire(at, until, shared, out);
        }
    }

    /// All keys were put back: what waits for order waits for the new rules too, and no rule is new any more.
    pub(super) fn end_backfill(&mut self) {
        if let Some(backfill) = self.backfill.take() {
            backfill.waiting.into_iter().for_each(|signal| self.order.push(signal));
        }
    }
}
