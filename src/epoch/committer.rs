//! The committer's thread: takes what sources and shards report, asks for barriers, and hands epochs that are whole to the
//! transactor, in order. Outputs of `at_least_once` go out from here, so that no transaction holds them up.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::assembly::{Assembly, Epoch};
use super::spans;
use super::transactor::{DELIVERY_WAIT, Done, Transactor, TransactorParts, Whole, wall_of};
use crate::broker::{BrokerError, ErrorKind, OutRecord, Producer};
use crate::event::{Clock, Correlation, DeadLetter, Report, Stuck, Timestamp, TopicTable};
use crate::fault::{self, Bug};
use crate::limits::{EPOCH_OUTPUT_BYTES, EPOCHS_IN_FLIGHT, RING_BATCHES};
use crate::ring::{BarrierLine, Bell, Consumer, Step};
use crate::rules::plan::Plan;
use crate::telemetry::liveness::{Doing, Pulse};
use crate::telemetry::metrics::CommitterMetrics;

/// What the outputs are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// One transaction an epoch.
    ExactlyOnce,
    /// Outputs at once, offsets after their delivery.
    AtLeastOnce,
}

/// Largest record of each topic, in bytes, where it is known.
#[derive(Debug, Clone, Default)]
pub struct TopicLimits(pub HashMap<String, usize>);

impl TopicLimits {
    /// Room that a record batch's own header and the record's varints take.
    const OVERHEAD: usize = 512;
    /// Kafka's default `message.max.bytes`.
    const DEFAULT: usize = 1_048_588;

    /// The largest record for a topic.
    pub fn of(&self, topic: &str) -> usize {
        self.0.get(topic).copied().unwrap_or(Self::DEFAULT).saturating_sub(Self::OVERHEAD)
    }
}

/// Turns findings into records: `sink` behind the committer's back, so that neither room knows the other.
pub trait Encode: Send {
    /// A correlation's record, and whether events were left out to fit `limits`.
    fn correlation(&mut self, found: &Correlation, limits: &TopicLimits) -> (OutRecord, bool);

    /// A dead letter's record, given up at `now`.
    fn dead_letter(&mut self, letter: DeadLetter, now: Timestamp, limits: &TopicLimits) -> OutRecord;
}

/// What the pipeline asks of the committer.
pub enum Order {
    /// Ask for a barrier now and answer when its epoch is committed.
    Flush(Sender<()>),
}

/// What the committer tells the pipeline.
#[derive(Debug)]
pub enum Notice {
    /// A bounded input is done and its last epoch committed.
    Finished,
    /// Nothing more can be committed by this committer.
    Failed(BrokerError),
}

/// What a committer is made of.
pub struct CommitterParts {
    /// The rule set, for names.
    pub plan: Arc<Plan>,
    /// Topic names.
    pub topics: TopicTable,
    /// Rung by reports and orders.
    pub bell: Bell,
    /// One ring per source and shard.
    pub reports: Vec<Consumer<Report>>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where barriers are asked for, and whom to wake then.
    pub barriers: BarrierLine,
    /// The sources' bells.
    pub sources: Vec<Bell>,
    /// With `at_least_once`: sends outputs at once, outside transactions.
    pub at_once: Option<Box<dyn Producer>>,
    /// Time between barriers.
    pub interval: Duration,
    /// Correlations and dead letters to records.
    pub encoder: Box<dyn Encode>,
    /// Largest records.
    pub limits: TopicLimits,
    /// From the pipeline.
    pub orders: Receiver<Order>,
    /// To the pipeline.
    pub notices: Sender<Notice>,
    /// Beats once a step.
    pub pulse: Pulse,
    /// What it counts.
    pub metrics: Arc<CommitterMetrics>,
    /// Spans are kept for whoever commits.
    pub traced: bool,
}

/// Where the transactor is.
enum Line {
    /// Here: an epoch is committed as it is handed over. For whoever runs everything on one thread.
    Here(Box<Transactor>, VecDeque<Done>),
    /// On a thread of its own.
    There(Sender<Whole>, Receiver<Done>),
}

/// See the module.
pub struct Committer {
    parts: CommitterParts,
    line: Line,
    assembly: Assembly,
    committed: u64,
    next_barrier: Instant,
    waiting: Vec<(u64, Sender<()>)>,
    /// When each barrier in flight was asked for, oldest first.
    asked: VecDeque<Instant>,
    unfinished: usize,
    final_epoch: Option<u64>,
    warned_trimmed: bool,
}

impl Committer {
    /// A committer before its first epoch, and the body of its transactor's thread.
    pub fn in_two(
        parts: CommitterParts,
        transactor: TransactorParts,
    ) -> (Committer, impl FnOnce(&dyn Fn() -> bool) + Send) {
        // Few epochs are in flight, but not at most EPOCHS_IN_FLIGHT: flushes and the end ask for more. Neither end may ever wait
        // for the other.
        let (epochs, to_commit) = unbounded();
        let (answer, answers) = unbounded();
        let (transactor, bell) = (Transactor::new(transactor), parts.bell.clone());
        let body = move |stop: &dyn Fn() -> bool| transactor.run(&to_commit, &answer, &bell, stop);
        (Self::new(parts, Line::There(epochs, answers)), body)
    }

