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
mod backfill;
mod dedup;
mod keys;
mod matching;
mod persist;
mod report;
mod sequence;
mod state;
mod suppress;
mod sweep;
mod task;
#[cfg(test)]
mod tests;
mod tier;
mod tiering;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::{
    Changes, Correlation, DeadCode, DeadLetter, Evidence, Late, Outcome, OutcomeCounts, RawRecord, Resumed, Signal,
    Span, Stage, Task, Timestamp, TopicId, TopicTable, evidence_bytes,
};
use crate::rules::plan::Plan;
use crate::store::codec::Damaged;
use backfill::Backfill;
use persist::Ledger;
pub use persist::{Cut, Durable, kind};
pub use sweep::Piece;
use task::{Shared, TaskState, Until};
use tier::Lookup;
pub use tier::{DUE_AT_ONCE, Entry, Life, Reply, Request, Stem};
use tiering::Tier;
pub use tiering::ranges;

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
    /// Keys in the store only; a bound from above.
    pub evicted: usize,
    /// Ids that left memory since the start.
    pub spilled_ids: usize,
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
    /// Counts [`Core::store`].
    epoch: u32,
    /// Signals taken since then.
    taken: usize,
    /// Keys that left memory and were not told yet.
    evictions: u64,
}

/// Lives of tasks' states in this process: never the same twice, also not in the core of a later incarnation.
static LIVES: AtomicU64 = AtomicU64::new(0);

impl Core {
    /// A core without state. `topics` names topics in the ids of correlations.
    pub fn new(plan: Arc<Plan>, settings: Settings, topics: TopicTable) -> Core {
        Core {
            shared: Shared::new(plan, settings, topics),
            tasks: Vec::new(),
            seen: (0, 0),
            epoch: 0,
            taken: 0,
            evictions: 0,
        }
    }

    /// Takes a batch and leaves it empty: dedup, then the late policy; single-event rules report at once, for the others
    /// a signal waits for [`Core::advance`], unless it is already behind the watermark.
    pub fn take(&mut self, batch: &mut Vec<Signal>, out: &mut Output) {
        self.taken += batch.len();
        for signal in batch.drain(..) {
            self.take_one(signal, out);
        }
    }

    fn take_one(&mut self, signal: Signal, out: &mut Output) {
        self.seen = (self.seen.0 + 1, self.seen.1 + evidence_bytes(&signal.event));
        let (window, shared) = (self.shared.settings.dedup_window, &mut self.shared);
        let task = task_state(&mut self.tasks, signal.task, shared.settings.durable, self.epoch);
        if window > Span::ZERO {
            let dimension = shared.plan.dimensions.get(signal.dimension.0 as usize).map_or(0, |d| d.hash);
            let id = task.dedup.id(&signal, dimension);
            if task.dedup.knows(id) {
                return duplicate(&signal, out);
            }
            // A late one is taken at once, so it must not overtake one that waits.
            let behind = signal.late.is_some() && task.waits();
            let live = task.dedup.live_from();
            if let Some(tier) = task.tier.as_mut().filter(|tier| behind || !tier.runs.certainly_new(id, live)) {
                return tier.runs.look_up(signal, id, live);
            }
            task.dedup.remember(id, signal.event.time, window, task.watermark);
        }
        task.admit(signal, shared, out);
    }

    /// The watermark of a task has reached `watermark`: nothing older will come. Releases waiting signals with an earlier
    /// time, in total order, mixed with deadlines (deadline d after every event of time ≤ d and before any later one, so
    /// it fires when `watermark` > d; equal deadlines by rule id, then key). A watermark that is not ahead of the last one
    /// is ignored; [`Timestamp::MAX`] is the end of the task's input, as [`Core::finish`].
    pub fn advance(&mut self, task: Task, watermark: Timestamp, out: &mut Output) {
        if watermark == Timestamp::MAX {
            let state = task_state(&mut self.tasks, task, self.shared.settings.durable, self.epoch);
            let end = state.watermark.max(state.newest);
            finish(state, end, &mut self.shared, out);
            return;
        }
        let state = task_state(&mut self.tasks, task, self.shared.settings.durable, self.epoch);
        if watermark <= state.watermark {
            return;
        }
        let until = Until { before: Some(watermark), decided_before: state.watermark, end: None };
        state.watermark = watermark;
        if state.finishing.take().is_some() {
            state.rearm();
        }
        state.run(until, &mut self.shared, out);
        state.look_for_due();
        let settings = self.shared.settings;
        if settings.dedup_window > Span::ZERO {
            state.dedup.advance(settings.dedup_window, watermark);
        }
        state.forget_unplaced();
    }

    /// The end of a bounded input, for all tasks: releases all that waits, decides absence and the tumbling windows that
    /// have begun, i.e. those with events and those that start at or before the newest event time or watermark known here.
    /// What has nothing to decide stays as it is: whoever reads on later goes on with it. Keys that left memory are decided in
    /// portions, one an epoch, until none [is undecided](Core::is_undecided). For the same result on any number of shards, first [`Core::advance`] every task to the newest event time of the
    /// whole input. Watermarks stay as they were: the end is not a time of the data.
    pub fn finish(&mut self, out: &mut Output) {
        let ends = self.tasks.iter().map(|(_, state)| state.watermark.max(state.newest));
        let Some(end) = ends.max() else { return };
        for (_, state) in &mut self.tasks {
            finish(state, end, &mut self.shared, out);
        }
    }

