//! A plain Kafka client for tests: makes topics, fills them, reads them back, asks committed offsets. Every failure is a
//! failure of the test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

/// How long one request may take on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A broker, by address.
#[derive(Debug, Clone)]
pub struct Kafka {
    brokers: String,
}

/// A record to produce.
#[derive(Debug, Clone, Default)]
pub struct NewRecord {
    /// `None`: by key, else spread.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    /// `None`: a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// `None`: now.
    pub timestamp_ms: Option<i64>,
}

impl NewRecord {
    /// A record with only a value.
    pub fn value(value: impl Into<Vec<u8>>) -> NewRecord {
        NewRecord { value: Some(value.into()), ..NewRecord::default() }
    }

    /// To this partition.
    pub fn to(mut self, partition: i32) -> NewRecord {
        self.partition = Some(partition);
        self
    }

    /// With this key.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> NewRecord {
        self.key = Some(key.into());
        self
    }
}

/// A record read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Consumed {
    /// The value as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().expect("a value")).expect("text")
    }

    /// A header's value, if the header is there, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(n, _)| n == name)?;
        Some(std::str::from_utf8(value.as_deref().unwrap_or_default()).expect("text"))
    }
}

/// Keeps the failures that come back after `send`.
#[derive(Clone, Default)]
struct Failures(Arc<Mutex<Vec<KafkaError>>>);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().expect("failures").push(error.clone());
        }
    }
}

impl Kafka {
    pub(super) fn new(brokers: &str) -> Kafka {
        Kafka { brokers: brokers.to_owned() }
    }

