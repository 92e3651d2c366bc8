//! One producer, one membership, and the threads between them, from start to end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::encoders::Encoders;
use super::membership::{Membership, SourceLine};
use super::spec::{Control, Locality, PipelineError, Spec, Stage};
use super::threads::{Place, spawn};
use crate::broker::{BrokerError, ErrorKind, GroupHandle, Subscription, TopicInfo};
use crate::decode::{Decoder, StreamFields};
use crate::detect::Detector;
use crate::epoch::{Committer, CommitterParts, Delivery, Notice, Order, TopicLimits};
use crate::event::{Report, ToShard, TopicTable};
use crate::limits::RING_BATCHES;
use crate::ring::{BarrierLine, Bell, Consumer, Producer, ring};
use crate::shard::core::{Core, Settings};
use crate::shard::worker::{Carriers, Worker};
use crate::sink::{CorrelationEncoder, DeadLetterEncoder};
use crate::source::outgoing::Outgoing;
use crate::source::{
    Board, Command, Phase, PhaseCell, Processor, Request, Router, Source, SourceParts, Stream, StreamReader,
};

/// Longest wait for threads to end after they were told to stop; a thread in a broker call that does not return is left
/// behind, its producer fenced by the next incarnation.
const JOIN_WAIT: Duration = Duration::from_secs(10);

/// How an incarnation ended.
pub(super) enum End {
    /// The input ended, or a drain was asked for and is done.
    Done,
    /// It may not run at all.
    Refused(PipelineError),
    /// It failed; the next one may not.
    Failed(BrokerError),
}

/// A running pipeline.
pub(super) struct Incarnation<'a> {
    spec: &'a Spec,
    control: &'a Control,
    phase: PhaseCell,
    bells: Vec<Bell>,
    committer: Bell,
    orders: Sender<Order>,
    notices: Receiver<Notice>,
    threads: Vec<JoinHandle<()>>,
    assigned_seen: Vec<String>,
}

/// The rings of a pipeline, both ends of each.
struct Rings {
    /// For each source, one sending end per shard.
    to_shards: Vec<Vec<Producer<ToShard>>>,
    /// For each shard, one receiving end per source.
    from_sources: Vec<Vec<Consumer<ToShard>>>,
    /// Sources, then shards.
    reports: Vec<Producer<Report>>,
    from_all: Vec<Consumer<Report>>,
}

impl Rings {
    fn new(sources: &[Bell], shards: &[Bell], committer: &Bell) -> Self {
        let mut to_shards: Vec<Vec<_>> = sources.iter().map(|_| Vec::new()).collect();
        let mut from_sources: Vec<Vec<_>> = shards.iter().map(|_| Vec::new()).collect();
        for (lane, source) in to_shards.iter_mut().zip(sources) {
            for (ends, shard) in from_sources.iter_mut().zip(shards) {
                let (producer, consumer) = ring(RING_BATCHES, source.clone(), shard.clone());
                lane.push(producer);
                ends.push(consumer);
            }
        }
        let (reports, from_all) =
            sources.iter().chain(shards).map(|bell| ring(RING_BATCHES, bell.clone(), committer.clone())).unzip();
        Rings { to_shards, from_sources, reports, from_all }
    }
}

