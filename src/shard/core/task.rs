//! One task's state, and the loop that takes events and deadlines in one order.

use std::sync::Arc;

use super::backfill::Backfill;
use super::dedup::Dedup;
use super::keys::{KeyId, Keys};
use super::matching::{Arriving, CLEAN, Matching};
use super::persist::{Ledger, Names};
use super::report::Reporter;
use super::state::KeyState;
use super::suppress::Unplaced;
use super::tier::Life;
use super::tiering::Tier;
use super::{Output, Settings};
use crate::event::{DimensionId, Evidence, Key, KeyBuilder, RuleIndex, Signal, StepId, Timestamp};
use crate::rules::plan::{Pattern, Plan};
use crate::timeline::{Order, Wheel};

/// A deadline of one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    rule: RuleIndex,
    key: KeyId,
}

/// What the tasks of a core share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) settings: Settings,
    pub(super) reporter: Reporter,
    /// For each step: its events must come in order. Only rules of single events without suppression need none.
    pub(super) ordered: Vec<bool>,
    pub(super) no_key: Key,
    pub(super) names: Names,
}

impl Shared {
    pub(super) fn new(plan: Arc<Plan>, settings: Settings, topics: crate::event::TopicTable) -> Shared {
        let rule_of = |rule: RuleIndex| plan.rules.get(rule.0 as usize);
        let unordered = |rule: RuleIndex| {
            rule_of(rule).is_some_and(|rule| matches!(rule.pattern, Pattern::Event) && rule.suppress.is_none())
        };
        let ordered = plan.steps.iter().map(|step| !unordered(step.rule)).collect();
        let names = Names::new(&plan, topics.clone());
        let reporter = Reporter::new(Arc::clone(&plan), topics);
        Shared { plan, settings, reporter, ordered, no_key: KeyBuilder::default().build(0), names }
    }

    fn ordered(&self, step: StepId) -> bool {
        self.ordered.get(step.0 as usize).copied().unwrap_or(false)
    }
}

/// The state of one task.
#[derive(Debug)]
pub(super) struct TaskState {
    pub(super) watermark: Timestamp,
    /// Newest event time taken.
    pub(super) newest: Timestamp,
    pub(super) dedup: Dedup,
    pub(super) order: Order,
    pub(super) keys: Keys,
    /// What an earlier layout stored of suppression.
    pub(super) unplaced: Unplaced,
    /// Repeats that suppression remembers of the keys in memory.
    pub(super) repeats: usize,
    /// Matches begun and not decided.
    pub(super) pending: usize,
    /// Places in all timelines.
    pub(super) held: usize,
    pub(super) wheel: Wheel<Due>,
    /// Deadlines at which void ones are looked for.
    sweep_at: usize,
    due: Vec<Due>,
    pub(super) deadlines: Vec<(Timestamp, RuleIndex)>,
    /// What is to be stored with the next epoch; `None`: nothing is stored.
    pub(super) ledger: Option<Ledger>,
    /// What left memory; `None`: nothing does.
    pub(super) tier: Option<Tier>,
    /// The input ended, with this newest event time.
    pub(super) finishing: Option<Timestamp>,
    /// Keys put back that have no windows and deadlines yet.
    pub(super) unrevived: Vec<KeyId>,
    /// Keys with this hash or a higher one lie in the store yet, as they did at the restart, unless something is known of them here;
    /// `None`: all were taken up.
    pub(super) unswept: Option<u64>,
    /// While the task is being restored: rules to be run over what it held.
    pub(super) backfill: Option<Box<Backfill>>,
    /// Who this state is to those who answer it.
    pub(super) life: Life,
    /// The core's epochs that are over.
    pub(super) epoch: u32,
    /// Where eviction looks next.
    pub(super) hand: usize,
}

/// How far a task may go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    /// Events and deadlines before this; `None`: all.
    pub(super) before: Option<Timestamp>,
    /// The watermark up to which all was taken before.
    pub(super) decided_before: Timestamp,
    /// At the end of a bounded input: the newest event time.
    pub(super) end: Option<Timestamp>,
}

/// Lends out what [`Matching`] needs, field by field, so that a key's state may stay borrowed.
macro_rules! matching {
    ($task:ident, $shared:ident, $until:ident, $out:ident) => {
        Matching {
            plan: &$shared.plan,
            settings: &$shared.settings,
            decided_before: $until.decided_before,
            end: $until.end,
            reporter: &mut $shared.reporter,
            unplaced: &mut $task.unplaced,
            deadlines: &mut $task.deadlines,
            pending: &mut $task.pending,
            out: $out,
        }
    };
}

