//! The source thread's loop: commands, reading turns, watermarks, barriers, and waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use smallvec::SmallVec;

use super::clock::{Board, PartitionClock};
use super::gate::Gate;
use super::outgoing::Outgoing;
use super::reader::{Processor, Reader};
use crate::broker::{BrokerError, Delivery, Flow, TopicPartition};
use crate::event::{Clock, Mark, Origin, ReadPosition, Report, Resumed, Span, Task, Timestamp};
use crate::fault::{self, Bug};
use crate::limits::{PAUSE_AFTER, SOURCE_TURN_RECORDS};
use crate::ring::{BarrierLine, Bell, Step};
use crate::telemetry::liveness::Pulse;
use crate::telemetry::metrics::SourceMetrics;

/// Dead letters of one turn are handed on at this many bytes: a poisoned topic must not pile up in the source.
const DEAD_LETTER_TURN_BYTES: usize = 1 << 20;

/// How long a source sleeps when nothing rings: the pace of idle decisions and of deadlines on a silent input.
const TICK: Duration = Duration::from_millis(50);

/// How long it sleeps when a partition waits for others to follow.
const ALIGNMENT_TICK: Duration = Duration::from_millis(2);

/// Time between two showings of where partitions stand.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// A partition is probed again for idleness after this long without an answer that settles it.
const PROBE_AGAIN: Duration = Duration::from_millis(500);

/// What the pipeline tells a source.
pub enum Command {
    /// Read these partitions; these tasks of theirs are new here.
    Assign(Vec<Reader>, Vec<Resumed>),
    /// Stop reading these, then answer on the channel.
    Release(Vec<TopicPartition>, Sender<()>),
    /// Forget these; their epochs are committed.
    Drop(Vec<TopicPartition>),
}

/// What a source asks of the group thread.
pub enum Request {
    /// Is anything beyond our position? The answer goes to the clock.
    Probe(TopicPartition, Arc<PartitionClock>),
    /// Stop fetching: the partition, as read with this clock, has been held for long.
    Pause(TopicPartition, Arc<PartitionClock>),
    /// Fetch again.
    Resume(TopicPartition, Arc<PartitionClock>),
    /// A partition cannot be read.
    Failed(BrokerError),
}

/// What the pipeline wants of all its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Read.
    Run,
    /// Read nothing more; answer barriers.
    Drain,
    /// Return at once.
    Stop,
}

/// The shared phase.
#[derive(Debug, Clone, Default)]
pub struct PhaseCell(Arc<AtomicU8>);

impl PhaseCell {
    /// Sets the phase; ring the threads' bells after.
    pub fn set(&self, phase: Phase) {
        // Only ever forward: a stop is not taken back by a late drain.
        self.0.fetch_max(phase as u8, Ordering::SeqCst);
    }

    /// The phase.
    pub fn get(&self) -> Phase {
        match self.0.load(Ordering::SeqCst) {
            0 => Phase::Run,
            1 => Phase::Drain,
            _ => Phase::Stop,
        }
    }
}

/// What a source is made of.
pub struct SourceParts {
    /// Rung by queues with data, rings with room, barriers and commands.
    pub bell: Bell,
    /// From the pipeline.
    pub commands: Receiver<Command>,
    /// To the group thread.
    pub requests: Sender<Request>,
    /// The rings.
    pub outgoing: Outgoing,
    /// Decoders, detector, router.
    pub processor: Processor,
    /// All partitions' clocks.
    pub board: Board,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// When barriers are due.
    pub barriers: BarrierLine,
    /// Run, drain or stop.
    pub phase: PhaseCell,
    /// The input ends (`--until-end`, files).
    pub bounded: bool,
    /// With one order for all partitions (`locality: instance`) every source announces task 0, with or without partitions.
    pub one_task: bool,
    /// Shut: nothing is read.
    pub gate: Gate,
    /// Beats once a step.
    pub pulse: Pulse,
    /// What it counts.
    pub metrics: Arc<SourceMetrics>,
}

