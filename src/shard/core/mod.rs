//! The pure step of a shard: a batch of signals and a watermark in, correlations and dead letters out.
//!
//! Owns, for each task: the dedup set, the order heap, the state of its keys, deadlines, suppression. Knows no clock, no
//! thread, no lock, no disk; what comes out follows from the signals and watermarks that went in, not from batch
//! boundaries (INV-ORDER, INV-ONCE). Everything it remembers expires by watermark (INV-BOUND), except patterns without
//! `maxspan` and counts not yet reported, which [`Settings::retention`] bounds.
//!
//! A task's signals go through dedup, late policy, order, match, suppression, in this order. Rules of single events report
//! at once after dedup; the others see events in total order, mixed with their deadlines.

mod aggregate;
mod dedup;
mod keys;
mod matching;
mod persist;
mod report;
mod sequence;
mod state;
mod suppress;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::event::{
    Changes, Correlation, DeadCode, DeadLetter, Evidence, HashRange, Late, Outcome, OutcomeCounts, RawRecord, Signal,
    Span, Stage, Task, Timestamp, TopicId, TopicTable,
};
use crate::rules::plan::Plan;
use crate::store::codec::Damaged;
use persist::Ledger;
pub use persist::{Cut, Durable, kind};
use task::{Shared, TaskState, Until};

/// What a core is told beside its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long an id is remembered, in event time after its event. [`Span::ZERO`]: no dedup.
    pub dedup_window: Span,
    /// Longest span of a pattern without `maxspan`, and how long a count that was not yet reported (`suppressed`) is kept.
    /// [`Span::MAX`]: no bound.
    pub retention: Span,
    /// How state is stored; `None`: it is not ([`Core::store`] gives nothing).
    pub durable: Option<Durable>,
}

/// What came out. The caller drains it and lends it again.
#[derive(Debug, Default)]
pub struct Output {
    /// What rules found, in the order in which it was decided.
    pub correlations: Vec<Correlation>,
    /// Late records whose policy is `dlq`.
    pub dead_letters: Vec<DeadLetter>,
    /// Outcomes decided here, of events whose counting signal came (INV-COUNT), by topic.
    pub counts: Vec<(TopicId, OutcomeCounts)>,
    /// Events that a `value_*` rule ignored because they had no usable value.
    pub ignored_values: u64,
    /// Late events (policy `process`) whose tumbling window was already decided; once for each such rule and key.
    pub late_ignored: u64,
    /// Correlations that were suppressed.
    pub suppressed: u64,
}

impl Output {
    /// Forgets all, keeps the buffers.
    pub fn clear(&mut self) {
        self.correlations.clear();
        self.dead_letters.clear();
        self.counts.clear();
        (self.ignored_values, self.late_ignored, self.suppressed) = (0, 0, 0);
    }

    /// Whether nothing came out.
    pub fn is_empty(&self) -> bool {
        self.correlations.is_empty()
            && self.dead_letters.is_empty()
            && self.counts.is_empty()
            && self.ignored_values + self.late_ignored + self.suppressed == 0
    }

    fn count(&mut self, topic: TopicId, outcome: Outcome) {
        // A shard sees few topics.
        if let Some((_, counts)) = self.counts.iter_mut().find(|(counted, _)| *counted == topic) {
            counts.add(outcome, 1);
        } else {
            let mut counts = OutcomeCounts::default();
            counts.add(outcome, 1);
            self.counts.push((topic, counts));
        }
    }
}

/// How much a core holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Keys with state, over all dimensions.
    pub keys: usize,
    /// Signals that wait for the watermark.
    pub waiting: usize,
    /// Sequence matches begun and not decided.
    pub pending: usize,
    /// Events in timelines.
    pub events: usize,
    /// Ids in dedup sets.
    pub dedup_ids: usize,
    /// Repeats that suppression remembers.
    pub suppressed: usize,
    /// Deadlines set, void ones included.
    pub deadlines: usize,
    /// Approximate bytes of all this; events are taken at the mean size of those seen.
    pub bytes: usize,
}

