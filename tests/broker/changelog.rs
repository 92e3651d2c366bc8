//! The topic that keeps state: made, measured, read back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use throughline::broker::kafka::{KafkaBroker, KafkaSettings};
use throughline::broker::{Broker, ErrorKind, Flow, LogInfo, OutRecord};

use crate::member::{Member, SOON, broker, position, settings, subscription};
use crate::support::client::NewRecord;
use crate::support::jvm::PrivateBroker;
use crate::support::{kafka, unique, wait_until};

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn prepare(topic: &str) -> LogInfo {
    broker(kafka(), "any", "one").prepare_log(topic, 3, SOON).expect("prepared")
}

fn put(partition: i32, key: &str, value: &str) -> NewRecord {
    NewRecord::value(value).key(key).to(partition)
}

/// What a restore sees: partition, offset, key, value.
type Seen = Vec<(i32, i64, String, Option<String>)>;

fn read_with(broker: &KafkaBroker, topic: &str, ranges: &[(i32, i64, i64)]) -> Result<Seen, (Seen, ErrorKind, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut seen = Seen::new();
    let result = broker.read_log(topic, ranges, &mut |record| {
        seen.push((record.partition, record.offset, text(record.key), record.value.map(text)));
        Flow::Continue
    });
    // Partitions come as they come; within each the order counts, which a stable sort keeps.
    seen.sort_by_key(|(partition, ..)| *partition);
    result.map(|()| seen.clone()).map_err(|error| (seen, error.kind, error.message))
}

fn read(topic: &str, ranges: &[(i32, i64, i64)]) -> Seen {
    read_with(&broker(kafka(), &unique("app"), "one"), topic, ranges).expect("read")
}

fn offsets(seen: &Seen) -> Vec<(i32, i64)> {
    seen.iter().map(|(partition, offset, ..)| (*partition, *offset)).collect()
}

#[test]
fn a_missing_log_is_made_compacted_and_found_again() {
    let topic = unique("log");
    let made = prepare(&topic);
    assert_eq!((made.partitions, made.delete_retention, made.created), (3, WEEK, true));
    assert!(!made.id.is_empty(), "this broker names its topics");
    let found = prepare(&topic);
    assert_eq!(found, LogInfo { created: false, ..made });
    let settings = kafka().topic_settings(&topic);
    for (name, value) in [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.1"),
        ("segment.bytes", "67108864"),
        ("delete.retention.ms", "604800000"),
    ] {
        assert_eq!(settings[name], value, "{name}");
    }
    assert!(settings["max.message.bytes"].parse::<u64>().expect("a number") >= 1 << 20);
}

#[test]
fn of_two_that_make_the_log_at_once_one_does_and_both_go_on() {
    for _ in 0..3 {
        let topic = unique("race");
        let others: Vec<_> = (0..3)
            .map(|_| {
                let topic = topic.clone();
                std::thread::spawn(move || prepare(&topic))
            })
            .collect();
        let all: Vec<LogInfo> = others.into_iter().map(|other| other.join().expect("prepared")).collect();
        assert_eq!(all.iter().filter(|info| info.created).count(), 1, "{all:?}");
        assert!(all.iter().all(|info| info.id == all[0].id && info.partitions == 3), "{all:?}");
    }
}

#[test]
fn a_log_that_would_lose_state_is_refused_with_advice() {
    for policy in ["delete", "compact,delete"] {
        let topic = unique("refused");
        kafka().create_topic(&topic, 1, &[("cleanup.policy", policy)]);
        let error = broker(kafka(), "any", "one").prepare_log(&topic, 1, SOON).expect_err(policy);
        assert_eq!(error.kind, ErrorKind::Setting, "{error}");
        for part in [topic.as_str(), policy, "kafka-configs.sh", "cleanup.policy=compact"] {
            assert!(error.message.contains(part), "{part} is missing: {error}");
        }
    }
    let topic = unique("found");
    kafka().create_topic(&topic, 2, &[("cleanup.policy", "compact"), ("delete.retention.ms", "1000")]);
    let info = prepare(&topic);
    assert_eq!((info.partitions, info.delete_retention, info.created), (2, Duration::from_secs(1), false));
}

#[test]
fn a_log_made_anew_has_another_id() {
    let topic = unique("anew");
    let first = prepare(&topic);
    kafka().delete_topic(&topic);
    // A deletion is answered before every part of the broker has heard of it.
    let mut second = None;
    wait_until("the log is made anew", SOON, || {
        second = broker(kafka(), "any", "one").prepare_log(&topic, 3, SOON).ok().filter(|info| info.id != first.id);
        second.is_some()
    });
    assert!(second.is_some_and(|info| !info.id.is_empty()));
}