/// A source thread.
pub struct Source {
    parts: SourceParts,
    readers: Vec<Reader>,
    barrier: u64,
    finish_sent: bool,
    /// No partition had to wait for others in the last step.
    aligned: bool,
    /// The order of the last turn; kept for its room.
    turn: Vec<usize>,
    /// When the partitions' numbers were shown last.
    shown: Option<Instant>,
    /// Events without a key that are counted already.
    keyless: u64,
    /// When the bell was rung that the next step answers.
    rung: Option<Instant>,
    /// Since when something may wait that was not looked at.
    arrived: Option<Instant>,
}

impl Source {
    /// A source without partitions yet.
    pub fn new(parts: SourceParts) -> Self {
        Source {
            parts,
            readers: Vec::new(),
            barrier: 0,
            finish_sent: false,
            aligned: true,
            turn: Vec::new(),
            shown: None,
            keyless: 0,
            rung: None,
            arrived: None,
        }
    }

    /// Runs until the phase says stop.
    pub fn run(mut self) {
        let metrics = Arc::clone(&self.parts.metrics);
        let _working = metrics.busy.work();
        let mut woken = None;
        loop {
            // Queues ring when they turn non-empty. How long that was ago counts: the scheduler may have let us sleep on.
            let heard = self.parts.bell.heard();
            self.rung = woken.take().or(heard);
            match self.step() {
                Step::Busy => {}
                Step::Idle => metrics.busy.rest(|| woken = self.rest()),
                Step::Done => return,
            }
        }
    }

    /// One look at everything; never waits.
    pub fn step(&mut self) -> Step {
        self.parts.pulse.beat();
        let now = self.parts.clock.instant();
        self.take_commands();
        let phase = self.parts.phase.get();
        if phase == Phase::Stop {
            return Step::Done;
        }
        let arrived = *self.arrived.get_or_insert(self.rung.take().map_or(now, |rung| rung.min(now)));
        self.parts.outgoing.turn(arrived);
        let free = self.parts.outgoing.retry();
        self.aligned = true;
        let mut read = 0;
        let paused = self.parts.gate.is_closed();
        if free && phase == Phase::Run && !paused {
            read = self.turn(now);
            self.arrived = None;
        } else {
            self.hold(now);
        }
        if paused {
            self.arrived = None;
            self.stand_still();
        } else {
            self.decide_idle(now);
            self.announce();
        }
        self.show(now);
        self.report_dead_letters();
        self.finish_if_due();
        self.answer_barriers();
        if read > 0 { Step::Busy } else { Step::Idle }
    }

    /// Sleeps until there may be something to do.
    fn rest(&self) -> Option<Instant> {
        let parts = &self.parts;
        let due = || {
            parts.barriers.requested() != self.barrier
                || !parts.commands.is_empty()
                || parts.phase.get() == Phase::Stop
                || parts.outgoing.is_held() && !parts.outgoing.would_wait()
        };
        parts.bell.wait(due, Some(if self.aligned { TICK } else { ALIGNMENT_TICK }))
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.parts.commands.try_recv() {
            match command {
                Command::Assign(readers, tasks) => {
                    if !tasks.is_empty() {
                        let outgoing = &mut self.parts.outgoing;
                        tasks.iter().for_each(|resumed| outgoing.restore(resumed.task, resumed.watermark));
                        self.parts.outgoing.mark(&Mark::Restore(tasks));
                    }
                    for mut reader in readers {
                        reader.floor = self.parts.outgoing.announced(reader.task());
                        if let Some(queue) = &mut reader.queue {
                            queue.ring_on_data(self.parts.bell.clone());
                        }
                        let at_end = reader.until.is_some_and(|until| reader.next.is_some_and(|next| next >= until));
                        if at_end {
                            self.parts.board.finish(&reader.clock);
                            reader.finished = true;
                        }
                        self.readers.push(reader);
                    }
                }
                Command::Release(partitions, answer) => {
                    for reader in self.readers.iter_mut().filter(|reader| partitions.contains(&reader.partition)) {
                        reader.released = true;
                    }
                    // Nobody listening any more means that the pipeline is stopping.
                    let _ = answer.send(());
                }
                Command::Drop(partitions) => {
                    let board = &self.parts.board;
                    self.readers.retain(|reader| {
                        let gone = partitions.contains(&reader.partition);
                        if gone {
                            board.remove(&reader.clock);
                        }
                        !gone
                    });
                }
            }
        }
    }