    /// Signals taken since the last [`Core::store`].
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Everything that changed since the last call, as parts for the changelog and the store: at a barrier, when nothing
    /// waits ([`Core::waits`]). The first call is epoch 1.
    pub fn store(&mut self, changes: &mut Changes) {
        debug_assert!(!self.waits(), "what is parked behind a read is not state: the epoch waits for it");
        self.epoch += 1;
        self.taken = 0;
        for (_, state) in &mut self.tasks {
            state.forget_unplaced();
            state.store(self.epoch, &mut self.shared, changes);
            state.take_up_more();
        }
    }

    /// Keeps memory within its budget: what was not touched for long, and is in the store with epoch `written` or an earlier
    /// one, leaves it. Looks at a bounded number of keys.
    /// Gives what is held and the budget, if it is far more even so.
    pub fn evict(&mut self, written: u64) -> Option<(usize, usize)> {
        let budget = self.shared.settings.durable.and_then(|durable| durable.budget)?;
        for (_, state) in &mut self.tasks {
            state.spill_ids(budget / DEDUP_SHARE);
            if let Some(tier) = &mut state.tier {
                tier.evicted.written(written);
            }
        }
        let mut bytes = self.stats().bytes;
        for at in 0..self.tasks.len() {
            let mut looks = EVICTION_LOOKS;
            while bytes > budget && looks > 0 {
                let looked = looks.min(EVICTION_STEP * 8);
                looks -= looked;
                let (_, state) = &mut self.tasks[at];
                self.evictions += state.evict_some(EVICTION_STEP, looked, written, &self.shared) as u64;
                bytes = self.stats().bytes;
            }
        }
        (bytes > budget + budget / BEYOND_SHARE).then_some((bytes, budget))
    }

    /// Keys that left memory since the last call.
    pub fn take_evictions(&mut self) -> u64 {
        std::mem::take(&mut self.evictions)
    }

    /// What is to be asked of the store, in order.
    pub fn take_requests(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        self.tasks.iter_mut().for_each(|(_, state)| state.take_requests(&mut requests));
        requests
    }

    /// Whether answers are owed. No watermark may be told and no epoch end meanwhile.
    pub fn waits(&self) -> bool {
        self.tasks.iter().any(|(_, state)| state.waits())
    }

    /// Whether the input has ended, and keys that left memory have something to decide: the next of them are taken up when this
    /// epoch has ended.
    pub fn is_undecided(&self) -> bool {
        self.tasks.iter().any(|(_, state)| state.is_undecided())
    }

    /// How much waits for answers: keys on their way, and ids being looked up. Who feeds the core stops above a bound.
    pub fn owed(&self) -> usize {
        let of = |tier: &Tier| tier.evicted.owed() + tier.runs.owed();
        self.tasks.iter().filter_map(|(_, state)| state.tier.as_ref()).map(of).sum()
    }

    /// A watermark of this task may not pass this: the time of the oldest signal whose id is being looked up.
    pub fn looked_up_from(&self, task: Task) -> Timestamp {
        let state = self.tasks.iter().find(|(held, _)| *held == task).and_then(|(_, state)| state.tier.as_ref());
        state.map_or(Timestamp::MAX, |tier| tier.runs.oldest())
    }

    /// Whether ids are being looked up: signals that the watermark must not pass by.
    pub fn looks_up(&self) -> bool {
        self.tasks.iter().any(|(_, state)| state.tier.as_ref().is_some_and(|tier| tier.runs.waits()))
    }

    /// An answer of the store.
    pub fn answer(&mut self, reply: Reply, out: &mut Output) -> Result<(), Damaged> {
        let (Reply::Keys(life, _) | Reply::Due { life, .. } | Reply::Blocks(life, _)) = reply;
        let Some((_, state)) = self.tasks.iter_mut().find(|(_, state)| state.life == life) else { return Ok(()) };
        let shared = &mut self.shared;
        match reply {
            Reply::Keys(_, keys) => {
                for (stem, parts) in keys {
                    state.loaded(&stem, &parts, shared, out)?;
                    let until = state.until_now();
                    state.run(until, shared, out);
                }
            }
            Reply::Due { decide, due, next, .. } => state.due(decide, &due, next.as_deref(), shared)?,
            Reply::Blocks(_, blocks) => {
                let answered = state.tier.as_mut().map_or_else(Vec::new, |tier| tier.runs.answered(blocks));
                let window = shared.settings.dedup_window;
                for (Lookup { signal, id, .. }, known) in answered {
                    if known || state.dedup.knows(id) {
                        duplicate(&signal, out);
                    } else {
                        state.dedup.remember(id, signal.event.time, window, state.watermark);
                        state.admit(signal, shared, out);
                    }
                }
            }
        }
        Ok(())
    }