#[test]
fn bounds_count_open_transactions_and_deleted_records() {
    let topic = unique("bounds");
    kafka().create_topic(&topic, 2, &[]);
    kafka().produce(&topic, (0..5).map(|n| put(1, &n.to_string(), "x")));
    kafka().delete_records(&topic, 1, 2);
    let open = open_transaction(&topic, 1, 3);
    let bounds = broker(kafka(), "any", "one").log_bounds(&topic, &[1, 0], SOON).expect("bounds");
    assert_eq!(bounds, [(2, 8), (0, 0)], "in the order asked");
    open.abort_transaction(SOON).expect("abort");
    let error = broker(kafka(), "any", "one").log_bounds(&unique("none"), &[0], Duration::from_secs(2));
    let error = error.expect_err("no such topic");
    assert_eq!(error.kind, ErrorKind::TopicMissing, "{error}");
}

/// A transaction that has written `count` records and stays open.
fn open_transaction(topic: &str, partition: i32, count: usize) -> BaseProducer {
    let producer: BaseProducer = kafka().client().set("transactional.id", unique("open")).create().expect("a producer");
    producer.init_transactions(SOON).expect("init");
    producer.begin_transaction().expect("begin");
    for n in 0..count {
        let (key, value) = (format!("open {n}"), "x");
        producer.send(BaseRecord::to(topic).partition(partition).key(&key).payload(value)).expect("sent");
    }
    producer.flush(SOON).expect("flush");
    producer
}

#[test]
fn a_restore_sees_what_was_committed_and_nothing_else() {
    let topic = unique("restore");
    kafka().create_topic(&topic, 2, &[]);
    kafka().produce_transaction(&topic, [put(0, "a", "1"), put(0, "b", "2"), put(1, "c", "3")], true);
    kafka().produce_transaction(&topic, [put(0, "a", "aborted"), put(1, "c", "aborted")], false);
    kafka().produce(&topic, [NewRecord { key: Some(b"b".to_vec()), partition: Some(0), ..NewRecord::default() }]);
    kafka().produce(&topic, [NewRecord::value("no key").to(0)]);
    // It ends in what is never given: an aborted record and its marker.
    kafka().produce_transaction(&topic, [put(0, "d", "aborted")], false);
    let bounds = || broker(kafka(), "any", "one").log_bounds(&topic, &[0, 1], SOON).expect("bounds");
    wait_until("all markers are written", SOON, || bounds() == [(0, 9), (0, 4)]);
    let some = |text: &str| Some(text.to_owned());
    let expected: Seen = vec![
        (0, 0, "a".into(), some("1")),
        (0, 1, "b".into(), some("2")),
        (0, 5, "b".into(), None),
        (0, 6, String::new(), some("no key")),
        (1, 0, "c".into(), some("3")),
    ];
    assert_eq!(read(&topic, &[(0, 0, 9), (1, 0, 4)]), expected);
    assert_eq!(offsets(&read(&topic, &[(0, 1, 6)])), [(0, 1), (0, 5)], "from included, to excluded");
    assert_eq!(offsets(&read(&topic, &[(0, 2, 5), (1, 0, 1)])), [(1, 0)], "nothing but marker and aborted records");
    assert_eq!(read(&topic, &[(0, 9, 9), (1, 3, 1)]), Seen::new(), "an empty range asks nothing");
    assert_eq!(read(&topic, &[(0, 8, 9)]), Seen::new(), "a marker alone");
}

#[test]
fn a_restore_stops_when_the_visitor_says_so() {
    let topic = unique("stop");
    kafka().create_topic(&topic, 1, &[]);
    kafka().produce(&topic, (0..1_000).map(|n| put(0, &n.to_string(), "x")));
    let mut seen = 0;
    let read = broker(kafka(), "any", "one").read_log(&topic, &[(0, 0, 1_000)], &mut |_| {
        seen += 1;
        if seen == 10 { Flow::Stop } else { Flow::Continue }
    });
    read.expect("stopped");
    assert_eq!(seen, 10);
}

#[test]
fn an_open_transaction_is_waited_for_and_one_beyond_the_range_is_not() {
    let topic = unique("open");
    kafka().create_topic(&topic, 2, &[]);
    kafka().produce(&topic, (0..5).flat_map(|n| [put(0, &n.to_string(), "x"), put(1, &n.to_string(), "x")]));
    let open = open_transaction(&topic, 0, 3);
    kafka().produce(&topic, [put(0, "behind", "x")]);
    assert_eq!(offsets(&read(&topic, &[(0, 3, 5), (1, 4, 5)])), [(0, 3), (0, 4), (1, 4)]);
    let reading = std::thread::spawn({
        let topic = topic.clone();
        move || read(&topic, &[(0, 4, 9), (1, 4, 5)])
    });
    std::thread::sleep(Duration::from_millis(700));
    assert!(!reading.is_finished(), "an open transaction was passed over");
    open.commit_transaction(SOON).expect("commit");
    let seen = reading.join().expect("read");
    assert_eq!(offsets(&seen), [(0, 4), (0, 5), (0, 6), (0, 7), (0, 8), (1, 4)]);
}

