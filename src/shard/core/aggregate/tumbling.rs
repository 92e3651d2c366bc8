//! Tumbling windows of `timespan`, aligned to the epoch: for conditions that few events, or none, can satisfy.
//!
//! A window [start, end) is decided when the watermark reaches its end, for a group seen in it or in the one before; so one
//! silent window is looked at, and then the group is forgotten.

use std::sync::Arc;

use super::Rule;
use super::measure::{Entering, Measured};
use crate::event::{Measure, MeasuredValue, Span, Timestamp};
use crate::timeline::{Timeline, Window};

/// The number of the window that a time lies in.
pub(in super::super) fn window_of(time: Timestamp, timespan: Span) -> i64 {
    time.0.div_euclid(timespan.0.max(1))
}

/// The state of one tumbling aggregate for one key: its open window.
#[derive(Debug)]
pub(in super::super) struct Tumbling {
    pub(in super::super) window: Window,
    measured: Measured,
    /// The open window's number, counted from the epoch.
    pub(in super::super) number: i64,
    /// Positions before this are not in the window.
    pub(in super::super) since: u64,
}

/// A window has closed, its condition true.
pub(in super::super) struct Closed {
    pub(in super::super) start: Timestamp,
    pub(in super::super) end: Timestamp,
    pub(in super::super) values: Vec<(Measure, MeasuredValue)>,
}

impl Tumbling {
    /// Window `number`, without events, that takes them from position `since` on.
    pub(in super::super) fn new(rule: Rule<'_>, number: i64, since: u64) -> Tumbling {
        Tumbling { window: Window::default(), measured: Measured::new(rule.aggregate), number, since }
    }

    /// Finds the open window's events again in a timeline that came back.
    pub(in super::super) fn refill(&mut self, rule: Rule<'_>, timeline: &mut Timeline) {
        for position in timeline.positions().start.max(self.since)..timeline.end() {
            let Some((event, steps)) = timeline.get(position) else { continue };
            if rule.takes(event, steps) {
                self.take(rule, timeline, position);
            }
        }
    }

    /// First instant of the open window.
    pub(in super::super) fn start(&self, rule: Rule<'_>) -> Timestamp {
        Timestamp(self.number.saturating_mul(rule.aggregate.timespan.0.max(1)))
    }

    fn end(&self, rule: Rule<'_>) -> Timestamp {
        Timestamp(self.number.saturating_add(1).saturating_mul(rule.aggregate.timespan.0.max(1)))
    }

    /// The deadline of the open window: its last instant, so that events at `end` already find the next one.
    pub(in super::super) fn deadline(&self, rule: Rule<'_>) -> Timestamp {
        self.end(rule) - Span(1)
    }

    /// Takes the contributing event at `position`. Whether it lies in the open window; an older window is decided for good.
    pub(in super::super) fn take(&mut self, rule: Rule<'_>, timeline: &mut Timeline, position: u64) -> bool {
        let Some((event, steps)) = timeline.get(position) else { return false };
        if window_of(event.time, rule.aggregate.timespan) != self.number {
            return false;
        }
        let (event, references) = (Arc::clone(event), rule.references(steps));
        let last = self.window.admit(timeline, position);
        if last || !self.measured.ordered() {
            self.measured.add(&rule.aggregate.kind, Entering { event: &event, references: &references });
        } else {
            self.measured = Measured::new(rule.aggregate);
            for (event, steps) in self.window.iter(timeline) {
                self.measured.add(&rule.aggregate.kind, Entering { event, references: &rule.references(steps) });
            }
        }
        true
    }

    /// What the open window says, now that it closes; the caller reports it and then calls [`Tumbling::next`].
    pub(in super::super) fn close(&self, rule: Rule<'_>) -> Option<Closed> {
        let (start, end) = (self.start(rule), self.end(rule));
        let values = || self.measured.values(&rule.aggregate.kind);
        self.measured.holds(rule.aggregate, start).then(|| Closed { start, end, values: values() })
    }

    /// Opens the next window; false if this one was silent, and the group is forgotten.
    pub(in super::super) fn next(&mut self, rule: Rule<'_>, timeline: &mut Timeline) -> bool {
        let seen = !self.window.is_empty();
        self.window.clear(timeline);
        self.since = timeline.end();
        self.measured = Measured::new(rule.aggregate);
        self.number = self.number.saturating_add(1);
        seen
    }

    /// Bytes on the heap.
    pub(in super::super) fn heap_bytes(&self) -> usize {
        self.window.heap_bytes() + self.measured.heap_bytes()
    }
}
