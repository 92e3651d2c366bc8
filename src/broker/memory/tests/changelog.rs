//! The changelog: the same promises as with Kafka, on the embedded broker.

use super::*;
use crate::broker::LogRecord;

fn put(partition: i32, key: &str, value: Option<&str>) -> OutRecord {
    let value = value.map(|text| text.as_bytes().to_vec());
    OutRecord { partition: Some(partition), key: Some(key.as_bytes().to_vec()), value, ..out("log", "") }
}

/// What a restore sees, `partition@offset key=value`; with the error at the end, if there is one.
fn read(client: &MemoryClient, ranges: &[(i32, i64, i64)]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut seen = Vec::new();
    let result = client.read_log("log", ranges, &mut |record| {
        let value = record.value.map_or("-".into(), text);
        seen.push(format!("{}@{} {}={value}", record.partition, record.offset, text(record.key)));
        Flow::Continue
    });
    seen.extend(result.err().map(|error| format!("{:?}", error.kind)));
    seen
}

#[test]
fn the_log_is_made_once_and_a_topic_that_is_not_compacted_is_refused() {
    let broker = broker(&[("plain", 1)]);
    let client = broker.client(APP, "a");
    let prepare = |topic| client.prepare_log(topic, 4, Duration::ZERO);
    let made = prepare("log").expect("made");
    assert_eq!((made.partitions, made.created), (4, true));
    let found = prepare("log").expect("found");
    assert_eq!((found.partitions, found.created, &found.id), (4, false, &made.id));
    let refused = prepare("plain").expect_err("not compacted");
    assert_eq!(refused.kind, ErrorKind::Setting);
    assert!(refused.message.contains("plain") && refused.message.contains("cleanup.policy"), "{refused}");
    broker.delete_topic("log");
    let anew = prepare("log").expect("made anew");
    assert!(anew.created && anew.id != made.id && !anew.id.is_empty());
}

#[test]
fn a_restore_sees_what_was_committed_and_passes_over_every_kind_of_gap() {
    let broker = broker(&[]);
    broker.set_log_patience(Duration::ZERO);
    let client = broker.client(APP, "a");
    let (group, _log) = join(&client, &[]);
    client.prepare_log("log", 2, Duration::ZERO).expect("made");
    let mut producer = client.producer(true, Some("log")).expect("producer");
    producer.begin().expect("begin");
    for (key, value) in [("a", Some("1")), ("b", Some("2")), ("a", Some("3"))] {
        producer.send(put(0, key, value)).expect("send");
    }
    producer.send(put(1, "c", None)).expect("send");
    producer.commit(&[], &*group.handle()).expect("commit");
    producer.begin().expect("begin");
    producer.send(put(0, "a", Some("aborted"))).expect("send");
    producer.abort().expect("abort");
    assert_eq!(client.log_bounds("log", &[1, 0], Duration::ZERO).expect("bounds"), [(0, 2), (0, 6)]);
    assert_eq!(read(&client, &[(0, 0, 6), (1, 0, 2)]), ["0@0 a=1", "0@1 b=2", "0@2 a=3", "1@0 c=-"]);
    assert_eq!(read(&client, &[(0, 1, 2)]), ["0@1 b=2"]);
    assert_eq!(read(&client, &[(0, 3, 6), (1, 2, 2)]), Vec::<String>::new(), "markers and what was aborted");
    broker.compact("log");
    assert_eq!(read(&client, &[(0, 0, 6)]), ["0@1 b=2", "0@2 a=3"], "offsets stay");
    broker.delete_records("log", 0, 2).expect("deleted");
    assert_eq!(read(&client, &[(0, 0, 6)]), ["0@2 a=3"]);
    assert_eq!(client.log_bounds("log", &[0], Duration::ZERO).expect("bounds"), [(2, 6)]);
}

#[test]
fn an_open_transaction_is_waited_for_as_long_as_patience_lasts() {
    let broker = broker(&[]);
    broker.set_log_patience(Duration::ZERO);
    let client = broker.client(APP, "a");
    client.prepare_log("log", 1, Duration::ZERO).expect("made");
    let mut plain = client.producer(false, None).expect("producer");
    plain.send(put(0, "before", None)).expect("send");
    let mut producer = broker.client(APP, "b").producer(true, None).expect("producer");
    producer.begin().expect("begin");
    producer.send(put(0, "open", None)).expect("send");
    assert_eq!(read(&client, &[(0, 0, 1)]), ["0@0 before=-"], "it lies beyond the range");
    assert_eq!(read(&client, &[(0, 0, 2)]), ["0@0 before=-", "Transient"]);
    broker.set_log_patience(Duration::from_secs(60));
    let reading = std::thread::spawn({
        let client = client.clone();
        move || read(&client, &[(0, 0, 3)])
    });
    let (group, _log) = join(&broker.client(APP, "b"), &[]);
    producer.commit(&[], &*group.handle()).expect("commit");
    assert_eq!(reading.join().expect("read"), ["0@0 before=-", "0@1 open=-"]);
}

