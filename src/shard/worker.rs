//! The shard's thread: takes parcels from its rings, keeps its clock, and hands what `core` finds to the committer.
//!
//! The shard's clock for a task is the minimum over the rings that carry it. After barrier n of a ring nothing more is
//! taken from that ring until barrier n has come on all; what the committer's ring refuses is kept and no source ring is
//! taken meanwhile, so a slow committer slows the sources and blocks nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, Cut, Output};
use super::fetch::Line;
use super::restore::{restore, sweep, sweep_all};
use crate::event::{Mark, Report, Resumed, Stuck, Task, Timestamp, ToShard};
use crate::fault::{self, Bug};
use crate::limits::{EPOCH_SIGNALS, RING_BATCHES};
use crate::ring::{BarrierLine, Bell, Consumer, Level, Producer, Step};
use crate::store::codec::Damaged;
use crate::store::{Store, StoreError, StoreErrorKind};
use crate::telemetry::liveness::{Doing, Pulse};
use crate::telemetry::metrics::ShardMetrics;

/// Longest sleep when nothing rings: a safety net, not a pace.
const REST: Duration = Duration::from_millis(500);

/// Longest sleep while keys are taken up: who writes down when they are due is behind.
const NAP: Duration = Duration::from_millis(1);

/// Signals and keys that may wait for the disk before nothing more is taken: a few MB.
const OWED_MAX: usize = 1 << 13;

/// Which rings carry a task's watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriers {
    /// Every source announces every task (`locality: instance`).
    All,
    /// Source `task % sources` alone (`locality: partition`).
    Modulo,
}

/// One incoming ring.
struct Lane {
    ring: Consumer<ToShard>,
    /// The newest barrier taken from it.
    barrier: u64,
    finished: bool,
}

/// The watermarks of one task, by ring.
struct TaskClock {
    task: Task,
    by_lane: Vec<Timestamp>,
    reached: Timestamp,
}

/// Where a shard finds its state.
pub struct ShardState {
    /// On disk.
    pub store: Arc<dyn Store>,
    /// The changelog partitions of a task.
    pub cut: Cut,
    /// Tasks that are ours from the start.
    pub tasks: Vec<Resumed>,
    /// To whom reads the disk for us.
    pub line: Line,
    /// The newest epoch of this committer that the store has.
    pub written: Level,
}

/// A shard's thread.
pub struct Worker {
    core: Core,
    state: Option<ShardState>,
    /// State cannot be read or kept: told, and nothing more is done.
    failed: bool,
    lanes: Vec<Lane>,
    committer: Producer<Report>,
    held: VecDeque<Report>,
    clocks: Vec<TaskClock>,
    carriers: Carriers,
    /// The newest barrier handed to the committer.
    barrier: u64,
    /// Which are asked for.
    barriers: BarrierLine,
    /// The input ended, and the core was told.
    finishing: bool,
    finished: bool,
    /// It runs on a thread of its own, and so does who reads the disk for it.
    waits: bool,
    bell: Bell,
    pulse: Pulse,
    metrics: Arc<ShardMetrics>,
    out: Output,
    /// When that arrived which decides what comes out now.
    arrived: Option<Instant>,
    /// Keys that are being taken up: since when, and how many were.
    sweeping: Option<(Instant, usize)>,
}

impl Worker {
    /// A shard with one ring per source.
    pub fn new(
        core: Core,
        state: Option<ShardState>,
        rings: Vec<Consumer<ToShard>>,
        committer: Producer<Report>,
        carriers: Carriers,
        (bell, barriers): (Bell, BarrierLine),
        (pulse, metrics): (Pulse, Arc<ShardMetrics>),
    ) -> Self {
        let lane = |ring| Lane { ring, barrier: 0, finished: false };
        Worker {
            core,
            state,
            failed: false,
            lanes: rings.into_iter().map(lane).collect(),
            committer,
            held: VecDeque::new(),
            clocks: Vec::new(),
            carriers,
            barrier: 0,
            barriers,
            finishing: false,
            finished: false,
            waits: false,
            bell,
            pulse,
            metrics,
            out: Output::default(),
            arrived: None,
            sweeping: None,
        }
    }

    /// Runs until every source is gone and its ring is empty, or `stop` says so.
    pub fn run(mut self, stop: impl Fn() -> bool) {
        self.waits = true;
        let metrics = Arc::clone(&self.metrics);
        let _working = metrics.busy.work();
        while !stop() {
            match self.step() {
                Step::Busy => {}
                Step::Idle => metrics.busy.rest(|| self.rest(&stop)),
                Step::Done => return,
            }
        }
    }

