//! The shard's thread: takes parcels from its rings, keeps its clock, and hands what `core` finds to the committer.
//!
//! The shard's clock for a task is the minimum over the rings that carry it. After barrier n of a ring nothing more is
//! taken from that ring until barrier n has come on all; what the committer's ring refuses is kept and no source ring is
//! taken meanwhile, so a slow committer slows the sources and blocks nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Cut, Output};
use super::restore::restore;
use crate::event::{Mark, Report, Task, Timestamp, ToShard};
use crate::fault;
use crate::ring::{Bell, Consumer, Producer, Step};
use crate::store::Store;

/// Longest sleep when nothing rings: a safety net, not a pace.
const REST: Duration = Duration::from_millis(500);

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
    /// Tasks that are ours from the start, with the watermark at which each stood.
    pub tasks: Vec<(Task, Timestamp)>,
}

/// A shard's thread.
pub struct Worker {
    core: Core,
    state: Option<ShardState>,
    /// State could not be read: told, and nothing more is done.
    failed: bool,
    lanes: Vec<Lane>,
    committer: Producer<Report>,
    held: VecDeque<Report>,
    clocks: Vec<TaskClock>,
    carriers: Carriers,
    /// The newest barrier handed to the committer.
    barrier: u64,
    finished: bool,
    bell: Bell,
    out: Output,
}

impl Worker {
    /// A shard with one ring per source.
    pub fn new(
        core: Core,
        state: Option<ShardState>,
        rings: Vec<Consumer<ToShard>>,
        committer: Producer<Report>,
        carriers: Carriers,
        bell: Bell,
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
            finished: false,
            bell,
            out: Output::default(),
        }
    }

    /// Runs until every source is gone and its ring is empty, or `stop` says so.
    pub fn run(mut self, stop: impl Fn() -> bool) {
        while !stop() {
            match self.step() {
                Step::Busy => {}
                Step::Idle => self.rest(&stop),
                Step::Done => return,
            }
        }
    }

    /// One parcel from every ring and what follows from it; never waits. Done when every source is gone and its ring empty.
    pub fn step(&mut self) -> Step {
        if !self.retry() {
            return Step::Idle;
        }
        if let Some(tasks) = self.state.as_mut().map(|state| std::mem::take(&mut state.tasks)) {
            self.restore(&tasks);
        }
        if self.failed {
            return Step::Idle;
        }
        let taken = self.take();
        self.advance();
        self.finish_if_due();
        self.ship(None);
        self.close_epoch();
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
            let open = |lane: &Lane| lane.barrier == self.barrier && !lane.ring.is_empty();
            stop() || if self.held.is_empty() { self.lanes.iter().any(open) } else { !self.committer.is_full() }
        };
        self.bell.wait(ready, Some(REST));
    }

    /// Takes one parcel from every ring that is not ahead by a barrier.
    fn take(&mut self) -> usize {
        let mut taken = 0;
        for at in 0..self.lanes.len() {
            let lane = &mut self.lanes[at];
            if lane.barrier > self.barrier {
                continue;
            }
            let Some(mut parcel) = lane.ring.pop() else { continue };
            taken += 1;
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

    /// Takes up the state of tasks: their watermarks stand where they stood, on every ring.
    fn restore(&mut self, tasks: &[(Task, Timestamp)]) {
        let Some(state) = &self.state else { return };
        for &(task, watermark) in tasks {
            self.clocks.retain(|clock| clock.task != task);
            let by_lane = vec![watermark; self.lanes.len()];
            self.clocks.push(TaskClock { task, by_lane, reached: watermark });
            let read = restore(&mut self.core, &*state.store, task, watermark, state.cut.partitions_of(task));
            if let Err(error) = read {
                self.failed = true;
                return self.send(Report { failed: Some(error.message), ..Report::default() });
            }
        }
        if !tasks.is_empty() {
            fault::point("recovery.restored");
        }
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
            if reached > clock.reached {
                clock.reached = reached;
                self.core.advance(clock.task, reached, &mut self.out);
            }
        }
    }

    fn finish_if_due(&mut self) {
        if !self.finished && !self.lanes.is_empty() && self.lanes.iter().all(|lane| lane.finished) {
            self.finished = true;
            self.core.finish(&mut self.out);
            self.ship(None);
            self.send(Report { finished: true, ..Report::default() });
        }
    }

    /// Closes the epoch once its barrier has come on every ring.
    fn close_epoch(&mut self) {
        let next = self.barrier + 1;
        if !self.lanes.is_empty() && self.lanes.iter().all(|lane| lane.barrier >= next) {
            self.barrier = next;
            self.ship(Some(next));
        }
    }

    /// Hands what was found to the committer; with a barrier also the counts.
    fn ship(&mut self, barrier: Option<u64>) {
        let found = !self.out.correlations.is_empty() || !self.out.dead_letters.is_empty();
        if barrier.is_none() && !found {
            return;
        }
        let mut report = Report {
            correlations: std::mem::take(&mut self.out.correlations),
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
        } else if let Err(refused) = self.committer.push(report) {
            self.held.push_back(refused);
        }
    }

    fn retry(&mut self) -> bool {
        while let Some(report) = self.held.pop_front() {
            if let Err(refused) = self.committer.push(report) {
                self.held.push_front(refused);
                return false;
            }
        }
        true
    }
}
