//! What benches and operators' verbs need beside the flow of records: topics made and deleted, and partitions read from their
//! starts without a group, by the barest way that librdkafka has.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::native::{Item, RawQueue};
use super::{KafkaBroker, classify, settings};
use crate::broker::{BrokerError, ErrorKind, Flow, Record};
use crate::ring::Bell;

/// How long a reader sleeps at most where nothing comes.
const NAP: Duration = Duration::from_millis(20);

/// What [`KafkaBroker::read_bare`] gives.
pub enum Bare<'a> {
    /// A record of a partition.
    Record(i32, &'a Record<'a>),
    /// All of a partition was given, up to this offset.
    End(i32, i64),
    /// Nothing is there at the moment; said now and then.
    Nothing,
}

impl KafkaBroker {
    /// Creates a topic with the broker's defaults. Whether it was missing.
    pub fn create_topic(&self, topic: &str, partitions: i32, timeout: Duration) -> Result<bool, BrokerError> {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        let ask = async |admin: &AdminClient<DefaultClientContext>, options: &AdminOptions| {
            admin.create_topics([&new], options).await
        };
        let what = format!("creating topic {topic}");
        let results = self.lookup.administer(timeout, ask).map_err(|error| self.lookup.failed(&what, &error))?;
        match results.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, code))) => Err(self.lookup.failed(&what, &KafkaError::Global(code))),
            Some(Ok(_)) | None => Ok(true),
        }
    }

    /// Deletes topics; one that does not exist is no error.
    pub fn delete_topics(&self, topics: &[&str], timeout: Duration) -> Result<(), BrokerError> {
        let ask = async |admin: &AdminClient<DefaultClientContext>, options: &AdminOptions| {
            admin.delete_topics(topics, options).await
        };
        let what = format!("deleting topics {}", topics.join(", "));
        let results = self.lookup.administer(timeout, ask).map_err(|error| self.lookup.failed(&what, &error))?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {}
                Err((_, code)) => return Err(self.lookup.failed(&what, &KafkaError::Global(code))),
            }
        }
        Ok(())
    }

    /// Reads all partitions of a topic from their starts, with the same settings as a source, on this thread, in no group;
    /// nothing is done for a record but to give it to `visit`. Ends when it answers [`Flow::Stop`].
    pub fn read_bare(
        &self,
        topic: &str,
        partitions: i32,
        read_committed: bool,
        visit: &mut dyn FnMut(Bare<'_>) -> Flow,
    ) -> Result<(), BrokerError> {
        let what = format!("reading {topic}");
        let failed = |error: KafkaError| classify::by_error(&what, &error);
        let mut config = self.settings.consumer(read_committed, partitions.unsigned_abs() as usize);
        // Named only for the rights that come with a group: it is never joined.
        config.set("group.id", format!("{}-reader", self.settings.application_id));
        config.remove("group.instance.id");
        let consumer = Arc::new(config.create::<BaseConsumer>().map_err(|e| settings::setting(&e))?);
        let bell = Bell::default();
        let mut list = TopicPartitionList::new();
        let mut queues = Vec::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).map_err(failed)?;
            let missing = || classify::error(ErrorKind::Setting, &what, "not a topic's name");
            let mut queue = RawQueue::detach(&consumer, topic, partition, partitions.unsigned_abs() as usize)
                .ok_or_else(missing)?;
            queue.ring(Some(bell.clone()));
            queues.push(queue);
        }
        consumer.assign(&list).map_err(failed)?;
        let (mut stopped, mut broken) = (false, None);
        while !stopped && broken.is_none() {
            let mut given = 0;
            for (partition, queue) in (0..).zip(&mut queues) {
                given += queue.consume(&mut |item| match item {
                    Item::Record(_) | Item::End { .. } => {
                        let flow = visit(match item {
                            Item::Record(record) => Bare::Record(partition, record),
                            Item::End { position } => Bare::End(partition, position),
                            Item::Error { .. } => Bare::Nothing,
                        });
                        stopped |= flow == Flow::Stop;
                        flow
                    }
                    Item::Error { code, .. } if classify::kind(code) == ErrorKind::Transient => Flow::Continue,
                    Item::Error { code, reason } => {
                        broken = Some(classify::error(classify::kind(code), &what, &reason));
                        Flow::Stop
                    }
                });
            }
            // The group's queue has the client's own events.
            let _ = consumer.poll(Duration::ZERO);
            if given == 0 && !stopped {
                stopped = visit(Bare::Nothing) == Flow::Stop;
                bell.wait(|| false, Some(NAP));
            }
        }
        broken.map_or(Ok(()), Err)
    }
}
