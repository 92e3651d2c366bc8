//! Sliding windows: at an event of time t the window holds the group's events with t − time ≤ timespan, and the condition is
//! looked at.
//!
//! A late event (policy `process`) takes its place in the window; the condition is then looked at as of the group's newest
//! event, because a window never slides back.

use std::sync::Arc;

use super::Rule;
use super::measure::{Entering, Measured};
use crate::event::{Evidence, Measure, MeasuredValue, Span, StepId, Timestamp};
use crate::rules::plan::Refire;
use crate::timeline::{Timeline, Window};

/// The state of one sliding aggregate for one key.
#[derive(Debug)]
pub(in super::super) struct Sliding {
    pub(in super::super) window: Window,
    measured: Measured,
    /// Time of the group's newest event.
    pub(in super::super) newest: Timestamp,
    /// When it fired and has not re-armed since (refire: edge).
    pub(in super::super) fired: Option<Timestamp>,
    /// Events folded in since it fired last, for the next that is reported.
    pub(in super::super) folded: u64,
    /// Positions before this are not in the window: it was empty when the timeline stood here.
    pub(in super::super) since: u64,
}

/// The condition turned true.
pub(in super::super) struct Fired {
    pub(in super::super) start: Timestamp,
    pub(in super::super) end: Timestamp,
    pub(in super::super) folded: u64,
    pub(in super::super) values: Vec<(Measure, MeasuredValue)>,
}

impl Sliding {
    /// A window that is empty, and that takes events from position `since` on.
    pub(in super::super) fn new(rule: Rule<'_>, since: u64) -> Sliding {
        Sliding {
            window: Window::default(),
            measured: Measured::new(rule.aggregate),
            newest: Timestamp::MIN,
            fired: None,
            folded: 0,
            since,
        }
    }

    /// Finds the window again in a timeline that came back: what lies behind `since`, counts for the rule and was not older than
    /// the timespan when the newest event came. That is what was admitted and neither slid out nor was emptied.
    pub(in super::super) fn refill(&mut self, rule: Rule<'_>, timeline: &mut Timeline) {
        let oldest = self.newest - rule.aggregate.timespan;
        for position in timeline.positions().start.max(self.since)..timeline.end() {
            let Some((event, steps)) = timeline.get(position) else { continue };
            if event.time >= oldest && rule.takes(event, steps) {
                self.window.admit(timeline, position);
            }
        }
        self.measure_again(rule, timeline);
    }

    /// Takes the contributing event at `position`. Whether the rule fires; the caller reports the window and then calls
    /// [`Sliding::after_firing`].
    pub(in super::super) fn take(
        &mut self,
        rule: Rule<'_>,
        timeline: &mut Timeline,
        position: u64,
        retention: Span,
    ) -> Option<Fired> {
        let (event, steps) = timeline.get(position)?;
        let (event, references) = (Arc::clone(event), rule.references(steps));
        let timespan = rule.aggregate.timespan;
        let now = self.newest.max(event.time);
        if self.folded > 0 && now - self.newest > retention.max(timespan) {
            self.folded = 0;
        }
        self.newest = now;
        let start = now - timespan;
        self.evict(rule, timeline, start);
        if event.time < start {
            return None;
        }
        let last = self.window.admit(timeline, position);
        if last || !self.measured.ordered() {
            self.measured.add(&rule.aggregate.kind, Entering { event: &event, references: &references });
        } else {
            self.measure_again(rule, timeline);
        }
        if !self.measured.holds(rule.aggregate, start) {
            self.fired = None;
            return None;
        }
        if rule.aggregate.refire == Refire::Edge && self.fired.is_some_and(|fired| now < fired + timespan) {
            self.folded += 1;
            return None;
        }
        self.fired = Some(now);
        Some(Fired {
            start: self.window.first_time().unwrap_or(now),
            end: now,
            folded: std::mem::take(&mut self.folded),
            values: self.measured.values(&rule.aggregate.kind),
        })
    }

    /// Re-arms as the rule's `refire` says.
    pub(in super::super) fn after_firing(&mut self, rule: Rule<'_>, timeline: &mut Timeline) {
        match rule.aggregate.refire {
            Refire::Edge => {}
            Refire::Every => self.fired = None,
            Refire::Reset => {
                self.fired = None;
                self.empty(rule, timeline);
            }
        }
    }

    fn evict(&mut self, rule: Rule<'_>, timeline: &mut Timeline, oldest: Timestamp) {
        let measured = &mut self.measured;
        self.window.evict(timeline, oldest, |event: &Arc<Evidence>, steps: &[StepId]| {
            measured.remove(&rule.aggregate.kind, Entering { event, references: &rule.references(steps) });
        });
    }

    /// A late event came between others: ordered chains are found anew.
    fn measure_again(&mut self, rule: Rule<'_>, timeline: &Timeline) {
        self.measured = Measured::new(rule.aggregate);
        for (event, steps) in self.window.iter(timeline) {
            self.measured.add(&rule.aggregate.kind, Entering { event, references: &rule.references(steps) });
        }
    }

    fn empty(&mut self, rule: Rule<'_>, timeline: &mut Timeline) {
        self.window.clear(timeline);
        self.since = timeline.end();
        self.measured = Measured::new(rule.aggregate);
    }

    /// The time up to which this matters: the window's, then that of a count not yet reported.
    pub(in super::super) fn expires(&self, rule: Rule<'_>, retention: Span) -> Timestamp {
        let timespan = rule.aggregate.timespan;
        if self.window.is_empty() { self.newest + retention.max(timespan) } else { self.newest + timespan }
    }

    /// The watermark has passed [`Sliding::expires`]: nothing in the window can meet a later event.
    pub(in super::super) fn expire(&mut self, rule: Rule<'_>, timeline: &mut Timeline) {
        if self.window.is_empty() {
            self.folded = 0;
        }
        self.fired = None;
        self.empty(rule, timeline);
    }

    /// Bytes on the heap.
    pub(in super::super) fn heap_bytes(&self) -> usize {
        self.window.heap_bytes() + self.measured.heap_bytes()
    }

    /// Whether an event can only find here what it would find without.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.window.is_empty() && self.folded == 0 && self.fired.is_none()
    }
}
