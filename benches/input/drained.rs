//! The whole engine from memory, on one thread: decode, detect and route as a source thread does it, then the shard's step.
//!
//! The events are the generator's, with incidents planted; what comes out is held to those. Left out: the ring between the
//! two, the broker, outputs encoded and committed.

use std::sync::Arc;
use std::time::Instant;

use throughline::broker::{Assigned, Delivery, Flow, NoHeaders, PartitionQueue, Record, TopicPartition};
use throughline::decode::{Decoder, StreamFields};
use throughline::detect::Detector;
use throughline::event::{LatePolicy, Outcome, Signal, Span, Timestamp, TopicId, TopicTable};
use throughline::generate::{Generator, Kind, Options};
use throughline::limits::{BATCH_SIGNALS, SOURCE_TURN_RECORDS};
use throughline::ring::Bell;
use throughline::rules::plan::Plan;
use throughline::shard::core::{Core, Output, Settings};
use throughline::source::{PartitionClock, Processor, Reader, Router, Stream, StreamReader};

const TOPIC: &str = "security";
/// What no rule reads and is cut out: the generator's events have some 350 bytes, the target is set for 300.
const UNREAD: [&str; 2] = [r#","domain":"example.org""#, r#","os":{"type":"linux"}"#];
const OUT_OF_ORDERNESS: Span = Span::from_secs(1);

/// A partition whose records come from elsewhere.
struct NoQueue;

impl PartitionQueue for NoQueue {
    fn drain(&mut self, _: &mut dyn FnMut(Delivery<'_>) -> Flow) -> usize {
        0
    }

    fn ring_on_data(&mut self, _: Bell) {}
}

/// Payloads back to back, as they lie in a fetch response.
struct Log {
    bytes: Vec<u8>,
    /// For each record: where it ends, and the newest event time up to it.
    records: Vec<(usize, Timestamp)>,
    /// The rule of each correlation to be found, sorted.
    expected: Vec<&'static str>,
}

fn log(events: u64) -> Log {
    let mut generator = Generator::new(Options {
        kind: Kind::Security,
        count: Some(events),
        rate: Some(5_000),
        disorder: Span::from_millis(200),
        duplicates_per_mille: 5,
        ..Options::default()
    });
    let mut log = Log { bytes: Vec::new(), records: Vec::new(), expected: Vec::new() };
    let (mut payload, mut newest) = (Vec::new(), Timestamp::MIN);
    while let Some(meta) = generator.next(&mut payload) {
        let mut text = String::from_utf8(std::mem::take(&mut payload)).expect("the generator writes ASCII");
        UNREAD.iter().for_each(|unread| text = text.replace(unread, ""));
        log.bytes.extend_from_slice(text.as_bytes());
        newest = newest.max(meta.time);
        log.records.push((log.bytes.len(), newest));
    }
    log.expected = generator.expected().iter().map(|expected| expected.rule).collect();
    log.expected.sort_unstable();
    log
}

fn stream() -> Stream {
    Stream {
        topics: vec![TOPIC.into()],
        time: Some("@timestamp".into()),
        id: vec!["event.id".into()],
        category: "event.category".into(),
        out_of_orderness: OUT_OF_ORDERNESS,
        idle_timeout: None,
        late: LatePolicy::Dlq,
        max_skew: Span::MAX,
        max_future: Span::MAX,
    }
}

fn processor(plan: &Arc<Plan>) -> Processor {
    let stream = stream();
    let fields = StreamFields { time: stream.time.clone(), id: stream.id.clone(), category: stream.category.clone() };
    let reader = StreamReader::new(Arc::new(stream), Decoder::new(plan, &fields));
    Processor::new(vec![reader], Detector::new(Arc::clone(plan)), Router::new(Arc::clone(plan), 1))
}

/// What one pass starts from, beside the compiled stages.
pub struct Start {
    /// Of the only partition.
    pub reader: Reader,
    /// Of the only shard.
    pub core: Core,
    /// What the shard found.
    pub out: Output,
    /// On its way to the shard.
    pub batch: Vec<Signal>,
}

/// Events in memory, and the compiled stages that they go through.
pub struct Engine {
    log: Log,
    plan: Arc<Plan>,
    topics: TopicTable,
    topic: TopicId,
    processor: Processor,
}

impl Engine {
    /// So many events, before the rules of a plan.
    pub fn new(events: u64, plan: Arc<Plan>) -> Engine {
        let topics = TopicTable::default();
        let topic = topics.intern(TOPIC).expect("room for one topic");
        Engine { log: log(events), processor: processor(&plan), plan, topics, topic }
    }

    /// A partition at its begin and a shard without state.
    pub fn start(&self) -> Start {
        let partition = TopicPartition { topic: TOPIC.into(), partition: 0 };
        let assigned = Assigned { partition, committed: Some(0), metadata: None, queue: Box::new(NoQueue) };
        let clock = Arc::new(PartitionClock::new(0, OUT_OF_ORDERNESS));
        let settings =
            Settings { dedup_window: Span::from_secs(3600), retention: Span::from_secs(24 * 3600), durable: None };
        Start {
            reader: Reader::new(assigned, self.topic, clock, 0, None, Instant::now()),
            core: Core::new(Arc::clone(&self.plan), settings, self.topics.clone()),
            out: Output::default(),
            batch: Vec::with_capacity(BATCH_SIGNALS),
        }
    }

    /// All records in turns, as a source takes them. `step` gets each full batch, and after each turn what is left and the
    /// watermark; it leaves the batch empty.
    pub fn read(
        &mut self,
        reader: &mut Reader,
        batch: &mut Vec<Signal>,
        mut step: impl FnMut(&mut Vec<Signal>, Option<Timestamp>),
    ) {
        let (mut from, mut offset) = (0, 0);
        for records in self.log.records.chunks(SOURCE_TURN_RECORDS) {
            let mut newest = Timestamp::MIN;
            for &(to, time) in records {
                let value = self.log.bytes.get(from..to);
                let record = Record { offset, timestamp_ms: None, key: None, value, headers: &NoHeaders };
                self.processor.process(reader, &record, &mut |_, signal| batch.push(signal));
                if batch.len() >= BATCH_SIGNALS {
                    step(batch, None);
                }
                (from, offset, newest) = (to, offset + 1, time);
            }
            step(batch, Some(newest - OUT_OF_ORDERNESS));
        }
    }

    /// The whole way; gives what it started from, so that its end is not measured.
    pub fn drain(&mut self, start: Start) -> Start {
        let Start { mut reader, mut core, mut out, mut batch } = start;
        self.read(&mut reader, &mut batch, |batch, watermark| {
            core.take(batch, &mut out);
            if let Some(watermark) = watermark {
                core.advance(0, watermark, &mut out);
            }
        });
        core.finish(&mut out);
        assert_eq!(out.correlations.len(), self.log.expected.len(), "an engine that finds what was planted");
        Start { reader, core, out, batch }
    }

    /// Holds the workload to what its name says and the result to what was planted, and says so.
    pub fn check(&mut self) {
        let Output { correlations, counts, .. } = self.drain(self.start()).out;
        let mut found: Vec<&str> = correlations.iter().map(|c| &*self.plan.rules[c.rule.0 as usize].id).collect();
        found.sort_unstable();
        assert!(!self.log.expected.is_empty(), "incidents were planted");
        assert_eq!(found, self.log.expected, "the correlations are those of the planted incidents");
        let events = self.log.records.len() as u64;
        let matched = counts.iter().map(|(_, counts)| counts.get(Outcome::Matched)).sum::<u64>();
        assert!((events / 100..events / 25).contains(&matched), "about 2 % of the events are signals: {matched}");
        let bytes = self.log.bytes.len() as u64 / events;
        assert!((280..320).contains(&bytes), "events of about 300 bytes: {bytes}");
        let found = found.len();
        let mut signals = 0;
        let Start { mut reader, mut batch, .. } = self.start();
        self.read(&mut reader, &mut batch, |batch, _| signals += batch.drain(..).len());
        println!(
            "engine: {events} events of {bytes} bytes, {} rules, {matched} events matched, {signals} signals, {found} correlations",
            self.plan.rules.len()
        );
    }
}
