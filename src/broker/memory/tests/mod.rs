//! What must hold of the embedded broker for a simulated exactly-once test to mean something; each test names the
//! behaviour of Kafka that it pins.

mod changelog;
mod groups;
mod reading;
mod transactions;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Fault, MemoryBroker, MemoryClient};
use crate::broker::{
    Assigned, Broker, Delivery, ErrorKind, Flow, Group, GroupEvents, OutRecord, PartitionQueue, Position, Producer,
    Subscription, TopicPartition,
};
use crate::event::RawRecord;

const APP: &str = "app";

fn broker(topics: &[(&str, i32)]) -> MemoryBroker {
    let broker = MemoryBroker::new();
    topics.iter().for_each(|(name, partitions)| broker.create_topic(name, *partitions));
    broker
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

fn position(topic: &str, partition: i32, offset: i64) -> Position {
    noted(topic, partition, offset, "")
}

fn noted(topic: &str, partition: i32, offset: i64, metadata: &str) -> Position {
    Position { partition: at(topic, partition), offset, metadata: metadata.to_owned() }
}

fn record(value: &str) -> RawRecord {
    RawRecord { value: Some(value.as_bytes().into()), ..RawRecord::default() }
}

fn out(topic: &str, value: &str) -> OutRecord {
    let value = Some(value.as_bytes().to_vec());
    OutRecord {
        topic: topic.into(),
        partition: None,
        key: Some(b"k".to_vec()),
        value,
        headers: Vec::new(),
        order: None,
    }
}

fn append(broker: &MemoryBroker, topic: &str, partition: i32, values: &[&str]) {
    values.iter().for_each(|value| {
        broker.append(topic, partition, record(value)).expect("append");
    });
}

/// The values that a reader of a topic sees.
fn values(broker: &MemoryBroker, topic: &str, read_committed: bool) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    broker.records(topic, read_committed).iter().map(|r| text(r.record.value.as_deref().expect("value"))).collect()
}

/// Remembers what happened and keeps the queues.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    queues: Vec<Assigned>,
    /// `+t/0@3`: assigned with its committed offset, `-t/0`: revoked, `!t/0`: lost.
    happened: Vec<String>,
}

impl GroupEvents for Log {
    fn assigned(&mut self, partitions: Vec<Assigned>) {
        let mut seen = self.0.lock().expect("lock");
        for assigned in partitions {
            let from = assigned.committed.map(|offset| format!("@{offset}")).unwrap_or_default();
            seen.happened.push(format!("+{}/{}{from}", assigned.partition.topic, assigned.partition.partition));
            seen.queues.push(assigned);
        }
    }

    fn revoked(&mut self, partitions: &[TopicPartition]) {
        let text = partitions.iter().map(|p| format!("-{}/{}", p.topic, p.partition));
        self.0.lock().expect("lock").happened.extend(text);
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        let text = partitions.iter().map(|p| format!("!{}/{}", p.topic, p.partition));
        self.0.lock().expect("lock").happened.extend(text);
    }
}

impl Log {
    /// What happened since the last call.
    fn happened(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("lock").happened)
    }

    fn queue(&self, topic: &str, partition: i32) -> Box<dyn PartitionQueue> {
        let mut seen = self.0.lock().expect("lock");
        let found = seen.queues.iter().rposition(|a| a.partition == at(topic, partition)).expect("assigned");
        seen.queues.remove(found).queue
    }
}

fn join(client: &MemoryClient, topics: &[&str]) -> (Box<dyn Group>, Log) {
    let log = Log::default();
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let group = client.join(&Subscription { topics, read_committed: true }, Box::new(log.clone())).expect("join");
    (group, log)
}

fn poll(group: &mut dyn Group) {
    group.poll(Duration::ZERO).expect("member");
}

/// What one drain gives: `offset value` or `end position`.
fn drain(queue: &mut dyn PartitionQueue) -> Vec<String> {
    let mut seen = Vec::new();
    let count = queue.drain(&mut |delivery| {
        seen.push(match delivery {
            Delivery::Record(r) => format!("{} {}", r.offset, String::from_utf8_lossy(r.value.expect("value"))),
            Delivery::End { position } => format!("end {position}"),
            Delivery::Failed(error) => format!("failed {error}"),
        });
        Flow::Continue
    });
    assert_eq!(count, seen.len());
    seen
}
