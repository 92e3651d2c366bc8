//! Commit, abort, fencing, and what others see of it.

use std::time::Duration;

use throughline::broker::{Broker, ErrorKind, OutRecord, Position};

use crate::member::{Member, SOON, at, broker, position, subscription};
use crate::support::client::NewRecord;
use crate::support::{kafka, unique};

fn out(topic: &str, value: &str) -> OutRecord {
    OutRecord {
        topic: topic.into(),
        partition: None,
        key: Some(b"k".to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: vec![("h".into(), Some(b"1".to_vec())), ("n".into(), None)],
        order: None,
    }
}

fn texts(topic: &str) -> Vec<String> {
    kafka().read_committed(topic).iter().map(|r| r.text().to_owned()).collect()
}

#[test]
fn outputs_and_offsets_appear_together_or_not_at_all() {
    let (input, output, app) = (unique("in"), unique("out"), unique("app"));
    kafka().create_topic(&input, 2, &[]);
    kafka().create_topic(&output, 1, &[]);
    kafka().produce(&input, (0..10).map(|n| NewRecord::value(n.to_string()).to(n % 2)));
    let broker = broker(kafka(), &app, "one");
    let mut producer = broker.producer(true, None).expect("producer");
    let member = Member::join(&broker, &subscription(&[&input]));
    member.wait_held(2);
    member.drain_until("all input", |held| held.values().all(|h| h.records.len() == 5));

    producer.begin().expect("begin");
    producer.send(out(&output, "given up")).expect("send");
    producer.abort().expect("abort");
    assert!(kafka().committed(&app, &input).is_empty());

    producer.begin().expect("begin");
    producer.send(out(&output, "kept")).expect("send");
    let mut positions = member.positions();
    positions.iter_mut().for_each(|p| p.metadata = format!("epoch 7 of {}", p.partition.partition));
    assert!(texts(&output).is_empty(), "an open transaction is not read");
    producer.commit(&positions, &*member.handle).expect("commit");
    assert_eq!(texts(&output), ["kept"]);
    let record = &kafka().read_committed(&output)[0];
    assert_eq!((record.key.as_deref(), record.headers.len()), (Some(&b"k"[..]), 2));
    assert_eq!((record.header("h"), record.header("n")), (Some("1"), Some("")));
    let committed = kafka().committed(&app, &input);
    assert_eq!(committed[&0], (5, "epoch 7 of 0".to_owned()));
    assert_eq!(committed[&1], (5, "epoch 7 of 1".to_owned()));
    member.leave();
}

#[test]
fn an_older_producer_of_the_same_instance_is_fenced_and_its_open_work_gone() {
    let (input, output, app) = (unique("in"), unique("out"), unique("app"));
    kafka().create_topic(&input, 1, &[]);
    kafka().create_topic(&output, 1, &[]);
    let broker = broker(kafka(), &app, "one");
    let member = Member::join(&broker, &subscription(&[&input]));
    member.wait_held(1);
    let mut zombie = broker.producer(true, None).expect("producer");
    zombie.begin().expect("begin");
    zombie.send(out(&output, "zombie")).expect("send");
    zombie.flush(SOON).expect("flush");
    let mut heir = broker.producer(true, None).expect("a second producer of the same name");
    heir.begin().expect("begin");
    heir.send(out(&output, "heir")).expect("send");
    let positions = [position(&input, 0, 0)];
    heir.commit(&positions, &*member.handle).expect("commit");
    let error = zombie.commit(&positions, &*member.handle).expect_err("fenced");
    assert_eq!(error.kind, ErrorKind::Fenced, "{error}");
    assert!(error.message.contains("another process"), "{error}");
    assert_eq!(zombie.begin().expect_err("finished").kind, ErrorKind::Fenced);
    assert_eq!(texts(&output), ["heir"]);
    member.leave();
}

#[test]
fn offsets_of_a_partition_that_is_not_ours_are_not_committed() {
    let (input, output, app) = (unique("in"), unique("out"), unique("app"));
    kafka().create_topic(&input, 1, &[]);
    kafka().create_topic(&output, 1, &[]);
    let broker = broker(kafka(), &app, "one");
    let member = Member::join(&broker, &subscription(&[&input]));
    member.wait_held(1);
    let mut producer = broker.producer(true, None).expect("producer");
    producer.begin().expect("begin");
    producer.send(out(&output, "x")).expect("send");
    let foreign = [position(&input, 1, 3)];
    let error = producer.commit(&foreign, &*member.handle).expect_err("not ours");
    assert_eq!(error.kind, ErrorKind::Abortable, "{error}");
    producer.abort().expect("abort");
    producer.begin().expect("the producer goes on");
    producer.send(out(&output, "y")).expect("send");
    producer.commit(&[position(&input, 0, 0)], &*member.handle).expect("commit");
    assert_eq!(texts(&output), ["y"]);
    member.leave();
}

#[test]
fn an_oversize_record_names_its_topic_and_costs_only_its_transaction() {
    let (input, small, app) = (unique("in"), unique("small"), unique("app"));
    kafka().create_topic(&input, 1, &[]);
    kafka().create_topic(&small, 1, &[("max.message.bytes", "1000")]);
    let broker = broker(kafka(), &app, "one");
    let member = Member::join(&broker, &subscription(&[&input]));
    member.wait_held(1);
    let positions = [position(&input, 0, 0)];
    let mut producer = broker.producer(true, None).expect("producer");
    producer.begin().expect("begin");
    // Bytes that do not compress below the limit.
    let noise: Vec<u8> = (0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    producer.send(OutRecord { value: Some(noise), ..out(&small, "") }).expect("taken");
    let error = producer.commit(&positions, &*member.handle).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    assert!(error.message.contains(&small) && error.message.contains("max.message.bytes"), "{error}");
    producer.abort().expect("abort");
    producer.begin().expect("begin");
    producer.send(out(&small, "fits")).expect("send");
    producer.commit(&positions, &*member.handle).expect("commit");
    assert_eq!(texts(&small), ["fits"]);
    member.leave();
}

#[test]
fn ends_count_open_transactions_although_their_records_are_not_read() {
    let (input, app) = (unique("in"), unique("app"));
    kafka().create_topic(&input, 2, &[]);
    kafka().produce(&input, (0..4).map(|n| NewRecord::value(n.to_string()).to(0)));
    let other = broker(kafka(), &unique("other"), "one");
    let mut open = other.producer(true, None).expect("producer");
    open.begin().expect("begin");
    for _ in 0..50 {
        open.send(out(&input, "open")).expect("send");
    }
    open.flush(SOON).expect("flush");
    let member = Member::join(&broker(kafka(), &app, "one"), &subscription(&[&input]));
    member.wait_held(2);
    member.drain_until("the stable end", |held| !held[&at(&input, 0)].ends.is_empty());
    let asked = [at(&input, 1), at(&input, 0)];
    let ends = member.group(move |group| group.end_offsets(&asked, Duration::from_secs(10))).expect("ends");
    assert_eq!(ends.iter().sum::<i64>(), 54, "{ends:?}");
    let actual = kafka().end_offsets(&input);
    assert_eq!(ends, [actual[&1], actual[&0]], "in the order asked");
    assert_eq!(member.with(&at(&input, 0), |held| held.records.len()), 4);
    open.abort().expect("abort");
    member.leave();
}

#[test]
fn without_transactions_offsets_are_committed_with_their_metadata() {
    let (input, output, app) = (unique("in"), unique("out"), unique("app"));
    kafka().create_topic(&input, 1, &[]);
    kafka().create_topic(&output, 1, &[]);
    let broker = broker(kafka(), &app, "one");
    let member = Member::join(&broker, &subscription(&[&input]));
    member.wait_held(1);
    let mut producer = broker.producer(false, None).expect("producer");
    producer.send(out(&output, "at least once")).expect("send");
    producer.flush(SOON).expect("flush");
    assert_eq!(texts(&output), ["at least once"]);
    member.handle.commit(&[Position { metadata: "note".into(), ..position(&input, 0, 0) }]).expect("commit");
    assert_eq!(kafka().committed(&app, &input)[&0], (0, "note".to_owned()));
    member.leave();
}