    /// One parcel from every ring and what follows from it; never waits. Done when every source is gone and its ring empty.
    pub fn step(&mut self) -> Step {
        self.pulse.beat();
        if !self.retry() {
            return Step::Idle;
        }
        if let Some(tasks) = self.state.as_mut().map(|state| std::mem::take(&mut state.tasks)) {
            self.restore(&tasks);
        }
        if self.failed {
            return Step::Idle;
        }
        // What waits for the disk has arrived with the first that asked.
        if self.core.owed() == 0 {
            self.arrived = None;
        }
        let answered = self.take_answers();
        let taken = self.take() + answered + usize::from(self.sweep());
        self.ask();
        self.advance();
        self.finish_if_due();
        self.ship(None);
        self.close_epoch();
        self.ask();
        if taken > 0 {
            Step::Busy
        } else if self.lanes.iter().all(|lane| lane.ring.is_closed() && lane.ring.is_empty()) {
            Step::Done
        } else {
            Step::Idle
        }
    }

    /// Sleeps until there may be something to do.
    fn rest(&self, stop: &impl Fn() -> bool) {
        let ready = || {
            let free = !self.is_full();
            let open = |lane: &Lane| free && lane.barrier == self.barrier && !lane.ring.is_empty();
            let answered = self.state.as_ref().is_some_and(|state| !state.line.answers.is_empty());
            stop()
                || answered
                || if self.held.is_empty() { self.lanes.iter().any(open) } else { !self.committer.is_full() }
        };
        let longest = if self.core.sweeps().is_some() { NAP } else { REST };
        self.bell.wait(ready, Some(longest));
    }

    /// Whether nothing more is taken for now: too much waits for the disk, or the epoch is large, and the barrier that ends it is
    /// not on its way yet.
    fn is_full(&self) -> bool {
        let large = self.state.is_some() && self.core.taken() >= EPOCH_SIGNALS + EPOCH_SIGNALS / 2;
        self.core.owed() > OWED_MAX || large && self.barriers.requested() == self.barrier
    }

    /// Takes one parcel from every ring that is not ahead by a barrier.
    fn take(&mut self) -> usize {
        if self.is_full() {
            return 0;
        }
        if self.core.taken() >= EPOCH_SIGNALS {
            self.barriers.want();
        }
        let mut taken = 0;
        let fullest = self.lanes.iter().map(|lane| lane.ring.len()).max().unwrap_or(0);
        self.metrics.ring_fill.set_size(fullest * 1000 / RING_BATCHES);
        for at in 0..self.lanes.len() {
            let lane = &mut self.lanes[at];
            if lane.barrier > self.barrier && !fault::planted(Bug::BarrierNotAligned) {
                continue;
            }
            let Some(mut parcel) = lane.ring.pop() else { continue };
            taken += 1;
            self.arrived = self.arrived.or(parcel.arrived);
            if !parcel.signals.is_empty() {
                self.core.take(&mut parcel.signals, &mut self.out);
            }
            for (task, watermark) in parcel.watermarks.drain(..) {
                self.see(at, task, watermark);
            }
            match parcel.mark.take() {
                Some(Mark::Barrier(number)) => {
                    debug_assert_eq!(number, self.lanes[at].barrier + 1, "barriers come one by one");
                    self.lanes[at].barrier = number;
                }
                Some(Mark::Finish) => self.lanes[at].finished = true,
                Some(Mark::DropTasks(tasks)) => {
                    self.clocks.retain(|clock| !tasks.contains(&clock.task));
                    tasks.into_iter().for_each(|task| self.core.drop_task(task));
                }
                Some(Mark::Restore(tasks)) => self.restore(&tasks),
                None => {}
            }
            parcel.clear();
            self.lanes[at].ring.recycle(parcel);
        }
        taken
    }

    /// Asks for what the core wants of the store.
    fn ask(&mut self) {
        let Some(state) = &self.state else { return };
        self.core.take_requests().into_iter().for_each(|request| state.line.ask(request, &self.bell));
    }

    /// Takes what the store answered. Returns the number of answers.
    fn take_answers(&mut self) -> usize {
        let Some(state) = &self.state else { return 0 };
        let mut taken = 0;
        while let Ok(answer) = state.line.answers.try_recv() {
            taken += 1;
            let took = answer.and_then(|reply| {
                let damaged =
                    |damage: Damaged| StoreError::new(damage.kind(), format!("state cannot be read: {damage}"));
                self.core.answer(reply, &mut self.out).map_err(damaged)
            });
            if let Err(error) = took {
                self.give_up(stuck(error));
                return taken;
            }
        }
        taken
    }

