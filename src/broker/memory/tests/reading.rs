//! Partitions and their queues.

use super::*;
use crate::limits::SOURCE_TURN_RECORDS;
use crate::ring::Bell;

#[test]
fn records_come_in_offset_order_and_each_end_is_told_once() {
    let broker = broker(&[("t", 1)]);
    let (mut group, log) = join(&broker.client(APP, "a"), &["t"]);
    poll(&mut *group);
    let mut queue = log.queue("t", 0);
    assert_eq!(drain(&mut *queue), ["end 0"]);
    assert_eq!(drain(&mut *queue), Vec::<String>::new());
    append(&broker, "t", 0, &["x", "y"]);
    assert_eq!(drain(&mut *queue), ["0 x", "1 y", "end 2"]);
    assert_eq!(drain(&mut *queue), Vec::<String>::new());
    assert_eq!(group.end_offsets(&[at("t", 0)], Duration::ZERO).expect("ends"), [2]);
    assert_eq!(group.end_offsets(&[at("t", 7)], Duration::ZERO).expect_err("none").kind, ErrorKind::TopicMissing);
}

#[test]
fn a_delivery_answered_with_stop_is_taken_and_the_rest_stays() {
    let broker = broker(&[("t", 1)]);
    let all: Vec<_> = (0..SOURCE_TURN_RECORDS + 5).map(|n| n.to_string()).collect();
    append(&broker, "t", 0, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut group, log) = join(&broker.client(APP, "a"), &["t"]);
    poll(&mut *group);
    let mut queue = log.queue("t", 0);
    let mut taken = Vec::new();
    while taken.len() < all.len() {
        let mut turn = 0;
        queue.drain(&mut |delivery| {
            if let Delivery::Record(record) = delivery {
                taken.push(record.offset);
            }
            turn += 1;
            if turn == 7 { Flow::Stop } else { Flow::Continue }
        });
    }
    assert!(taken.iter().copied().eq(0..all.len() as i64));
    assert_eq!(drain(&mut *queue), [format!("end {}", all.len())]);
}

#[test]
fn keys_headers_and_timestamps_arrive_as_they_were_given() {
    let broker = broker(&[("t", 1)]);
    let given = RawRecord {
        key: Some(b"k".as_slice().into()),
        value: None,
        headers: vec![("h".into(), Some(b"1".as_slice().into())), ("h".into(), None)],
        timestamp_ms: Some(5),
    };
    broker.append("t", 0, given.clone()).expect("append");
    broker.append("t", 0, RawRecord { timestamp_ms: None, ..given.clone() }).expect("append");
    let (mut group, log) = join(&broker.client(APP, "a"), &["t"]);
    poll(&mut *group);
    let mut copies = Vec::new();
    log.queue("t", 0).drain(&mut |delivery| {
        if let Delivery::Record(record) = delivery {
            copies.push(record.to_raw());
        }
        Flow::Continue
    });
    assert_eq!(copies[0], given);
    assert!(copies[1].timestamp_ms.is_some_and(|now| now > 1_600_000_000_000), "the broker's own time");
}

#[test]
fn a_paused_partition_gives_nothing_and_loses_nothing() {
    let broker = broker(&[("t", 1)]);
    append(&broker, "t", 0, &["x", "y"]);
    let (mut group, log) = join(&broker.client(APP, "a"), &["t"]);
    poll(&mut *group);
    let mut queue = log.queue("t", 0);
    queue.drain(&mut |_| Flow::Stop);
    group.pause(&[at("t", 0)]).expect("pause");
    append(&broker, "t", 0, &["z"]);
    assert_eq!(drain(&mut *queue), Vec::<String>::new());
    group.resume(&[at("t", 0)]).expect("resume");
    assert_eq!(drain(&mut *queue), ["1 y", "2 z", "end 3"]);
    group.pause(&[at("t", 0)]).expect("pause");
    group.resume(&[at("t", 0)]).expect("resume");
    assert_eq!(drain(&mut *queue), ["end 3"], "fetching began anew, so the end is reached anew");
}

#[test]
fn the_bell_rings_for_data_for_a_commit_and_for_a_resume() {
    let broker = broker(&[("t", 1)]);
    let client = broker.client(APP, "a");
    let (mut group, log) = join(&client, &["t"]);
    poll(&mut *group);
    let mut queue = log.queue("t", 0);
    let bell = Bell::default();
    queue.ring_on_data(bell.clone());
    drain(&mut *queue);
    let handle = group.handle();
    let mut producer = client.producer(true, None).expect("producer");
    let writer = std::thread::spawn(move || {
        producer.begin().expect("begin");
        producer.send(out("t", "x")).expect("send");
        producer.commit(&[], &*handle).expect("commit");
    });
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("end 2") {
        // Long beyond the test's patience: only the bell ends it in time.
        bell.wait(|| broker.records("t", true).len() == 1, Some(Duration::from_secs(60)));
        seen.extend(drain(&mut *queue));
    }
    writer.join().expect("writer");
    assert_eq!(seen, ["0 x", "end 2"]);
}

#[test]
fn topics_are_found_by_name_and_by_expression() {
    let broker = broker(&[("logs.a", 2), ("logs.b", 1), ("other", 1)]);
    broker.set_message_bytes_max("logs.b", 10);
    let found = broker
        .client(APP, "a")
        .topics(&["^logs\\.".into(), "other".into(), "missing".into()], Duration::ZERO)
        .expect("topics");
    let found: Vec<_> = found.iter().map(|t| (&*t.topic, t.partitions, t.message_bytes_max.expect("known"))).collect();
    assert_eq!(found, [("logs.a", 2, 1_048_588), ("logs.b", 1, 10), ("other", 1, 1_048_588)]);
    assert_eq!(broker.append("missing", 0, record("x")).expect_err("none").kind, ErrorKind::TopicMissing);
}
