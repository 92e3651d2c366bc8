//! One assigned partition and what its records become: dead letter, tombstone, unmatched, or signals on their way.

use std::sync::Arc;
use std::time::Instant;

use crate::broker::{Assigned, PartitionQueue, Record, TopicPartition};
use crate::decode::Decoder;
use crate::detect::Detector;
use crate::event::{
    DeadCode, DeadLetter, Hash128, Late, LatePolicy, Origin, Outcome, OutcomeCounts, PartitionClockState, Projected,
    Signal, Stage, TRACEPARENT, Task, Timestamp, TopicId, TraceContext, stable_hash64, stable_hash128,
};
use crate::fault::{self, Bug};
use crate::limits::KEY_BYTES_MAX;
use crate::rules::plan::ConditionId;
use crate::telemetry::metrics::PartitionMetrics;

use super::clock::PartitionClock;
use super::route::{Arrival, Routed, Router};
use super::seen::FieldsSeen;
use super::stream::Stream;

/// A stream with its compiled decoder, as one source thread holds it.
pub struct StreamReader {
    pub(super) stream: Arc<Stream>,
    pub(super) decoder: Decoder,
    pub(super) event: Projected,
    identity_seed: u64,
}

impl StreamReader {
    /// A decoder for `stream`.
    pub fn new(stream: Arc<Stream>, decoder: Decoder) -> Self {
        let identity_seed = stable_hash64(0, stream.identity().as_bytes());
        let event = decoder.new_event();
        StreamReader { stream, decoder, event, identity_seed }
    }
}

/// An assigned partition in the hands of its source thread.
pub struct Reader {
    /// Which.
    pub partition: TopicPartition,
    pub(super) topic: TopicId,
    /// Taken out while it is drained.
    pub(super) queue: Option<Box<dyn PartitionQueue>>,
    pub(super) clock: Arc<PartitionClock>,
    /// Index of its stream.
    pub(super) stream: usize,
    /// Next offset to process: what is committed.
    pub(super) next: Option<i64>,
    /// Next offset that could come: beyond `next` by transaction markers and compacted records.
    pub(super) reached: i64,
    /// Processing stops at this offset (`--until-end`); `i64::MAX`: at the first end reported.
    pub(super) until: Option<i64>,
    pub(super) finished: bool,
    newest: Timestamp,
    newest_stamp: Timestamp,
    /// A record of this turn had an event time.
    pub(super) dated: bool,
    /// The task's watermark when the partition was last idle or new: older events are late.
    pub(super) floor: Timestamp,
    pub(super) last_record: Instant,
    /// Since when records wait that are not read (a full ring, alignment).
    pub(super) held_since: Option<Instant>,
    pub(super) paused: bool,
    /// Being taken away: not read any more.
    pub(super) released: bool,
    /// Released, and its last position was reported.
    pub(super) parted: bool,
    /// The last record that had an event time.
    pub(super) last_dated: Instant,
    /// The number of probe answers when a probe was asked for, and when that was.
    pub(super) probe_asked: Option<(u64, Instant)>,
    /// Idle when its clock was committed, and no record since.
    pub(super) was_idle: bool,
    topic_hash: u64,
    pub(super) bytes: u64,
    metrics: Arc<PartitionMetrics>,
}

impl Reader {
    /// A reader that starts at the partition's committed offset; silence counts from `now`.
    pub fn new(
        assigned: Assigned,
        topic: TopicId,
        clock: Arc<PartitionClock>,
        stream: usize,
        until: Option<i64>,
        now: Instant,
    ) -> Self {
        let Assigned { partition, committed, queue, .. } = assigned;
        let topic_hash = stable_hash64(0, partition.topic.as_bytes());
        Reader {
            partition,
            topic,
            queue: Some(queue),
            clock,
            stream,
            next: committed,
            reached: committed.unwrap_or(0),
            until,
            finished: false,
            newest: Timestamp::MIN,
            newest_stamp: Timestamp::MIN,
            dated: false,
            floor: Timestamp::MIN,
            last_record: now,
            held_since: None,
            paused: false,
            released: false,
            parted: false,
            last_dated: now,
            probe_asked: None,
            was_idle: false,
            topic_hash,
            bytes: 0,
            metrics: Arc::default(),
        }
    }