    /// Takes up the state of tasks: their watermarks stand where they stood, on every ring. Keys follow while the shard works, if
    /// they may.
    fn restore(&mut self, tasks: &[Resumed]) {
        let Some(state) = &self.state else { return };
        for resumed in tasks {
            let &Resumed { task, watermark, .. } = resumed;
            self.clocks.retain(|clock| clock.task != task);
            let by_lane = vec![watermark; self.lanes.len()];
            self.clocks.push(TaskClock { task, by_lane, reached: watermark });
            let (core, out, written) = (&mut self.core, &mut self.out, state.written.reached());
            // On the other thread, behind what was asked before; much of the time of a restore is writing down who is due when.
            let (line, bell, waits) = (&state.line, &self.bell, self.waits);
            let mut carry = |request| {
                line.ask(request, bell);
                if waits {
                    line.wait_for_room();
                }
                Ok(())
            };
            let read = self.pulse.during(Doing::Disk, || {
                restore(core, (&*state.store, &mut carry), resumed, state.cut.partitions_of(task))?;
                if core.sweeps_later(task) {
                    return Ok(());
                }
                sweep_all(core, (&*state.store, &mut carry), task, written, out)
            });
            if let Err(error) = read {
                return self.give_up(stuck(error));
            }
        }
        if !tasks.is_empty() {
            fault::point("recovery.restored");
        }
    }

    /// Takes up some keys of a task that was restored; whether there were any, and there was room to say when they are due.
    fn sweep(&mut self) -> bool {
        let (Some(state), Some(task)) = (&self.state, self.core.sweeps()) else {
            self.sweeping = None;
            return false;
        };
        let Some(piece) = self.core.unswept(task).filter(|_| !self.waits || state.line.has_room()) else {
            return false;
        };
        let (since, keys) = self.sweeping.get_or_insert_with(|| (Instant::now(), 0));
        let (core, out, written) = (&mut self.core, &mut self.out, state.written.reached());
        let mut carry = |request| {
            state.line.ask(request, &self.bell);
            Ok(())
        };
        let swept =
            self.pulse.during(Doing::Disk, || sweep(core, (&*state.store, &mut carry), (task, piece), written, out));
        match swept {
            Ok(found) => {
                *keys += found;
                fault::point("recovery.swept");
            }
            Err(error) => {
                self.give_up(stuck(error));
                return true;
            }
        }
        if self.core.sweeps().is_none() {
            let (keys, took_ms) = (*keys, since.elapsed().as_millis());
            tracing::info!(keys, took_ms, "all keys of the shard are taken up; it was at work meanwhile");
            self.sweeping = None;
        }
        true
    }

    /// Nothing more is done; the committer is told why.
    fn give_up(&mut self, why: Stuck) {
        self.failed = true;
        if let (Stuck::Damaged(reason), Some(state)) = (&why, &self.state) {
            state.store.condemn(reason);
        }
        self.send(Report { failed: Some(why), ..Report::default() });
    }

    fn see(&mut self, lane: usize, task: Task, watermark: Timestamp) {
        let lanes = self.lanes.len();
        let at = self.clocks.iter().position(|clock| clock.task == task).unwrap_or_else(|| {
            self.clocks.push(TaskClock { task, by_lane: vec![Timestamp::MIN; lanes], reached: Timestamp::MIN });
            self.clocks.len() - 1
        });
        self.clocks[at].by_lane[lane] = watermark;
    }

    /// Moves each task's clock to the minimum over the rings that carry it.
    fn advance(&mut self) {
        let lanes = self.lanes.len();
        for clock in &mut self.clocks {
            let reached = match self.carriers {
                Carriers::All => clock.by_lane.iter().copied().min(),
                Carriers::Modulo => clock.by_lane.get(clock.task as usize % lanes.max(1)).copied(),
            };
            let Some(reached) = reached else { continue };
            // A signal whose id is being looked up must not be passed by.
            let reached = reached.min(self.core.looked_up_from(clock.task));
            if reached > clock.reached {
                clock.reached = reached;
                self.core.advance(clock.task, reached, &mut self.out);
            }
        }
    }