    /// Reads once from every partition that may be read. Returns the number of deliveries.
    fn turn(&mut self, now: Instant) -> usize {
        self.parts.processor.now = self.parts.clock.wall();
        let mut read = 0;
        // The one that is furthest behind comes first, and while it has more to give, the others do not run ahead of it: what
        // they bring would only wait for it. The bound of `max_skew` is for when it has nothing to give at the moment.
        let mut turn = std::mem::take(&mut self.turn);
        turn.clear();
        turn.extend(0..self.readers.len());
        turn.sort_by_key(|at| self.readers[*at].watermark());
        let mut behind: SmallVec<[(Task, Timestamp); 1]> = SmallVec::new();
        for &at in &turn {
            let reader = &mut self.readers[at];
            if reader.finished || reader.released && !fault::planted(Bug::StaleAssignment) {
                continue;
            }
            let max_skew = self.parts.processor.streams[reader.stream].stream.max_skew;
            let limit = self.parts.board.alignment_base(reader.task()).map(|base| base + max_skew);
            let (task, own) = (reader.task(), reader.watermark());
            let ahead = limit.is_some_and(|limit| own > limit)
                || behind.iter().any(|(of, slowest)| *of == task && own > *slowest);
            if ahead || self.parts.outgoing.is_held() {
                self.aligned &= !ahead;
                Self::hold_one(reader, now, &self.parts.requests);
                continue;
            }
            reader.held_since = None;
            if std::mem::take(&mut reader.paused) {
                drop(self.parts.requests.send(Request::Resume(reader.partition.clone(), Arc::clone(&reader.clock))));
            }
            let given = self.read(at, now, limit, max_skew);
            read += given;
            let reader = &self.readers[at];
            // One without a clock, or whose clock does not count, holds nobody.
            if given >= SOURCE_TURN_RECORDS && reader.watermark() != Timestamp::MIN && !reader.clock.is_idle() {
                behind.push((task, reader.watermark()));
            }
        }
        self.turn = turn;
        read
    }

    /// Reads one partition for a turn, up to the event time `limit`: beyond it the others must follow first. Without a limit
    /// nothing is known of anyone yet; then the first record sets it.
    fn read(&mut self, at: usize, now: Instant, limit: Option<Timestamp>, max_skew: Span) -> usize {
        let reader = &mut self.readers[at];
        let Some(mut queue) = reader.queue.take() else { return 0 };
        let SourceParts { outgoing, processor, board, requests, metrics, .. } = &mut self.parts;
        let mut left = SOURCE_TURN_RECORDS;
        let mut records = 0;
        let mut limit = limit;
        let deliveries = queue.drain(&mut |delivery| match delivery {
            Delivery::Record(record) => {
                if reader.until.is_some_and(|until| record.offset >= until) {
                    reader.finished = true;
                    return Flow::Stop;
                }
                let idle = reader.clock.is_idle();
                if idle {
                    reader.floor = outgoing.announced(reader.clock.task);
                }
                let mut free = true;
                processor.process(reader, record, &mut |shard, signal| free &= outgoing.signal(shard, signal));
                // Back is who brings something newer than was announced meanwhile; poison or a straggler must not let an old
                // clock hold everyone.
                if idle && reader.is_back() {
                    reader.clock.set_idle(false);
                }
                records += 1;
                left -= 1;
                let full = processor.dead_letter_bytes >= DEAD_LETTER_TURN_BYTES;
                let own = reader.watermark();
                let ahead = own != Timestamp::MIN && own > *limit.get_or_insert(own + max_skew);
                if left == 0 || !free || full || ahead { Flow::Stop } else { Flow::Continue }
            }
            Delivery::End { position } => {
                reader.reached = reader.reached.max(position);
                let bounded = reader.until;
                if bounded.is_some_and(|until| until == i64::MAX || position >= until) {
                    reader.finished = true;
                    return Flow::Stop;
                }
                Flow::Continue
            }
            Delivery::Failed(error) => {
                reader.released = true;
                drop(requests.send(Request::Failed(error)));
                Flow::Stop
            }
        });
        reader.queue = Some(queue);
        metrics.records.add(records);
        if records > 0 {
            reader.was_idle = false;
            reader.last_record = now;
            reader.probe_asked = None;
            if std::mem::take(&mut reader.dated) {
                reader.last_dated = now;
            }
            reader.publish_clock();
        }
        if reader.finished {
            board.finish(&reader.clock);
        }
        deliveries
    }

