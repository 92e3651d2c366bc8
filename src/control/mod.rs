//! The hand on a running pipeline: stops, pauses and drains it, and shows what it does.
//!
//! The pipeline tells [`Control`] where it stands and looks there what is wanted of it; whoever is outside (signals, the HTTP API,
//! verbs) asks and looks here, and reaches no deeper. Nothing in it waits for the pipeline, and the pipeline waits for nothing in
//! it: wishes are flags, facts are behind locks that are held for moments and never per event.

mod readiness;
mod reading;
mod reload;
mod status;

pub use readiness::Reason;
pub use reload::{NoReload, ReadRules, Reload, RuleMistake};
pub use status::{Committed, Memory, PartitionStatus, Restore, RuleHits, RuleStatus, ShardStatus, Status};

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::epoch::Progress;
use crate::rules::plan::Plan;
use crate::source::Gate;
use crate::telemetry::liveness::Liveness;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::otlp::Tracer;

/// What the pipeline does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs, or is on its way to.
    Running,
    /// It reads nothing until it is resumed; what it has read is committed.
    Paused,
    /// It reads nothing more, commits what it has read, and leaves.
    Draining,
    /// It has left the group and does nothing more.
    Stopped,
}

impl State {
    /// All states.
    pub const ALL: [State; 4] = [State::Running, State::Paused, State::Draining, State::Stopped];

    /// The name in metrics, logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Paused => "paused",
            State::Draining => "draining",
            State::Stopped => "stopped",
        }
    }
}

/// How far an incarnation of the pipeline is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Condition {
    /// Being built: topics, group, state.
    #[default]
    Starting,
    /// Its threads run.
    Up,
    /// It failed in a way that may pass, for this reason; the next one starts soon.
    Failed(String),
    /// It ended for good.
    Ended,
}

/// What is known of the pipeline beside its metrics.
#[derive(Default)]
struct Facts {
    condition: Condition,
    /// As `topic/partition`, sorted.
    assigned: Vec<String>,
    /// The group has said what is ours, if only that it is nothing.
    settled: bool,
    plan: Option<Arc<Plan>>,
    /// What the next incarnation is to start with, if other rules were read since.
    next_plan: Option<Arc<Plan>>,
    /// The rules that were read last are wrong: how many mistakes, and the first.
    refused: Option<(usize, String)>,
    /// Takes spans, if they are sent somewhere.
    tracer: Option<Tracer>,
    /// When a drain is given up, if one was asked for.
    drain_until: Option<Instant>,
}

#[derive(Default)]
struct Shared {
    /// 0: run; 1: drain; 2: stop.
    stop: AtomicU8,
    /// After its end the process stays until it is told to leave.
    stay: AtomicBool,
    gate: Gate,
    facts: Mutex<Facts>,
    /// Held while rules are read.
    read_rules: Mutex<Option<ReadRules>>,
    metrics: Metrics,
}

/// See the module. Clones share it.
#[derive(Clone, Default)]
pub struct Control {
    shared: Arc<Shared>,
    progress: Arc<Mutex<Progress>>,
    liveness: Liveness,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is wanted of the pipeline.
impl Control {
    /// Asks for a drain: read nothing more, finish the epoch, commit, leave.
    pub fn drain(&self) {
        self.shared.stop.fetch_max(1, Ordering::SeqCst);
    }

    /// [`Control::drain`], given up after `limit`: then it is a stop.
    pub fn drain_within(&self, limit: Duration) {
        lock(&self.shared.facts).drain_until.get_or_insert_with(|| Instant::now() + limit);
        self.drain();
    }

    /// [`Control::drain_within`] for whoever wants to look at the process afterwards: it stays until it is told to leave.
    pub fn drain_and_stay(&self, limit: Duration) {
        if !self.is_stopping() {
            self.shared.stay.store(true, Ordering::SeqCst);
        }
        self.drain_within(limit);
    }

    /// The process need not stay after its pipeline has ended. Returns whether it would have.
    pub fn leave(&self) -> bool {
        self.shared.stay.swap(false, Ordering::SeqCst)
    }

    /// Whether the process is to stay after its pipeline has ended.
    pub fn stays(&self) -> bool {
        self.shared.stay.load(Ordering::SeqCst)
    }

    /// Asks for an immediate stop: what is not committed is read again by the next run.
    pub fn stop(&self) {
        self.shared.stop.fetch_max(2, Ordering::SeqCst);
    }

    /// Whether a drain or a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        self.shared.stop.load(Ordering::SeqCst) >= 1
    }