impl TaskState {
    /// A task without state, whose changes go to `ledger`, if any.
    pub(super) fn new(ledger: Option<Ledger>, tier: Option<Tier>, life: Life, epoch: u32) -> TaskState {
        let durable = ledger.is_some();
        TaskState {
            watermark: Timestamp::MIN,
            newest: Timestamp::MIN,
            dedup: Dedup::new(durable),
            order: if durable { Order::remembering() } else { Order::default() },
            keys: Keys::new(),
            unplaced: Unplaced::default(),
            repeats: 0,
            pending: 0,
            held: 0,
            wheel: Wheel::default(),
            sweep_at: DEADLINES_UNSWEPT,
            due: Vec::new(),
            deadlines: Vec::new(),
            ledger,
            tier,
            finishing: None,
            unrevived: Vec::new(),
            unswept: None,
            backfill: None,
            life,
            epoch,
            hand: 0,
        }
    }

    /// Takes a signal that is neither a duplicate nor thrown away as late: rules that need no order report at once, for
    /// the others it waits. Behind the watermark nothing is to be waited for.
    pub(super) fn accept(&mut self, signal: Signal, shared: &mut Shared, out: &mut Output) {
        let until = Until { before: Some(self.watermark), decided_before: self.watermark, end: None };
        let mut waits = false;
        for &step in &signal.steps {
            if shared.ordered(step) {
                waits = true;
            } else {
                // It has no suppression, so it leaves nothing.
                let mut none = KeyState::default();
                let of = (&signal.key, signal.dimension, &signal.event);
                self.report_single(step, of, &mut none, shared, until, out);
            }
        }
        if waits {
            let late = signal.event.time < self.watermark;
            self.order.push(signal);
            if late {
                self.run(until, shared, out);
            }
        }
    }

    fn report_single(
        &mut self,
        step: StepId,
        (key, dimension, event): (&Key, DimensionId, &Arc<Evidence>),
        state: &mut KeyState,
        shared: &mut Shared,
        until: Until,
        out: &mut Output,
    ) {
        let Some(rule) = shared.plan.steps.get(step.0 as usize).map(|step| step.rule) else { return };
        // The key of a per-event dimension only spreads events over shards; it names nothing.
        let per_event = shared.plan.dimensions.get(dimension.0 as usize).is_some_and(|d| d.per_event);
        let no_key = shared.no_key.clone();
        matching!(self, shared, until, out).single(rule, step, if per_event { &no_key } else { key }, event, state);
    }

    /// Takes events and deadlines in one order: a deadline after every event of its time or before, and before any later.
    pub(super) fn run(&mut self, until: Until, shared: &mut Shared, out: &mut Output) {
        let in_reach = |time: &Timestamp| until.before.is_none_or(|before| *time < before);
        loop {
            let event = self.order.next_time().filter(in_reach);
            let deadline = self.wheel.next_time().filter(in_reach);
            match (event, deadline) {
                (None, None) => return,
                (event, Some(deadline)) if event.is_none_or(|event| deadline < event) => {
                    self.fire(deadline, until, shared, out);
                }
                _ => {
                    if let Some(signal) = self.order.pop() {
                        self.step(signal, until, shared, out);
                    }
                }
            }
        }
    }

    /// More is read after what was the end of the input: the cleanings that it passed over are due again.
    pub(super) fn rearm(&mut self) {
        let mut hand = 0;
        for _ in 0..self.keys.slots() {
            let Some(key) = self.keys.turn(&mut hand) else { continue };
            let armed = self.keys.get(key).and_then(|held| held.state.armed);
            armed.into_iter().for_each(|at| self.wheel.push(at, Due { rule: CLEAN, key }));
        }
    }

    /// One event meets the rules of its key.
    pub(super) fn step(&mut self, signal: Signal, until: Until, shared: &mut Shared, out: &mut Output) {
        if self.keys.find(signal.dimension, &signal.key).is_none() && self.is_away(signal.dimension, &signal.key) {
            return self.park(signal, until, shared);
        }
        self.step_here(signal, until, shared, out);
    }

    /// The same, where the key is in memory or nowhere.
    pub(super) fn step_here(&mut self, signal: Signal, until: Until, shared: &mut Shared, out: &mut Output) {
        let found = self.keys.find(signal.dimension, &signal.key);
        let Signal { event, dimension, key, steps, .. } = signal;
        let mut state = match found.and_then(|id| self.keys.get_mut(id)) {
            Some(held) => std::mem::take(&mut held.state),
            None => KeyState::default(),
        };
        let held_before = (state.timeline.len(), state.repeats.len());
        let plan = Arc::clone(&shared.plan);
        let rule_of = |step: &StepId| plan.steps.get(step.0 as usize).map(|step| step.rule);
        let mut arriving = Arriving { key: &key, event: &event, steps: &steps, position: None };
        for of_rule in steps.chunk_by(|a, b| rule_of(a) == rule_of(b)) {
            let Some(&first) = of_rule.first().filter(|step| shared.ordered(**step)) else { continue };
            let Some(rule) = rule_of(&first) else { continue };
            let single = plan.rules.get(rule.0 as usize).is_some_and(|rule| matches!(rule.pattern, Pattern::Event));
            if single {
                self.report_single(first, (&key, dimension, &event), &mut state, shared, until, out);
            } else {
                matching!(self, shared, until, out).take(rule, of_rule, &mut arriving, &mut state);
            }
        }
        if let Some(position) = arriving.position {
            state.timeline.release(position);
        }
        self.weigh(held_before, &state);
        let id = match (found, state.is_empty()) {
            (None, true) => None,
            (None, false) => {
                let id = self.keys.insert(dimension, key, state);
                self.note(id);
                Some(id)
            }
            (Some(id), _) => self.put_back(id, state, shared),
        };
        self.set_deadlines(id);
    }

