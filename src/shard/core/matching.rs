//! One event, or one deadline, against the rules of one key.
//!
//! Changes only the key's state and what it is lent; says which deadlines it wants, and the task sets them.

use std::sync::Arc;

use smallvec::SmallVec;

use super::aggregate::{self, Sliding, Tumbling, window_of};
use super::report::{Finding, Matched, Reporter};
use super::sequence::{self, Complete, SequenceState};
use super::state::{Kept, KeyState, Lent, RuleState};
use super::suppress::{Repeats, Unplaced};
use super::{Output, Settings};
use crate::event::{Evidence, Key, Measure, MeasuredValue, RuleIndex, Seldom, Span, StepId, Timestamp};
use crate::rules::plan::{Aggregate, Pattern, Plan, Sequence};

/// What a deadline is for: deciding a rule, or cleaning the key. By rule index; cleaning comes after all rules.
pub(super) const CLEAN: RuleIndex = RuleIndex(u32::MAX);

/// What matching needs beside the key's state.
pub(super) struct Matching<'a> {
    pub(super) plan: &'a Plan,
    pub(super) settings: &'a Settings,
    /// The watermark up to which deadlines had fired before the events now released: tumbling windows behind it are decided.
    pub(super) decided_before: Timestamp,
    /// At the end of a bounded input: the newest event time. Silent windows that begin later are not decided.
    pub(super) end: Option<Timestamp>,
    pub(super) reporter: &'a mut Reporter,
    pub(super) unplaced: &'a mut Unplaced,
    /// Deadlines asked for.
    pub(super) deadlines: &'a mut Vec<(Timestamp, RuleIndex)>,
    /// Matches pending in the task.
    pub(super) pending: &'a mut usize,
    pub(super) out: &'a mut Output,
}

/// An event as it meets the rules of one key.
pub(super) struct Arriving<'a> {
    pub(super) key: &'a Key,
    pub(super) event: &'a Arc<Evidence>,
    /// All its steps in this dimension.
    pub(super) steps: &'a SmallVec<[StepId; 4]>,
    /// Where it lies in the timeline, once a rule wanted it there.
    pub(super) position: Option<u64>,
}

