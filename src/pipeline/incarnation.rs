//! One producer, one membership, and the threads between them, from start to end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::lag;
use super::lookup::alone_message;
use super::membership::sleep_a_little;
use super::owners::Owners;
use super::parts::{GroupParts, Hand, Parts};
use super::spec::{Locality, PipelineError, Spec, Stage};
use super::threads::{Place, spawn};
use super::watchdog::watch;
use crate::broker::{BrokerError, ErrorKind};
use crate::control::Control;
use crate::epoch::{Committer, Notice, Order};
use crate::event::SystemClock;
use crate::source::Phase;

/// Longest wait for threads to end after they were told to stop; a thread in a broker call that does not return is left
/// behind, its producer fenced by the next incarnation.
const JOIN_WAIT: Duration = Duration::from_secs(10);

/// How an incarnation ended.
pub(super) enum End {
    /// The input ended, or a drain was asked for and is done.
    Done,
    /// What was read is committed, and other rules wait.
    MadeRoom {
        /// The group had said what is ours, and was not about to say otherwise.
        settled: bool,
    },
    /// It may not run at all.
    Refused(PipelineError),
    /// It failed; the next one may not.
    Failed(BrokerError),
}

/// A running pipeline.
pub(super) struct Incarnation<'a> {
    spec: &'a Spec,
    control: &'a Control,
    hand: Hand,
    threads: Vec<JoinHandle<()>>,
    assigned_seen: Vec<String>,
}

impl<'a> Incarnation<'a> {
    /// Builds everything and starts all threads.
    pub fn start(spec: &'a Spec, control: &'a Control) -> Result<Self, BrokerError> {
        let parts = Parts::new(spec, control, Arc::new(SystemClock), Arc::new(sleep_a_little))?;
        let Parts { sources, shards, committer, transactor, fetcher, group, hand, obituaries, inputs } = parts;
        let mut threads = Vec::new();
        let mut start = |name: String, cpu: Option<usize>, body: Box<dyn FnOnce() + Send>| {
            let place = Place::of(spec.topology.as_ref(), cpu);
            spawn(name, place, &obituaries, body).map(|thread| threads.push(thread))
        };
        if let Some(fetcher) = fetcher {
            start("fetcher".into(), None, Box::new(move || fetcher.run()))?;
        }
        for (index, seed) in sources.into_iter().enumerate() {
            let cpu = spec.placement.sources.get(index).copied().flatten();
            start(format!("source-{index}"), cpu, Box::new(move || seed().run()))?;
        }
        for (index, parts) in shards.into_iter().enumerate() {
            let cpu = spec.placement.shards.get(index).copied().flatten();
            let phase = hand.phase.clone();
            let body = move || parts.build().run(move || phase.get() == Phase::Stop);
            start(format!("shard-{index}"), cpu, Box::new(body))?;
        }
        let (committer, transactor) = Committer::in_two(committer, transactor);
        let phase = hand.phase.clone();
        start("committer".into(), None, Box::new(move || committer.run(move || phase.get() == Phase::Stop)))?;
        let phase = hand.phase.clone();
        start("transactor".into(), None, Box::new(move || transactor(&|| phase.get() == Phase::Stop)))?;
        let body = move || {
            let GroupParts { membership, group, requests, _requests } = group;
            membership.serve(group, &requests);
        };
        start("group".into(), None, Box::new(body))?;
        let (liveness, phase, bell) = (control.liveness().clone(), hand.phase.clone(), hand.watchdog.clone());
        start("watchdog".into(), None, Box::new(move || watch(&liveness, &phase, &bell)))?;
        // Only a service is watched from outside; files and the embedded broker have no lag.
        if spec.state.is_some() {
            let (broker, control) = (Arc::clone(&spec.broker), control.clone());
            let (phase, bell) = (hand.phase.clone(), hand.lag.clone());
            // Alone, one owns all.
            let shared = spec.locality == Locality::Partition;
            let owners = shared.then(|| Owners::new(inputs, &spec.instance, obituaries.clone()));
            let topics: Vec<String> = spec.streams.iter().flat_map(|stream| stream.topics.clone()).collect();
            let body = move || lag::watch(&*broker, &topics, owners, control.metrics(), (&phase, &bell));
            start("lag".into(), None, Box::new(body))?;
        }
        Ok(Incarnation { spec, control, hand, threads, assigned_seen: Vec::new() })
    }

    /// Waits for the end.
    pub fn run(mut self) -> End {
        let mut draining: Option<Receiver<()>> = None;
        let end = loop {
            match self.hand.notices.recv_timeout(Duration::from_millis(50)) {
                Ok(Notice::Finished) => break End::Done,
                Ok(Notice::Failed(error)) => break End::Failed(error),
                Err(RecvTimeoutError::Disconnected) => {
                    break End::Failed(BrokerError::new(ErrorKind::Fatal, "all threads of the pipeline are gone"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let drained = draining.as_ref().is_some_and(|done| done.try_recv().is_ok());
            if self.control.is_stopped() || drained && self.control.is_stopping() {
                break End::Done;
            }
            if drained {
                break End::MadeRoom { settled: self.control.is_settled() };
            }
            if self.control.is_drain_overdue() {
                let message = "the drain took longer than drain_timeout allows; what is not committed is read again by the next run";
                break End::Failed(BrokerError::new(ErrorKind::Fatal, message));
            }
            // Other rules wait for the end of a rebalance: see `run_incarnations`.
            let makes_room = self.control.has_next_plan() && self.control.is_settled();
            if (self.control.is_stopping() || makes_room) && draining.is_none() {
                self.hand.phase.set(Phase::Drain);
                let (answer, done) = crossbeam_channel::bounded(1);
                drop(self.hand.orders.send(Order::Flush(answer)));
                self.hand.ring_all();
                draining = Some(done);
            }
            if let Some(refusal) = self.not_alone() {
                break End::Refused(refusal);
            }
        };
        self.shut_down();
        end
    }

    /// With `locality: instance` one process owns all partitions. Two that start at the same moment may both find the group
    /// empty; so each looks again whenever its assignment has changed, and the one with the greater name leaves.
    fn not_alone(&mut self) -> Option<PipelineError> {
        if self.spec.locality != Locality::Instance {
            return None;
        }
        let assigned = self.control.assigned();
        if assigned == self.assigned_seen {
            return None;
        }
        // No answer is no leave: it is asked again at the next look.
        let others = self.spec.broker.other_members(Duration::from_secs(5)).ok()?;
        self.assigned_seen = assigned;
        let other = others.iter().min().filter(|other| **other < self.spec.instance)?;
        Some(PipelineError { stage: Stage::Setup, message: alone_message(&self.spec.instance, other) })
    }

    fn shut_down(&mut self) {
        self.hand.phase.set(Phase::Stop);
        let until = Instant::now() + JOIN_WAIT;
        while self.threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            self.hand.ring_all();
            std::thread::sleep(Duration::from_millis(2));
        }
        for thread in self.threads.drain(..) {
            if thread.is_finished() {
                // A panic was told by its obituary already.
                drop(thread.join());
            } else {
                let name = thread.thread().name().unwrap_or("?").to_owned();
                tracing::warn!(thread = name, "did not stop in time; left behind");
            }
        }
        self.control.set_assigned(Vec::clear);
        self.control.set_settled(false);
        self.control.metrics().unassign(|_| true);
    }
}