impl<'a> Incarnation<'a> {
    /// Finishes what a predecessor left open, joins the group, and starts all threads.
    pub fn start(spec: &'a Spec, control: &'a Control) -> Result<Self, BrokerError> {
        let (topics, limits) = look_up_topics(spec)?;
        // The producer first: it finishes or aborts the predecessor's transaction, so that the committed offsets we then read
        // are final.
        let producer = spec.broker.producer(spec.delivery == Delivery::ExactlyOnce, None)?;
        control.set_assigned(Vec::clear);
        let wires = Wires::new(spec, topics);
        let streams: Arc<Vec<Arc<Stream>>> = Arc::new(spec.streams.iter().cloned().map(Arc::new).collect());
        let membership = wires.membership(spec, control, &streams);
        let subscription = Subscription {
            topics: spec.streams.iter().flat_map(|stream| stream.topics.clone()).collect(),
            read_committed: spec.delivery == Delivery::ExactlyOnce,
        };
        let group = spec.broker.join(&subscription, Box::new(membership.clone()))?;
        let handle = group.handle();
        let mut incarnation = Incarnation {
            spec,
            control,
            phase: wires.phase.clone(),
            bells: wires.sources.iter().chain(&wires.shards).cloned().collect(),
            committer: wires.committer.clone(),
            orders: wires.orders.0.clone(),
            notices: wires.notices.1.clone(),
            threads: Vec::new(),
            assigned_seen: Vec::new(),
        };
        let Rings { to_shards, from_sources, mut reports, from_all } =
            Rings::new(&wires.sources, &wires.shards, &wires.committer);
        let shard_reports = reports.split_off(wires.sources.len());
        for (index, (shards, reports)) in to_shards.into_iter().zip(reports).enumerate() {
            incarnation.spawn_source(index, Outgoing::new(shards, reports), &streams, &wires)?;
        }
        for (index, (rings, reports)) in from_sources.into_iter().zip(shard_reports).enumerate() {
            incarnation.spawn_shard(index, rings, reports, &wires)?;
        }
        incarnation.spawn_committer(CommitterEnds { limits, reports: from_all, producer, group: handle }, &wires)?;
        let (requests, queue) = wires.requests.clone();
        let serve = move || {
            // Kept alive with the group: sources may still ask while the group is served.
            let _requests: Sender<Request> = requests;
            membership.serve(group, &queue);
        };
        incarnation.threads.push(spawn("group".into(), None, &wires.notices.0, serve)?);
        Ok(incarnation)
    }

    fn spawn_source(
        &mut self,
        index: usize,
        outgoing: Outgoing,
        streams: &[Arc<Stream>],
        wires: &Wires,
    ) -> Result<(), BrokerError> {
        let parts = SourceParts {
            bell: wires.sources[index].clone(),
            commands: wires.commands[index].1.clone(),
            requests: wires.requests.0.clone(),
            outgoing,
            processor: self.processor(streams, wires.shards.len()),
            board: wires.board.clone(),
            barriers: wires.barriers.clone(),
            phase: wires.phase.clone(),
            bounded: self.spec.until_end,
            one_task: self.spec.locality == Locality::Instance,
        };
        let place = Place::of(self.spec.topology.as_ref(), self.spec.placement.sources.get(index).copied().flatten());
        let body = move || Source::new(parts).run();
        self.threads.push(spawn(format!("source-{index}"), place, &wires.notices.0, body)?);
        Ok(())
    }

    fn processor(&self, streams: &[Arc<Stream>], shards: usize) -> Processor {
        let plan = &self.spec.plan;
        let reader = |stream: &Arc<Stream>| {
            let fields =
                StreamFields { time: stream.time.clone(), id: stream.id.clone(), category: stream.category.clone() };
            StreamReader::new(Arc::clone(stream), Decoder::new(plan, &fields))
        };
        let readers = streams.iter().map(reader).collect();
        Processor::new(readers, Detector::new(Arc::clone(plan)), Router::new(Arc::clone(plan), shards))
    }

    fn spawn_shard(
        &mut self,
        index: usize,
        rings: Vec<Consumer<ToShard>>,
        reports: Producer<Report>,
        wires: &Wires,
    ) -> Result<(), BrokerError> {
        let settings = Settings { dedup_window: self.spec.dedup_window, retention: self.spec.retention };
        let plan = Arc::clone(&self.spec.plan);
        let carriers = match self.spec.locality {
            Locality::Instance => Carriers::All,
            Locality::Partition => Carriers::Modulo,
        };
        let (phase, bell, topics) = (wires.phase.clone(), wires.shards[index].clone(), wires.topics.clone());
        let cpu = self.spec.placement.shards.get(index).copied().flatten();
        let place = Place::of(self.spec.topology.as_ref(), cpu);
        let body = move || {
            // Built on its own thread: its memory is then that of the thread's NUMA node.
            let core = Core::new(plan, settings, topics);
            Worker::new(core, rings, reports, carriers, bell).run(move || phase.get() == Phase::Stop);
        };
        self.threads.push(spawn(format!("shard-{index}"), place, &wires.notices.0, body)?);
        Ok(())
    }