#[test]
fn a_transaction_that_stays_open_is_an_error_that_names_its_partition() {
    let topic = unique("stuck");
    kafka().create_topic(&topic, 2, &[]);
    kafka().produce(&topic, [put(0, "a", "x"), put(1, "a", "x")]);
    let open = open_transaction(&topic, 1, 1);
    // The wait follows from how long the coordinator lets transactions of ours live.
    let mut settings: KafkaSettings = settings(kafka(), &unique("app"), "one");
    settings.properties.insert("transaction.timeout.ms".into(), "1000".into());
    let broker = KafkaBroker::new(settings).expect("settings");
    let started = Instant::now();
    let (seen, kind, message) = read_with(&broker, &topic, &[(0, 0, 1), (1, 0, 2)]).expect_err("still open");
    assert_eq!(offsets(&seen), [(0, 0), (1, 0)]);
    assert_eq!(kind, ErrorKind::Transient, "{message}");
    assert!(message.contains(&format!("{topic}/1")) && message.contains("transaction"), "{message}");
    assert!(started.elapsed() > Duration::from_secs(10), "a coordinator may need that long to end it");
    open.abort_transaction(SOON).expect("abort");
}

#[test]
fn gaps_of_compaction_are_passed_over() {
    let topic = unique("compacted");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
    ];
    kafka().create_topic(&topic, 1, &settings);
    kafka().produce_transaction(&topic, (0..50).map(|n| put(0, &(n % 5).to_string(), &n.to_string())), true);
    // Only closed segments are compacted, and one closes when the next record comes.
    wait_until("the first records are compacted away", SOON, || {
        std::thread::sleep(Duration::from_millis(150));
        kafka().produce(&topic, [put(0, "filler", "x")]);
        kafka().read_uncommitted(&topic).first().is_some_and(|record| record.offset >= 45)
    });
    let end = kafka().end_offsets(&topic)[&0];
    let seen = read(&topic, &[(0, 0, end)]);
    let last: BTreeMap<&str, &str> =
        seen.iter().map(|(_, _, key, value)| (key.as_str(), value.as_deref().expect("a value"))).collect();
    assert_eq!(last["4"], "49");
    assert_eq!(seen.first().map(|(_, offset, ..)| *offset), Some(45));
    assert_eq!(read(&topic, &[(0, 3, 40)]), Seen::new(), "a range that is all gap");
}

#[test]
fn a_range_that_begins_before_the_log_does_is_read_from_where_the_log_begins() {
    let topic = unique("deleted");
    kafka().create_topic(&topic, 2, &[]);
    kafka().produce(&topic, (0..10).flat_map(|n| [put(0, &n.to_string(), "x"), put(1, &n.to_string(), "x")]));
    kafka().delete_records(&topic, 0, 7);
    // All of it is gone, and nothing has come after.
    kafka().delete_records(&topic, 1, 10);
    assert_eq!(offsets(&read(&topic, &[(0, 2, 9), (1, 0, 10)])), [(0, 7), (0, 8)]);
}

#[test]
fn a_broker_that_restarts_in_the_middle_costs_time_and_nothing_else() {
    let mut private = PrivateBroker::start();
    let log = "log";
    private.create_topic(log, 2, &[]);
    // More than is fetched ahead.
    private.produce(log, (0..30_000).map(|n| put(n % 2, &n.to_string(), &"x".repeat(3_000))));
    let broker = broker(&private, "app", "one");
    let mut seen = [0_i64; 2];
    let read = broker.read_log(log, &[(0, 0, 15_000), (1, 0, 15_000)], &mut |record| {
        let seen = &mut seen[record.partition as usize];
        assert_eq!(record.offset, *seen, "partition {}", record.partition);
        *seen += 1;
        if record.partition == 0 && record.offset == 1_000 {
            private.kill();
            private.restart();
        }
        Flow::Continue
    });
    read.expect("read");
    assert_eq!(seen, [15_000, 15_000]);
    let error = broker.read_log("none", &[(0, 0, 1)], &mut |_| Flow::Continue).expect_err("no such topic");
    assert_eq!(error.kind, ErrorKind::TopicMissing, "{error}");
}

