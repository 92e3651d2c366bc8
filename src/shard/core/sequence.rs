//! Sequences: EQL's state machine, for one rule and key.
//!
//! At most one pending match stands in each state; an event tries the states from the last to the first, so it never fills
//! two steps of the same match. A match whose sequence ends in a missing event waits aside until its deadline. Pending
//! matches own references to their events, not copies.
//!
//! Times are compared in the total order (time, topic, partition, offset). A late event (policy `process`) can only start
//! or advance what lies before it: it replaces no match that ends after it.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::event::{Blank, Evidence, Origin, Seldom, Span, StepId, Timestamp, allotted, evidence_bytes};
use crate::rules::plan::{Plan, Role, Sequence};

fn order(event: &Evidence) -> (Timestamp, Origin) {
    (event.time, event.origin)
}

/// The events of a match so far: at least one.
#[derive(Debug)]
pub(super) struct Match {
    pub(super) events: SmallVec<[Arc<Evidence>; 2]>,
    /// Time of the nearest event before the first that the missing event at the start forbids.
    pub(super) before: Option<Timestamp>,
}

impl Match {
    fn begin(event: &Arc<Evidence>, before: Option<Timestamp>) -> Match {
        Match { events: SmallVec::from_iter([Arc::clone(event)]), before }
    }

    fn push(&mut self, event: &Arc<Evidence>) {
        self.events.push(Arc::clone(event));
    }

    /// Place of the last event; not stored, because a shard holds a great many matches.
    fn last(&self) -> Option<(Timestamp, Origin)> {
        self.events.last().map(|event| order(event))
    }

    /// Time of the first event.
    fn first(&self) -> Timestamp {
        self.events.first().map_or(Timestamp::MAX, |event| event.time)
    }

    fn last_time(&self) -> Timestamp {
        self.events.last().map_or(Timestamp::MIN, |event| event.time)
    }

    /// Bytes on the heap, those of events that others share included.
    fn heap_bytes(&self) -> usize {
        let events = if self.events.spilled() { allotted(self.events.capacity() * size_of::<usize>()) } else { 0 };
        events + self.events.iter().map(|event| evidence_bytes(event)).sum::<usize>()
    }
}

#[derive(Debug)]
pub(super) struct Pending {
    /// The last state that is filled.
    pub(super) state: u16,
    pub(super) matched: Match,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) matched: Match,
    pub(super) deadline: Timestamp,
    /// Its name in the store: counted over the state's life, so in the order of completion.
    pub(super) number: u32,
    /// It is in the store.
    pub(super) stored: bool,
}

impl Waiting {
    fn leave(&self, gone: &mut Vec<u32>, unstored: &mut usize) {
        if self.stored {
            gone.push(self.number);
        } else {
            *unstored -= 1;
        }
    }
}

/// The state of one sequence rule for one key. A shard holds a great many: what most of them have nothing of is apart.
#[derive(Debug, Default)]
pub(super) struct SequenceState {
    /// Ascending by state, at most one each.
    pub(super) pending: SmallVec<[Pending; 1]>,
    /// Nothing here matters to events after this time.
    pub(super) expires: Option<Timestamp>,
    /// What missing events are about.
    pub(super) absence: Seldom<Absence>,
}

/// What a sequence holds because of missing events.
#[derive(Debug, Default)]
pub(super) struct Absence {
    /// Complete but for the missing event at the end; by deadline, then in the order of completion.
    pub(super) waiting: VecDeque<Waiting>,
    /// Time of the newest event that the missing event at the start forbids.
    pub(super) absent_before: Option<Timestamp>,
    /// The next one that waits gets this number.
    pub(super) next_number: u32,
    /// Numbers of those that waited, are in the store, and are gone here.
    pub(super) gone: Vec<u32>,
    /// How many wait and are not in the store yet.
    pub(super) unstored: usize,
}

impl Blank for Absence {
    const BLANK: &'static Self =
        &Absence { waiting: VecDeque::new(), absent_before: None, next_number: 0, gone: Vec::new(), unstored: 0 };
}

/// A match that is complete, to be reported.
pub(super) struct Complete {
    matched: Match,
    /// When absence decided it.
    pub(super) deadline: Option<Timestamp>,
}

/// A sequence with what its steps need.
#[derive(Clone, Copy)]
pub(super) struct Rule<'a> {
    pub(super) plan: &'a Plan,
    pub(super) sequence: &'a Sequence,
    /// `maxspan`, or the retention where there is none.
    pub(super) span: Span,
}

