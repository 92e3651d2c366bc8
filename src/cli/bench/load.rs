//! The load: a seeded stream with planted incidents, put into a topic beforehand or sent at a steady rate while the pipeline
//! runs.

use std::sync::Arc;
use std::time::Duration;

use super::BenchArgs;
use crate::broker::kafka::KafkaBroker;
use crate::broker::{Broker, BrokerError, OutRecord, Producer};
use crate::event::{Span, Timestamp, stable_hash64};
use crate::generate::{Expected, Generator, Kind, Options, run_into};

/// How long the broker may take for what is asked of it here.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Event time behind the last event of an open-loop run: longer than any rule waits, so that what never came is decided.
const QUIET: Span = Span::from_secs(15 * 60);

/// What was sent, and what must come out of it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Copies among them.
    pub duplicates: u64,
    /// What the rules must find.
    pub expected: Vec<Expected>,
    /// Open loop: how far the sender was behind its schedule at the end.
    pub lag: Span,
    /// Open loop: when the first event was due that counts, the warm-up being over.
    pub from: Timestamp,
    /// Open loop: when the last event was due that counts.
    pub last: Timestamp,
}

/// The stream of a drained topic: the same arguments, the same bytes.
pub fn stream(args: &BenchArgs) -> Options {
    Options {
        kind: Kind::Security,
        count: Some(args.events),
        rate: Some(args.density),
        keys: args.keys,
        seed: args.seed,
        duplicates_per_mille: args.duplicates,
        ..Options::default()
    }
}

/// What a stream must lead to, without sending it.
pub fn expected_of(options: Options) -> Sent {
    let mut generator = Generator::new(options);
    let mut sent = Sent {
        records: 0,
        bytes: 0,
        duplicates: 0,
        expected: Vec::new(),
        lag: Span::ZERO,
        from: Timestamp::MIN,
        last: Timestamp::MIN,
    };
    let mut line = Vec::new();
    while let Some(meta) = generator.next(&mut line) {
        sent.records += 1;
        sent.bytes += line.len() as u64;
        sent.duplicates += u64::from(meta.duplicate);
        sent.last = sent.last.max(meta.time);
    }
    sent.expected = generator.take_expected();
    sent
}

/// Names the topic that holds this stream.
pub fn topic_of(args: &BenchArgs) -> String {
    let BenchArgs { events, density, keys, seed, duplicates, partitions, .. } = args;
    format!("throughline-bench-{events}-{keys}-{density}-{duplicates}-{seed}-{partitions}")
}

/// Fills the topic, unless it holds the stream already.
pub fn fill(broker: &KafkaBroker, topic: &str, args: &BenchArgs) -> Result<(), BrokerError> {
    let all: Vec<i32> = (0..args.partitions).collect();
    if !broker.create_topic(topic, args.partitions, TIMEOUT)? {
        let held: i64 = broker.log_bounds(topic, &all, TIMEOUT)?.iter().map(|(start, end)| end - start).sum();
        if held.unsigned_abs() == args.events {
            return Ok(());
        }
        broker.delete_topics(&[topic], TIMEOUT)?;
        // A broker deletes in its own time.
        let deadline = std::time::Instant::now() + TIMEOUT;
        while !broker.create_topic(topic, args.partitions, TIMEOUT)? && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    let mut producer = broker.producer(false, None)?;
    let (mut generator, mut line, topic) = (Generator::new(stream(args)), Vec::new(), Arc::<str>::from(topic));
    while let Some(meta) = generator.next(&mut line) {
        let key = line.get(meta.key).unwrap_or_default().to_vec();
        producer.send(record(&topic, partition_of(&key, args.partitions), Some(key), line.clone()))?;
    }
    producer.flush(TIMEOUT)
}

/// A share for each partition that is the same with any client library.
fn partition_of(key: &[u8], partitions: i32) -> i32 {
    (stable_hash64(0, key) % u64::from(partitions.unsigned_abs())) as i32
}

/// Sends at `rate` a second for as long as the arguments say, from now on, after a warm-up that does not count; then what ends
/// all waiting.
pub fn send_paced(producer: &mut dyn Producer, topic: &str, rate: u64, args: &BenchArgs) -> Result<Sent, BrokerError> {
    let (start, warm_up) = (Timestamp::now(), args.warm_up);
    let count = args.events + (u128::from(rate) * warm_up.to_std().as_nanos() / 1_000_000_000) as u64;
    let options = Options { rate: Some(rate), start, count: Some(count), ..stream(args) };
    let (mut last, name) = (Timestamp::MIN, Arc::<str>::from(topic));
    let summary = run_into(options, |step| match step {
        Some(line) => {
            last = last.max(line.time);
            let partition = partition_of(line.key, args.partitions);
            producer.send(record(&name, partition, Some(line.key.to_vec()), line.value.to_vec()))
        }
        None => Ok(()),
    })?;
    let (records, bytes, duplicates) = (summary.records, summary.bytes, summary.duplicates);
    let (expected, lag) = (summary.expected, summary.lag);
    let mut sent = Sent { records, bytes, duplicates, expected, lag, from: start + warm_up, last };
    let end = sent.last + QUIET;
    for partition in 0..args.partitions {
        let value = format!(r#"{{"@timestamp":"{end}","event":{{"id":"quiet-{partition}","category":"none"}}}}"#);
        producer.send(record(&name, partition, None, value.into_bytes()))?;
        sent.records += 1;
    }
    producer.flush(TIMEOUT)?;
    Ok(sent)
}

fn record(topic: &Arc<str>, partition: i32, key: Option<Vec<u8>>, value: Vec<u8>) -> OutRecord {
    OutRecord {
        topic: Arc::clone(topic),
        partition: Some(partition),
        key,
        value: Some(value),
        headers: Vec::new(),
        order: None,
    }
}
