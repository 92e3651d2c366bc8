//! What is kept of one key in one dimension: its timeline, and the state of each rule that it has begun.

use smallvec::SmallVec;

use super::aggregate::{Sliding, Tumbling};
use super::sequence::SequenceState;
use super::suppress::Repeats;
use crate::event::{Hash128, RuleIndex, Seldom, Span, Timestamp, allotted};
use crate::timeline::Timeline;

/// State of one key. A key whose state is empty is forgotten.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    pub(super) timeline: Seldom<Timeline>,
    /// Ascending by rule; only rules that have something here.
    pub(super) rules: SmallVec<[OfRule; 1]>,
    /// What suppression remembers of the rules' correlations.
    pub(super) repeats: Seldom<Repeats>,
    /// When the key is looked at for what has expired: the earliest deadline set for that, later ones are void.
    pub(super) armed: Option<Timestamp>,
    /// What is in the store of rules that were forgotten since.
    pub(super) gone: Seldom<Vec<Gone>>,
}

/// A rule's state, and what of the key it needs beside it.
pub(super) struct Lent<'a> {
    pub(super) state: &'a mut RuleState,
    pub(super) timeline: &'a mut Seldom<Timeline>,
    pub(super) repeats: &'a mut Seldom<Repeats>,
}

/// A rule's state, and how it stands to the store.
#[derive(Debug)]
pub(super) struct OfRule {
    pub(super) rule: RuleIndex,
    /// May have changed since it was last stored.
    pub(super) changed: bool,
    /// The store has it.
    pub(super) stored: bool,
    pub(super) state: RuleState,
}

/// A stored part of a rule that was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// The rule's state.
    Rule(RuleIndex),
    /// One match that waited.
    Waiting(RuleIndex, u32),
    /// What suppression remembered of one repeat.
    Repeat(Hash128),
}

/// State of one rule for one key. Boxed: a key has few of many rules, and most of the variants' size is empty.
#[derive(Debug)]
pub(super) enum RuleState {
    Sequence(Box<SequenceState>),
    Sliding(Box<Sliding>),
    Tumbling(Box<Tumbling>),
}

impl RuleState {
    /// Whether it may be forgotten now.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            RuleState::Sequence(sequence) => sequence.is_empty(),
            RuleState::Sliding(sliding) => sliding.is_empty(),
            RuleState::Tumbling(_) => false,
        }
    }

    /// Whether a deadline of this rule still decides something.
    fn wants(&self, deadline: Timestamp) -> bool {
        match self {
            RuleState::Sequence(sequence) => sequence.waits_for(deadline),
            RuleState::Sliding(_) => false,
            // It has one at a time; an old one finds another window and does nothing.
            RuleState::Tumbling(_) => true,
        }
    }
}

impl OfRule {
    fn leave(&self, gone: &mut Vec<Gone>) {
        if self.stored {
            gone.push(Gone::Rule(self.rule));
        }
        if let RuleState::Sequence(sequence) = &self.state {
            for number in sequence.stored() {
                gone.push(Gone::Waiting(self.rule, number));
            }
        }
    }
}

impl KeyState {
    fn place(&self, rule: RuleIndex) -> Result<usize, usize> {
        self.rules.binary_search_by_key(&rule, |held| held.rule)
    }

    /// The state of a rule, begun by `begin` if there is none; it counts as changed.
    pub(super) fn rule_or_begin(&mut self, rule: RuleIndex, begin: impl FnOnce() -> RuleState) -> Lent<'_> {
        let at = match self.place(rule) {
            Ok(at) => at,
            Err(at) => {
                self.rules.insert(at, OfRule { rule, changed: true, stored: false, state: begin() });
                at
            }
        };
        let held = &mut self.rules[at];
        held.changed = true;
        Lent { state: &mut held.state, timeline: &mut self.timeline, repeats: &mut self.repeats }
    }

    /// The state of a rule; it counts as changed.
    pub(super) fn rule(&mut self, rule: RuleIndex) -> Option<Lent<'_>> {
        let at = self.place(rule).ok()?;
        let held = self.rules.get_mut(at)?;
        held.changed = true;
        Some(Lent { state: &mut held.state, timeline: &mut self.timeline, repeats: &mut self.repeats })
    }

    /// Whether a deadline of a rule still decides something.
    pub(super) fn wants(&self, rule: RuleIndex, deadline: Timestamp) -> bool {
        self.place(rule).ok().and_then(|at| self.rules.get(at)).is_some_and(|held| held.state.wants(deadline))
    }

    /// Looks at all rules' states; `look` says which stay, and which of those it changed.
    pub(super) fn retain(&mut self, mut look: impl FnMut(RuleIndex, &mut RuleState, &mut Seldom<Timeline>) -> Kept) {
        let KeyState { timeline, rules, gone, .. } = self;
        rules.retain(|held| {
            let kept = look(held.rule, &mut held.state, timeline);
            held.changed |= kept == Kept::Changed;
            if kept == Kept::Not {
                held.leave(gone);
            }
            kept != Kept::Not
        });
    }

    /// Forgets a rule's state. What it held of the timeline must have been released.
    pub(super) fn forget(&mut self, rule: RuleIndex) {
        if let Ok(at) = self.place(rule) {
            self.rules.remove(at).leave(&mut self.gone);
        }
    }

    /// Forgets what suppression needs no more at `at`; when to look again.
    pub(super) fn clean_repeats(&mut self, at: Timestamp, retention: Span) -> Timestamp {
        let Some(repeats) = self.repeats.written() else { return Timestamp::MAX };
        repeats.clean(at, retention, |repeat| self.gone.push(Gone::Repeat(repeat)));
        let expires = repeats.expires(at, retention);
        if repeats.is_empty() {
            drop(self.repeats.take());
        }
        expires
    }

    /// Bytes on the heap, those of events that others share included.
    pub(super) fn heap_bytes(&self) -> usize {
        let KeyState { timeline, rules, repeats, gone, .. } = self;
        let list = if rules.spilled() { allotted(rules.capacity() * size_of::<OfRule>()) } else { 0 };
        let of_rule = |held: &OfRule| match &held.state {
            RuleState::Sequence(sequence) => allotted(size_of_val(&**sequence)) + sequence.heap_bytes(),
            RuleState::Sliding(sliding) => allotted(size_of_val(&**sliding)) + sliding.heap_bytes(),
            RuleState::Tumbling(tumbling) => allotted(size_of_val(&**tumbling)) + tumbling.heap_bytes(),
        };
        timeline.heap_bytes()
            + (**timeline).heap_bytes()
            + gone.heap_bytes()
            + repeats.heap_bytes()
            + (**repeats).heap_bytes()
            + list
            + rules.iter().map(of_rule).sum::<usize>()
    }

    /// Whether the key may be forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.repeats.is_empty()
    }
}

/// What becomes of a rule's state that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Forgotten.
    Not,
    /// It stays as it was.
    Same,
    /// It stays, and changed.
    Changed,
}