impl Rule<'_> {
    fn last_state(&self) -> u16 {
        (self.sequence.states.len().max(1) - 1) as u16
    }

    fn has_gap(&self, gap: usize) -> bool {
        self.sequence.gaps.get(gap).is_some_and(|absents| !absents.is_empty())
    }

    fn waits_for_absence(&self) -> bool {
        self.has_gap(self.sequence.states.len())
    }

    fn satisfied(&self, state: u16, steps: &[StepId]) -> bool {
        self.sequence.states.get(state as usize).is_some_and(|step| steps.contains(step))
    }
}

impl SequenceState {
    /// Takes an event that satisfies `steps` of the rule, in total order. Returns the match that it completed; `deadline` is
    /// told of one that began to wait for its end.
    pub(super) fn take(
        &mut self,
        rule: Rule<'_>,
        event: &Arc<Evidence>,
        steps: &[StepId],
        mut deadline: impl FnMut(Timestamp),
    ) -> Option<Complete> {
        let mut full = self.advance(rule, event, steps);
        if rule.satisfied(0, steps) {
            let begun = Match::begin(event, self.absence.absent_before);
            if rule.last_state() == 0 {
                full = Some(begun);
            } else {
                self.begin(begun);
            }
            self.expires = self.expires.max(Some(event.time + rule.span));
        }
        let complete = full.and_then(|matched| self.complete(rule, matched, &mut deadline));
        self.look_at_absent_and_until(rule, event, steps);
        complete
    }

    /// States from the last to the second.
    fn advance(&mut self, rule: Rule<'_>, event: &Arc<Evidence>, steps: &[StepId]) -> Option<Match> {
        let mut full = None;
        let mut at = self.pending.len();
        while at > 0 {
            at -= 1;
            let Some(pending) = self.pending.get(at) else { continue };
            let next = pending.state + 1;
            if !rule.satisfied(next, steps) || pending.matched.last() >= Some(order(event)) {
                continue;
            }
            if event.time - pending.matched.first() > rule.span {
                self.pending.remove(at);
                continue;
            }
            if next == rule.last_state() {
                let mut matched = self.pending.remove(at).matched;
                matched.push(event);
                full = Some(matched);
                continue;
            }
            // Who stands in the next state was not moved by this event (it was tried before), so it is replaced.
            match self.pending.get(at + 1).filter(|stands| stands.state == next) {
                Some(stands) if stands.matched.last() > Some(order(event)) => continue,
                Some(_) => drop(self.pending.remove(at + 1)),
                None => {}
            }
            if let Some(pending) = self.pending.get_mut(at) {
                pending.state = next;
                pending.matched.push(event);
            }
        }
        full
    }

    /// A match in state 0, in the place of the one that stood there.
    fn begin(&mut self, begun: Match) {
        match self.pending.first_mut().filter(|pending| pending.state == 0) {
            Some(stands) if stands.matched.last() > begun.last() => {}
            Some(stands) => stands.matched = begun,
            None => self.pending.insert(0, Pending { state: 0, matched: begun }),
        }
    }

    /// All positive states are filled: reported, dropped, or put aside to wait for the missing event at the end.
    fn complete(&mut self, rule: Rule<'_>, matched: Match, deadline: &mut impl FnMut(Timestamp)) -> Option<Complete> {
        if rule.waits_for_absence() {
            let until = matched.first() + rule.span;
            // Almost always the last: deadlines come in the order of first events.
            let absence = &mut *self.absence;
            let at = absence.waiting.partition_point(|waiting| waiting.deadline <= until);
            let number = absence.next_number;
            absence.next_number += 1;
            absence.waiting.insert(at, Waiting { matched, deadline: until, number, stored: false });
            absence.unstored += 1;
            deadline(until);
            return None;
        }
        let last = matched.last_time();
        let spoiled = rule.has_gap(0) && matched.before.is_some_and(|before| before >= last - rule.span);
        (!spoiled).then_some(Complete { matched, deadline: None })
    }