    /// Where it shows how it stands.
    pub fn shown_in(mut self, metrics: Arc<PartitionMetrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Shows how it stands.
    pub(super) fn show(&self) {
        self.metrics.position.set(self.next.unwrap_or(-1).max(self.reached));
        self.metrics.newest.set(self.newest.0);
        self.metrics.held.set(self.held_since.is_some().into());
        self.metrics.paused.set(self.paused.into());
        self.metrics.idle.set(self.clock.is_idle().into());
    }

    /// Takes up the clock that was committed with the offset. Whether the partition is idle is decided anew, on a fresh
    /// answer of the leader; one that was is asked at once, not after its timeout.
    pub fn restore(&mut self, clock: PartitionClockState) {
        if fault::planted(Bug::ClocksNotInState) {
            return;
        }
        (self.newest, self.newest_stamp) = (clock.newest, clock.stamp);
        self.publish_clock();
        self.was_idle = clock.idle;
    }

    /// The clock as it commits.
    pub(super) fn clock_state(&self) -> PartitionClockState {
        PartitionClockState { newest: self.newest, stamp: self.newest_stamp, idle: self.clock.is_idle() }
    }

    /// Whose watermark it feeds.
    pub fn task(&self) -> Task {
        self.clock.task
    }

    /// Publishes the clock after a turn.
    pub(super) fn publish_clock(&self) {
        if self.newest != Timestamp::MIN {
            self.clock.publish(self.newest, self.newest_stamp);
        }
    }

    fn see(&mut self, time: Timestamp, stamp: Timestamp) {
        self.dated = true;
        if time > self.newest {
            self.newest = time;
            self.newest_stamp = stamp;
        }
    }

    /// Whether the partition has seen an event newer than all that was announced while it was idle.
    pub(super) fn is_back(&self) -> bool {
        self.newest > self.floor
    }

    /// The partition's own watermark, up to the last record taken.
    pub(super) fn watermark(&self) -> Timestamp {
        self.clock.behind(self.newest)
    }

    fn is_late(&self, time: Timestamp) -> bool {
        time < self.watermark().max(self.floor)
    }
}

/// What a source thread does to each record; owned by the thread, lent to each reader in turn.
pub struct Processor {
    pub(super) streams: Vec<StreamReader>,
    pub(super) detector: Detector,
    pub(super) router: Router,
    pub(super) hits: Vec<ConditionId>,
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) dead_letter_bytes: usize,
    pub(super) counts: Vec<(TopicId, OutcomeCounts)>,
    /// The wall clock at the start of the turn: good enough for `max_future` of records without a timestamp. Before the
    /// first turn nothing lies in the future.
    pub(super) now: Timestamp,
    /// The traces that events come with are wanted.
    traced: bool,
    /// Who wants to know which fields occur.
    seen: Option<Arc<FieldsSeen>>,
}

/// Counts one record of a topic.
fn count(counts: &mut Vec<(TopicId, OutcomeCounts)>, topic: TopicId, outcome: Outcome) {
    match counts.iter_mut().find(|entry| entry.0 == topic) {
        Some(entry) => entry.1.add(outcome, 1),
        None => {
            let mut first = OutcomeCounts::default();
            first.add(outcome, 1);
            counts.push((topic, first));
        }
    }
}

/// Why a record is given up: code, message, and its event time if it got as far.
type Refusal = (DeadCode, String, Option<Timestamp>);

impl Processor {
    /// A processor for these streams.
    pub fn new(streams: Vec<StreamReader>, detector: Detector, router: Router) -> Self {
        Processor {
            streams,
            detector,
            router,
            hits: Vec::new(),
            dead_letters: Vec::new(),
            dead_letter_bytes: 0,
            counts: Vec::new(),
            now: Timestamp::MAX,
            traced: false,
            seen: None,
        }
    }

    /// Tells which fields occur.
    pub fn telling(mut self, seen: Option<Arc<FieldsSeen>>) -> Self {
        self.seen = seen;
        self
    }

    /// Keeps the traces that events come with.
    pub fn traced(mut self, traced: bool) -> Self {
        self.traced = traced;
        self
    }