    /// `bootstrap.servers`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// A client configuration with the address set.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    fn consumer(&self, isolation: &str) -> BaseConsumer {
        let mut config = self.client();
        config.set("isolation.level", isolation).set("enable.partition.eof", "true").set("fetch.wait.max.ms", "20");
        // Never joins a group; the name is only there because a consumer queue needs one.
        config.set("group.id", super::unique("reader")).set("enable.auto.commit", "false");
        config.create().expect("a consumer")
    }

    /// Waits until the broker answers; `ended` says so if it never will.
    pub(super) fn wait_ready(
        &self,
        timeout: Duration,
        mut ended: impl FnMut() -> Option<String>,
    ) -> Result<(), String> {
        let mut config = self.client();
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "200").set("log_level", "0");
        let probe: BaseConsumer = config.create().map_err(|e| e.to_string())?;
        let deadline = Instant::now() + timeout;
        loop {
            let error = match probe.fetch_metadata(None, Duration::from_millis(500)) {
                Ok(metadata) if !metadata.brokers().is_empty() => return Ok(()),
                Ok(_) => "no broker in the metadata".to_owned(),
                Err(error) => error.to_string(),
            };
            if let Some(reason) = ended() {
                return Err(reason);
            }
            if Instant::now() > deadline {
                return Err(format!("{} not ready within {timeout:?}: {error}", self.brokers));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("an admin client")
    }

    /// Creates a topic and waits until it can be used.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = configs.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let results = block_on(self.admin().create_topics([&topic], &options)).expect("create topic");
        for result in results {
            result.unwrap_or_else(|(topic, error)| panic!("create topic {topic}: {error}"));
        }
        let probe = self.consumer("read_uncommitted");
        super::wait_until(&format!("topic {name} has leaders"), TIMEOUT, || {
            let Ok(metadata) = probe.fetch_metadata(Some(name), TIMEOUT) else { return false };
            metadata.topics().iter().any(|topic| {
                topic.partitions().len() == partitions as usize && topic.partitions().iter().all(|p| p.leader() >= 0)
            })
        });
    }

    /// A topic's settings, defaults included.
    pub fn topic_settings(&self, name: &str) -> BTreeMap<String, String> {
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let wanted = [ResourceSpecifier::Topic(name)];
        let answer = block_on(self.admin().describe_configs(&wanted, &options)).expect("describe configs");
        let settings = answer.into_iter().next().expect("an answer").unwrap_or_else(|e| panic!("{name}: {e}"));
        settings.entries.into_iter().map(|entry| (entry.name, entry.value.unwrap_or_default())).collect()
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) {
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let results = block_on(self.admin().delete_topics(&[name], &options)).expect("delete topic");
        for result in results {
            result.unwrap_or_else(|(topic, error)| panic!("delete topic {topic}: {error}"));
        }
    }

    /// Deletes the records of a partition below an offset, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, below: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(below)).expect("an offset");
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let deleted = block_on(self.admin().delete_records(&offsets, &options)).expect("delete records");
        for element in deleted.elements() {
            element.error().unwrap_or_else(|e| panic!("delete records of {topic}/{partition}: {e}"));
        }
    }

    /// Produces records in their order and waits until all are stored.
    pub fn produce(&self, topic: &str, records: impl IntoIterator<Item = NewRecord>) {
        self.produce_with(topic, records, None);
    }

    /// Produces records in one transaction, which is committed, or aborted.
    pub fn produce_transaction(&self, topic: &str, records: impl IntoIterator<Item = NewRecord>, commit: bool) {
        self.produce_with(topic, records, Some(commit));
    }

    fn produce_with(&self, topic: &str, records: impl IntoIterator<Item = NewRecord>, transaction: Option<bool>) {
        let id = transaction.map(|_| super::unique("writer"));
        let writer = Writer::new(self, topic, id.as_deref());
        if transaction.is_some() {
            writer.producer.init_transactions(TIMEOUT).expect("init transactions");
            writer.producer.begin_transaction().expect("begin transaction");
        }
        writer.write(records);
        match transaction {
            Some(true) => writer.producer.commit_transaction(TIMEOUT).expect("commit transaction"),
            Some(false) => writer.producer.abort_transaction(TIMEOUT).expect("abort transaction"),
            None => {}
        }
    }

    /// A producer to one topic that stays connected, for whoever writes little and often.
    pub fn writer(&self, topic: &str) -> Writer {
        Writer::new(self, topic, None)
    }

    /// All committed records of a topic, partition by partition in offset order. The markers of a transaction just
    /// committed are written a moment later: an open transaction is waited for, up to 2 s.
    pub fn read_committed(&self, topic: &str) -> Vec<Consumed> {
        let deadline = Instant::now() + Duration::from_secs(2);
        let ends = self.end_offsets(topic);
        self.read(topic, "read_committed", |stable| {
            Instant::now() > deadline || ends.iter().all(|(partition, end)| stable.get(partition) >= Some(end))
        })
    }

    /// All records of a topic, those of open and aborted transactions included.
    pub fn read_uncommitted(&self, topic: &str) -> Vec<Consumed> {
        self.read(topic, "read_uncommitted", |_| true)
    }

    /// Committed records, as soon as there are at least `count`.
    pub fn read_committed_until(&self, topic: &str, count: usize, timeout: Duration) -> Vec<Consumed> {
        let deadline = Instant::now() + timeout;
        loop {
            let records = self.read(topic, "read_committed", |_| true);
            if records.len() >= count {
                return records;
            }
            assert!(Instant::now() < deadline, "{topic}: {} of {count} records within {timeout:?}", records.len());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Reads from the start until every partition reported its end and `enough` holds for the ends.
    fn read(&self, topic: &str, isolation: &str, enough: impl Fn(&BTreeMap<i32, i64>) -> bool) -> Vec<Consumed> {
        let consumer = self.consumer(isolation);
        let mut wanted = TopicPartitionList::new();
        for partition in 0..self.partitions(topic) {
            wanted.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&wanted).expect("assign");
        let (mut records, mut ends) = (Vec::new(), BTreeMap::new());
        let deadline = Instant::now() + TIMEOUT * 4;
        while ends.len() < wanted.count() || !enough(&ends) {
            assert!(Instant::now() < deadline, "{topic}: not read to its end; ends so far: {ends:?}");
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => records.push(consumed(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    let position = consumer.position().expect("positions");
                    let at = position.find_partition(topic, partition).map(|p| p.offset());
                    // Nothing read in this partition: it is empty, or holds nothing but aborted records.
                    ends.insert(partition, if let Some(Offset::Offset(at)) = at { at } else { 0 });
                }
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
                ))) => {}
                Some(Err(error)) => panic!("reading {topic}: {error}"),
            }
        }
        records.sort_by_key(|r| (r.partition, r.offset));
        records
    }

    /// Number of partitions of a topic.
    pub fn partitions(&self, topic: &str) -> i32 {
        let metadata = self.consumer("read_uncommitted").fetch_metadata(Some(topic), TIMEOUT).expect("metadata");
        metadata.topics().first().map_or(0, |t| t.partitions().len() as i32)
    }

    /// High watermark of each partition, open transactions included.
    pub fn end_offsets(&self, topic: &str) -> BTreeMap<i32, i64> {
        let probe = self.consumer("read_uncommitted");
        let end = |p| probe.fetch_watermarks(topic, p, TIMEOUT).unwrap_or_else(|e| panic!("end of {topic}/{p}: {e}")).1;
        (0..self.partitions(topic)).map(|p| (p, end(p))).collect()
    }

    /// How many members a group has, those included whose session has not timed out yet.
    pub fn members(&self, group: &str) -> usize {
        let consumer: BaseConsumer = self.client().create().expect("a consumer");
        let found = consumer.fetch_group_list(Some(group), TIMEOUT).expect("group list");
        found.groups().iter().map(|group| group.members().len()).sum()
    }

    /// Commits an offset for a group without members, as an administrator does who resets it.
    pub fn reset_offset(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().expect("a consumer");
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        consumer.commit(&offsets, CommitMode::Sync).expect("commit");
    }

    /// Deletes a group without members, with its offsets.
    pub fn delete_group(&self, group: &str) {
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let results = block_on(self.admin().delete_groups(&[group], &options)).expect("delete group");
        for result in results {
            result.unwrap_or_else(|(group, error)| panic!("delete group {group}: {error}"));
        }
    }

    /// Committed offsets of a group, with their metadata; partitions without one are left out.
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, (i64, String)> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().expect("a consumer");
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(topic, 0, self.partitions(topic) - 1);
        let offsets = consumer.committed_offsets(wanted, TIMEOUT).expect("committed offsets");
        let known = offsets.elements();
        let known = known.iter().filter_map(|p| match p.offset() {
            Offset::Offset(offset) => Some((p.partition(), (offset, p.metadata().to_owned()))),
            _ => None,
        });
        known.collect()
    }
}

