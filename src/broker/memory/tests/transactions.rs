//! Transactions, fencing, and offsets that commit with them.

use super::*;

#[test]
fn a_reader_sees_a_transaction_whole_once_it_is_committed_and_markers_take_offsets() {
    let broker = broker(&[("t", 1)]);
    let client = broker.client(APP, "a");
    let (mut group, log) = join(&client, &["t"]);
    poll(&mut *group);
    let mut queue = log.queue("t", 0);
    append(&broker, "t", 0, &["before"]);
    let mut producer = client.producer(true, None).expect("producer");
    producer.begin().expect("begin");
    producer.send(out("t", "one")).expect("send");
    append(&broker, "t", 0, &["beside"]);
    producer.send(out("t", "two")).expect("send");
    assert_eq!(drain(&mut *queue), ["0 before", "end 1"], "nothing beyond the last stable offset");
    assert_eq!(group.end_offsets(&[at("t", 0)], Duration::ZERO).expect("ends"), [4], "the high watermark is beyond it");
    producer.commit(&[], &*group.handle()).expect("commit");
    assert_eq!(drain(&mut *queue), ["1 one", "2 beside", "3 two", "end 5"], "the marker is offset 4");
    append(&broker, "t", 0, &["after"]);
    assert_eq!(drain(&mut *queue), ["5 after", "end 6"]);
}

#[test]
fn an_aborted_transaction_is_never_seen_and_its_end_lets_readers_go_on() {
    let broker = broker(&[("t", 1)]);
    let client = broker.client(APP, "a");
    let (mut group, log) = join(&client, &["t"]);
    poll(&mut *group);
    let mut queue = log.queue("t", 0);
    let mut producer = client.producer(true, None).expect("producer");
    producer.begin().expect("begin");
    producer.send(out("t", "aborted")).expect("send");
    append(&broker, "t", 0, &["kept"]);
    assert_eq!(drain(&mut *queue), ["end 0"]);
    producer.abort().expect("abort");
    assert_eq!(drain(&mut *queue), ["1 kept", "end 3"]);
    assert_eq!(values(&broker, "t", false), ["aborted", "kept"]);
    assert_eq!(values(&broker, "t", true), ["kept"]);
}

#[test]
fn offsets_commit_with_the_transaction_or_not_at_all() {
    let broker = broker(&[("t", 1), ("o", 2)]);
    let client = broker.client(APP, "a");
    let (mut group, _log) = join(&client, &["t"]);
    poll(&mut *group);
    let mut producer = client.producer(true, None).expect("producer");
    producer.begin().expect("begin");
    producer.send(out("o", "x")).expect("send");
    producer.abort().expect("abort");
    assert!(broker.committed(APP, "t", 0).is_none());
    producer.begin().expect("begin");
    producer.send(out("o", "y")).expect("send");
    producer.commit(&[noted("t", 0, 3, "epoch 1")], &*group.handle()).expect("commit");
    let committed = broker.committed(APP, "t", 0).expect("committed");
    assert_eq!((committed.offset, committed.metadata.as_str()), (3, "epoch 1"));
    assert_eq!(values(&broker, "o", true), ["y"]);
}

#[test]
fn a_newer_producer_of_the_instance_fences_the_old_one_and_aborts_what_it_left_open() {
    let broker = broker(&[("o", 1)]);
    let client = broker.client(APP, "a");
    let (group, _log) = join(&client, &[]);
    let mut old = client.producer(true, None).expect("producer");
    old.begin().expect("begin");
    old.send(out("o", "old")).expect("send");
    let mut other = broker.client(APP, "b").producer(true, None).expect("producer");
    other.begin().expect("another instance fences nobody");
    let mut new = client.producer(true, None).expect("producer");
    assert_eq!(old.send(out("o", "zombie")).expect_err("fenced").kind, ErrorKind::Fenced);
    assert_eq!(old.commit(&[], &*group.handle()).expect_err("fenced").kind, ErrorKind::Fenced);
    assert_eq!(old.abort().expect_err("fenced").kind, ErrorKind::Fenced);
    assert_eq!(old.begin().expect_err("fenced").kind, ErrorKind::Fenced);
    new.begin().expect("begin");
    new.send(out("o", "new")).expect("send");
    new.commit(&[], &*group.handle()).expect("commit");
    assert_eq!(values(&broker, "o", true), ["new"]);
    assert_eq!(values(&broker, "o", false), ["old", "new"]);
}