    /// Takes one record through decode, detect and route; signals go to `emit` with their shard.
    pub fn process(&mut self, reader: &mut Reader, record: &Record<'_>, emit: &mut dyn FnMut(usize, Signal)) {
        reader.next = Some(record.offset + 1);
        reader.reached = record.offset + 1;
        let Some(payload) = record.value else {
            return count(&mut self.counts, reader.topic, Outcome::Tombstone);
        };
        reader.bytes += payload.len() as u64;
        let stamp = record.timestamp_ms.map(Timestamp::from_millis);
        let origin = Origin { topic: reader.topic, partition: reader.partition.partition, offset: record.offset };
        let time = match self.streams[reader.stream].read(payload, stamp, self.now) {
            Ok(time) => time,
            Err(refusal) => return self.give_up(refusal, Stage::Decode, origin, record),
        };
        let StreamReader { stream, decoder, event, identity_seed } = &mut self.streams[reader.stream];
        if let Some(seen) = &self.seen {
            seen.note(event);
        }
        self.detector.detect(event, &mut self.hits);
        let late = reader.is_late(time).then_some(stream.late);
        reader.see(time, stamp.unwrap_or(Timestamp::MIN));
        if self.hits.is_empty() {
            return count(&mut self.counts, reader.topic, Outcome::Unmatched);
        }
        let identity = identity(decoder, event, *identity_seed, reader.topic_hash, origin);
        let (decoder, event, traced) = (&*decoder, &*event, self.traced);
        let arrival = Arrival {
            time,
            origin,
            task: reader.task(),
            id: &|| decoder.id_text(event),
            identity: &|| identity,
            trace: &|| traced.then(|| trace_of(record)).flatten(),
            late: &|counts| late.map(|policy| late_mark(policy, counts, record)),
        };
        match self.router.route(event, &self.hits, &arrival, emit) {
            Routed::Somewhere => {}
            Routed::Nowhere => count(&mut self.counts, reader.topic, Outcome::Unmatched),
            Routed::KeyTooLarge(bytes) => {
                let message =
                    format!("a correlation key of the event has {bytes} bytes, at most {KEY_BYTES_MAX} are kept");
                self.give_up((DeadCode::TooLarge, message, Some(time)), Stage::Route, origin, record);
            }
        }
    }

    /// The record becomes a dead letter.
    fn give_up(&mut self, refusal: Refusal, stage: Stage, origin: Origin, record: &Record<'_>) {
        let (code, message, event_time) = refusal;
        let letter = DeadLetter { code, stage, message, origin, event_time, record: record.to_raw() };
        self.dead_letter_bytes += letter.record.bytes();
        self.dead_letters.push(letter);
        count(&mut self.counts, origin.topic, Outcome::DeadLetter);
    }
}

impl StreamReader {
    /// Decodes a payload into `self.event` and says when it happened.
    fn read(&mut self, payload: &[u8], stamp: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, Refusal> {
        let header = self.decoder.decode(payload, &mut self.event).map_err(|e| (e.code, e.message, e.time))?;
        let time = header.time.or(stamp).ok_or_else(|| {
            let message = "the record has no timestamp and its stream names no time field".to_owned();
            (DeadCode::MissingTime, message, None)
        })?;
        let from_field = self.stream.time.is_some();
        let reference = if from_field { stamp } else { Some(now) };
        match reference {
            Some(reference) if time > reference + self.stream.max_future => {
                let whose = if from_field { "the record's timestamp" } else { "the wall clock" };
                let limit = self.stream.max_future;
                let message =
                    format!("event time {time} is more than max_future ({limit}) ahead of {whose}, {reference}");
                Err((DeadCode::FutureTimestamp, message, Some(time)))
            }
            _ => Ok(time),
        }
    }
}

/// Hash of (stream, id), or of (stream, topic, partition, offset) for an event without an id of its own.
fn identity(decoder: &mut Decoder, event: &Projected, seed: u64, topic_hash: u64, origin: Origin) -> Hash128 {
    decoder.id_hash(event, seed).unwrap_or_else(|| {
        let mut place = [0u8; 20];
        place[..8].copy_from_slice(&topic_hash.to_le_bytes());
        place[8..12].copy_from_slice(&origin.partition.to_le_bytes());
        place[12..].copy_from_slice(&origin.offset.to_le_bytes());
        stable_hash128(seed, &place)
    })
}

/// The trace that a record came with.
fn trace_of(record: &Record<'_>) -> Option<Box<TraceContext>> {
    let mut found = None;
    record.headers.visit(&mut |name, value| {
        if name == TRACEPARENT {
            found = value.and_then(TraceContext::parse);
        }
    });
    found.map(Box::new)
}

fn late_mark(policy: LatePolicy, counts: bool, record: &Record<'_>) -> Late {
    match policy {
        LatePolicy::Process => Late::Process,
        LatePolicy::Drop => Late::Drop,
        LatePolicy::Dlq => Late::Dlq(counts.then(|| Box::new(record.to_raw()))),
    }
}