    /// Missing events and `until`, looked at after the steps. "Strictly between": what this event itself began, advanced or
    /// completed ends with it and is not touched by its missing-event steps.
    fn look_at_absent_and_until(&mut self, rule: Rule<'_>, event: &Evidence, steps: &[StepId]) {
        let now = Some(order(event));
        for step in steps {
            let Some(Role::Absent { gap, .. }) = rule.plan.steps.get(step.0 as usize).map(|step| step.role) else {
                continue;
            };
            if gap == 0 {
                self.absence.absent_before = self.absence.absent_before.max(Some(event.time));
                self.expires = self.expires.max(Some(event.time + rule.span));
            } else if usize::from(gap) < rule.sequence.states.len() {
                self.pending.retain(|pending| pending.state + 1 != gap || pending.matched.last() >= now);
            } else {
                let both = rule.has_gap(0);
                self.keep_waiting(|waiting| {
                    let near = !both || waiting.matched.before.is_some_and(|before| event.time - before <= rule.span);
                    !near || waiting.matched.last() >= now || event.time > waiting.deadline
                });
            }
        }
        if rule.sequence.until.is_some_and(|until| steps.contains(&until)) {
            self.pending.retain(|pending| pending.matched.last() > now);
            self.keep_waiting(|waiting| waiting.matched.last() > now);
        }
    }

    fn keep_waiting(&mut self, keep: impl Fn(&Waiting) -> bool) {
        let Some(Absence { waiting, gone, unstored, .. }) = self.absence.written() else { return };
        waiting.retain(|waiting| {
            let kept = keep(waiting);
            if !kept {
                waiting.leave(gone, unstored);
            }
            kept
        });
    }

    /// The watermark has passed `deadline`: the first match that waited for it.
    pub(super) fn decide(&mut self, deadline: Timestamp) -> Option<Complete> {
        let absence = self.absence.written()?;
        absence.waiting.front().filter(|waiting| waiting.deadline <= deadline)?;
        let waiting = absence.waiting.pop_front()?;
        waiting.leave(&mut absence.gone, &mut absence.unstored);
        Some(Complete { matched: waiting.matched, deadline: Some(waiting.deadline) })
    }

    /// Whether a match still waits for this deadline.
    pub(super) fn waits_for(&self, deadline: Timestamp) -> bool {
        self.absence.waiting.binary_search_by_key(&deadline, |waiting| waiting.deadline).is_ok()
    }

    /// Whether an event can only find here what it would find without.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.absence.waiting.is_empty() && self.absence.absent_before.is_none()
    }

    /// The time up to which this matters.
    pub(super) fn expires(&self) -> Timestamp {
        self.expires.unwrap_or(Timestamp::MAX)
    }

    /// Matches begun and not decided.
    pub(super) fn matches(&self) -> usize {
        self.pending.len() + self.absence.waiting.len()
    }

    /// Bytes on the heap. What waits is taken to be as large as its first: there may be too many to look at each.
    pub(super) fn heap_bytes(&self) -> usize {
        let pending = if self.pending.spilled() { allotted(self.pending.capacity() * size_of::<Pending>()) } else { 0 };
        let waiting = &self.absence.waiting;
        let each = waiting.front().map_or(0, |waiting| waiting.matched.heap_bytes());
        pending
            + self.pending.iter().map(|pending| pending.matched.heap_bytes()).sum::<usize>()
            + self.absence.heap_bytes()
            + allotted(waiting.capacity() * size_of::<Waiting>())
            + waiting.len() * each
    }
}

impl SequenceState {
    /// The numbers of all that the store holds of what waits or waited: for a state that is being forgotten.
    pub(super) fn stored(&self) -> impl Iterator<Item = u32> + '_ {
        let waiting = self.absence.waiting.iter().filter(|waiting| waiting.stored).map(|waiting| waiting.number);
        waiting.chain(self.absence.gone.iter().copied())
    }
}

impl Complete {
    /// Time of the first event.
    pub(super) fn start(&self) -> Timestamp {
        self.matched.first()
    }

    /// Time of the last event, or when absence decided.
    pub(super) fn end(&self) -> Timestamp {
        self.deadline.unwrap_or(self.matched.last_time())
    }

    /// Number of events that are there.
    pub(super) fn present(&self) -> usize {
        self.matched.events.len()
    }

    /// The events in their order, missing ones as null, with the names of their steps.
    pub(super) fn events<'a>(&'a self, rule: Rule<'_>) -> SmallVec<[super::report::Matched<'a>; 8]> {
        let mut events = SmallVec::new();
        let mut gaps = rule.sequence.gaps.iter();
        let mut missing = |events: &mut SmallVec<_>| {
            let runs = gaps.next().into_iter().flatten().map(|absent| usize::from(absent.runs)).sum::<usize>();
            events.extend(std::iter::repeat_n(None, runs));
        };
        for (step, event) in rule.sequence.states.iter().zip(&self.matched.events) {
            missing(&mut events);
            let name = rule.plan.steps.get(step.0 as usize).map_or(0, |step| step.name);
            events.push(Some((name, event)));
        }
        missing(&mut events);
        events
    }
}
