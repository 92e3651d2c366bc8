//! The group thread: what assignments, revocations, probes and pauses mean to the pipeline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use super::spec::Locality;
use super::state::Recovery;
use crate::broker::{Assigned, BrokerError, ErrorKind, Group, GroupEvents, TopicPartition};
use crate::control::Control;
use crate::epoch::{Notice, Order, TaskRecord};
use crate::event::{Clock, PartitionClockState, Task, TopicTable};
use crate::fault;
use crate::limits::LOG_REPEAT_AFTER;
use crate::ring::{Bell, Step};
use crate::source::{Board, Command, PartitionClock, Phase, PhaseCell, Reader, Request, Stream};
use crate::telemetry::RateLimit;
use crate::telemetry::liveness::{Doing, Pulse};
use crate::telemetry::metrics::PartitionName;

/// Longest wait for the epochs in flight when partitions are taken away: half of librdkafka's default
/// `max.poll.interval.ms` (5 min). Past it the broker is broken and the partitions count as lost.
const REVOKE_WAIT: Duration = Duration::from_secs(150);

/// How long the leader may take to answer where a partition ends.
const END_OFFSETS_WAIT: Duration = Duration::from_secs(10);

/// How long an assignment without partitions must stand before it counts as the final word.
const EMPTY_ASSIGNMENT_STANDS: Duration = Duration::from_secs(5);

/// It is tried at the pace of the group thread.
static NOT_RESUMED: RateLimit = RateLimit::new(LOG_REPEAT_AFTER);

/// Pace of the group thread: bounds how late a probe or a pause is asked for.
const POLL: Duration = Duration::from_millis(20);

/// Called again and again while the group thread waits for the others inside a revocation. Threads only need some sleep; a
/// scheduler that runs everything on one thread lets the others go on meanwhile.
pub type Pump = Arc<dyn Fn() + Send + Sync>;

/// The pump of a pipeline of threads.
pub(super) fn sleep_a_little() {
    std::thread::sleep(Duration::from_millis(1));
}

/// A source as the group thread sees it.
#[derive(Clone)]
pub(super) struct SourceLine {
    pub commands: Sender<Command>,
    pub bell: Bell,
}

/// Shared by the rebalance callbacks and the group thread's loop; both run on that thread.
#[derive(Default)]
pub(super) struct Desk {
    /// Assigned, but not handed to a source yet.
    fresh: Vec<Assigned>,
    /// When the last assignment came; `None`: partitions are being taken away, or none came yet.
    assigned_at: Option<Instant>,
    /// Could not be resumed; tried again.
    resume: Vec<TopicPartition>,
    /// Being read: partition, its source, its clock.
    reading: Vec<(TopicPartition, usize, Arc<PartitionClock>)>,
    /// Where partitions start whose committed offset has expired.
    fallbacks: BTreeMap<TopicPartition, i64>,
    /// Why it could not be found out where one starts: nothing may be read then.
    unfound: Option<BrokerError>,
    /// Clocks of partitions that went and may come back to this incarnation.
    parted: BTreeMap<TopicPartition, PartitionClockState>,
}

/// What the group thread needs.
#[derive(Clone)]
pub(super) struct Membership {
    pub topics: TopicTable,
    pub streams: Arc<Vec<Arc<Stream>>>,
    pub locality: Locality,
    pub until_end: bool,
    pub board: Board,
    pub sources: Vec<SourceLine>,
    pub orders: Sender<Order>,
    pub committer: Bell,
    pub notices: Sender<Notice>,
    pub phase: PhaseCell,
    pub control: Control,
    pub clock: Arc<dyn Clock>,
    pub recovery: Option<Recovery>,
    /// Every input partition known at the start.
    pub inputs: Arc<Vec<TopicPartition>>,
    pub pump: Pump,
    /// Beats once a step.
    pub pulse: Pulse,
    /// Starts empty.
    pub desk: Arc<Mutex<Desk>>,
}

impl Desk {
    /// Whether a partition is being read with this very clock.
    fn reads(&self, clock: &Arc<PartitionClock>) -> bool {
        self.reading.iter().any(|(_, _, reading)| Arc::ptr_eq(reading, clock))
    }
}

