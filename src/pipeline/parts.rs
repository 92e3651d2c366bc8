//! What an incarnation is made of, built and wired but not running: threads run it, or one thread steps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::encoders::Encoders;
use super::lookup::{Found, look_up_topics};
use super::membership::{Membership, Pump, SourceLine};
use super::spec::{Locality, Spec};
use super::state::Recovery;
use crate::broker::{BrokerError, Group, GroupHandle, Subscription, TopicPartition};
use crate::control::Control;
use crate::decode::{Decoder, StreamFields};
use crate::detect::Detector;
use crate::epoch::changelog::Changelog;
use crate::epoch::{
    CommitterParts, Delivery, Grouping, Notice, Order, StateHome, StateParts, TaskRecord, TopicLimits, TransactorParts,
};
use crate::event::{Clock, HashRange, Report, ToShard, TopicTable};
use crate::limits::RING_BATCHES;
use crate::ring::{BarrierLine, Bell, Consumer, Level, Producer, ring};
use crate::rules::plan::Plan;
use crate::shard::core::{Core, Durable, Settings};
use crate::shard::fetch::{Asked, Fetcher, Line};
use crate::shard::worker::{Carriers, ShardState, Worker};
use crate::sink::{CorrelationEncoder, DeadLetterEncoder};
use crate::source::outgoing::Outgoing;
use crate::source::{Board, Command, PhaseCell, Processor, Request, Router, Source, SourceParts, Stream, StreamReader};
use crate::telemetry::liveness::Pulse;
use crate::telemetry::metrics::ShardMetrics;

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

/// What a shard is built from, on its own thread: its memory is then that of the thread's NUMA node.
pub(super) struct ShardParts {
    plan: Arc<Plan>,
    settings: Settings,
    topics: TopicTable,
    state: Option<ShardState>,
    rings: Vec<Consumer<ToShard>>,
    reports: Producer<Report>,
    carriers: Carriers,
    bell: (Bell, BarrierLine),
    pulse: Pulse,
    metrics: Arc<ShardMetrics>,
}

impl ShardParts {
    /// The shard.
    pub fn build(self) -> Worker {
        let core = Core::new(self.plan, self.settings, self.topics);
        Worker::new(core, self.state, self.rings, self.reports, self.carriers, self.bell, (self.pulse, self.metrics))
    }
}

/// How a source is built, on its own thread as a shard is: the detector in it is the index of all rules, read at every event.
pub(super) type SourceSeed = Box<dyn FnOnce() -> Source + Send>;

/// What the group thread serves.
pub(super) struct GroupParts {
    pub membership: Membership,
    pub group: Box<dyn Group>,
    pub requests: Receiver<Request>,
    /// Kept alive with the group: sources may still ask while the group is served.
    pub _requests: Sender<Request>,
}

/// See the module.
pub(super) struct Parts {
    pub sources: Vec<SourceSeed>,
    pub shards: Vec<ShardParts>,
    pub committer: CommitterParts,
    /// Its other half.
    pub transactor: TransactorParts,
    /// Reads the disk for the shards.
    pub fetcher: Option<Fetcher>,
    pub group: GroupParts,
    pub hand: Hand,
    /// For threads to tell of their own death.
    pub obituaries: Sender<Notice>,
    /// Every input partition.
    pub inputs: Arc<Vec<TopicPartition>>,
}

/// The pipeline's hand on its parts.
pub(super) struct Hand {
    pub phase: PhaseCell,
    /// The sources' bells, then the shards'.
    pub bells: Vec<Bell>,
    pub committer: Bell,
    pub watchdog: Bell,
    /// Of whoever asks where partitions end.
    pub lag: Bell,
    pub orders: Sender<Order>,
    pub notices: Receiver<Notice>,
}

impl Hand {
    /// Wakes everyone.
    pub fn ring_all(&self) {
        self.bells.iter().for_each(Bell::ring);
        self.committer.ring();
        self.watchdog.ring();
        self.lag.ring();
    }
}