    /// A committer that commits in its own step.
    pub fn in_one(parts: CommitterParts, transactor: TransactorParts) -> Committer {
        Self::new(parts, Line::Here(Box::new(Transactor::new(transactor)), VecDeque::new()))
    }

    fn new(parts: CommitterParts, line: Line) -> Self {
        let senders = parts.reports.len();
        Committer {
            assembly: Assembly::new(senders),
            committed: 0,
            next_barrier: parts.clock.instant() + parts.interval,
            waiting: Vec::new(),
            asked: VecDeque::new(),
            unfinished: senders,
            final_epoch: None,
            warned_trimmed: false,
            parts,
            line,
        }
    }

    /// Runs until `stop`, the end of a bounded input, or a failure (told by a [`Notice`]). An open transaction is aborted by
    /// the next producer of this instance if it cannot be aborted here.
    pub fn run(mut self, stop: impl Fn() -> bool) {
        let metrics = Arc::clone(&self.parts.metrics);
        let _working = metrics.busy.work();
        while !stop() {
            match self.step() {
                Step::Busy => {}
                Step::Idle => metrics.busy.rest(|| self.rest(&stop)),
                Step::Done => return,
            }
        }
    }

    /// One look at everything, and the commit of every epoch that is whole; waits for the broker alone. Done when the last
    /// epoch of a bounded input is committed, or after a failure; the [`Notice`] is given.
    pub fn step(&mut self) -> Step {
        self.parts.pulse.beat();
        let (step, notice) = match self.turn() {
            Ok(Step::Done) => (Step::Done, Some(Notice::Finished)),
            Ok(step) => (step, None),
            Err(error) => (Step::Done, Some(Notice::Failed(error))),
        };
        if let Some(notice) = notice {
            drop(self.parts.notices.send(notice));
        }
        step
    }

    /// Sleeps until there may be something to do.
    fn rest(&self, stop: &impl Fn() -> bool) {
        // With all epochs in flight there is nothing to ask for: a report wakes us.
        let until = if self.in_flight() >= EPOCHS_IN_FLIGHT {
            Duration::from_millis(500)
        } else {
            self.next_barrier.saturating_duration_since(self.parts.clock.instant())
        };
        let parts = &self.parts;
        let wanted = || parts.barriers.is_wanted() && self.in_flight() < EPOCHS_IN_FLIGHT;
        let due = || {
            let committed = matches!(&self.line, Line::There(_, answers) if !answers.is_empty());
            stop()
                || committed
                || wanted()
                || !parts.orders.is_empty()
                || parts.reports.iter().any(|ring| !ring.is_empty())
        };
        parts.bell.wait(due, Some(until.max(Duration::from_millis(1))));
    }

    fn turn(&mut self) -> Result<Step, BrokerError> {
        let mut step = Step::Idle;
        let fullest = self.parts.reports.iter().map(Consumer::len).max().unwrap_or(0);
        self.parts.metrics.ring_fill.set_size(fullest * 1000 / RING_BATCHES);
        for sender in 0..self.parts.reports.len() {
            while let Some(report) = self.parts.reports[sender].pop() {
                step = Step::Busy;
                self.take(sender, report)?;
            }
        }
        while let Ok(Order::Flush(answer)) = self.parts.orders.try_recv() {
            let number = self.request();
            self.waiting.push((number, answer));
        }
        while let Some((number, epoch)) = self.assembly.take_whole() {
            self.hand_over(number, epoch)?;
        }
        while let Some(Done { number, committed }) = self.line.done() {
            step = Step::Busy;
            let opened = committed?;
            self.committed = number;
            let asked = self.asked.pop_front();
            if let Some(asked) = asked.filter(|_| opened) {
                self.parts.metrics.epoch.record(self.parts.clock.instant().saturating_duration_since(asked), 1);
            }
            self.waiting.retain(|(target, answer)| {
                let done = *target <= number;
                if done {
                    // Whoever asked may have given up waiting.
                    let _ = answer.send(());
                }
                !done
            });
            if self.final_epoch.is_some_and(|last| number >= last) {
                return Ok(Step::Done);
            }
        }
        if self.unfinished == 0 && self.final_epoch.is_none() {
            self.final_epoch = Some(self.request());
        }
        let full = self.assembly.bytes() >= EPOCH_OUTPUT_BYTES || self.parts.barriers.is_wanted();
        let due = full || self.parts.clock.instant() >= self.next_barrier;
        if due && self.in_flight() < EPOCHS_IN_FLIGHT {
            self.request();
        }
        self.parts.metrics.epochs_in_flight.set_size(self.in_flight());
        Ok(step)
    }