#[test]
fn a_killed_producers_transaction_holds_readers_back_until_it_expires() {
    let broker = broker(&[("o", 1)]);
    let client = broker.client(APP, "a");
    let mut producer = client.producer(true, None).expect("producer");
    producer.begin().expect("begin");
    producer.send(out("o", "killed")).expect("send");
    drop(producer);
    append(&broker, "o", 0, &["behind"]);
    assert_eq!(values(&broker, "o", true), Vec::<String>::new());
    broker.expire_transaction(APP, "a");
    assert_eq!(values(&broker, "o", true), ["behind"]);
}

#[test]
fn a_commit_with_offsets_of_a_partition_that_was_lost_fails_whole() {
    let broker = broker(&[("t", 2), ("o", 1)]);
    let client = broker.client(APP, "a");
    let (mut group, _log) = join(&client, &["t"]);
    poll(&mut *group);
    let (mut second, _second_log) = join(&broker.client(APP, "b"), &["t"]);
    let mut producer = client.producer(true, None).expect("producer");
    producer.begin().expect("begin");
    producer.send(out("o", "x")).expect("send");
    poll(&mut *group);
    poll(&mut *second);
    let positions = [position("t", 0, 1), position("t", 1, 1)];
    let refused = producer.commit(&positions, &*group.handle()).expect_err("partition 1 is b's");
    assert_eq!(refused.kind, ErrorKind::Abortable);
    assert!(refused.message.contains("partition 1"), "{refused}");
    assert!(broker.committed(APP, "t", 0).is_none(), "not a part of it");
    producer.abort().expect("abort");
    producer.begin().expect("the producer goes on");
    broker.expire_member(APP, "a");
    let refused = producer.commit(&positions[..1], &*group.handle()).expect_err("no member any more");
    assert_eq!(refused.kind, ErrorKind::Abortable);
    producer.commit(&[], &*group.handle()).expect("an empty list fences nobody");
}

#[test]
fn calls_out_of_order_are_refused() {
    let broker = broker(&[("o", 1)]);
    let client = broker.client(APP, "a");
    let (group, _log) = join(&client, &[]);
    let mut producer = client.producer(true, None).expect("producer");
    assert_eq!(producer.send(out("o", "x")).expect_err("no transaction").kind, ErrorKind::Fatal);
    assert_eq!(producer.abort().expect_err("no transaction").kind, ErrorKind::Fatal);
    producer.begin().expect("begin");
    assert_eq!(producer.begin().expect_err("open already").kind, ErrorKind::Fatal);
    let mut plain = client.producer(false, None).expect("producer");
    assert_eq!(plain.begin().expect_err("not transactional").kind, ErrorKind::Fatal);
    plain.send(out("o", "direct")).expect("send");
    plain.flush(Duration::ZERO).expect("flush");
    producer.commit(&[], &*group.handle()).expect("not fenced by a plain producer");
    assert_eq!(values(&broker, "o", true), ["direct"]);
}

#[test]
fn records_that_the_topic_cannot_take_are_refused_and_equal_keys_share_a_partition() {
    let broker = broker(&[("o", 8)]);
    broker.set_message_bytes_max("o", 10);
    let mut producer = broker.client(APP, "a").producer(false, None).expect("producer");
    assert_eq!(producer.send(out("o", "0123456789")).expect_err("11 bytes").kind, ErrorKind::TooLarge);
    assert_eq!(producer.send(out("missing", "x")).expect_err("no topic").kind, ErrorKind::TopicMissing);
    (0..8).for_each(|_| producer.send(out("o", "x")).expect("send"));
    let partitions = |broker: &MemoryBroker| broker.records("o", true).iter().map(|r| r.partition).collect::<Vec<_>>();
    assert!(partitions(&broker).windows(2).all(|pair| pair[0] == pair[1]));
    (0..8).for_each(|_| producer.send(OutRecord { key: None, ..out("o", "y") }).expect("send"));
    let mut used = partitions(&broker);
    used.dedup();
    assert_eq!(used.len(), 8, "without a key, in turn");
}