    /// Some of the ids of a task that is being restored were taken up: lets those go that do not fit, and says what is to be put
    /// into scratch space.
    pub fn restored_ids(&mut self, task: Task) -> Vec<Request> {
        let budget = self.shared.settings.durable.and_then(|durable| durable.budget);
        let state = task_state(&mut self.tasks, task, self.shared.settings.durable, self.epoch);
        budget.into_iter().for_each(|budget| state.spill_ids(budget / DEDUP_SHARE));
        let mut requests = Vec::new();
        state.take_requests(&mut requests);
        requests
    }

    /// Begins to restore a task; its parts follow.
    pub fn restore(&mut self, resumed: &Resumed) {
        self.drop_task(resumed.task);
        let state = task_state(&mut self.tasks, resumed.task, self.shared.settings.durable, self.epoch);
        state.watermark = resumed.watermark;
        state.unswept = self.shared.settings.durable.map(|durable| durable.range.first_hash());
        state.backfill = Backfill::of(&self.shared.plan, &resumed.backfill);
    }

    /// Takes one part of a task that is being restored. Parts come in key order within each changelog partition.
    pub fn restore_part(&mut self, task: Task, partition: u16, key: &[u8], value: &[u8]) -> Result<(), Damaged> {
        let state = task_state(&mut self.tasks, task, self.shared.settings.durable, self.epoch);
        persist::restore_part(state, &mut self.shared, partition, key, value)
    }

    /// All parts of a task were restored but those of its keys, which are to be [swept](Core::unswept) up.
    pub fn restored(&mut self, task: Task) {
        task_state(&mut self.tasks, task, self.shared.settings.durable, self.epoch).restored();
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
            stats.suppressed += task.repeats + task.unplaced.len();
            stats.bytes += task.unplaced.len() * UNPLACED_BYTES;
            stats.deadlines += task.deadlines();
            stats.bytes += task.dedup.bytes() + task.heap_bytes();
            if let Some(tier) = &task.tier {
                stats.bytes += tier.evicted.bytes() + tier.runs.bytes();
                stats.waiting += tier.evicted.owed() + tier.runs.owed();
                stats.evicted += tier.evicted.len();
                stats.spilled_ids += tier.runs.spilled();
            }
        }
        stats.bytes += stats.waiting * (size_of::<Signal>() + ORDER_BYTES + event_bytes);
        stats
    }
}

/// Part of a shard's budget for dedup ids in memory: 1 / this.
const DEDUP_SHARE: usize = 4;
/// Memory is far beyond its budget with this part of it more: 1 / this.
const BEYOND_SHARE: usize = 4;
/// Keys looked at in one eviction, at most: some 10 ms.
const EVICTION_LOOKS: usize = 1 << 18;
/// Keys let go between two looks at how much is held.
const EVICTION_STEP: usize = 1 << 12;

/// A place in the order heap.
const ORDER_BYTES: usize = 40;
/// A repeat that was stored without its key, and its deadline.
const UNPLACED_BYTES: usize = 112;

/// The state of a task, begun in the epoch after `epoch` if there is none.
fn task_state(tasks: &mut Vec<(Task, TaskState)>, task: Task, durable: Option<Durable>, epoch: u32) -> &mut TaskState {
    let at = tasks.iter().position(|(held, _)| *held == task).unwrap_or_else(|| {
        let life = LIVES.fetch_add(1, Ordering::Relaxed) + 1;
        let ledger = durable.map(|durable| Ledger::new(durable, task));
        let tier = durable.and_then(|durable| Tier::new(&durable, task, life));
        tasks.push((task, TaskState::new(ledger, tier, life, epoch)));
        tasks.len() - 1
    });
    &mut tasks[at].1
}

fn finish(state: &mut TaskState, end: Timestamp, shared: &mut Shared, out: &mut Output) {
    state.finishing = Some(end);
    let until = state.until_now();
    state.run(until, shared, out);
    state.look_for_due();
}

impl TaskState {
    /// Forgets what suppression needs no more of what an earlier layout stored; not while a key is away, or not taken up yet, that
    /// may still report something of an earlier time.
    fn forget_unplaced(&mut self) {
        if !self.waits() && self.unswept.is_none() {
            self.unplaced.advance(self.watermark);
        }
    }

    /// A signal that is no duplicate: the late policy, its outcome, and on to the rules.
    fn admit(&mut self, mut signal: Signal, shared: &mut Shared, out: &mut Output) {
        let event = &signal.event;
        let outcome = match signal.late.take() {
            None | Some(Late::Process) => Outcome::Matched,
            Some(Late::Drop) => Outcome::Late,
            Some(Late::Dlq(record)) => {
                out.dead_letters.extend(record.map(|record| late_letter(event, *record)));
                Outcome::Late
            }
        };
        if signal.counts {
            out.count(event.origin.topic, outcome);
        }
        if outcome == Outcome::Matched {
            self.newest = self.newest.max(event.time);
            self.accept(signal, shared, out);
        }
    }
}

fn duplicate(signal: &Signal, out: &mut Output) {
    if signal.counts {
        out.count(signal.event.origin.topic, Outcome::Duplicate);
    }
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
