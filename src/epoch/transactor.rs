//! The transactor: one transaction for each epoch that is whole, in order, and after its commit the store. On a thread of its own,
//! so that nothing that is to go out at once waits for a transaction or a disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::assembly::Epoch;
use super::progress::Progress;
use super::spans;
use super::state::{Prepared, StateParts};
use crate::broker::{BrokerError, Deliveries, ErrorKind, GroupHandle, OutRecord, Position, Producer, TopicPartition};
use crate::event::{Clock, Origin, PartitionClockState, ReadPosition, Span, Timestamp, TopicId, TopicTable};
use crate::fault::{self, Bug};
use crate::ring::Bell;
use crate::telemetry::liveness::{Doing, Pulse};
use crate::telemetry::metrics::CommitterMetrics;
use crate::telemetry::otlp::Tracer;

/// How long outputs that were sent at once may take to be acknowledged.
pub(super) const DELIVERY_WAIT: Duration = Duration::from_secs(30);

/// Longest sleep when nothing is to be committed: it beats meanwhile.
const REST: Duration = Duration::from_millis(500);

/// An epoch that every sender has closed.
pub(super) struct Whole {
    pub number: u64,
    pub epoch: Epoch,
    /// With `at_least_once`: tells when its outputs are delivered. None: they are.
    pub deliveries: Option<Box<dyn Deliveries>>,
}

/// What became of an epoch: whether it took a transaction.
pub(super) struct Done {
    pub number: u64,
    pub committed: Result<bool, BrokerError>,
}

/// What a transactor is made of.
pub struct TransactorParts {
    /// Topic names.
    pub topics: TopicTable,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Sends what belongs to an epoch.
    pub producer: Box<dyn Producer>,
    /// Durable state; `None`: it is in memory alone.
    pub state: Option<StateParts>,
    /// Whose offsets.
    pub group: Arc<dyn GroupHandle>,
    /// Totals of committed epochs.
    pub progress: Arc<Mutex<Progress>>,
    /// Beats at least twice a second.
    pub pulse: Pulse,
    /// What it counts: the committer's block, of which it writes what follows from commits.
    pub metrics: Arc<CommitterMetrics>,
    /// Takes spans.
    pub tracer: Option<Tracer>,
}

/// The sole owner of commit.
pub(super) struct Transactor {
    parts: TransactorParts,
    /// What the broker has of where we stand.
    stored: BTreeMap<(TopicId, i32), ReadPosition>,
}

/// What the wall clock showed at a time of the process; now, if none is given.
pub(super) fn wall_of(clock: &dyn Clock, at: Option<Instant>) -> Timestamp {
    let ago = at.map_or(Duration::ZERO, |at| clock.instant().saturating_duration_since(at));
    clock.wall() - Span(i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX))
}

impl Transactor {
    pub fn new(parts: TransactorParts) -> Transactor {
        Transactor { parts, stored: BTreeMap::new() }
    }

    /// Commits what comes until `stop`, the committer's end, or a failure: after one nothing more is committed. An open transaction is
    /// aborted by the next producer of this instance if it cannot be aborted here.
    pub fn run(mut self, epochs: &Receiver<Whole>, answers: &Sender<Done>, committer: &Bell, stop: &dyn Fn() -> bool) {
        let metrics = Arc::clone(&self.parts.metrics);
        let _working = metrics.transactor.work();
        while !stop() {
            self.parts.pulse.beat();
            let mut next = Err(RecvTimeoutError::Timeout);
            match epochs.try_recv() {
                Ok(whole) => next = Ok(whole),
                Err(_) => metrics.transactor.rest(|| next = epochs.recv_timeout(REST)),
            }
            let done = match next {
                Ok(whole) => self.commit(whole),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let failed = done.committed.is_err();
            // A committer that is gone needs no answer.
            let _ = answers.send(done);
            committer.ring();
            if failed {
                return;
            }
        }
    }

    /// A bug on purpose: a record in a transaction of its own.
    pub(super) fn send_alone(&mut self, record: OutRecord) -> Result<(), BrokerError> {
        self.parts.producer.begin()?;
        self.parts.producer.send(record)?;
        self.parts.producer.commit(&[], &*self.parts.group)
    }

    /// Commits an epoch.
    pub(super) fn commit(&mut self, Whole { number, epoch, deliveries }: Whole) -> Done {
        let delivered = deliveries
            .map_or(Ok(()), |deliveries| self.parts.pulse.during(Doing::Broker, || deliveries.wait(DELIVERY_WAIT)));
        Done { number, committed: delivered.and_then(|()| self.end(number, epoch)) }
    }

    /// The end of an epoch, and whether it took a transaction. One in which nothing moved opens none: a watermark that moved and
    /// decided nothing follows from the clocks again.
    fn end(&mut self, number: u64, mut epoch: Epoch) -> Result<bool, BrokerError> {
        fault::point("epoch.assembled");
        let stands = |(at, position): (_, &ReadPosition)| {
            self.stored.get(at).is_some_and(|stored| (stored.next, stored.clock) == (position.next, position.clock))
        };
        let moved = !epoch.positions.iter().all(stands);
        let spoken = epoch.progress.correlations_total() + epoch.progress.dead_letters_total() > 0;
        let opens = moved || spoken || !epoch.changes.is_empty();
        if opens {
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
                self.parts.metrics.store_bytes.set(state.disk_bytes() as i64);
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

    /// An epoch's transaction, begun then and with so many records, is committed.
    fn count_committed(
        &self,
        number: u64,
        (began, records): (Instant, usize),
        changelog: Option<&Prepared>,
        epoch: &mut Epoch,
    ) {
        let TransactorParts { metrics, clock, .. } = &self.parts;
        if let Some(tracer) = &self.parts.tracer {
            spans::committed(tracer, number, epoch, records, (wall_of(&**clock, Some(began)), clock.wall()));
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
        let TransactorParts { producer, state, pulse, group, .. } = &mut self.parts;
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
