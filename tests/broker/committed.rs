//! Committed offsets: their metadata, who may ask for them, and where to start without them.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};
use throughline::broker::{Broker, ErrorKind, Position, TopicPartition};

use crate::member::{Member, SOON, State, at, broker, position, subscription};
use crate::support::client::NewRecord;
use crate::support::{kafka, unique};

fn noted(topic: &str, partition: i32, offset: i64, metadata: &str) -> Position {
    Position { metadata: metadata.into(), ..position(topic, partition, offset) }
}

#[test]
fn each_partition_has_metadata_of_its_own_for_members_and_for_onlookers() {
    let (topic, app) = (unique("noted"), unique("app"));
    kafka().create_topic(&topic, 3, &[]);
    kafka().produce(&topic, (0..9).map(|n| NewRecord::value(n.to_string()).to(n % 3)));
    let broker = broker(kafka(), &app, "one");
    let asked = [at(&topic, 2), at(&topic, 0), at(&topic, 1)];
    assert_eq!(broker.committed(&asked, SOON).expect("no group yet"), [None, None, None]);
    let mut producer = broker.producer(true, None).expect("producer");
    let member = Member::join(&broker, &subscription(&[&topic]));
    member.wait_held(3);
    member.with(&at(&topic, 0), |held| assert_eq!((held.committed, held.metadata.clone()), (None, None)));
    producer.begin().expect("begin");
    let positions = [noted(&topic, 0, 1, "zero"), noted(&topic, 2, 0, "")];
    producer.commit(&positions, &*member.handle).expect("commit");
    member.handle.commit(&[noted(&topic, 1, 2, "one: \u{e9}")]).expect("commit");
    let known = broker.committed(&asked, SOON).expect("known");
    assert_eq!(known, [Some((0, String::new())), Some((1, "zero".into())), Some((2, "one: \u{e9}".into()))]);
    assert_eq!(broker.other_members(SOON).expect("members"), Vec::<String>::new(), "asking is not joining");
    member.crash();
    let member = Member::join(&broker, &subscription(&[&topic]));
    member.wait_held(3);
    for (partition, offset, metadata) in [(0, 1, "zero"), (1, 2, "one: \u{e9}"), (2, 0, "")] {
        member.with(&at(&topic, partition), |held| {
            assert_eq!((held.committed, held.metadata.as_deref()), (Some(offset), Some(metadata)));
        });
    }
    member.leave();
}

#[test]
fn offsets_of_an_open_transaction_are_waited_for_and_never_guessed() {
    let (topic, app) = (unique("unstable"), unique("app"));
    kafka().create_topic(&topic, 1, &[]);
    let broker = broker(kafka(), &app, "one");
    let mut config = kafka().client();
    let foreign: BaseProducer = config.set("transactional.id", unique("open")).create().expect("a producer");
    foreign.init_transactions(SOON).expect("init");
    foreign.begin_transaction().expect("begin");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&topic, 0, Offset::Offset(5)).expect("an offset");
    let group: BaseConsumer = kafka().client().set("group.id", &app).create().expect("a consumer");
    let metadata = group.group_metadata().expect("group metadata");
    foreign.send_offsets_to_transaction(&offsets, &metadata, SOON).expect("offsets");
    let asked = [at(&topic, 0)];
    let error = broker.committed(&asked, Duration::from_secs(1)).expect_err("not decided yet");
    assert!(matches!(error.kind, ErrorKind::Transient | ErrorKind::Unreachable), "{error:?}");
    foreign.commit_transaction(SOON).expect("commit");
    assert_eq!(broker.committed(&asked, SOON).expect("decided"), [Some((5, String::new()))]);
}

fn first_offsets(state: State, topic: &str, app: &str) -> (Vec<Option<i64>>, Vec<TopicPartition>) {
    let member = Member::join_with(&broker(kafka(), app, "one"), &subscription(&[topic]), state);
    member.wait_held(2);
    member.drain_until("both ends", |held| held.values().all(|h| !h.ends.is_empty()));
    let state = member.state.lock().expect("state");
    let firsts = state.held.values().map(|held| held.records.first().map(|(offset, _)| *offset)).collect();
    let asked = state.asked.clone();
    drop(state);
    member.leave();
    (firsts, asked)
}

#[test]
fn without_a_committed_offset_reading_starts_where_the_handler_says() {
    let (topic, app) = (unique("expired"), unique("app"));
    kafka().create_topic(&topic, 2, &[]);
    kafka().produce(&topic, (0..20).map(|n| NewRecord::value(n.to_string()).to(n % 2)));
    let state = State { fallbacks: [(at(&topic, 1), 7)].into(), ..State::default() };
    let (firsts, mut asked) = first_offsets(state, &topic, &app);
    asked.sort();
    assert_eq!(asked, [at(&topic, 0), at(&topic, 1)]);
    assert_eq!(firsts, [Some(0), Some(7)], "no answer: the earliest");

    // A committed offset counts more than any answer, and then nobody is asked.
    let app = unique("app");
    let group: BaseConsumer = kafka().client().set("group.id", &app).create().expect("a consumer");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&topic, 1, Offset::Offset(9)).expect("an offset");
    group.commit(&offsets, CommitMode::Sync).expect("commit");
    let state = State { fallbacks: [(at(&topic, 0), 3), (at(&topic, 1), 7)].into(), ..State::default() };
    let (firsts, asked) = first_offsets(state, &topic, &app);
    assert_eq!(asked, [at(&topic, 0)]);
    assert_eq!(firsts, [Some(3), Some(9)]);
}
