//! The whole engine from memory, on one thread: decode, detect and route as a source thread does it, then the shard's step.
//!
//! An iteration drains the same events through a shard without state, so every iteration does the same work and is held to
//! the same result: the correlations that the generator planted. Left out: the ring between the two, the broker, outputs
//! encoded and committed. `source_side` is the same without the shard's step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput};
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

use super::ruleset;

const EVENTS: u64 = 200_000;
const RULES: usize = 1_000;
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

fn log() -> Log {
    let mut generator = Generator::new(Options {
        kind: Kind::Security,
        count: Some(EVENTS),
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

/// What one iteration starts from, beside the compiled stages.
struct Start {
    reader: Reader,
    core: Core,
    out: Output,
    batch: Vec<Signal>,
}

fn start(plan: &Arc<Plan>, topics: &TopicTable, topic: TopicId) -> Start {
    let partition = TopicPartition { topic: TOPIC.into(), partition: 0 };
    let assigned = Assigned { partition, committed: Some(0), metadata: None, queue: Box::new(NoQueue) };
    let clock = Arc::new(PartitionClock::new(0, OUT_OF_ORDERNESS));
    let settings =
        Settings { dedup_window: Span::from_secs(3600), retention: Span::from_secs(24 * 3600), durable: None };
    Start {
        reader: Reader::new(assigned, topic, clock, 0, None, Instant::now()),
        core: Core::new(Arc::clone(plan), settings, topics.clone()),
        out: Output::default(),
        batch: Vec::with_capacity(BATCH_SIGNALS),
    }
}

/// All records in turns, as a source takes them. `step` gets each full batch, and after each turn what is left and the
/// watermark; it leaves the batch empty.
fn read(
    log: &Log,
    processor: &mut Processor,
    reader: &mut Reader,
    batch: &mut Vec<Signal>,
    mut step: impl FnMut(&mut Vec<Signal>, Option<Timestamp>),
) {
    let (mut from, mut offset) = (0, 0);
    for records in log.records.chunks(SOURCE_TURN_RECORDS) {
        let mut newest = Timestamp::MIN;
        for &(to, time) in records {
            let value = log.bytes.get(from..to);
            let record = Record { offset, timestamp_ms: None, key: None, value, headers: &NoHeaders };
            processor.process(reader, &record, &mut |_, signal| batch.push(signal));
            if batch.len() >= BATCH_SIGNALS {
                step(batch, None);
            }
            (from, offset, newest) = (to, offset + 1, time);
        }
        step(batch, Some(newest - OUT_OF_ORDERNESS));
    }
}

/// The whole way; returns what it started from, so that its end is not timed.
fn drain(log: &Log, processor: &mut Processor, start: Start) -> Start {
    let Start { mut reader, mut core, mut out, mut batch } = start;
    read(log, processor, &mut reader, &mut batch, |batch, watermark| {
        core.take(batch, &mut out);
        if let Some(watermark) = watermark {
            core.advance(0, watermark, &mut out);
        }
    });
    core.finish(&mut out);
    Start { reader, core, out, batch }
}

/// Holds the workload to what its name says and the result to what was planted, and says so.
fn check(log: &Log, processor: &mut Processor, plan: &Plan, start: impl Fn() -> Start) {
    let Output { correlations, counts, .. } = drain(log, processor, start()).out;
    let mut found: Vec<&str> = correlations.iter().map(|c| &*plan.rules[c.rule.0 as usize].id).collect();
    found.sort_unstable();
    assert!(!log.expected.is_empty(), "incidents were planted");
    assert_eq!(found, log.expected, "the correlations are those of the planted incidents");
    let matched = counts.iter().map(|(_, counts)| counts.get(Outcome::Matched)).sum::<u64>();
    assert!((EVENTS / 100..EVENTS / 25).contains(&matched), "about 2 % of the events are signals: {matched}");
    let bytes = log.bytes.len() as u64 / EVENTS;
    assert!((280..320).contains(&bytes), "events of about 300 bytes: {bytes}");
    let mut signals = 0;
    let Start { mut reader, mut batch, .. } = start();
    read(log, processor, &mut reader, &mut batch, |batch, _| signals += batch.drain(..).len());
    println!(
        "engine: {EVENTS} events of {bytes} bytes, {RULES} rules, {matched} events matched, {signals} signals, {} correlations",
        found.len()
    );
}

/// The benches of this stage.
pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(EVENTS)).measurement_time(Duration::from_secs(10)).sample_size(20);
    let (log, plan, topics) = (log(), ruleset::plan(RULES), TopicTable::default());
    let topic = topics.intern(TOPIC).expect("room for one topic");
    let mut processor = processor(&plan);
    let start = || start(&plan, &topics, topic);
    check(&log, &mut processor, &plan, start);
    group.bench_function("whole", |bencher| {
        let routine = |start| {
            let end = drain(&log, &mut processor, start);
            assert_eq!(end.out.correlations.len(), log.expected.len(), "an engine that finds what was planted");
            end
        };
        bencher.iter_batched(start, routine, BatchSize::PerIteration);
    });
    group.bench_function("source_side", |bencher| {
        let routine = |mut start: Start| {
            read(&log, &mut processor, &mut start.reader, &mut start.batch, |batch, _| batch.clear());
            start
        };
        bencher.iter_batched(start, routine, BatchSize::PerIteration);
    });
    group.finish();
}