    /// An epoch is whole. With `at_least_once` all its outputs are on their way, and what follows it goes out meanwhile.
    fn hand_over(&mut self, number: u64, epoch: Epoch) -> Result<(), BrokerError> {
        let mut deliveries = None;
        if let Some(producer) = &mut self.parts.at_once {
            deliveries = producer.deliveries();
            if deliveries.is_none() {
                self.parts.pulse.during(Doing::Broker, || producer.flush(DELIVERY_WAIT))?;
            }
        }
        self.line.give(Whole { number, epoch, deliveries });
        Ok(())
    }

    fn in_flight(&self) -> usize {
        (self.parts.barriers.requested() - self.committed) as usize
    }

    fn request(&mut self) -> u64 {
        let now = self.parts.clock.instant();
        self.next_barrier = now + self.parts.interval;
        self.asked.push_back(now);
        let number = self.parts.barriers.request();
        self.parts.sources.iter().for_each(Bell::ring);
        number
    }

    /// Encodes a report's records into its epoch; with `at_least_once` they go out at once.
    fn take(&mut self, sender: usize, report: Report) -> Result<(), BrokerError> {
        if let Some(stuck) = report.failed {
            return Err(match stuck {
                Stuck::Damaged(message) => BrokerError::new(ErrorKind::State, message),
                Stuck::Newer(message) => BrokerError::new(ErrorKind::Setting, message),
                Stuck::Disk(message) => BrokerError::new(ErrorKind::File, message),
            });
        }
        let mut records = Vec::with_capacity(report.correlations.len() + report.dead_letters.len());
        let found = report.correlations.len() as u64;
        let began = wall_of(&*self.parts.clock, report.arrived);
        let limits = &self.parts.limits;
        let epoch = self.assembly.of(sender);
        for found in &report.correlations {
            let (record, trimmed) = self.parts.encoder.correlation(found, limits);
            let rule = &self.parts.plan.rules[found.rule.0 as usize].id;
            if trimmed && !std::mem::replace(&mut self.warned_trimmed, true) {
                let topic = &record.topic;
                tracing::warn!(rule, %topic, "a correlation was trimmed to fit the topic's max.message.bytes; said once");
            }
            spans::note(epoch, found, &self.parts.plan, &record.topic, began, self.parts.traced);
            match epoch.progress.correlations.get_mut(rule) {
                Some(count) => *count += 1,
                None => drop(epoch.progress.correlations.insert(rule.clone(), 1)),
            }
            records.push(record);
        }
        let now = self.parts.clock.wall();
        for letter in report.dead_letters {
            *epoch.progress.dead_letters.entry(letter.code.name().into()).or_default() += 1;
            let record = self.parts.encoder.dead_letter(letter, now, limits);
            match &mut self.line {
                Line::Here(transactor, _) if fault::planted(Bug::DeadLetterOutsideTransaction) => {
                    transactor.send_alone(record)?;
                }
                _ => records.push(record),
            }
        }
        for (topic, counts) in &report.counts {
            epoch.progress.counts.entry(self.parts.topics.name(*topic)).or_default().merge(counts);
        }
        report.positions.into_iter().for_each(|position| Assembly::add_position(epoch, position));
        for (task, watermark) in report.announced {
            epoch.announced.entry(task).and_modify(|least| *least = watermark.min(*least)).or_insert(watermark);
        }
        if !report.changes.is_empty() {
            epoch.changes.push(report.changes);
        }
        match &mut self.parts.at_once {
            None => {
                epoch.bytes += records.iter().map(OutRecord::bytes).sum::<usize>();
                epoch.records.append(&mut records);
            }
            Some(producer) => {
                let send = || records.into_iter().try_for_each(|record| producer.send(record));
                self.parts.pulse.during(Doing::Broker, send)?;
            }
        }
        // In a transaction an output is seen with its epoch, whenever it comes here; at once, only now.
        let handed = if self.parts.at_once.is_some() { Some(self.parts.clock.instant()) } else { report.handed };
        if let Some((arrived, handed)) = report.arrived.zip(handed).filter(|_| found > 0) {
            self.parts.metrics.processing.record(handed.saturating_duration_since(arrived), found);
        }
        self.unfinished -= usize::from(report.finished);
        if let Some(barrier) = report.barrier {
            self.assembly.close(sender, barrier);
        }
        Ok(())
    }
}

impl Line {
    fn give(&mut self, whole: Whole) {
        match self {
            // After a failure nothing more is committed.
            Line::Here(_, done) if done.back().is_some_and(|last| last.committed.is_err()) => {}
            Line::Here(transactor, done) => done.push_back(transactor.commit(whole)),
            // It has gone only after an answer that says why.
            Line::There(epochs, _) => drop(epochs.send(whole)),
        }
    }

    fn done(&mut self) -> Option<Done> {
        match self {
            Line::Here(_, done) => done.pop_front(),
            Line::There(_, answers) => answers.try_recv().ok(),
        }
    }
}
