//! The client that the other tests judge by.

use crate::support::client::NewRecord;
use crate::support::jvm::PrivateBroker;
use crate::support::{kafka, unique};

#[test]
fn what_is_produced_is_read_back_whole() {
    let topic = unique("support");
    kafka().create_topic(&topic, 2, &[]);
    let record = NewRecord {
        partition: Some(1),
        key: Some(b"k".to_vec()),
        value: None,
        headers: vec![("a".into(), Some(b"1".to_vec())), ("b".into(), None)],
        timestamp_ms: Some(1_000),
    };
    kafka().produce(&topic, [record.clone(), NewRecord::value("plain").to(0)]);
    let read = kafka().read_committed(&topic);
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].partition, read[0].text()), (0, "plain"));
    assert_eq!((&read[1].key, &read[1].value, &read[1].headers), (&record.key, &record.value, &record.headers));
    assert_eq!(read[1].timestamp_ms, Some(1_000));
    kafka().delete_topic(&topic);
}

#[test]
fn deleted_records_are_gone_and_the_rest_keeps_its_offsets() {
    let topic = unique("support");
    kafka().create_topic(&topic, 1, &[]);
    kafka().produce(&topic, (0..5).map(|n| NewRecord::value(n.to_string())));
    kafka().delete_records(&topic, 0, 3);
    let offsets: Vec<_> = kafka().read_committed(&topic).iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [3, 4]);
}

#[test]
fn an_aborted_transaction_is_not_read_and_a_committed_one_is_at_once() {
    let topic = unique("support");
    kafka().create_topic(&topic, 1, &[]);
    kafka().produce_transaction(&topic, [NewRecord::value("no")], false);
    kafka().produce_transaction(&topic, [NewRecord::value("yes")], true);
    let values: Vec<_> = kafka().read_committed(&topic).iter().map(|r| r.text().to_owned()).collect();
    assert_eq!(values, ["yes"]);
    assert_eq!(kafka().read_uncommitted(&topic).len(), 2);
}

#[test]
fn a_private_broker_keeps_its_data_over_a_kill() {
    let mut broker = PrivateBroker::start();
    broker.create_topic("kept", 1, &[]);
    broker.produce("kept", [NewRecord::value("x")]);
    broker.kill();
    broker.restart();
    assert_eq!(broker.read_committed("kept").len(), 1);
}
