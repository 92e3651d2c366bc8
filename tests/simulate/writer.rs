//! The producers of the input: they write what the scenario says, in its order.

use std::collections::HashMap;

use throughline::broker::memory::MemoryBroker;
use throughline::broker::{
    Assigned, Broker, BrokerError, Group, GroupEvents, OutRecord, Producer, Subscription, TopicPartition,
};
use throughline::event::{RawRecord, stable_hash64};

use crate::input::{Act, PRODUCERS, Place};
use crate::scenario::{Setup, TOPICS};

/// A membership that reads nothing: a transaction commits through a group, also without offsets.
struct ReadsNothing;

impl GroupEvents for ReadsNothing {
    fn assigned(&mut self, _: Vec<Assigned>) {}
    fn revoked(&mut self, _: &[TopicPartition]) {}
    fn lost(&mut self, _: &[TopicPartition]) {}
}

/// See the module.
pub struct Writer {
    broker: MemoryBroker,
    group: Box<dyn Group>,
    producers: Vec<Box<dyn Producer>>,
    open: [bool; PRODUCERS],
    /// A record key that lands in each partition.
    keys: HashMap<Place, String>,
}

impl Writer {
    /// Producers for these partitions.
    pub fn new(broker: &MemoryBroker, setup: &Setup) -> Result<Self, BrokerError> {
        let key_for = |(topic, partition): Place| {
            let count = setup.partitions[topic] as u64;
            let lands = |key: &String| stable_hash64(0, key.as_bytes()) % count == partition as u64;
            let key = (0..).map(|n| format!("r{n}")).find(lands).expect("some key lands in every partition");
            ((topic, partition), key)
        };
        let client = |producer| broker.client("input", &format!("producer-{producer}"));
        let nothing = Subscription { topics: Vec::new(), read_committed: true };
        Ok(Writer {
            broker: broker.clone(),
            group: client(0).join(&nothing, Box::new(ReadsNothing))?,
            producers: (0..PRODUCERS).map(|at| client(at).producer(true)).collect::<Result<_, _>>()?,
            open: [false; PRODUCERS],
            keys: setup.places().into_iter().map(key_for).collect(),
        })
    }

    /// Does one act.
    pub fn act(&mut self, act: &Act) -> Result<(), BrokerError> {
        match act {
            Act::Quiet => {}
            Act::Begin(producer) => {
                if !std::mem::replace(&mut self.open[*producer], true) {
                    self.producers[*producer].begin()?;
                }
            }
            Act::End { producer, commit } => {
                let producer = (std::mem::take(&mut self.open[*producer]), &mut self.producers[*producer]);
                match producer {
                    (false, _) => {}
                    (true, transaction) if *commit => transaction.commit(&[], "", &*self.group.handle())?,
                    (true, transaction) => transaction.abort()?,
                }
            }
            Act::Write { place, producer, payload } => {
                let key = self.keys[place].clone();
                let headers = vec![("h".to_owned(), Some(b"1".to_vec()))];
                match producer.filter(|producer| self.open[*producer]) {
                    Some(producer) => self.producers[producer].send(OutRecord {
                        topic: TOPICS[place.0].into(),
                        key: Some(key.into_bytes()),
                        value: payload.bytes(),
                        headers,
                        order: None,
                    })?,
                    None => {
                        let record = RawRecord {
                            key: Some(key.into_bytes().into()),
                            value: payload.bytes().map(Into::into),
                            headers: headers.into_iter().map(|(name, value)| (name, value.map(Into::into))).collect(),
                            timestamp_ms: None,
                        };
                        self.broker.append(TOPICS[place.0], place.1, record)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Aborts what is still open: a shrunk scenario may have lost the end of a transaction.
    pub fn finish(&mut self) -> Result<(), BrokerError> {
        (0..PRODUCERS).try_for_each(|producer| self.act(&Act::End { producer, commit: false }))
    }
}
