//! Partitions that stay with their member while others come and go. librdkafka pauses them for every rebalance, throws
//! away what it had fetched of them, and goes on from its own idea of where they were read to.

use std::time::Duration;

use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::member::{Member, SOON, at, subscription};
use crate::membership::quick;
use crate::support::{kafka, unique, wait_until};

const PARTITIONS: i32 = 4;
const TRANSACTIONS: i64 = 80;
const RECORDS: i64 = 10;

/// Small transactions: markers everywhere, aborted records too. By one producer: starting one takes longer than all it
/// writes here.
fn fill(topic: &str) {
    let producer: ThreadedProducer<DefaultProducerContext> =
        kafka().client().set("transactional.id", unique("writer")).set("linger.ms", "0").create().expect("a producer");
    producer.init_transactions(SOON).expect("init");
    for transaction in 0..TRANSACTIONS {
        producer.begin_transaction().expect("begin");
        for (n, partition) in (0..RECORDS).flat_map(|n| (0..PARTITIONS).map(move |partition| (n, partition))) {
            let value = format!("{transaction}.{n}");
            let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
            producer.send(record).map_err(|(error, _)| error).expect("sent");
        }
        match transaction % 5 {
            4 => producer.flush(SOON).and_then(|()| producer.abort_transaction(SOON)).expect("abort"),
            _ => producer.commit_transaction(SOON).expect("commit"),
        }
    }
}

/// The records that a reader must see of each partition, in their order.
fn expected() -> Vec<String> {
    let committed = (0..TRANSACTIONS).filter(|transaction| transaction % 5 != 4);
    committed.flat_map(|transaction| (0..RECORDS).map(move |n| format!("{transaction}.{n}"))).collect()
}

/// The pause comes in the middle of a long drain: what was taken out of the queue and not given yet is thrown away, its
/// markers are counted. The pause of the next rebalance, a moment later, would begin behind them.
#[test]
fn a_partition_that_stays_loses_and_repeats_nothing_while_others_come_and_go() {
    let (topic, app) = (unique("stay"), unique("app"));
    kafka().create_topic(&topic, PARTITIONS, &[]);
    fill(&topic);
    let first = Member::join(&quick(&app, "first"), &subscription(&[&topic]));
    first.wait_held(PARTITIONS as usize);
    let second = Member::join(&quick(&app, "second"), &subscription(&[&topic]));
    // Slowly, so that a rebalance meets a drain; and never for long without a look at the rebalance itself.
    wait_until("the load is shared", SOON, || {
        first.drain_slowly(40, Duration::from_micros(500));
        first.held().len() == 2 && second.held().len() == 2
    });
    (0..3).for_each(|_| first.drain_slowly(40, Duration::from_micros(500)));
    second.leave();
    wait_until("the first has all again", SOON, || {
        first.drain_slowly(40, Duration::from_micros(500));
        first.held().len() == PARTITIONS as usize
    });
    let expected = expected();
    let ends = kafka().end_offsets(&topic);
    first.drain_until("the ends", |held| held.iter().all(|(at, held)| held.ends.last() == Some(&ends[&at.partition])));
    for partition in 0..PARTITIONS {
        first.with(&at(&topic, partition), |held| {
            let read: Vec<&String> = held.records.iter().map(|(_, value)| value).collect();
            let wrong = read.iter().zip(&expected).position(|(read, expected)| *read != expected);
            assert_eq!(
                (wrong, read.len()),
                (None, expected.len()),
                "partition {partition}: first wrong record, number"
            );
        });
    }
    first.leave();
}
