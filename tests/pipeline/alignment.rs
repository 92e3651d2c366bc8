//! A backlog whose partitions are read at different speeds gives what the same events give live; and 10 million waiting
//! records do not fill memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline::broker::kafka::{Assignment, KafkaBroker, KafkaSettings};
use throughline::broker::{
    Assigned, Broker, BrokerError, Delivery, Flow, Group, GroupEvents, LogInfo, LogRecord, PartitionQueue, Producer,
    Subscription, TopicInfo, TopicPartition,
};
use throughline::event::{LatePolicy, Outcome, Span};
use throughline::pipeline::{self, Control, Locality, Spec};
use throughline::ring::Bell;
use throughline::rules::{RuleFile, compile};
use throughline::source::Stream;
use throughline::topology::Placement;

use crate::harness::App;
use crate::support::client::NewRecord;
use crate::support::kafka;

const RULES: &str = r#"
id: pair
query: |
  sequence by user with maxspan=5s
    [any where kind == "a"]
    [any where kind == "b"]
"#;
const PAIRS: usize = 2000;
const START_MS: i64 = 1_767_225_600_000;

/// A broker whose partition 0 gives at most a few records at a time, and rarely.
struct Slow(KafkaBroker);

struct SlowEvents(Box<dyn GroupEvents>);

struct SlowQueue {
    inner: Box<dyn PartitionQueue>,
    next: Instant,
}

impl PartitionQueue for SlowQueue {
    fn drain(&mut self, visit: &mut dyn FnMut(Delivery<'_>) -> Flow) -> usize {
        if Instant::now() < self.next {
            return 0;
        }
        self.next = Instant::now() + Duration::from_millis(5);
        let mut left = 20;
        self.inner.drain(&mut |delivery| {
            left -= 1;
            match visit(delivery) {
                Flow::Continue if left > 0 => Flow::Continue,
                _ => Flow::Stop,
            }
        })
    }

    fn ring_on_data(&mut self, bell: Bell) {
        self.inner.ring_on_data(bell);
    }
}

impl GroupEvents for SlowEvents {
    fn assigned(&mut self, partitions: Vec<Assigned>) {
        let slow = |assigned: Assigned| match assigned.partition.partition {
            0 => Assigned { queue: Box::new(SlowQueue { inner: assigned.queue, next: Instant::now() }), ..assigned },
            _ => assigned,
        };
        self.0.assigned(partitions.into_iter().map(slow).collect());
    }

    fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.0.revoked(partitions);
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        self.0.lost(partitions);
    }

    fn fallback(&mut self, partition: &TopicPartition) -> Option<i64> {
        self.0.fallback(partition)
    }
}

impl Broker for Slow {
    fn topics(&self, patterns: &[String], timeout: Duration) -> Result<Vec<TopicInfo>, BrokerError> {
        self.0.topics(patterns, timeout)
    }

    fn join(&self, subscription: &Subscription, events: Box<dyn GroupEvents>) -> Result<Box<dyn Group>, BrokerError> {
        self.0.join(subscription, Box::new(SlowEvents(events)))
    }

    fn other_members(&self, timeout: Duration) -> Result<Vec<String>, BrokerError> {
        self.0.other_members(timeout)
    }

    fn producer(&self, transactional: bool, log: Option<&str>) -> Result<Box<dyn Producer>, BrokerError> {
        self.0.producer(transactional, log)
    }

    fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<(i64, String)>>, BrokerError> {
        self.0.committed(partitions, timeout)
    }

    fn prepare_log(&self, topic: &str, partitions: i32, timeout: Duration) -> Result<LogInfo, BrokerError> {
        self.0.prepare_log(topic, partitions, timeout)
    }

    fn log_bounds(&self, topic: &str, partitions: &[i32], timeout: Duration) -> Result<Vec<(i64, i64)>, BrokerError> {
        self.0.log_bounds(topic, partitions, timeout)
    }