    /// Whether an immediate stop was asked for.
    pub fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::SeqCst) >= 2
    }

    /// Whether a drain was asked for and its time is over.
    pub fn is_drain_overdue(&self) -> bool {
        self.is_stopping() && lock(&self.shared.facts).drain_until.is_some_and(|until| Instant::now() >= until)
    }

    /// Nothing more is read until [`Control::resume`]. `false`: it is on its way out, or already gone.
    pub fn pause(&self) -> bool {
        let may = !self.is_stopping() && self.condition() != Condition::Ended;
        if may {
            self.shared.gate.close();
        }
        may
    }

    /// Reads on. `false`: it is on its way out, or already gone.
    pub fn resume(&self) -> bool {
        let may = !self.is_stopping() && self.condition() != Condition::Ended;
        if may {
            self.shared.gate.open();
        }
        may
    }

    /// Shut while it is paused; for the sources.
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }
}

/// What the pipeline does.
impl Control {
    /// In one word.
    pub fn state(&self) -> State {
        if self.condition() == Condition::Ended {
            State::Stopped
        } else if self.is_stopping() {
            State::Draining
        } else if self.shared.gate.is_closed() {
            State::Paused
        } else {
            State::Running
        }
    }

    /// How far its incarnation is.
    pub fn condition(&self) -> Condition {
        lock(&self.shared.facts).condition.clone()
    }

    /// By the pipeline.
    pub fn set_condition(&self, condition: Condition) {
        lock(&self.shared.facts).condition = condition;
    }

    /// Totals of everything committed so far.
    pub fn progress(&self) -> Progress {
        lock(&self.progress).clone()
    }

    /// Where the committer keeps them.
    pub fn totals(&self) -> &Arc<Mutex<Progress>> {
        &self.progress
    }

    /// Whether the threads of the pipeline live.
    pub fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// What its threads count.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Takes spans; `None`: they are sent nowhere.
    pub fn tracer(&self) -> Option<Tracer> {
        lock(&self.shared.facts).tracer.clone()
    }

    /// Before the pipeline starts: spans go here.
    pub fn set_tracer(&self, tracer: Tracer) {
        lock(&self.shared.facts).tracer = Some(tracer);
    }

    /// The rules in force; `None` before the start.
    pub fn plan(&self) -> Option<Arc<Plan>> {
        lock(&self.shared.facts).plan.clone()
    }

    /// By the pipeline.
    pub fn set_plan(&self, plan: Arc<Plan>) {
        lock(&self.shared.facts).plan = Some(plan);
    }

    /// The partitions assigned now, as `topic/partition`.
    pub fn assigned(&self) -> Vec<String> {
        lock(&self.shared.facts).assigned.clone()
    }

    /// By the pipeline: the assignment changes.
    pub fn set_assigned(&self, edit: impl FnOnce(&mut Vec<String>)) {
        edit(&mut lock(&self.shared.facts).assigned);
    }

    /// Whether the group has said what is ours.
    pub fn is_settled(&self) -> bool {
        lock(&self.shared.facts).settled
    }

    /// By the pipeline.
    pub fn set_settled(&self, settled: bool) {
        lock(&self.shared.facts).settled = settled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_from_what_is_wanted_and_what_is() {
        let control = Control::default();
        assert_eq!(control.state(), State::Running);
        assert!(control.pause());
        assert_eq!(control.state(), State::Paused);
        assert!(control.resume());
        assert_eq!(control.state(), State::Running);
        control.drain();
        assert_eq!(control.state(), State::Draining);
        assert!(!control.pause() && !control.resume(), "who leaves is not paused");
        assert_eq!(control.state(), State::Draining);
        control.set_condition(Condition::Ended);
        assert_eq!(control.state(), State::Stopped);
    }

    #[test]
    fn a_drain_is_overdue_after_its_time_and_the_first_limit_counts() {
        let control = Control::default();
        control.drain();
        assert!(!control.is_drain_overdue(), "no limit was set");
        control.drain_within(Duration::ZERO);
        control.drain_within(Duration::from_secs(3600));
        assert!(control.is_drain_overdue());
    }

    #[test]
    fn a_process_stays_only_if_the_drain_that_ended_it_said_so() {
        let control = Control::default();
        control.drain_and_stay(Duration::from_secs(1));
        assert!(control.stays() && control.leave() && !control.stays() && !control.leave());
        let control = Control::default();
        control.drain();
        control.drain_and_stay(Duration::from_secs(1));
        assert!(!control.stays(), "it was told to leave before");
    }
}