    fn hold(&mut self, now: Instant) {
        for reader in &mut self.readers {
            Self::hold_one(reader, now, &self.parts.requests);
        }
    }

    /// A partition that may not be read: after a while its prefetch is given back.
    fn hold_one(reader: &mut Reader, now: Instant, requests: &Sender<Request>) {
        let since = *reader.held_since.get_or_insert(now);
        if !reader.paused && !reader.finished && !reader.released && now - since > PAUSE_AFTER.to_std() {
            reader.paused = true;
            drop(requests.send(Request::Pause(reader.partition.clone(), Arc::clone(&reader.clock))));
        }
    }

    /// Decides which partitions are idle: only on a fresh answer of the leader that nothing lies beyond our position.
    fn decide_idle(&mut self, now: Instant) {
        for reader in &mut self.readers {
            let Some(timeout) = self.parts.processor.streams[reader.stream].stream.idle_timeout else { continue };
            let busy = reader.finished || reader.released || reader.held_since.is_some() || reader.clock.is_idle();
            let waits = if reader.was_idle { Duration::ZERO } else { timeout.to_std() };
            if busy || now - reader.last_dated < waits {
                continue;
            }
            if now - reader.last_record < waits {
                // Records come, and none has an event time: its clock has nothing to say and must not stop the others.
                let (topic, partition) = (&reader.partition.topic, reader.partition.partition);
                tracing::warn!(
                    "{topic}/{partition} brings only records without an event time; it no longer holds others back"
                );
                reader.clock.set_idle(true);
                continue;
            }
            let (answers, end) = reader.clock.probe();
            match reader.probe_asked {
                Some((asked, _)) if answers > asked && reader.reached >= end => {
                    reader.clock.set_idle(true);
                    reader.probe_asked = None;
                }
                Some((_, at)) if now - at < PROBE_AGAIN => {}
                _ => {
                    reader.probe_asked = Some((answers, now));
                    let clock = Arc::clone(&reader.clock);
                    drop(self.parts.requests.send(Request::Probe(reader.partition.clone(), clock)));
                }
            }
        }
    }

    /// While nothing is read, records come that are not seen: nothing is idle, so that no watermark passes them by.
    fn stand_still(&mut self) {
        for reader in self.readers.iter_mut().filter(|reader| !reader.finished && reader.clock.is_idle()) {
            // What was announced while it was idle stays announced: older events are late.
            reader.floor = self.parts.outgoing.announced(reader.task());
            reader.clock.set_idle(false);
        }
        self.parts.outgoing.dispatch();
    }

    /// Shows where the partitions stand, some times a second.
    fn show(&mut self, now: Instant) {
        if self.shown.is_some_and(|at| now - at < SHOW_EVERY) {
            return;
        }
        self.shown = Some(now);
        self.readers.iter().for_each(Reader::show);
        let (metrics, keyless) = (&self.parts.metrics, self.parts.processor.router.keyless());
        metrics.signals.add(self.parts.outgoing.take_sent());
        metrics.keyless.add(keyless - std::mem::replace(&mut self.keyless, keyless));
    }

