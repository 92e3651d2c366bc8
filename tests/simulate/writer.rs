//! The producers of the input: they write what the scenario says, in its order.

use throughline::broker::memory::MemoryBroker;
use throughline::broker::{
    Assigned, Broker, BrokerError, Group, GroupEvents, OutRecord, Producer, Subscription, TopicPartition,
};
use throughline::event::RawRecord;

use crate::input::{Act, PRODUCERS};
use crate::scenario::TOPICS;

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
}

impl Writer {
    /// Producers of the input.
    pub fn new(broker: &MemoryBroker) -> Result<Self, BrokerError> {
        let client = |producer| broker.client("input", &format!("producer-{producer}"));
        let nothing = Subscription { topics: Vec::new(), read_committed: true };
        Ok(Writer {
            broker: broker.clone(),
            group: client(0).join(&nothing, Box::new(ReadsNothing))?,
            producers: (0..PRODUCERS).map(|at| client(at).producer(true, None)).collect::<Result<_, _>>()?,
            open: [false; PRODUCERS],
        })
    }

    /// Does one act.
    pub fn act(&mut self, act: &Act) -> Result<(), BrokerError> {
        match act {
            Act::Quiet | Act::Asleep { .. } => {}
            Act::Begin(producer) => {
                if !std::mem::replace(&mut self.open[*producer], true) {
                    self.producers[*producer].begin()?;
                }
            }
            Act::End { producer, commit } => {
                let producer = (std::mem::take(&mut self.open[*producer]), &mut self.producers[*producer]);
                match producer {
                    (false, _) => {}
                    (true, transaction) if *commit => transaction.commit(&[], &*self.group.handle())?,
                    (true, transaction) => transaction.abort()?,
                }
            }
            Act::Write { place, producer, payload } => {
                let key = b"r".to_vec();
                let headers = vec![("h".to_owned(), Some(b"1".to_vec()))];
                match producer.filter(|producer| self.open[*producer]) {
                    Some(producer) => self.producers[producer].send(OutRecord {
                        topic: TOPICS[place.0].into(),
                        partition: Some(place.1),
                        key: Some(key),
                        value: payload.bytes(),
                        headers,
                        order: None,
                    })?,
                    None => {
                        let record = RawRecord {
                            key: Some(key.into()),
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