impl Parts {
    /// Finishes what a predecessor left open, joins the group, and wires everything.
    pub fn new(spec: &Spec, control: &Control, clock: Arc<dyn Clock>, pump: Pump) -> Result<Self, BrokerError> {
        let Found { topics, inputs, limits } = look_up_topics(spec)?;
        // The producer first: it finishes or aborts the predecessor's transaction, so that the committed offsets we then read
        // are final.
        let log = spec.state.as_ref().map(|state| &*state.changelog);
        let producer = spec.broker.producer(true, log)?;
        let at_once = match spec.delivery {
            Delivery::ExactlyOnce => None,
            Delivery::AtLeastOnce => Some(spec.broker.producer(false, None)?),
        };
        control.set_assigned(Vec::clear);
        let tasks = crossbeam_channel::unbounded();
        let recovery = Recovery::start(spec, &inputs, &clock, tasks.0, &control.metrics().restore)?;
        let wires = Wires::new(spec, control, (topics, inputs), clock, recovery);
        let streams: Arc<Vec<Arc<Stream>>> = Arc::new(spec.streams.iter().cloned().map(Arc::new).collect());
        let membership = wires.membership(spec, &streams, pump);
        let subscription = Subscription {
            topics: spec.streams.iter().flat_map(|stream| stream.topics.clone()).collect(),
            read_committed: spec.delivery == Delivery::ExactlyOnce,
        };
        let group = spec.broker.join(&subscription, Box::new(membership.clone()))?;
        let handle = group.handle();
        let Rings { to_shards, from_sources, mut reports, from_all } =
            Rings::new(&wires.sources, &wires.shards, &wires.committer);
        let shard_reports = reports.split_off(wires.sources.len());
        let sources = to_shards.into_iter().zip(reports).enumerate();
        let shards = from_sources.into_iter().zip(shard_reports).enumerate();
        let ends = CommitterEnds { limits, reports: from_all, producer, at_once, group: handle, tasks: tasks.1 };
        let (committer, transactor) = wires.committer(spec, ends);
        Ok(Parts {
            sources: sources
                .map(|(index, (shards, reports))| wires.source(spec, index, Outgoing::new(shards, reports), &streams))
                .collect(),
            shards: shards.map(|(index, (rings, reports))| wires.shard(spec, index, rings, reports)).collect(),
            committer,
            transactor,
            fetcher: spec.state.as_ref().map(|home| wires.fetcher(home)),
            group: GroupParts {
                membership,
                group,
                requests: wires.requests.1.clone(),
                _requests: wires.requests.0.clone(),
            },
            hand: wires.hand(),
            obituaries: wires.notices.0.clone(),
            inputs: Arc::clone(&wires.inputs),
        })
    }
}

/// The committer's share.
struct CommitterEnds {
    limits: TopicLimits,
    reports: Vec<Consumer<Report>>,
    producer: Box<dyn crate::broker::Producer>,
    at_once: Option<Box<dyn crate::broker::Producer>>,
    group: Arc<dyn GroupHandle>,
    tasks: Receiver<(u16, Option<TaskRecord>)>,
}

/// Everything that several threads hold an end of.
struct Wires {
    clock: Arc<dyn Clock>,
    topics: TopicTable,
    recovery: Option<Recovery>,
    inputs: Arc<Vec<TopicPartition>>,
    /// From shards to whoever reads the disk for them.
    fetches: (Sender<Asked>, Receiver<Asked>),
    /// The newest epoch of this incarnation that the store has.
    written: Level,
    phase: PhaseCell,
    board: Board,
    barriers: BarrierLine,
    /// The sources' bells, the shards', the committer's.
    sources: Vec<Bell>,
    shards: Vec<Bell>,
    committer: Bell,
    control: Control,
    commands: Vec<(Sender<Command>, Receiver<Command>)>,
    requests: (Sender<Request>, Receiver<Request>),
    orders: (Sender<Order>, Receiver<Order>),
    notices: (Sender<Notice>, Receiver<Notice>),
}