    /// All deadlines of one time: by rule (rules are ordered by id), then key; cleaning last.
    pub(super) fn fire(&mut self, at: Timestamp, until: Until, shared: &mut Shared, out: &mut Output) {
        let mut due = std::mem::take(&mut self.due);
        while let Some(one) = self.wheel.pop_at(at) {
            due.push(one);
        }
        if due.len() > 1 {
            let name = |id| self.keys.get(id).map(|held| &held.key);
            due.sort_by(|a, b| a.rule.cmp(&b.rule).then_with(|| name(a.key).cmp(&name(b.key))));
        }
        for one in due.drain(..) {
            // The end of the input decides, but does not say how far time has come: nothing is cleaned.
            if one.rule == CLEAN && until.end.is_some() {
                continue;
            }
            let Some(held) = self.keys.get_mut(one.key) else { continue };
            let mut state = std::mem::take(&mut held.state);
            let held_before = (state.timeline.len(), state.repeats.len());
            let mut matching = matching!(self, shared, until, out);
            if one.rule == CLEAN {
                matching.clean(at, &mut state);
            } else {
                matching.decide(one.rule, at, &held.key, &mut state);
            }
            self.weigh(held_before, &state);
            let id = self.put_back(one.key, state, shared);
            self.set_deadlines(id);
        }
        if due.capacity() > DUE_KEPT {
            due = Vec::new();
        }
        self.due = due;
    }

    /// Counts anew what a key has in its timeline and remembers of repeats.
    fn weigh(&mut self, (events, repeats): (usize, usize), state: &KeyState) {
        self.held = self.held + state.timeline.len() - events;
        self.repeats = self.repeats + state.repeats.len() - repeats;
    }

    /// Puts a key's state back, or forgets the key if none is left.
    pub(super) fn put_back(&mut self, id: KeyId, mut state: KeyState, shared: &mut Shared) -> Option<KeyId> {
        if state.is_empty() {
            let held = self.keys.remove(id);
            if let (Some(ledger), Some(held)) = (&mut self.ledger, held) {
                ledger.forget_key(held.dimension, &held.key, &mut state, &mut shared.names);
                if let Some(tier) = &mut self.tier {
                    tier.evicted.forget(held.dimension, &held.key, self.epoch + 1);
                }
            }
            return None;
        }
        if let Some(held) = self.keys.get_mut(id) {
            held.state = state;
        }
        self.note(id);
        Some(id)
    }

    /// The key's state may have changed: it is stored with the next epoch.
    fn note(&mut self, id: KeyId) {
        if let (Some(ledger), Some(held)) = (&mut self.ledger, self.keys.get_mut(id)) {
            held.touched = true;
            if !std::mem::replace(&mut held.noted, true) {
                ledger.noted.push(id);
            }
        }
    }

    pub(super) fn set_deadlines(&mut self, key: Option<KeyId>) {
        match key {
            Some(key) => self.deadlines.drain(..).for_each(|(at, rule)| self.wheel.push(at, Due { rule, key })),
            None => self.deadlines.clear(),
        }
        if self.wheel.len() >= self.sweep_at {
            self.sweep();
        }
    }

    /// Drops void deadlines. A rule like "started, and not ended within a day" sets one for each start and needs it for
    /// the few that do not end; without this the wheel would hold all starts of a day. Runs each time the wheel has
    /// doubled, so it costs each deadline a constant.
    fn sweep(&mut self) {
        let keys = &self.keys;
        self.wheel.retain(|at, due| {
            let state = keys.get(due.key).map(|held| &held.state);
            state.is_some_and(
                |state| if due.rule == CLEAN { state.armed == Some(at) } else { state.wants(due.rule, at) },
            )
        });
        self.sweep_at = DEADLINES_UNSWEPT.max(self.wheel.len() * 2);
    }

    /// Bytes on the heap for keys and deadlines.
    pub(super) fn heap_bytes(&self) -> usize {
        self.keys.heap_bytes() + self.wheel.heap_bytes()
    }

    /// Deadlines set, void ones included.
    pub(super) fn deadlines(&self) -> usize {
        self.wheel.len()
    }
}

/// Deadlines that are never looked through: 2 MB.
const DEADLINES_UNSWEPT: usize = 1 << 16;

/// Room for deadlines of one time that is kept.
const DUE_KEPT: usize = 1 << 12;