    /// Announces the watermarks behind the signals of this turn, and sends both off.
    fn announce(&mut self) {
        let SourceParts { board, outgoing, one_task, clock, .. } = &mut self.parts;
        let now = || clock.wall();
        if *one_task {
            // While partitions are being taken away nothing may be decided: their offsets no longer commit with it.
            if board.is_assigned() {
                outgoing.announce(0, board.watermark(0, now));
            }
        } else {
            // A task that is being taken away stands still: what a watermark would still decide in it belonged to an epoch that no
            // longer commits its offsets.
            for reader in self.readers.iter().filter(|reader| !reader.released) {
                outgoing.announce(reader.task(), board.watermark(reader.task(), now));
            }
        }
        outgoing.dispatch();
    }

    /// Nothing follows: the clock of every task reaches the newest event of the whole input, so that which windows have
    /// begun depends neither on `out_of_orderness` nor on which keys share a shard.
    fn announce_end(&mut self) {
        let SourceParts { board, outgoing, one_task, .. } = &mut self.parts;
        let newest = board.newest();
        if *one_task {
            outgoing.announce(0, newest);
        } else {
            self.readers.iter().for_each(|reader| outgoing.announce(reader.task(), newest));
        }
    }

    fn report_dead_letters(&mut self) {
        if !self.parts.processor.dead_letters.is_empty() {
            let dead_letters = std::mem::take(&mut self.parts.processor.dead_letters);
            self.parts.processor.dead_letter_bytes = 0;
            self.parts.outgoing.report(Report { dead_letters, ..Report::default() });
        }
    }

    /// Once every partition of every source reached its end, says so: nothing follows but barriers.
    fn finish_if_due(&mut self) {
        if self.parts.bounded && !self.finish_sent && self.parts.board.all_finished() {
            self.finish_sent = true;
            self.announce_end();
            self.parts.outgoing.mark(&Mark::Finish);
            self.parts.outgoing.report(Report { finished: true, ..Report::default() });
        }
    }

    /// Sends every barrier that is due into all rings, with offsets and counts to the committer.
    fn answer_barriers(&mut self) {
        let requested = self.parts.barriers.requested();
        while self.barrier < requested {
            self.barrier += 1;
            // A partition that is being taken away is in one more epoch, the one that its revocation waits for; a later one would
            // commit what is no longer ours. The same holds for its task's state, which ends right behind this barrier: no
            // deadline may fire here that fires at the next owner too (INV-OWNER).
            let mut parting: Vec<Task> = Vec::new();
            let positions = self.readers.iter_mut().filter_map(|reader| {
                if reader.released {
                    if std::mem::replace(&mut reader.parted, true) {
                        return None;
                    }
                    parting.push(reader.clock.task);
                }
                let bytes = std::mem::take(&mut reader.bytes);
                let (topic, partition) = (reader.topic, reader.partition.partition);
                let (task, clock) = (reader.task(), reader.clock_state());
                reader.next.map(|offset| ReadPosition { next: Origin { topic, partition, offset }, bytes, task, clock })
            });
            let positions = positions.collect();
            let report = Report {
                positions,
                announced: self.parts.outgoing.all_announced().to_vec(),
                counts: std::mem::take(&mut self.parts.processor.counts),
                barrier: Some(self.barrier),
                ..Report::default()
            };
            self.parts.outgoing.mark(&Mark::Barrier(self.barrier));
            fault::point("source.barrier");
            self.parts.outgoing.report(report);
            parting.retain(|task| !self.readers.iter().any(|reader| reader.task() == *task && !reader.parted));
            if !self.parts.one_task && !parting.is_empty() {
                self.parts.outgoing.forget(&parting);
                self.parts.outgoing.mark(&Mark::DropTasks(parting));
            }
        }
    }
}