impl Membership {
    fn desk(&self) -> std::sync::MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group thread's loop. `group` is dropped with it.
    pub fn serve(self, mut group: Box<dyn Group>, requests: &Receiver<Request>) {
        // The poll is the wait: it ends early when the group has something to say.
        while self.step(&mut *group, requests, POLL) != Step::Done {}
    }

    /// Serves the group for up to `timeout`, then its sources' requests. Done when the pipeline stops, the group left, or
    /// after a failure; the [`Notice`] is given.
    pub fn step(&self, group: &mut dyn Group, requests: &Receiver<Request>, timeout: Duration) -> Step {
        self.pulse.beat();
        if self.phase.get() == Phase::Stop {
            if let Err(error) = self.pulse.during(Doing::Broker, || group.leave()) {
                tracing::warn!(%error, "leaving the group failed; its session will time out");
            }
            return Step::Done;
        }
        // All of it asks the broker, with limits of its own; what a rebalance means to us, inside of a poll, is work again.
        let serve =
            || group.poll(timeout).and_then(|()| self.hand_out(group)).and_then(|()| self.answer(group, requests));
        let served = self.pulse.during(Doing::Broker, serve);
        match served {
            Ok(()) => Step::Idle,
            Err(error) => {
                drop(self.notices.send(Notice::Failed(error)));
                Step::Done
            }
        }
    }

    /// Gives fresh partitions to their sources, clocks first: no watermark may pass them by.
    fn hand_out(&self, group: &mut dyn Group) -> Result<(), BrokerError> {
        let (fresh, settled) = {
            let now = self.clock.instant();
            let mut desk = self.desk();
            // An assignment without partitions counts once it has stood for a while: a cooperative rebalance gives nothing in
            // its first round and the partitions in its second.
            let stands =
                |at: Instant| !desk.reading.is_empty() || now.saturating_duration_since(at) > EMPTY_ASSIGNMENT_STANDS;
            let settled = desk.assigned_at.is_some_and(stands);
            if let Some(error) = desk.unfound.take() {
                return Err(error);
            }
            (std::mem::take(&mut desk.fresh), settled)
        };
        if fresh.is_empty() {
            if settled {
                self.control.set_settled(true);
                self.board.add(&[]);
            }
            return Ok(());
        }
        let partitions: Vec<TopicPartition> = fresh.iter().map(|assigned| assigned.partition.clone()).collect();
        let ends: Vec<Option<i64>> = if self.until_end {
            group.end_offsets(&partitions, END_OFFSETS_WAIT)?.into_iter().map(Some).collect()
        } else {
            vec![None; partitions.len()]
        };
        let mut by_source: Vec<Vec<Reader>> = self.sources.iter().map(|_| Vec::new()).collect();
        let mut clocks = Vec::with_capacity(fresh.len());
        let mut restored: BTreeMap<Task, TaskRecord> = BTreeMap::new();
        let live: BTreeSet<Task> = self.desk().reading.iter().map(|(_, _, clock)| clock.task).collect();
        for (mut assigned, until) in fresh.into_iter().zip(ends) {
            // It commits again where it starts, also if it brings nothing: our record must not forget it.
            let fallback = self.desk().fallbacks.remove(&assigned.partition);
            assigned.committed = assigned.committed.or(fallback);
            let stood = self.stood(&assigned.partition, &mut restored, &live)?;
            let (source, mut reader, clock) = self.reader(assigned, until)?;
            if let Some(stood) = stood {
                reader.restore(stood);
            }
            self.desk().reading.push((reader.partition.clone(), source, Arc::clone(&clock)));
            clocks.push(clock);
            by_source[source].push(reader);
        }
        self.board.add(&clocks);
        self.control.set_settled(true);
        self.control.set_assigned(|names| {
            names.extend(partitions.iter().map(|tp| format!("{}/{}", tp.topic, tp.partition)));
            names.sort();
        });
        for (line, readers) in self.sources.iter().zip(by_source) {
            if !readers.is_empty() {
                let tasks: BTreeSet<Task> = readers.iter().map(Reader::task).collect();
                // A task without a watermark has state all the same: signals that wait for one, ids for dedup.
                let stood = |task: Task| Some(self.recovery.as_ref()?.resumed(task, restored.get(&task)?));
                let tasks = tasks.into_iter().filter_map(stood).collect();
                drop(line.commands.send(Command::Assign(readers, tasks)));
                line.bell.ring();
            }
        }
        Ok(())
    }