/// Dedup, order and match for the keys of one shard.
#[derive(Debug)]
pub struct Core {
    shared: Shared,
    /// A shard has few tasks: all of an instance's, at most 16 or one per partition.
    tasks: Vec<(Task, TaskState)>,
    /// Events seen and their bytes, for the mean.
    seen: (usize, usize),
}

impl Core {
    /// A core without state. `topics` names topics in the ids of correlations.
    pub fn new(plan: Arc<Plan>, settings: Settings, topics: TopicTable) -> Core {
        Core { shared: Shared::new(plan, settings, topics), tasks: Vec::new(), seen: (0, 0) }
    }

    /// Takes a batch and leaves it empty: dedup, then the late policy; single-event rules report at once, for the others
    /// a signal waits for [`Core::advance`], unless it is already behind the watermark.
    pub fn take(&mut self, batch: &mut Vec<Signal>, out: &mut Output) {
        for signal in batch.drain(..) {
            self.take_one(signal, out);
        }
    }

    fn take_one(&mut self, mut signal: Signal, out: &mut Output) {
        let event = &signal.event;
        self.seen = (self.seen.0 + 1, self.seen.1 + evidence_bytes(event));
        let topic = event.origin.topic;
        let (window, shared) = (self.shared.settings.dedup_window, &mut self.shared);
        let task = task_state(&mut self.tasks, signal.task, shared.settings.durable);
        if window > Span::ZERO {
            let dimension = shared.plan.dimensions.get(signal.dimension.0 as usize).map_or(0, |d| d.hash);
            if task.dedup.seen(&signal, dimension, window, task.watermark) {
                if signal.counts {
                    out.count(topic, Outcome::Duplicate);
                }
                return;
            }
        }
        let outcome = match signal.late.take() {
            None | Some(Late::Process) => Outcome::Matched,
            Some(Late::Drop) => Outcome::Late,
            Some(Late::Dlq(record)) => {
                out.dead_letters.extend(record.map(|record| late_letter(event, *record)));
                Outcome::Late
            }
        };
        if signal.counts {
            out.count(topic, outcome);
        }
        if outcome == Outcome::Matched {
            task.newest = task.newest.max(event.time);
            task.accept(signal, shared, out);
        }
    }

    /// The watermark of a task has reached `watermark`: nothing older will come. Releases waiting signals with an earlier
    /// time, in total order, mixed with deadlines (deadline d after every event of time ≤ d and before any later one, so
    /// it fires when `watermark` > d; equal deadlines by rule id, then key). A watermark that is not ahead of the last one
    /// is ignored; [`Timestamp::MAX`] is the end of the task's input, as [`Core::finish`].
    pub fn advance(&mut self, task: Task, watermark: Timestamp, out: &mut Output) {
        if watermark == Timestamp::MAX {
            let state = task_state(&mut self.tasks, task, self.shared.settings.durable);
            let end = state.watermark.max(state.newest);
            finish(state, end, &mut self.shared, out);
            return;
        }
        let state = task_state(&mut self.tasks, task, self.shared.settings.durable);
        if watermark <= state.watermark {
            return;
        }
        let until = Until { before: Some(watermark), decided_before: state.watermark, end: None };
        state.watermark = watermark;
        state.run(until, &mut self.shared, out);
        let settings = self.shared.settings;
        if settings.dedup_window > Span::ZERO {
            state.dedup.advance(settings.dedup_window, watermark);
        }
        state.suppressed.advance(watermark, settings.retention);
    }

    /// The end of a bounded input, for all tasks: releases all that waits, decides absence and the tumbling windows that
    /// have begun, i.e. those with events and those that start at or before the newest event time or watermark known here.
    /// For the same result on any number of shards, first [`Core::advance`] every task to the newest event time of the
    /// whole input. Watermarks stay as they were: the end is not a time of the data.
    pub fn finish(&mut self, out: &mut Output) {
        let ends = self.tasks.iter().map(|(_, state)| state.watermark.max(state.newest));
        let Some(end) = ends.max() else { return };
        for (_, state) in &mut self.tasks {
            finish(state, end, &mut self.shared, out);
        }
    }