impl Wires {
    fn new(
        spec: &Spec,
        control: &Control,
        (topics, inputs): (TopicTable, Vec<TopicPartition>),
        clock: Arc<dyn Clock>,
        recovery: Option<Recovery>,
    ) -> Self {
        // Threads of an older incarnation that were left behind are no longer watched.
        control.liveness().clear();
        let bells = |n: usize| (0..n.max(1)).map(|_| Bell::default()).collect::<Vec<_>>();
        let sources = bells(spec.placement.sources.len());
        let committer = Bell::default();
        Wires {
            clock,
            topics,
            recovery,
            inputs: Arc::new(inputs),
            fetches: crossbeam_channel::unbounded(),
            written: Level::default(),
            phase: PhaseCell::default(),
            board: Board::default(),
            barriers: BarrierLine::new(committer.clone()),
            commands: sources.iter().map(|_| crossbeam_channel::unbounded()).collect(),
            sources,
            shards: bells(spec.placement.shards.len()),
            committer,
            control: control.clone(),
            requests: crossbeam_channel::unbounded(),
            orders: crossbeam_channel::unbounded(),
            notices: crossbeam_channel::unbounded(),
        }
    }

    fn line(&self) -> Line {
        let (answer, answers) = crossbeam_channel::unbounded();
        Line { requests: self.fetches.0.clone(), answer, answers }
    }