    /// The clock that a partition comes with, and the record of its task if that is new here.
    fn stood(
        &self,
        partition: &TopicPartition,
        restored: &mut BTreeMap<Task, TaskRecord>,
        live: &BTreeSet<Task>,
    ) -> Result<Option<PartitionClockState>, BrokerError> {
        if let Some(parted) = self.desk().parted.remove(partition).filter(|_| self.locality == Locality::Instance) {
            return Ok(Some(parted));
        }
        let Some(recovery) = &self.recovery else { return Ok(None) };
        recovery.arriving(partition, restored, |task| live.contains(&task), &self.inputs)
    }

    fn reader(
        &self,
        assigned: Assigned,
        until: Option<i64>,
    ) -> Result<(usize, Reader, Arc<PartitionClock>), BrokerError> {
        let partition = &assigned.partition;
        let stream = self.streams.iter().position(|stream| stream.has_topic(&partition.topic)).ok_or_else(|| {
            let message = format!("topic {} was assigned but belongs to no input", partition.topic);
            BrokerError::new(ErrorKind::Fatal, message)
        })?;
        let topic = self.topics.intern(&partition.topic).ok_or_else(|| {
            let message = format!("no place left in the order of topics for {}: restart", partition.topic);
            BrokerError::new(ErrorKind::Fatal, message)
        })?;
        let task = match self.locality {
            Locality::Instance => 0,
            Locality::Partition => partition.partition as Task,
        };
        // Equal partition numbers go together: a task is fed by one source (`locality: partition`); topics of one partition
        // each are spread over the sources otherwise.
        let offset = if self.locality == Locality::Instance { stream } else { 0 };
        let source = (partition.partition as usize + offset) % self.sources.len();
        let clock = Arc::new(PartitionClock::new(task, self.streams[stream].out_of_orderness));
        let shown = self.control.metrics().assign(&partition.topic, partition.partition);
        let reader =
            Reader::new(assigned, topic, Arc::clone(&clock), stream, until, self.clock.instant()).shown_in(shown);
        Ok((source, reader, clock))
    }