impl Matching<'_> {
    /// A rule of single events: reported as it stands.
    pub(super) fn single(
        &mut self,
        rule: RuleIndex,
        step: StepId,
        key: &Key,
        event: &Arc<Evidence>,
        state: &mut KeyState,
    ) {
        let name = self.plan.steps.get(step.0 as usize).map_or(0, |step| step.name);
        let finding = Finding {
            rule,
            key,
            start: event.time,
            end: event.time,
            decided: false,
            folded: 0,
            values: vec![(Measure::Count, MeasuredValue::Int(1))],
        };
        let until = self.report(finding, std::iter::once(Some((name, event))), &mut state.repeats);
        self.look_again(until, state);
    }

    /// An event that satisfies `steps` of one rule.
    pub(super) fn take(
        &mut self,
        rule: RuleIndex,
        steps: &[StepId],
        arriving: &mut Arriving<'_>,
        state: &mut KeyState,
    ) {
        let plan = self.plan;
        match plan.rules.get(rule.0 as usize).map(|rule| &rule.pattern) {
            None | Some(Pattern::Event) => {}
            Some(Pattern::Sequence(sequence)) => self.take_sequence(rule, sequence, steps, arriving, state),
            Some(Pattern::Aggregate(aggregate)) => {
                let of = aggregate::Rule { plan, index: rule.0, aggregate };
                if !of.contributes(arriving.event) {
                    self.out.ignored_values += 1;
                } else if aggregate.tumbling {
                    self.take_tumbling(rule, of, arriving, state);
                } else {
                    self.take_sliding(rule, of, arriving, state);
                }
            }
        }
    }

    fn sequence_rule<'p>(&self, plan: &'p Plan, sequence: &'p Sequence) -> sequence::Rule<'p> {
        sequence::Rule { plan, sequence, span: sequence.maxspan.unwrap_or(self.settings.retention) }
    }

    fn take_sequence(
        &mut self,
        rule: RuleIndex,
        sequence: &Sequence,
        steps: &[StepId],
        arriving: &mut Arriving<'_>,
        state: &mut KeyState,
    ) {
        let of = self.sequence_rule(self.plan, sequence);
        let begin = || RuleState::Sequence(Box::<SequenceState>::default());
        let RuleState::Sequence(held) = state.rule_or_begin(rule, begin).state else { return };
        let before = held.matches();
        let deadlines = &mut *self.deadlines;
        let complete = held.take(of, arriving.event, steps, |at| deadlines.push((at, rule)));
        *self.pending = *self.pending + held.matches() - before;
        let (empty, expires) = (held.is_empty(), held.expires());
        self.settle(rule, empty, expires, state);
        if let Some(complete) = complete {
            let until = self.report_sequence(rule, of, arriving.key, &complete, &mut state.repeats);
            self.look_again(until, state);
        }
    }

    fn report_sequence(
        &mut self,
        rule: RuleIndex,
        of: sequence::Rule<'_>,
        key: &Key,
        complete: &Complete,
        repeats: &mut Seldom<Repeats>,
    ) -> Option<Timestamp> {
        let finding = Finding {
            rule,
            key,
            start: complete.start(),
            end: complete.end(),
            decided: complete.deadline.is_some(),
            folded: 0,
            values: vec![(Measure::Count, MeasuredValue::Int(complete.present() as i128))],
        };
        let events = complete.events(of);
        self.report(finding, events.iter().copied(), repeats)
    }

    fn take_sliding(
        &mut self,
        rule: RuleIndex,
        of: aggregate::Rule<'_>,
        arriving: &mut Arriving<'_>,
        state: &mut KeyState,
    ) {
        let position = arriving.in_timeline(state);
        let retention = self.settings.retention;
        let Lent { state: RuleState::Sliding(held), timeline, repeats } =
            state.rule_or_begin(rule, || RuleState::Sliding(Box::new(Sliding::new(of, position))))
        else {
            return;
        };
        let mut until = None;
        if let Some(fired) = held.take(of, timeline, position, retention) {
            let finding = Finding {
                rule,
                key: arriving.key,
                start: fired.start,
                end: fired.end,
                decided: false,
                folded: fired.folded,
                values: fired.values,
            };
            let events = held.window.iter(timeline).map(|(event, steps)| Some((of.step_name(steps), event)));
            until = self.report(finding, events, repeats);
            held.after_firing(of, timeline);
        }
        let (empty, expires) = (held.is_empty(), held.expires(of, retention));
        self.settle(rule, empty, expires, state);
        self.look_again(until, state);
    }

    fn take_tumbling(
        &mut self,
        rule: RuleIndex,
        of: aggregate::Rule<'_>,
        arriving: &mut Arriving<'_>,
        state: &mut KeyState,
    ) {
        let position = arriving.in_timeline(state);
        if state.rule(rule).is_none() {
            let opened = Tumbling::new(of, window_of(arriving.event.time, of.aggregate.timespan), position);
            let deadline = opened.deadline(of);
            if deadline < self.decided_before {
                self.out.late_ignored += 1;
                return;
            }
            self.deadlines.push((deadline, rule));
            state.rule_or_begin(rule, || RuleState::Tumbling(Box::new(opened)));
        }
        if let Some(Lent { state: RuleState::Tumbling(held), timeline, .. }) = state.rule(rule)
            && !held.take(of, timeline, position)
        {
            self.out.late_ignored += 1;
        }
    }

    /// Forgets a rule's state that has become empty; else sees to it that the key is looked at when it expires.
    fn settle(&mut self, rule: RuleIndex, empty: bool, expires: Timestamp, state: &mut KeyState) {
        if empty {
            state.forget(rule);
        } else {
            self.look_again(Some(expires), state);
        }
    }

    /// The key is to be looked at when something of it expires.
    fn look_again(&mut self, expires: Option<Timestamp>, state: &mut KeyState) {
        let Some(expires) = expires.filter(|expires| *expires != Timestamp::MAX) else { return };
        if state.armed.is_none_or(|armed| expires < armed) {
            state.armed = Some(expires);
            self.deadlines.push((expires, CLEAN));
        }
    }

    /// The watermark has passed a rule's deadline at `at`.
    pub(super) fn decide(&mut self, rule: RuleIndex, at: Timestamp, key: &Key, state: &mut KeyState) {
        let plan = self.plan;
        match plan.rules.get(rule.0 as usize).map(|rule| &rule.pattern) {
            Some(Pattern::Sequence(sequence)) => self.decide_sequence(rule, sequence, at, key, state),
            Some(Pattern::Aggregate(aggregate)) => self.decide_tumbling(rule, aggregate, at, key, state),
            Some(Pattern::Event) | None => {}
        }
    }

    fn decide_sequence(
        &mut self,
        rule: RuleIndex,
        sequence: &Sequence,
        at: Timestamp,
        key: &Key,
        state: &mut KeyState,
    ) {
        let of = self.sequence_rule(self.plan, sequence);
        let Some(Lent { state: RuleState::Sequence(held), repeats, .. }) = state.rule(rule) else { return };
        let mut until = None;
        while let Some(complete) = held.decide(at) {
            *self.pending -= 1;
            until = earlier(until, self.report_sequence(rule, of, key, &complete, repeats));
        }
        if held.is_empty() {
            state.forget(rule);
        }
        self.look_again(until, state);
    }

    fn decide_tumbling(
        &mut self,
        rule: RuleIndex,
        aggregate: &Aggregate,
        at: Timestamp,
        key: &Key,
        state: &mut KeyState,
    ) {
        let of = aggregate::Rule { plan: self.plan, index: rule.0, aggregate };
        let Some(Lent { state: RuleState::Tumbling(held), timeline, repeats }) = state.rule(rule) else { return };
        if held.deadline(of) != at {
            return;
        }
        let begun = !held.window.is_empty() || self.end.is_none_or(|end| held.start(of) <= end);
        let mut until = None;
        if let Some(closed) = begun.then(|| held.close(of)).flatten() {
            let finding = Finding {
                rule,
                key,
                start: closed.start,
                end: closed.end,
                decided: true,
                folded: 0,
                values: closed.values,
            };
            let events = held.window.iter(timeline).map(|(event, steps)| Some((of.step_name(steps), event)));
            until = self.report(finding, events, repeats);
        }
        if held.next(of, timeline) {
            self.deadlines.push((held.deadline(of), rule));
        } else {
            state.forget(rule);
        }
        self.look_again(until, state);
    }

    /// The watermark has passed `at`: forgets what no later event can meet, and says when to look again.
    pub(super) fn clean(&mut self, at: Timestamp, state: &mut KeyState) {
        if state.armed != Some(at) {
            return;
        }
        let (plan, retention) = (self.plan, self.settings.retention);
        let mut next = Timestamp::MAX;
        state.retain(|rule, held, timeline| {
            let mut kept = Kept::Same;
            let expires = match held {
                RuleState::Tumbling(_) => return kept,
                RuleState::Sequence(sequence) => {
                    if sequence.expires() <= at {
                        *self.pending -= sequence.matches();
                        return Kept::Not;
                    }
                    sequence.expires()
                }
                RuleState::Sliding(sliding) => {
                    let Some(Pattern::Aggregate(aggregate)) = plan.rules.get(rule.0 as usize).map(|r| &r.pattern)
                    else {
                        return Kept::Not;
                    };
                    let of = aggregate::Rule { plan, index: rule.0, aggregate };
                    if sliding.expires(of, retention) <= at {
                        sliding.expire(of, timeline);
                        kept = Kept::Changed;
                    }
                    sliding.expires(of, retention)
                }
            };
            next = next.min(expires.max(at + Span(1)));
            if held.is_empty() { Kept::Not } else { kept }
        });
        let expires = state.clean_repeats(at, retention);
        next = next.min(expires.max(at + Span(1)));
        state.armed = (next != Timestamp::MAX).then_some(next);
        if let (Some(next), false) = (state.armed, state.is_empty()) {
            self.deadlines.push((next, CLEAN));
        }
    }

    fn report<'e>(
        &mut self,
        finding: Finding<'_>,
        events: impl Iterator<Item = Matched<'e>> + Clone,
        repeats: &mut Seldom<Repeats>,
    ) -> Option<Timestamp> {
        self.reporter.report(finding, events, (repeats, self.unplaced), self.settings, self.out)
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

impl Arriving<'_> {
    /// Its place in the key's timeline; appended when the first rule wants it there.
    fn in_timeline(&mut self, state: &mut KeyState) -> u64 {
        *self.position.get_or_insert_with(|| state.timeline.append(Arc::clone(self.event), self.steps.clone()))
    }
}
