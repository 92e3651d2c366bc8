//! Broker down, missing topics, refused rights and settings: each says what, where and what to do.

use std::time::{Duration, Instant};

use throughline::broker::kafka::KafkaBroker;
use throughline::broker::{Broker, ErrorKind, OutRecord};

use crate::member::{Member, SOON, at, broker, position, settings, subscription};
use crate::support::client::NewRecord;
use crate::support::jvm::PrivateBroker;
use crate::support::{kafka, unique, wait_until};

#[test]
fn a_broker_that_is_down_is_unreachable_within_the_time_given() {
    let mut settings = settings(kafka(), "app", "one");
    settings.brokers = "127.0.0.1:1".into();
    let broker = KafkaBroker::new(settings).expect("settings");
    let started = Instant::now();
    let error = broker.topics(&["x".to_owned()], Duration::from_secs(2)).expect_err("nobody there");
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    for part in ["127.0.0.1:1", "Connection refused", "kafka.brokers"] {
        assert!(error.message.contains(part), "{part} is missing: {error}");
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_topic_that_does_not_exist_cannot_be_joined() {
    let broker = broker(kafka(), &unique("app"), "one");
    assert!(broker.topics(&["no-such".to_owned()], SOON).expect("an answer").is_empty());
    struct Nobody;
    impl throughline::broker::GroupEvents for Nobody {
        fn assigned(&mut self, _: Vec<throughline::broker::Assigned>) {}
        fn revoked(&mut self, _: &[throughline::broker::TopicPartition]) {}
        fn lost(&mut self, _: &[throughline::broker::TopicPartition]) {}
    }
    let error = broker.join(&subscription(&["no-such"]), Box::new(Nobody)).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::TopicMissing, "{error}");
    assert!(error.message.contains("no-such") && error.message.contains("create the topic"), "{error}");
}

fn out(topic: &str) -> OutRecord {
    OutRecord {
        topic: topic.into(),
        partition: None,
        key: None,
        value: Some(b"x".to_vec()),
        headers: Vec::new(),
        order: None,
    }
}

#[test]
fn rights_that_are_missing_are_named() {
    let private = PrivateBroker::start();
    private.create_topic("in", 1, &[]);
    private.create_topic("out", 1, &[]);
    let mut settings = settings(&private, "app", "one");
    settings.brokers = private.sasl_brokers();
    settings.properties.extend(PrivateBroker::sasl_properties("alice").map(|(n, v)| (n.to_owned(), v)));
    let mut wrong = settings.clone();
    wrong.properties.insert("sasl.password".into(), "guess".into());
    // However long it would wait for a broker that is silent: this one has answered.
    let error = KafkaBroker::new(wrong).expect("settings").topics(&["in".into()], Duration::from_secs(3600));
    let error = error.expect_err("a wrong password");
    assert_eq!(error.kind, ErrorKind::Authentication, "{error}");
    assert!(!error.message.contains("guess"), "{error}");

    let broker = KafkaBroker::new(settings).expect("settings");
    let error = broker.topics(&["in".into()], SOON).expect_err("not allowed to see it");
    assert_eq!(error.kind, ErrorKind::Authorization, "{error}");
    assert!(error.message.contains("topic in") && error.message.contains("Read"), "{error}");
    private.allow("alice", &["--operation", "Read", "--topic", "in"]);
    wait_until("the topic is seen", SOON, || broker.topics(&["in".into()], SOON).is_ok_and(|t| t.len() == 1));

    let member = Member::join(&broker, &subscription(&["in"]));
    let error = member.failure();
    assert_eq!(error.kind, ErrorKind::Authorization, "the group: {error}");
    let error = broker.producer(true, None).err().expect("the transactional id");
    assert_eq!(error.kind, ErrorKind::Authorization, "{error}");
    assert!(error.message.contains("app-one"), "{error}");

    private.allow("alice", &["--operation", "Read", "--group", "app"]);
    private.allow("alice", &["--operation", "Write", "--transactional-id", "app-one"]);
    let mut producer = None;
    wait_until("a producer is allowed", SOON, || {
        producer = broker.producer(true, None).ok();
        producer.is_some()
    });
    let mut producer = producer.expect("allowed");
    let member = Member::join(&broker, &subscription(&["in"]));
    member.wait_held(1);
    producer.begin().expect("begin");
    let sent = producer.send(out("out"));
    let error = sent.and_then(|()| producer.commit(&[position("in", 0, 0)], &*member.handle));
    let error = error.expect_err("no right to write");
    assert_eq!(error.kind, ErrorKind::Authorization, "{error}");
    assert!(error.message.contains("out"), "{error}");
    member.leave();
}

#[test]
fn a_broker_that_goes_and_comes_back_costs_time_and_nothing_else() {
    let mut private = PrivateBroker::start();
    private.create_topic("in", 1, &[]);
    private.create_topic("out", 1, &[]);
    private.produce("in", (0..5).map(|n| NewRecord::value(n.to_string())));
    let broker = broker(&private, "app", "one");
    let mut producer = broker.producer(true, None).expect("producer");
    let mut member = Member::join(&broker, &subscription(&["in"]));
    member.wait_held(1);
    member.drain_until("five", |held| held[&at("in", 0)].records.len() == 5);
    private.kill();
    producer.begin().expect("begin");
    producer.send(out("out")).expect("taken");
    std::thread::sleep(Duration::from_secs(1));
    private.restart();
    private.produce("in", (5..8).map(|n| NewRecord::value(n.to_string())));
    let mut values: Vec<String> = Vec::new();
    // The assignment may have been lost meanwhile; then it comes again, from the committed offset, which is none.
    wait_until("all eight are read", SOON * 2, || {
        let mut state = member.state.lock().expect("state");
        for held in state.held.values_mut() {
            held.drain(usize::MAX);
            values = held.records.iter().map(|(_, value)| value.clone()).collect();
        }
        values.len() == 8
    });
    assert_eq!(values, (0..8).map(|n| n.to_string()).collect::<Vec<_>>());
    let committed = producer.commit(&member.positions(), &*member.handle);
    if let Err(error) = committed {
        // The transaction may have timed out while the broker was away, and the partitions may have been lost; then it must be
        // gone, and said so. A membership of after a loss reads again what was not committed.
        assert!(matches!(error.kind, ErrorKind::Abortable | ErrorKind::Fenced | ErrorKind::Fatal), "{error:?}");
        drop(producer);
        member.leave();
        member = Member::join(&broker, &subscription(&["in"]));
        member.wait_held(1);
        member.drain_until("all eight again", |held| held[&at("in", 0)].records.len() == 8);
        let mut producer = broker.producer(true, None).expect("a new producer");
        producer.begin().expect("begin");
        producer.send(out("out")).expect("send");
        producer.commit(&member.positions(), &*member.handle).expect("commit");
    }
    assert_eq!(private.read_committed("out").len(), 1);
    assert_eq!(private.committed("app", "in")[&0].0, 8);
    member.leave();
}