#[test]
fn a_restore_reads_more_than_one_turn_holds_and_stops_when_told() {
    let broker = broker(&[]);
    let client = broker.client(APP, "a");
    client.prepare_log("log", 2, Duration::ZERO).expect("made");
    let mut producer = client.producer(false, None).expect("producer");
    let count = crate::limits::SOURCE_TURN_RECORDS as i64 * 3;
    for n in 0..count {
        producer.send(put((n % 2) as i32, &n.to_string(), None)).expect("send");
    }
    let half = count / 2;
    assert_eq!(read(&client, &[(0, 0, half), (1, 0, half)]).len() as i64, count);
    let mut seen = 0;
    let stop = &mut |_: LogRecord<'_>| {
        seen += 1;
        if seen == 5 { Flow::Stop } else { Flow::Continue }
    };
    client.read_log("log", &[(0, 0, half), (1, 0, half)], stop).expect("stopped");
    assert_eq!(seen, 5);
}

#[test]
fn the_ends_of_the_log_are_those_of_the_last_commit_and_told_once() {
    let broker = broker(&[("o", 1)]);
    let client = broker.client(APP, "a");
    let (group, _log) = join(&client, &[]);
    client.prepare_log("log", 3, Duration::ZERO).expect("made");
    let mut producer = client.producer(true, Some("log")).expect("producer");
    let commit = |producer: &mut dyn Producer, partitions: &[i32]| {
        producer.begin().expect("begin");
        partitions.iter().for_each(|partition| producer.send(put(*partition, "k", None)).expect("send"));
        producer.send(out("o", "of another topic")).expect("send");
        producer.commit(&[], &*group.handle())
    };
    commit(&mut *producer, &[2, 0, 2]).expect("commit");
    assert_eq!(producer.log_ends(), [(0, 1), (2, 2)]);
    assert_eq!(producer.log_ends(), []);
    producer.begin().expect("begin");
    producer.send(put(1, "k", None)).expect("send");
    producer.abort().expect("abort");
    commit(&mut *producer, &[0]).expect("commit");
    assert_eq!(producer.log_ends(), [(0, 3)], "the marker before it counts, the aborted partition does not");
    broker.inject(APP, "a", Fault::CommitUncertain { applied: true });
    commit(&mut *producer, &[0]).expect_err("injected");
    assert_eq!(producer.log_ends(), [], "nobody knows");
    let mut plain = client.producer(false, Some("log")).expect("producer");
    plain.send(put(1, "k", None)).expect("send");
    assert_eq!(plain.log_ends(), []);
    plain.flush(Duration::ZERO).expect("flush");
    assert_eq!(plain.log_ends(), [(1, 3)]);
}

#[test]
fn a_record_goes_to_the_partition_it_names_or_nowhere() {
    let broker = broker(&[("log", 2)]);
    let mut producer = broker.client(APP, "a").producer(false, None).expect("producer");
    for partition in [1, 0, 1] {
        producer.send(put(partition, "same key", None)).expect("send");
    }
    assert_eq!(broker.records("log", true).iter().map(|r| r.partition).collect::<Vec<_>>(), [0, 1, 1]);
    let missing = producer.send(put(2, "k", None)).expect_err("no such partition");
    assert_eq!(missing.kind, ErrorKind::TopicMissing);
    assert!(missing.message.contains("no partition 2"), "{missing}");
}

#[test]
fn without_a_committed_offset_reading_starts_where_the_handler_says() {
    struct Fallback(Log, i64);
    impl GroupEvents for Fallback {
        fn assigned(&mut self, partitions: Vec<Assigned>) {
            self.0.assigned(partitions);
        }
        fn revoked(&mut self, partitions: &[TopicPartition]) {
            self.0.revoked(partitions);
        }
        fn lost(&mut self, partitions: &[TopicPartition]) {
            self.0.lost(partitions);
        }
        fn fallback(&mut self, partition: &TopicPartition) -> Option<i64> {
            (partition.partition == 1).then_some(self.1)
        }
    }
    let broker = broker(&[("t", 2)]);
    (0..2).for_each(|partition| append(&broker, "t", partition, &["0", "1", "2"]));
    let client = broker.client(APP, "a");
    let subscription = Subscription { topics: vec!["t".into()], read_committed: true };
    let first = |expected: [&[&str]; 2]| {
        let log = Log::default();
        let mut group = client.join(&subscription, Box::new(Fallback(log.clone(), 2))).expect("join");
        poll(&mut *group);
        for (partition, expected) in expected.into_iter().enumerate() {
            assert_eq!(drain(&mut *log.queue("t", partition as i32)), expected);
        }
        group
    };
    let group = first([&["0 0", "1 1", "2 2", "end 3"], &["2 2", "end 3"]]);
    group.handle().commit(&[noted("t", 1, 1, "m"), position("t", 0, 3)]).expect("commit");
    let asked = [at("t", 1), at("u", 0)];
    assert_eq!(client.committed(&asked, Duration::ZERO).expect("known"), [Some((1, "m".into())), None]);
    drop(group);
    drop(first([&["end 3"], &["1 1", "2 2", "end 3"]]));
    broker.expire_offsets(APP);
    drop(first([&["0 0", "1 1", "2 2", "end 3"], &["2 2", "end 3"]]));
}