    fn read_log(
        &self,
        topic: &str,
        ranges: &[(i32, i64, i64)],
        visit: &mut dyn FnMut(LogRecord<'_>) -> Flow,
    ) -> Result<(), BrokerError> {
        self.0.read_log(topic, ranges, visit)
    }
}

fn event(n: usize, kind: &str, at_ms: i64) -> String {
    format!(r#"{{"time":{},"id":"{kind}{n}","kind":"{kind}","user":"u{n}"}}"#, START_MS + at_ms)
}

#[test]
fn a_partition_served_slowly_changes_nothing() {
    let app = App::new(kafka(), 2, RULES);
    // The first halves of all pairs in partition 0 (slow), the second ones in partition 1: a reader that runs ahead in
    // partition 1 sees every second half before its first.
    let records = (0..PAIRS).flat_map(|n| {
        let at = n as i64 * 1000;
        [NewRecord::value(event(n, "a", at)).to(0), NewRecord::value(event(n, "b", at + 500)).to(1)]
    });
    app.kafka.produce(&app.topic, records);
    let broker = Slow(
        KafkaBroker::new(KafkaSettings {
            brokers: app.kafka.brokers().to_owned(),
            properties: Default::default(),
            application_id: app.id.clone(),
            instance: "slow".into(),
            assignment: Assignment::CooperativeSticky,
        })
        .expect("settings"),
    );
    let stream = Stream {
        topics: vec![app.topic.clone()],
        time: Some("time".into()),
        id: vec!["id".into()],
        category: "event.category".into(),
        out_of_orderness: Span::from_secs(1),
        idle_timeout: Some(Span::from_secs(5)),
        late: LatePolicy::Dlq,
        max_skew: Span::from_secs(10),
        max_future: Span::MAX,
    };
    let rules = RuleFile { path: "rules.yaml".into(), text: RULES.into() };
    let plan = compile(&[rules]).unwrap_or_else(|errors| panic!("{errors:?}")).plan;
    let mut spec = Spec {
        plan: Arc::new(plan),
        streams: vec![stream],
        broker: Arc::new(broker),
        instance: "slow".into(),
        output_topic: app.output.clone(),
        dead_letter_topic: app.dead_letters.clone(),
        check_outputs: true,
        delivery: throughline::epoch::Delivery::ExactlyOnce,
        epoch: Duration::from_millis(100),
        locality: Locality::Instance,
        state: None,
        state_memory: None,
        dedup_window: Span::from_secs(3600),
        retention: Span::MAX,
        placement: Placement { sources: vec![None, None], shards: vec![None, None], unpinned_because: None },
        topology: None,
        until_end: true,
        stamp: true,
        fields_seen: None,
        startup_timeout: Duration::from_secs(30),
    };
    let progress = pipeline::run(&mut spec, &Control::default()).expect("runs");
    let counts = &progress.counts[&*app.topic];
    assert_eq!(counts.get(Outcome::Late), 0, "nobody is late because a partition is slow");
    assert_eq!(counts.total(), 2 * PAIRS as u64);
    let found: BTreeSet<String> =
        app.correlations().iter().map(|c| c["key"]["user"].as_str().expect("user").to_owned()).collect();
    assert_eq!(found.len(), PAIRS, "every pair");
}

#[test]
fn a_backlog_of_ten_million_records_does_not_fill_memory() {
    let app = App::new(kafka(), 4, "id: seen\nquery: any where kind == \"never\"\n");
    // As few bytes as an event can have: what counts is the number of records that wait.
    let payload = |n: usize| format!(r#"{{"time":{}}}"#, START_MS + n as i64 / 1000);
    app.kafka.produce(&app.topic, (0..10_000_000).map(|n| NewRecord::value(payload(n)).to((n % 4) as i32)));
    let service = app.start("one", &["--until-end"]);
    let mut peak = 0;
    let mut service = service;
    while service.is_running() {
        // The process may end between the look and the read.
        if let Ok(memory) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| service.memory_mib())) {
            peak = peak.max(memory.1);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let finished = service.wait();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    assert_eq!(finished.totals()[&app.topic]["unmatched"], 10_000_000);
    assert!(peak > 0 && peak < 500, "INV-BOUND: peak of {peak} MiB");
}
