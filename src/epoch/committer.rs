//! The committer's thread.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::assembly::{Assembly, Epoch};
use super::progress::Progress;
use super::spans;
use super::state::{Prepared, StateParts};
use crate::broker::{BrokerError, ErrorKind, GroupHandle, OutRecord, Position, Producer, TopicPartition};
use crate::event::{
    Clock, Correlation, DeadLetter, Origin, PartitionClockState, ReadPosition, Report, Span, Stuck, Timestamp, TopicId,
    TopicTable,
};
use crate::fault::{self, Bug};
use crate::limits::{EPOCH_OUTPUT_BYTES, EPOCHS_IN_FLIGHT, RING_BATCHES};
use crate::ring::{BarrierLine, Bell, Consumer, Step};
use crate::rules::plan::Plan;
use crate::telemetry::liveness::{Doing, Pulse};
use crate::telemetry::metrics::CommitterMetrics;
use crate::telemetry::otlp::Tracer;

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
    /// Sends what belongs to an epoch.
    pub producer: Box<dyn Producer>,
    /// With `at_least_once`: sends outputs at once, outside transactions.
    pub at_once: Option<Box<dyn Producer>>,
    /// Durable state; `None`: it is in memory alone.
    pub state: Option<StateParts>,
    /// Whose offsets.
    pub group: Arc<dyn GroupHandle>,
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
    /// Totals of committed epochs.
    pub progress: Arc<Mutex<Progress>>,
    /// Beats once a step.
    pub pulse: Pulse,
    /// What it counts.
    pub metrics: Arc<CommitterMetrics>,
    /// Takes spans.
    pub tracer: Option<Tracer>,
}

/// The sole owner of commit.
pub struct Committer {
    parts: CommitterParts,
    assembly: Assembly,
    committed: u64,
    /// What the broker has of where we stand.
    stored: BTreeMap<(TopicId, i32), ReadPosition>,
    next_barrier: Instant,
    waiting: Vec<(u64, Sender<()>)>,
    /// When each barrier in flight was asked for, oldest first.
    asked: VecDeque<Instant>,
    unfinished: usize,
    final_epoch: Option<u64>,
    warned_trimmed: bool,
}