#[test]
fn rights_on_the_log_that_are_missing_are_named() {
    let private = PrivateBroker::start();
    let mut settings = settings(&private, "app", "one");
    settings.brokers = private.sasl_brokers();
    settings.properties.extend(PrivateBroker::sasl_properties("alice").map(|(n, v)| (n.to_owned(), v)));
    let broker = KafkaBroker::new(settings).expect("settings");
    let error = broker.prepare_log("log", 1, SOON).expect_err("not allowed to see it");
    assert_eq!(error.kind, ErrorKind::Authorization, "{error}");
    assert!(error.message.contains("topic log") && error.message.contains("changelog"), "{error}");
    private.allow("alice", &["--operation", "Describe", "--topic", "log"]);
    wait_until("Describe is known", SOON, || {
        broker.prepare_log("log", 1, SOON).is_err_and(|error| error.message.contains("Create on the topic"))
    });
    private.allow("alice", &["--operation", "Create", "--topic", "log"]);
    wait_until("Create is known", SOON, || {
        broker.prepare_log("log", 1, SOON).is_err_and(|error| error.message.contains("DescribeConfigs on"))
    });
    private.allow("alice", &["--operation", "DescribeConfigs", "--topic", "log"]);
    wait_until("DescribeConfigs is known", SOON, || broker.prepare_log("log", 1, SOON).is_ok());
    private.produce("log", [put(0, "a", "1")]);
    let error = broker.read_log("log", &[(0, 0, 1)], &mut |_| Flow::Continue).expect_err("no right to read");
    assert_eq!(error.kind, ErrorKind::Authorization, "{error}");
    private.allow("alice", &["--operation", "Read", "--topic", "log"]);
    private.allow("alice", &["--operation", "Read", "--group", "app"]);
    wait_until("Read is known", SOON, || broker.read_log("log", &[(0, 0, 1)], &mut |_| Flow::Continue).is_ok());
}

fn out(topic: &str, partition: Option<i32>, value: &str) -> OutRecord {
    OutRecord {
        topic: topic.into(),
        partition,
        key: Some(b"k".to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
        order: None,
    }
}

#[test]
fn the_ends_of_the_log_are_what_was_written() {
    let (input, log, other, app) = (unique("in"), unique("log"), unique("other"), unique("app"));
    kafka().create_topic(&input, 1, &[]);
    kafka().create_topic(&log, 4, &[]);
    kafka().create_topic(&other, 4, &[]);
    kafka().produce(&log, [put(2, "before", "x")]);
    let broker = broker(kafka(), &app, "one");
    let member = Member::join(&broker, &subscription(&[&input]));
    member.wait_held(1);
    let mut producer = broker.producer(true, Some(&log)).expect("producer");
    assert_eq!(producer.log_ends(), []);
    producer.begin().expect("begin");
    for (partition, count) in [(0, 3), (2, 700), (3, 1)] {
        (0..count).for_each(|n| producer.send(out(&log, Some(partition), &n.to_string())).expect("send"));
    }
    producer.send(out(&other, Some(1), "not of the log")).expect("send");
    assert_eq!(producer.log_ends(), [], "nothing is committed yet");
    producer.commit(&[position(&input, 0, 0)], &*member.handle).expect("commit");
    assert_eq!(producer.log_ends(), [(0, 3), (2, 701), (3, 1)]);
    assert_eq!(producer.log_ends(), [], "told once");
    let written = kafka().read_committed(&log);
    for (partition, end) in [(0, 3), (2, 701), (3, 1)] {
        let last = written.iter().filter(|r| r.partition == partition).map(|r| r.offset).max();
        assert_eq!(last, Some(end - 1), "partition {partition}");
    }

    producer.begin().expect("begin");
    producer.send(out(&log, Some(1), "aborted")).expect("send");
    producer.flush(SOON).expect("flush");
    producer.abort().expect("abort");
    assert_eq!(producer.log_ends(), [], "an abort leaves nothing");
    producer.begin().expect("begin");
    producer.send(out(&log, Some(0), "after")).expect("send");
    producer.commit(&[], &*member.handle).expect("commit");
    // Three records and the marker before it.
    assert_eq!(producer.log_ends(), [(0, 5)], "nothing of the aborted partition");
    member.leave();
}

#[test]
fn without_transactions_a_flush_tells_the_ends() {
    let log = unique("log");
    kafka().create_topic(&log, 2, &[]);
    let mut producer = broker(kafka(), &unique("app"), "one").producer(false, Some(&log)).expect("producer");
    for n in 0..3 {
        producer.send(out(&log, Some(1), &n.to_string())).expect("send");
    }
    producer.flush(SOON).expect("flush");
    assert_eq!(producer.log_ends(), [(1, 3)]);
    producer.flush(SOON).expect("flush");
    assert_eq!(producer.log_ends(), []);
}
