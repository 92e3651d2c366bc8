//! What is kept of one key in one dimension: its timeline, and the state of each rule that it has begun.

use smallvec::SmallVec;

use super::aggregate::{Sliding, Tumbling};
use super::sequence::SequenceState;
use crate::event::{RuleIndex, Timestamp};
use crate::timeline::Timeline;

/// State of one key. A key whose state is empty is forgotten.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    pub(super) timeline: Timeline,
    /// Ascending by rule; only rules that have something here.
    rules: SmallVec<[(RuleIndex, RuleState); 1]>,
    /// When the key is looked at for what has expired: the earliest deadline set for that, later ones are void.
    pub(super) armed: Option<Timestamp>,
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

impl KeyState {
    /// The state of a rule, begun by `begin` if there is none.
    pub(super) fn rule_or_begin(
        &mut self,
        rule: RuleIndex,
        begin: impl FnOnce() -> RuleState,
    ) -> (&mut RuleState, &mut Timeline) {
        let at = match self.rules.binary_search_by_key(&rule, |held| held.0) {
            Ok(at) => at,
            Err(at) => {
                self.rules.insert(at, (rule, begin()));
                at
            }
        };
        (&mut self.rules[at].1, &mut self.timeline)
    }

    /// The state of a rule.
    pub(super) fn rule(&mut self, rule: RuleIndex) -> Option<(&mut RuleState, &mut Timeline)> {
        let at = self.rules.binary_search_by_key(&rule, |held| held.0).ok()?;
        Some((&mut self.rules.get_mut(at)?.1, &mut self.timeline))
    }

    /// Whether a deadline of a rule still decides something.
    pub(super) fn wants(&self, rule: RuleIndex, deadline: Timestamp) -> bool {
        let at = self.rules.binary_search_by_key(&rule, |held| held.0);
        at.ok().and_then(|at| self.rules.get(at)).is_some_and(|(_, state)| state.wants(deadline))
    }

    /// Looks at all rules' states; `keep` says which stay.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(RuleIndex, &mut RuleState, &mut Timeline) -> bool) {
        let timeline = &mut self.timeline;
        self.rules.retain(|(rule, state)| keep(*rule, state, timeline));
    }

    /// Forgets a rule's state. What it held of the timeline must have been released.
    pub(super) fn forget(&mut self, rule: RuleIndex) {
        if let Ok(at) = self.rules.binary_search_by_key(&rule, |held| held.0) {
            self.rules.remove(at);
        }
    }

    /// Whether the key may be forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}