    /// Probes, pauses and resumes that sources asked for.
    fn answer(&self, group: &mut dyn Group, requests: &Receiver<Request>) -> Result<(), BrokerError> {
        let (mut probes, mut clocks) = (Vec::new(), Vec::new());
        while let Ok(request) = requests.try_recv() {
            match request {
                Request::Probe(partition, clock) => {
                    probes.push(partition);
                    clocks.push(clock);
                }
                Request::Pause(partition, clock) if self.desk().reads(&clock) => {
                    self.control.metrics().group.pauses.add(1);
                    group.pause(&[partition])?;
                }
                Request::Resume(partition, clock) if self.desk().reads(&clock) => self.desk().resume.push(partition),
                // Asked before the partition went and came again: its new reader knows of no pause and would never resume.
                Request::Pause(..) | Request::Resume(..) => {}
                Request::Failed(error) => return Err(error),
            }
        }
        let resume = std::mem::take(&mut self.desk().resume);
        if !resume.is_empty()
            && let Err(error) = group.resume(&resume)
        {
            // They stay paused, nothing is lost: a leader that is away comes back.
            if let Some(held) = NOT_RESUMED.permit() {
                tracing::warn!(%error, held, "partitions could not be resumed yet; trying again");
            }
            self.desk().resume = resume;
        }
        if !probes.is_empty() {
            // An unreachable leader gives no answer: its partition is then not idle, and is asked again. It must not keep the
            // others from theirs.
            match group.end_offsets(&probes, Duration::from_secs(2)) {
                Ok(ends) => clocks.iter().zip(ends).for_each(|(clock, end)| clock.answer_probe(end)),
                Err(_) => {
                    for (partition, clock) in probes.into_iter().zip(clocks) {
                        match group.end_offsets(&[partition], Duration::from_millis(500)) {
                            Ok(ends) => ends.into_iter().for_each(|end| clock.answer_probe(end)),
                            Err(error) => tracing::debug!(%error, "idle probe without an answer"),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for `answers` messages, or until the pipeline stops or the wait is over.
    fn wait<T>(&self, from: &Receiver<T>, answers: usize, until: Instant) -> bool {
        let mut left = answers;
        while left > 0 {
            match from.try_recv() {
                Ok(_) => left -= 1,
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => {
                    if self.phase.get() == Phase::Stop || self.clock.instant() >= until {
                        return false;
                    }
                    self.pulse.beat();
                    (self.pump)();
                }
            }
        }
        true
    }

    /// See [`GroupEvents::revoked`].
    fn release(&self, partitions: &[TopicPartition]) {
        {
            let mut desk = self.desk();
            desk.fresh.retain(|assigned| !partitions.contains(&assigned.partition));
            desk.resume.retain(|partition| !partitions.contains(partition));
            desk.assigned_at = None;
            self.control.set_settled(false);
        }
        self.board.unassign();
        if self.phase.get() == Phase::Stop {
            return;
        }
        let until = self.clock.instant() + REVOKE_WAIT;
        let (answer, answers) = crossbeam_channel::bounded(self.sources.len());
        for line in &self.sources {
            drop(line.commands.send(Command::Release(partitions.to_vec(), answer.clone())));
            line.bell.ring();
        }
        drop(answer);
        let (committed, commits) = crossbeam_channel::bounded(1);
        let done = self.wait(&answers, self.sources.len(), until) && {
            fault::point("revoke.released");
            drop(self.orders.send(Order::Flush(committed)));
            self.committer.ring();
            self.wait(&commits, 1, until)
        };
        if !done {
            if self.phase.get() != Phase::Stop {
                let message = "revoked partitions could not be committed in time; they are given up uncommitted";
                drop(self.notices.send(Notice::Failed(BrokerError::new(ErrorKind::Fenced, message))));
            }
            return;
        }
        fault::point("revoke.committed");
        let mut desk = self.desk();
        let Desk { reading, parted, .. } = &mut *desk;
        reading.retain(|(partition, _, clock)| {
            let stays = !partitions.contains(partition);
            if !stays {
                parted.insert(partition.clone(), clock.state());
            }
            stays
        });
        for (at, line) in self.sources.iter().enumerate() {
            let gone: Vec<Task> = match self.locality {
                Locality::Instance => Vec::new(),
                Locality::Partition => partitions
                    .iter()
                    .map(|tp| tp.partition as Task)
                    .filter(|task| *task as usize % self.sources.len() == at)
                    .filter(|task| !desk.reading.iter().any(|(tp, _, _)| tp.partition as Task == *task))
                    .collect(),
            };
            self.recovery.iter().for_each(|recovery| recovery.gone(&gone));
            drop(line.commands.send(Command::Drop(partitions.to_vec())));
            line.bell.ring();
        }
        drop(desk);
        self.forget(partitions);
    }

    fn forget(&self, partitions: &[TopicPartition]) {
        let gone = |tp: &TopicPartition, (topic, number): &PartitionName| tp.topic == *topic && tp.partition == *number;
        self.control.metrics().unassign(|name| partitions.iter().any(|tp| gone(tp, name)));
        self.control.set_assigned(|names| {
            names.retain(|name| !partitions.iter().any(|tp| *name == format!("{}/{}", tp.topic, tp.partition)));
        });
    }
}

impl GroupEvents for Membership {
    fn assigned(&mut self, partitions: Vec<Assigned>) {
        self.control.metrics().group.rebalances.add(1);
        let mut desk = self.desk();
        desk.assigned_at = Some(self.clock.instant());
        desk.fresh.extend(partitions);
    }

    /// Sources stop reading, the epochs in flight are committed, then the partitions go.
    fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.control.metrics().group.rebalances.add(1);
        let pulse = self.pulse.clone();
        pulse.during(Doing::Work, || self.release(partitions));
    }

    fn fallback(&mut self, partition: &TopicPartition) -> Option<i64> {
        match self.recovery.as_ref()?.offset(partition) {
            Ok(start) => {
                self.desk().fallbacks.extend(start.map(|start| (partition.clone(), start)));
                start
            }
            Err(error) => {
                self.desk().unfound = Some(error);
                None
            }
        }
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        self.control.metrics().group.rebalances.add(1);
        self.desk().fresh.retain(|assigned| !partitions.contains(&assigned.partition));
        if self.phase.get() == Phase::Stop {
            return;
        }
        self.forget(partitions);
        let message =
            format!("{} partitions were lost to another member (session timed out or fenced)", partitions.len());
        drop(self.notices.send(Notice::Failed(BrokerError::new(ErrorKind::Fenced, message))));
    }
}