    fn spawn_committer(&mut self, ends: CommitterEnds, wires: &Wires) -> Result<(), BrokerError> {
        let CommitterEnds { limits, reports, producer, group } = ends;
        let topics = wires.topics.clone();
        let plan = Arc::clone(&self.spec.plan);
        let output_topic = self.spec.output_topic.as_str().into();
        let dead_letter_topic = self.spec.dead_letter_topic.as_str().into();
        let encoder = Encoders {
            correlations: CorrelationEncoder::new(Arc::clone(&plan), topics.clone(), output_topic, self.spec.stamp),
            dead_letters: DeadLetterEncoder::new(topics.clone(), dead_letter_topic),
        };
        let parts = CommitterParts {
            plan,
            topics,
            bell: self.committer.clone(),
            reports,
            barriers: wires.barriers.clone(),
            sources: wires.sources.clone(),
            producer,
            group,
            delivery: self.spec.delivery,
            interval: self.spec.epoch,
            encoder: Box::new(encoder),
            limits,
            orders: wires.orders.1.clone(),
            notices: wires.notices.0.clone(),
            progress: Arc::clone(&self.control.progress),
        };
        let phase = self.phase.clone();
        let body = move || Committer::new(parts).run(move || phase.get() == Phase::Stop);
        self.threads.push(spawn("committer".into(), None, &wires.notices.0, body)?);
        Ok(())
    }