impl Committer {
    /// A committer before its first epoch.
    pub fn new(parts: CommitterParts) -> Self {
        let senders = parts.reports.len();
        Committer {
            assembly: Assembly::new(senders),
            committed: 0,
            stored: BTreeMap::new(),
            next_barrier: parts.clock.instant() + parts.interval,
            waiting: Vec::new(),
            asked: VecDeque::new(),
            unfinished: senders,
            final_epoch: None,
            warned_trimmed: false,
            parts,
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
        let due =
            || stop() || wanted() || !parts.orders.is_empty() || parts.reports.iter().any(|ring| !ring.is_empty());
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
            let asked = self.asked.pop_front();
            let opened = self.commit(number, epoch)?;
            self.committed = number;
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
        let began = self.wall_of(report.arrived);
        let limits = &self.parts.limits;
        let epoch = self.assembly.of(sender);
        for found in &report.correlations {
            let (record, trimmed) = self.parts.encoder.correlation(found, limits);
            let rule = &self.parts.plan.rules[found.rule.0 as usize].id;
            if trimmed && !std::mem::replace(&mut self.warned_trimmed, true) {
                let topic = &record.topic;
                tracing::warn!(rule, %topic, "a correlation was trimmed to fit the topic's max.message.bytes; said once");
            }
            spans::note(epoch, found, &self.parts.plan, &record.topic, began, self.parts.tracer.as_ref());
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
            if fault::planted(Bug::DeadLetterOutsideTransaction) {
                self.parts.producer.begin()?;
                self.parts.producer.send(record)?;
                self.parts.producer.commit(&[], &*self.parts.group)?;
            } else {
                records.push(record);
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

    /// The end of an epoch, and whether it took a transaction. One in which nothing moved opens none: a watermark that moved and
    /// decided nothing follows from the clocks again.
    fn commit(&mut self, number: u64, mut epoch: Epoch) -> Result<bool, BrokerError> {
        fault::point("epoch.assembled");
        let stands = |(at, position): (_, &ReadPosition)| {
            self.stored.get(at).is_some_and(|stored| (stored.next, stored.clock) == (position.next, position.clock))
        };
        let moved = !epoch.positions.iter().all(stands);
        let spoken = epoch.progress.correlations_total() + epoch.progress.dead_letters_total() > 0;
        let opens = moved || spoken || !epoch.changes.is_empty();
        if opens {
            if let Some(producer) = &mut self.parts.at_once {
                self.parts.pulse.during(Doing::Broker, || producer.flush(Duration::from_secs(30)))?;
            }
            let prepared = self
                .parts
                .state
                .as_mut()
                .map(|state| state.prepare(&mut epoch, &self.parts.topics, self.parts.clock.wall().as_millis()));
            let metadata = |at| match &self.parts.state {
                Some(state) => state.metadata(at),
                None => format!("epoch={number}"),
            };
            let positions: Vec<Position> =
                epoch.positions.values().map(|at| self.position(at.next, metadata(at))).collect();
            if fault::planted(Bug::StoreBeforeCommit)
                && let (Some(state), Some(prepared)) = (&mut self.parts.state, &prepared)
            {
                state.store(number, prepared, Vec::new(), self.parts.clock.wall().as_millis());
            }
            let began = self.parts.clock.instant();
            let records = std::mem::take(&mut epoch.records);
            let sent = records.len();
            self.transact(&positions, records, prepared.as_ref())?;
            fault::point("epoch.committed");
            self.count_committed(number, (began, sent), prepared.as_ref(), &mut epoch);
            if let (Some(state), Some(prepared)) = (&mut self.parts.state, prepared) {
                let (ends, now_ms) = (self.parts.producer.log_ends(), self.parts.clock.wall().as_millis());
                let began = self.parts.clock.instant();
                self.parts.pulse.during(Doing::Disk, || state.store(number, &prepared, ends, now_ms));
                let took = self.parts.clock.instant().saturating_duration_since(began);
                self.parts.metrics.store_write.record(took, 1);
                fault::point("epoch.stored");
            }
            self.stored = std::mem::take(&mut epoch.positions);
            epoch.progress.epochs = 1;
            epoch.progress.last_commit = Some(self.parts.clock.wall());
        } else if let Some(state) = &self.parts.state {
            state.written(number);
        }
        self.parts.progress.lock().unwrap_or_else(PoisonError::into_inner).merge(epoch.progress);
        Ok(opens)
    }

    /// What the wall clock showed at a time of the process; now, if none is given.
    fn wall_of(&self, at: Option<Instant>) -> Timestamp {
        let clock = &self.parts.clock;
        let ago = at.map_or(Duration::ZERO, |at| clock.instant().saturating_duration_since(at));
        clock.wall() - Span(i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX))
    }

    /// An epoch's transaction, begun then and with so many records, is committed.
    fn count_committed(
        &self,
        number: u64,
        (began, records): (Instant, usize),
        changelog: Option<&Prepared>,
        epoch: &mut Epoch,
    ) {
        let CommitterParts { metrics, clock, .. } = &self.parts;
        if let Some(tracer) = &self.parts.tracer {
            spans::committed(tracer, number, epoch, records, (self.wall_of(Some(began)), clock.wall()));
        }
        metrics.commit.record(clock.instant().saturating_duration_since(began), 1);
        let (parts, bytes) = changelog.map_or((0, 0), Prepared::size);
        metrics.changelog_records.add(parts);
        metrics.changelog_bytes.add(bytes);
        let now = clock.wall();
        for (origin, time) in &epoch.latest {
            let Some(at) = epoch.positions.get(&(origin.topic, origin.partition)) else { continue };
            let PartitionClockState { newest, stamp, .. } = at.clock;
            if newest != Timestamp::MIN && stamp != Timestamp::MIN {
                // Evidence has no Kafka timestamp: the newest event of the partition tells how far the two are apart.
                let passed = now - (*time + (stamp - newest));
                metrics.end_to_end.record(passed.max(Span::ZERO).to_std(), 1);
            }
        }
    }

    /// One transaction: outputs, dead letters, changelog, offsets. Any failure ends this incarnation; what was not committed
    /// is read again from the committed offsets.
    fn transact(
        &mut self,
        positions: &[Position],
        records: Vec<OutRecord>,
        changelog: Option<&Prepared>,
    ) -> Result<(), BrokerError> {
        let CommitterParts { producer, state, pulse, group, .. } = &mut self.parts;
        let state = state.as_ref();
        if fault::planted(Bug::OffsetsBeforeOutputs) {
            producer.begin()?;
            producer.commit(positions, &**group)?;
        }
        let sent = producer.begin().and_then(|()| {
            fault::point("epoch.begun");
            pulse.during(Doing::Broker, || records.into_iter().try_for_each(|record| producer.send(record)))?;
            fault::point("epoch.outputs-sent");
            if let (Some(state), Some(prepared)) = (state, changelog) {
                pulse.during(Doing::Broker, || state.send(prepared, &mut **producer))?;
                fault::point("epoch.changelog-sent");
            }
            fault::point("epoch.before-commit");
            pulse.during(Doing::Broker, || producer.commit(positions, &**group))
        });
        if let Err(error) = &sent
            && !matches!(error.kind, ErrorKind::Uncertain | ErrorKind::Fenced | ErrorKind::Fatal)
            && let Err(abort) = pulse.during(Doing::Broker, || producer.abort())
        {
            tracing::warn!(%abort, "the transaction could not be aborted; the next producer of this instance does it");
        }
        sent
    }

    fn position(&self, next: Origin, metadata: String) -> Position {
        let partition = TopicPartition { topic: self.parts.topics.name(next.topic), partition: next.partition };
        Position { partition, offset: next.offset, metadata }
    }
}