    /// What this shard owns of the hashes.
    pub fn range(&self) -> HashRange {
        self.shared.settings.durable.map_or(HashRange::ALL, |durable| durable.range)
    }

    /// Everything that changed since the last call, as parts for the changelog and the store: at a barrier.
    pub fn store(&mut self, changes: &mut Changes) {
        for (_, state) in &mut self.tasks {
            state.store(&mut self.shared, changes);
        }
    }

    /// Begins to restore a task that stood at this watermark; its parts follow.
    pub fn restore(&mut self, task: Task, watermark: Timestamp) {
        self.drop_task(task);
        task_state(&mut self.tasks, task, self.shared.settings.durable).watermark = watermark;
    }

    /// Takes one part of a task that is being restored. Parts come in key order within each changelog partition.
    pub fn restore_part(&mut self, task: Task, partition: u16, key: &[u8], value: &[u8]) -> Result<(), Damaged> {
        let state = task_state(&mut self.tasks, task, self.shared.settings.durable);
        persist::restore_part(state, &mut self.shared, partition, key, value)
    }

    /// All parts of a task were restored.
    pub fn restored(&mut self, task: Task) {
        task_state(&mut self.tasks, task, self.shared.settings.durable).restored(&mut self.shared);
    }

    /// Forgets a task's state: its partition was revoked.
    pub fn drop_task(&mut self, task: Task) {
        self.tasks.retain(|(held, _)| *held != task);
    }

    /// How much is held. Cheap: nothing is counted anew.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        let event_bytes = self.seen.1 / self.seen.0.max(1);
        for (_, task) in &self.tasks {
            stats.keys += task.keys.len();
            stats.waiting += task.order.len();
            stats.pending += task.pending;
            stats.events += task.held;
            stats.dedup_ids += task.dedup.len();
            stats.suppressed += task.suppressed.len();
            stats.deadlines += task.deadlines();
            stats.bytes += task.dedup.bytes();
        }
        stats.bytes += stats.keys * KEY_BYTES
            + stats.waiting * (std::mem::size_of::<Signal>() + ORDER_BYTES + event_bytes)
            + stats.pending * (PENDING_BYTES + event_bytes)
            + stats.events * (EVENT_BYTES + event_bytes)
            + stats.suppressed * SUPPRESSED_BYTES
            + stats.deadlines * DEADLINE_BYTES;
        stats
    }
}

/// A key's slot, its bytes, its place in the map and one rule's empty state.
const KEY_BYTES: usize = 320;
/// A place in the order heap.
const ORDER_BYTES: usize = 40;
/// A match in one state; its events are shared.
const PENDING_BYTES: usize = 88;
/// A timeline entry and one window's place for it.
const EVENT_BYTES: usize = 56;
/// An entry of the suppression map and its deadline.
const SUPPRESSED_BYTES: usize = 112;
/// An entry of the timing wheel.
const DEADLINE_BYTES: usize = 32;

fn evidence_bytes(event: &Evidence) -> usize {
    std::mem::size_of::<Evidence>() + 16 + event.fields.heap_bytes() + event.id.as_ref().map_or(0, |id| id.len())
}

fn task_state(tasks: &mut Vec<(Task, TaskState)>, task: Task, durable: Option<Durable>) -> &mut TaskState {
    let at = tasks.iter().position(|(held, _)| *held == task).unwrap_or_else(|| {
        tasks.push((task, TaskState::new(durable.map(|durable| Ledger::new(durable, task)))));
        tasks.len() - 1
    });
    &mut tasks[at].1
}

fn finish(state: &mut TaskState, end: Timestamp, shared: &mut Shared, out: &mut Output) {
    let until = Until { before: None, decided_before: state.watermark, end: Some(end) };
    state.run(until, shared, out);
}

fn late_letter(event: &Evidence, record: RawRecord) -> DeadLetter {
    DeadLetter {
        code: DeadCode::Late,
        stage: Stage::Order,
        message: format!(
            "the event's time {} is behind the watermark of its partition: it came later than the stream's \
             `out_of_orderness` allows; raise that, or set `late: process`",
            event.time
        ),
        origin: event.origin,
        event_time: Some(event.time),
        record,
    }
}