/// A connected producer to one topic.
pub struct Writer {
    producer: BaseProducer<Failures>,
    topic: String,
    failures: Failures,
}

impl Writer {
    fn new(kafka: &Kafka, topic: &str, transactional_id: Option<&str>) -> Writer {
        let mut config = kafka.client();
        config.set("enable.idempotence", "true").set("linger.ms", "5").set("compression.type", "lz4");
        config.set("message.max.bytes", "33554432").set("queue.buffering.max.kbytes", "262144");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
        }
        let failures = Failures::default();
        let producer = config.create_with_context(failures.clone()).expect("a producer");
        Writer { producer, topic: topic.to_owned(), failures }
    }

    /// Writes records in their order and waits until all are stored.
    pub fn write(&self, records: impl IntoIterator<Item = NewRecord>) {
        records.into_iter().for_each(|record| self.send(&record));
        self.producer.flush(TIMEOUT * 4).expect("flush");
        let failures = self.failures.0.lock().expect("failures");
        assert!(failures.is_empty(), "producing to {}: {:?}", self.topic, failures.first());
    }

    fn send(&self, record: &NewRecord) {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }));
        let mut out: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic).headers(headers);
        out.partition = record.partition;
        out.key = record.key.as_deref();
        out.payload = record.value.as_deref();
        out.timestamp = record.timestamp_ms;
        loop {
            match self.producer.send(out) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.producer.poll(Duration::from_millis(20));
                    out = back;
                }
                Err((error, _)) => panic!("producing to {}: {error}", self.topic),
            }
        }
        self.producer.poll(Duration::ZERO);
    }
}

fn consumed(message: &impl Message) -> Consumed {
    let headers =
        message.headers().map(|h| h.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect());
    Consumed {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

/// Drives one of rdkafka's admin calls; they are woken by a thread of their own, so parking is enough.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park_timeout(Duration::from_secs(1)),
        }
    }
}