    /// Waits for the end.
    pub fn run(mut self) -> End {
        let mut draining: Option<Receiver<()>> = None;
        let end = loop {
            match self.notices.recv_timeout(Duration::from_millis(50)) {
                Ok(Notice::Finished) => break End::Done,
                Ok(Notice::Failed(error)) => break End::Failed(error),
                Err(RecvTimeoutError::Disconnected) => {
                    break End::Failed(BrokerError::new(ErrorKind::Fatal, "all threads of the pipeline are gone"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.control.is_stopped() || draining.as_ref().is_some_and(|done| done.try_recv().is_ok()) {
                break End::Done;
            }
            if self.control.is_stopping() && draining.is_none() {
                self.phase.set(Phase::Drain);
                let (answer, done) = crossbeam_channel::bounded(1);
                drop(self.orders.send(Order::Flush(answer)));
                self.ring_all();
                draining = Some(done);
            }
            if let Some(refusal) = self.not_alone() {
                break End::Refused(refusal);
            }
        };
        self.shut_down();
        end
    }

    fn ring_all(&self) {
        self.bells.iter().for_each(Bell::ring);
        self.committer.ring();
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
        self.phase.set(Phase::Stop);
        let until = Instant::now() + JOIN_WAIT;
        while self.threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            self.ring_all();
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
    }
}

/// The committer's share of an incarnation.
struct CommitterEnds {
    limits: TopicLimits,
    reports: Vec<Consumer<Report>>,
    producer: Box<dyn crate::broker::Producer>,
    group: Arc<dyn GroupHandle>,
}

/// Everything that several threads hold an end of.
struct Wires {
    topics: TopicTable,
    phase: PhaseCell,
    board: Board,
    barriers: BarrierLine,
    /// The sources' bells, the shards', the committer's.
    sources: Vec<Bell>,
    shards: Vec<Bell>,
    committer: Bell,
    commands: Vec<(Sender<Command>, Receiver<Command>)>,
    requests: (Sender<Request>, Receiver<Request>),
    orders: (Sender<Order>, Receiver<Order>),
    notices: (Sender<Notice>, Receiver<Notice>),
}

impl Wires {
    fn new(spec: &Spec, topics: TopicTable) -> Self {
        let bells = |n: usize| (0..n.max(1)).map(|_| Bell::default()).collect::<Vec<_>>();
        let sources = bells(spec.placement.sources.len());
        Wires {
            topics,
            phase: PhaseCell::default(),
            board: Board::default(),
            barriers: BarrierLine::default(),
            commands: sources.iter().map(|_| crossbeam_channel::unbounded()).collect(),
            sources,
            shards: bells(spec.placement.shards.len()),
            committer: Bell::default(),
            requests: crossbeam_channel::unbounded(),
            orders: crossbeam_channel::unbounded(),
            notices: crossbeam_channel::unbounded(),
        }
    }

    fn membership(&self, spec: &Spec, control: &Control, streams: &Arc<Vec<Arc<Stream>>>) -> Membership {
        let line = |((commands, _), bell): (&(Sender<Command>, _), &Bell)| SourceLine {
            commands: commands.clone(),
            bell: bell.clone(),
        };
        Membership {
            topics: self.topics.clone(),
            streams: Arc::clone(streams),
            locality: spec.locality,
            until_end: spec.until_end,
            board: self.board.clone(),
            sources: self.commands.iter().zip(&self.sources).map(line).collect(),
            orders: self.orders.0.clone(),
            committer: self.committer.clone(),
            notices: self.notices.0.clone(),
            phase: self.phase.clone(),
            control: control.clone(),
            desk: Arc::default(),
        }
    }
}

/// Finds the input topics, gives them their places in the total order, and checks that outputs can be written.
fn look_up_topics(spec: &Spec) -> Result<(TopicTable, TopicLimits), BrokerError> {
    let inputs: Vec<String> = spec.streams.iter().flat_map(|stream| stream.topics.clone()).collect();
    let found = spec.broker.topics(&inputs, spec.startup_timeout)?;
    let missing: Vec<&str> = inputs
        .iter()
        .filter(|name| !name.starts_with('^') && !found.iter().any(|info| *info.topic == ***name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        return Err(missing_topics("input", &missing));
    }
    let table = TopicTable::default();
    table.intern_all(found.iter().map(|info| &*info.topic)).ok_or_else(|| {
        BrokerError::new(ErrorKind::Setting, format!("{} input topics are more than can be ordered", found.len()))
    })?;
    let mut limits = TopicLimits::default();
    if spec.check_outputs {
        let of_rules = spec.plan.rules.iter().filter_map(|rule| rule.output_topic.clone());
        let mut outputs: Vec<String> =
            of_rules.chain([spec.output_topic.clone(), spec.dead_letter_topic.clone()]).collect();
        outputs.sort();
        outputs.dedup();
        let known: Vec<TopicInfo> = spec.broker.topics(&outputs, spec.startup_timeout)?;
        let missing: Vec<&str> = outputs
            .iter()
            .filter(|name| !known.iter().any(|info| *info.topic == ***name))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(missing_topics("output", &missing));
        }
        let sizes = known.into_iter().filter_map(|info| Some((info.topic.to_string(), info.message_bytes_max?)));
        limits.0.extend(sizes);
    }
    check_others(spec)?;
    Ok((table, limits))
}

fn missing_topics(what: &str, names: &[&str]) -> BrokerError {
    let message = format!(
        "{what} topic{} {} {} not exist; create {} first, e.g. kafka-topics.sh --create --topic {} --partitions 4",
        if names.len() == 1 { "" } else { "s" },
        names.join(", "),
        if names.len() == 1 { "does" } else { "do" },
        if names.len() == 1 { "it" } else { "them" },
        names[0],
    );
    BrokerError::new(ErrorKind::TopicMissing, message)
}

/// With `locality: instance` nobody else may be in the group.
fn check_others(spec: &Spec) -> Result<(), BrokerError> {
    if spec.locality != Locality::Instance {
        return Ok(());
    }
    let others = spec.broker.other_members(spec.startup_timeout)?;
    match others.first() {
        None => Ok(()),
        Some(other) => Err(BrokerError::new(ErrorKind::Setting, alone_message(&spec.instance, other))),
    }
}

fn alone_message(ours: &str, other: &str) -> String {
    format!(
        "instance {other} is in this group already, and with `locality: instance` one process owns all partitions: \
         {ours} would take half of every key's events from it. Stop {other}, or start this one under another \
         application_id, or, if the input topics are partitioned by the correlation key, set `locality: partition` on both"
    )
}