#[test]
fn injected_faults_strike_once_and_tell_the_truth_about_what_was_written() {
    let broker = broker(&[("t", 1), ("o", 1)]);
    let client = broker.client(APP, "a");
    let (mut group, _log) = join(&client, &["t"]);
    poll(&mut *group);
    let commit = |producer: &mut dyn Producer, offset| producer.commit(&[position("t", 0, offset)], &*group.handle());
    let mut producer = client.producer(true, None).expect("producer");
    for fault in [Fault::SendRefused, Fault::CommitAborted, Fault::Undelivered] {
        broker.inject(APP, "a", fault);
        producer.begin().expect("begin");
        let failed = match producer.send(out("o", "failed")) {
            Err(error) => error.kind,
            Ok(()) => commit(&mut *producer, 1).expect_err("injected").kind,
        };
        assert_eq!(failed, if fault == Fault::SendRefused { ErrorKind::Transient } else { ErrorKind::Abortable });
        producer.abort().expect("abort");
    }
    assert!(broker.committed(APP, "t", 0).is_none());
    for (applied, offset) in [(true, 5), (false, 6)] {
        broker.inject(APP, "a", Fault::CommitUncertain { applied });
        producer.begin().expect("begin");
        producer.send(out("o", &format!("applied {applied}"))).expect("send");
        assert_eq!(commit(&mut *producer, offset).expect_err("injected").kind, ErrorKind::Uncertain);
        assert_eq!(producer.begin().expect_err("broken").kind, ErrorKind::Fatal);
        producer = client.producer(true, None).expect("producer");
        assert_eq!(broker.committed(APP, "t", 0).expect("committed").offset, 5);
    }
    assert_eq!(values(&broker, "o", true), ["applied true"]);
}

#[test]
fn records_and_offsets_stay_consistent_while_many_write_and_one_reads() {
    let broker = broker(&[("t", 1)]);
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let client = broker.client(APP, &format!("w{writer}"));
            let handle = join(&client, &[]).0.handle();
            std::thread::spawn(move || {
                let mut producer = client.producer(true, None).expect("producer");
                for round in 0..100 {
                    producer.begin().expect("begin");
                    for part in 0..3 {
                        producer.send(out("t", &format!("{writer} {round} {part}"))).expect("send");
                    }
                    match round % 4 {
                        0 => producer.abort().expect("abort"),
                        _ => producer.commit(&[], &*handle).expect("commit"),
                    }
                }
            })
        })
        .collect();
    let (mut group, log) = join(&broker.client("reader", "a"), &["t"]);
    poll(&mut *group);
    let mut queue = log.queue("t", 0);
    let mut seen = Vec::new();
    loop {
        let done = writers.iter().all(|writer| writer.is_finished());
        let delivered = drain(&mut *queue);
        seen.extend(delivered.into_iter().filter(|text| !text.starts_with("end")));
        if done {
            break;
        }
    }
    writers.into_iter().for_each(|writer| writer.join().expect("writer"));
    let stored = broker.records("t", true);
    assert_eq!(stored.len(), 3 * 75 * 3);
    let value = |record: &RawRecord| String::from_utf8_lossy(record.value.as_deref().expect("value")).into_owned();
    assert_eq!(seen, stored.iter().map(|s| format!("{} {}", s.offset, value(&s.record))).collect::<Vec<_>>());
    for writer in 0..3 {
        let parts = seen.iter().map(|text| text.splitn(3, ' ').collect::<Vec<_>>());
        let own = parts.filter(|p| p[1] == writer.to_string()).map(|p| p[2].to_owned());
        let rounds = (0..100).filter(|round| round % 4 != 0);
        let expected = rounds.flat_map(|round| (0..3).map(move |part| format!("{round} {part}")));
        assert!(own.eq(expected), "writer {writer}: its order, nothing aborted");
    }
}