    fn membership(&self, spec: &Spec, streams: &Arc<Vec<Arc<Stream>>>, pump: Pump) -> Membership {
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
            control: self.control.clone(),
            clock: Arc::clone(&self.clock),
            recovery: self.recovery.clone(),
            inputs: Arc::clone(&self.inputs),
            pump,
            pulse: self.control.liveness().pulse("group"),
            desk: Arc::default(),
        }
    }

    fn source(&self, spec: &Spec, index: usize, mut outgoing: Outgoing, streams: &Arc<Vec<Arc<Stream>>>) -> SourceSeed {
        if spec.locality == Locality::Instance
            && let Some(recovery) = &self.recovery
        {
            outgoing.restore(0, recovery.instance_watermark());
        }
        let (plan, streams, shards) = (Arc::clone(&spec.plan), Arc::clone(streams), self.shards.len());
        let (bell, commands) = (self.sources[index].clone(), self.commands[index].1.clone());
        let (requests, board, clock) = (self.requests.0.clone(), self.board.clone(), Arc::clone(&self.clock));
        let (barriers, phase) = (self.barriers.clone(), self.phase.clone());
        let (bounded, one_task) = (spec.until_end, spec.locality == Locality::Instance);
        let (gate, traced) = (self.control.gate().clone(), self.control.tracer().is_some());
        let seen = spec.fields_seen.clone();
        let (metrics, liveness) = (self.control.metrics().source(index), self.control.liveness().clone());
        Box::new(move || {
            let processor = processor(&plan, &streams, shards).traced(traced).telling(seen);
            // Watched only from here on: the index of very many rules takes longer than a step may.
            let pulse = liveness.pulse(format!("source-{index}"));
            Source::new(SourceParts {
                bell,
                commands,
                requests,
                outgoing,
                processor,
                board,
                clock,
                barriers,
                phase,
                bounded,
                one_task,
                gate,
                pulse,
                metrics,
            })
        })
    }

    fn shard(&self, spec: &Spec, index: usize, rings: Vec<Consumer<ToShard>>, reports: Producer<Report>) -> ShardParts {
        let cut = spec.locality.cut();
        let range = HashRange::of_shard(index, self.shards.len());
        let state = self.recovery.as_ref().zip(spec.state.as_ref()).map(|(recovery, home)| ShardState {
            store: Arc::clone(&home.store),
            cut,
            tasks: recovery.instance().map(|record| recovery.resumed(0, record)).into_iter().collect(),
            line: self.line(),
            written: self.written.clone(),
        });
        ShardParts {
            plan: Arc::clone(&spec.plan),
            settings: Settings {
                dedup_window: spec.dedup_window,
                retention: spec.retention,
                durable: state.as_ref().map(|_| Durable {
                    cut,
                    range,
                    budget: spec.state_memory.map(|bytes| bytes / self.shards.len().max(1)),
                }),
            },
            topics: self.topics.clone(),
            state,
            rings,
            reports,
            carriers: match spec.locality {
                Locality::Instance => Carriers::All,
                Locality::Partition => Carriers::Modulo,
            },
            bell: (self.shards[index].clone(), self.barriers.clone()),
            pulse: self.control.liveness().pulse(format!("shard-{index}")),
            metrics: self.control.metrics().shard(index),
        }
    }

    fn committer(&self, spec: &Spec, ends: CommitterEnds) -> (CommitterParts, TransactorParts) {
        let CommitterEnds { limits, reports, producer, at_once, group, tasks } = ends;
        let state = spec.state.as_ref().map(|home| StateParts {
            store: Arc::clone(&home.store),
            changelog: Changelog::new(Arc::clone(&home.changelog), home.record_bytes_max),
            grouping: match spec.locality {
                Locality::Instance => Grouping::One,
                Locality::Partition => Grouping::ByTask,
            },
            records: BTreeMap::new(),
            rules: spec.plan.rules.iter().map(|rule| rule.content_hash).collect(),
            restored: tasks,
            written: self.written.clone(),
        });
        let plan = Arc::clone(&spec.plan);
        let topics = self.topics.clone();
        let output_topic = spec.output_topic.as_str().into();
        let dead_letter_topic = spec.dead_letter_topic.as_str().into();
        let encoder = Encoders {
            correlations: CorrelationEncoder::new(Arc::clone(&plan), topics.clone(), output_topic, spec.stamp),
            dead_letters: DeadLetterEncoder::new(topics.clone(), dead_letter_topic),
        };
        let (control, metrics) = (&self.control, &self.control.metrics().committer);
        let transactor = TransactorParts {
            topics: topics.clone(),
            clock: Arc::clone(&self.clock),
            producer,
            state,
            group,
            progress: Arc::clone(control.totals()),
            pulse: control.liveness().pulse("transactor"),
            metrics: Arc::clone(metrics),
            tracer: control.tracer(),
        };
        let committer = CommitterParts {
            plan,
            topics,
            bell: self.committer.clone(),
            reports,
            clock: Arc::clone(&self.clock),
            barriers: self.barriers.clone(),
            sources: self.sources.clone(),
            at_once,
            interval: spec.epoch,
            encoder: Box::new(encoder),
            limits,
            orders: self.orders.1.clone(),
            notices: self.notices.0.clone(),
            pulse: control.liveness().pulse("committer"),
            metrics: Arc::clone(metrics),
            traced: transactor.tracer.is_some(),
        };
        (committer, transactor)
    }

    fn fetcher(&self, home: &StateHome) -> Fetcher {
        let metrics = Arc::clone(&self.control.metrics().fetcher);
        let pulse = self.control.liveness().pulse("fetcher");
        Fetcher { store: Arc::clone(&home.store), requests: self.fetches.1.clone(), pulse, metrics }
    }

    fn hand(&self) -> Hand {
        Hand {
            phase: self.phase.clone(),
            bells: self.sources.iter().chain(&self.shards).cloned().collect(),
            committer: self.committer.clone(),
            watchdog: Bell::default(),
            lag: Bell::default(),
            orders: self.orders.0.clone(),
            notices: self.notices.1.clone(),
        }
    }
}

fn processor(plan: &Arc<Plan>, streams: &[Arc<Stream>], shards: usize) -> Processor {
    let reader = |stream: &Arc<Stream>| {
        let fields =
            StreamFields { time: stream.time.clone(), id: stream.id.clone(), category: stream.category.clone() };
        StreamReader::new(Arc::clone(stream), Decoder::new(plan, &fields))
    };
    let readers = streams.iter().map(reader).collect();
    Processor::new(readers, Detector::new(Arc::clone(plan)), Router::new(Arc::clone(plan), shards))
}