    fn finish_if_due(&mut self) {
        if self.finished || self.lanes.is_empty() || !self.lanes.iter().all(|lane| lane.finished) {
            return;
        }
        if !self.finishing && !self.core.looks_up() && self.core.sweeps().is_none() {
            self.finishing = true;
            self.core.finish(&mut self.out);
            self.ask();
        }
        if !self.finishing || self.core.waits() {
            return;
        }
        // What was evicted is decided too, as it comes back.
        if self.core.is_undecided() {
            self.barriers.want();
        } else {
            self.finished = true;
            self.ship(None);
            self.send(Report { finished: true, ..Report::default() });
        }
    }

    /// Closes the epoch once its barrier has come on every ring.
    fn close_epoch(&mut self) {
        let next = self.barrier + 1;
        let aligned = !self.lanes.is_empty() && self.lanes.iter().all(|lane| lane.barrier >= next);
        if aligned && !self.core.waits() {
            self.barrier = next;
            self.ship(Some(next));
            self.fit_in_memory();
            self.show();
        }
    }

    /// Lets keys go that the store has. One that takes no more leaves all that changes in memory: where that does not do, the
    /// end is better than a machine without memory.
    fn fit_in_memory(&mut self) {
        let Some(state) = &self.state else { return };
        let beyond = self.core.evict(state.written.reached());
        if let Some((bytes, budget)) = beyond.filter(|_| state.written.is_stuck()) {
            let message = format!(
                "state in memory has grown to {} MiB for this shard, {} are its share of state.memory, and the disk takes no \
                 more: stopping; nothing that was committed is lost. Make the disk well, or raise state.memory, and start again",
                bytes >> 20,
                budget >> 20
            );
            self.give_up(Stuck::Disk(message));
        }
    }

    /// Shows what it holds and where it stands.
    fn show(&mut self) {
        let Worker { metrics, core, out, clocks, .. } = self;
        metrics.suppressed.add(std::mem::take(&mut out.suppressed));
        metrics.values_ignored.add(std::mem::take(&mut out.ignored_values));
        metrics.late_ignored.add(std::mem::take(&mut out.late_ignored));
        metrics.evictions.add(core.take_evictions());
        let watermarks = clocks.iter().map(|clock| clock.reached).filter(|reached| *reached != Timestamp::MIN);
        metrics.watermark.set(watermarks.min().unwrap_or(Timestamp::MIN).0);
        let (stats, state) = (core.stats(), &metrics.state);
        state.keys.set_size(stats.keys);
        state.keys_on_disk.set_size(stats.evicted);
        state.bytes.set_size(stats.bytes);
        state.waiting_signals.set_size(stats.waiting);
        state.pending_matches.set_size(stats.pending);
        state.timeline_events.set_size(stats.events);
        state.dedup_ids.set_size(stats.dedup_ids);
        state.dedup_ids_spilled.set_size(stats.spilled_ids);
        state.suppressions.set_size(stats.suppressed);
        state.deadlines.set_size(stats.deadlines);
    }

    /// Hands what was found to the committer; with a barrier also the counts.
    fn ship(&mut self, barrier: Option<u64>) {
        let found = !self.out.correlations.is_empty() || !self.out.dead_letters.is_empty();
        if barrier.is_none() && !found {
            return;
        }
        let mut report = Report {
            correlations: std::mem::take(&mut self.out.correlations),
            arrived: self.arrived,
            dead_letters: std::mem::take(&mut self.out.dead_letters),
            barrier,
            ..Report::default()
        };
        if barrier.is_some() {
            report.counts = std::mem::take(&mut self.out.counts);
            self.core.store(&mut report.changes);
            fault::point("shard.persist");
        }
        self.send(report);
    }

    fn send(&mut self, report: Report) {
        if !self.held.is_empty() {
            self.held.push_back(report);
        } else if let Err(refused) = self.committer.push(handed(report)) {
            self.held.push_back(refused);
        }
    }

    fn retry(&mut self) -> bool {
        while let Some(report) = self.held.pop_front() {
            if let Err(refused) = self.committer.push(handed(report)) {
                self.held.push_front(refused);
                return false;
            }
        }
        true
    }
}

/// What an error of the store means to the pipeline.
fn stuck(error: StoreError) -> Stuck {
    match error.kind {
        StoreErrorKind::Corrupt => Stuck::Damaged(error.message),
        StoreErrorKind::Foreign => Stuck::Newer(error.message),
        StoreErrorKind::Locked | StoreErrorKind::Full | StoreErrorKind::Io => Stuck::Disk(error.message),
    }
}

/// Notes when correlations are handed over.
fn handed(mut report: Report) -> Report {
    report.handed = (!report.correlations.is_empty()).then(Instant::now);
    report
}
