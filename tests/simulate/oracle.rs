//! What must come out: the records as they lie in the log, taken in one go, in order, by one shard without threads, epochs
//! or faults.
//!
//! What is late, and which record is a dead letter, is worked out here anew from the log alone. What rules find is left to
//! `shard::core`, which other tests hold to a brute-force evaluator.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use throughline::broker::OutRecord;
use throughline::broker::memory::{MemoryBroker, StoredRecord};
use throughline::decode::{Decoder, StreamFields};
use throughline::detect::Detector;
use throughline::epoch::TopicLimits;
use throughline::event::{
    DeadCode, DeadLetter, Late, LatePolicy, Origin, Outcome, OutcomeCounts, Projected, Signal, Stage, Task, Timestamp,
    TopicId, TopicTable, stable_hash128,
};
use throughline::rules::plan::ConditionId;
use throughline::shard::core::{Core, Output, Settings};
use throughline::sink::{CorrelationEncoder, DeadLetterEncoder};
use throughline::source::route::{Arrival, Routed, Router};

use crate::input::Place;
use crate::scenario::{Setup, TOPICS};
use crate::setup::{MAX_FUTURE, OUTPUTS, RETENTION, stream};

/// What must come out.
#[derive(Default)]
pub struct Expected {
    /// Correlations, as records.
    pub correlations: Vec<OutRecord>,
    /// Dead letters, with the place of the original in `Setup::places` and its offset.
    pub dead_letters: Vec<(usize, i64, OutRecord)>,
    /// Outcomes by topic.
    pub counts: BTreeMap<Arc<str>, OutcomeCounts>,
    /// Ids of events that lie in several places, with whether these are all in one topic.
    pub copied: HashMap<String, bool>,
}

/// One partition as the oracle goes through it.
struct Log {
    place: Place,
    records: Vec<StoredRecord>,
    at: usize,
    newest: Timestamp,
}

struct Oracle<'a> {
    setup: &'a Setup,
    decoder: Decoder,
    detector: Detector,
    router: Router,
    core: Core,
    out: Output,
    event: Projected,
    hits: Vec<ConditionId>,
    letters: Vec<DeadLetter>,
    counts: HashMap<TopicId, OutcomeCounts>,
    ids: HashMap<String, Vec<TopicId>>,
    sleepers: HashSet<String>,
    topics: [TopicId; 2],
}

/// Works it out. `sleepers` are late because their partition was idle; `quiets` are the log ends (in the order of `Setup::places`) at which all before was done and all clocks had
/// moved on.
pub fn expect(
    setup: &Setup,
    broker: &MemoryBroker,
    sleepers: impl IntoIterator<Item = u32>,
    quiets: &[Vec<i64>],
) -> Expected {
    let table = TopicTable::default();
    table.intern_all(TOPICS).expect("room for two topics");
    let places = setup.places();
    let mut logs: Vec<Log> = places.iter().map(|place| Log::read(broker, *place)).collect();
    let mut oracle = Oracle::new(setup, &table);
    oracle.sleepers = sleepers.into_iter().map(|id| format!("e{id}")).collect();
    let ends = vec![i64::MAX; places.len()];
    for upto in quiets.iter().chain([&ends]) {
        for (log, upto) in logs.iter_mut().zip(upto) {
            oracle.take(log, *upto);
        }
        oracle.advance(&logs);
    }
    oracle.finish(&logs);
    oracle.expected(setup, &table, &places)
}

impl Expected {
    /// Which rules find something, and which outcomes there are.
    pub fn shown(&self) -> BTreeSet<String> {
        let rule = |record: &OutRecord| record.headers.first().and_then(|(_, rule)| rule.clone()).unwrap_or_default();
        let rules = self.correlations.iter().map(|record| String::from_utf8_lossy(&rule(record)).into_owned());
        let counted = |outcome: &Outcome| self.counts.values().any(|counts| counts.get(*outcome) > 0);
        rules.chain(Outcome::ALL.into_iter().filter(counted).map(|outcome| outcome.name().to_owned())).collect()
    }
}

impl Log {
    fn read(broker: &MemoryBroker, place: Place) -> Log {
        let mut records = broker.records(TOPICS[place.0], true);
        records.retain(|record| record.partition == place.1);
        Log { place, records, at: 0, newest: Timestamp::MIN }
    }

    fn watermark(&self, setup: &Setup) -> Timestamp {
        match self.newest {
            Timestamp::MIN => Timestamp::MIN,
            newest => newest - stream(setup).out_of_orderness,
        }
    }
}

impl<'a> Oracle<'a> {
    fn new(setup: &'a Setup, table: &TopicTable) -> Self {
        let plan = crate::rules::plan(setup.rules);
        let stream = stream(setup);
        let fields = StreamFields { time: stream.time, id: stream.id, category: stream.category };
        let decoder = Decoder::new(&plan, &fields);
        let dedup_window = throughline::event::Span::from_millis(setup.dedup_ms);
        let settings = Settings { dedup_window, retention: RETENTION, durable: None };
        Oracle {
            setup,
            event: decoder.new_event(),
            decoder,
            detector: Detector::new(Arc::clone(&plan)),
            router: Router::new(Arc::clone(&plan), 1),
            core: Core::new(plan, settings, table.clone()),
            out: Output::default(),
            hits: Vec::new(),
            letters: Vec::new(),
            counts: HashMap::new(),
            ids: HashMap::new(),
            sleepers: HashSet::new(),
            topics: TOPICS.map(|name| table.intern(name).expect("known")),
        }
    }

    fn task(&self, place: Place) -> Task {
        if self.setup.by_partition { place.1 as Task } else { 0 }
    }

    fn count(&mut self, topic: TopicId, outcome: Outcome) {
        self.counts.entry(topic).or_default().add(outcome, 1);
    }

    /// Takes the records of a partition below an offset.
    fn take(&mut self, log: &mut Log, upto: i64) {
        let mut signals = Vec::new();
        while let Some(stored) = log.records.get(log.at).filter(|stored| stored.offset < upto) {
            log.at += 1;
            let topic = self.topics[log.place.0];
            let Some(value) = stored.record.value.as_deref() else {
                self.count(topic, Outcome::Tombstone);
                continue;
            };
            let origin = Origin { topic, partition: log.place.1, offset: stored.offset };
            match self.decode(value, stored) {
                Ok(time) => {
                    let late = time < log.watermark(self.setup);
                    log.newest = log.newest.max(time);
                    self.route((self.task(log.place), origin, time, late), stored, &mut signals);
                }
                Err((code, message, event_time)) => {
                    let record = (*stored.record).clone();
                    self.letters.push(DeadLetter { code, stage: Stage::Decode, message, origin, event_time, record });
                    self.count(topic, Outcome::DeadLetter);
                }
            }
        }
        self.core.take(&mut signals, &mut self.out);
    }

    fn decode(
        &mut self,
        value: &[u8],
        stored: &StoredRecord,
    ) -> Result<Timestamp, (DeadCode, String, Option<Timestamp>)> {
        let header = self.decoder.decode(value, &mut self.event).map_err(|e| (e.code, e.message, e.time))?;
        let time = header.time.expect("the stream names a time field");
        let stamp = Timestamp::from_millis(stored.record.timestamp_ms.expect("the broker stamps"));
        if time > stamp + MAX_FUTURE {
            let message = format!(
                "event time {time} is more than max_future ({MAX_FUTURE}) ahead of the record's timestamp, {stamp}"
            );
            return Err((DeadCode::FutureTimestamp, message, Some(time)));
        }
        Ok(time)
    }

    fn route(
        &mut self,
        (task, origin, time, late): (Task, Origin, Timestamp, bool),
        stored: &StoredRecord,
        signals: &mut Vec<Signal>,
    ) {
        self.detector.detect(&self.event, &mut self.hits);
        let policy = stream(self.setup).late;
        let id = self.decoder.id_text(&self.event).expect("every event has an id");
        let identity = stable_hash128(7, id.as_bytes());
        self.ids.entry(id.clone()).or_default().push(origin.topic);
        let late = late || self.sleepers.contains(&id);
        let arrival = Arrival {
            time,
            origin,
            task,
            id: &|| Some(id.clone()),
            identity: &|| identity,
            trace: &|| None,
            late: &|counts| {
                late.then(|| match policy {
                    LatePolicy::Process => Late::Process,
                    LatePolicy::Drop => Late::Drop,
                    LatePolicy::Dlq => Late::Dlq(counts.then(|| Box::new((*stored.record).clone()))),
                })
            },
        };
        if self.router.route(&self.event, &self.hits, &arrival, |_, signal| signals.push(signal)) == Routed::Nowhere {
            self.count(origin.topic, Outcome::Unmatched);
        }
    }

    /// Every task's clock to the least of its partitions.
    fn advance(&mut self, logs: &[Log]) {
        let mut tasks: BTreeMap<Task, Timestamp> = BTreeMap::new();
        for log in logs {
            let own = log.watermark(self.setup);
            tasks.entry(self.task(log.place)).and_modify(|least| *least = own.min(*least)).or_insert(own);
        }
        for (task, watermark) in tasks {
            self.core.advance(task, watermark, &mut self.out);
        }
    }

    /// The end of the input.
    fn finish(&mut self, logs: &[Log]) {
        let newest = logs.iter().map(|log| log.newest).max().unwrap_or(Timestamp::MIN);
        let tasks: BTreeSet<Task> = logs.iter().map(|log| self.task(log.place)).collect();
        for task in tasks {
            self.core.advance(task, newest, &mut self.out);
        }
        self.core.finish(&mut self.out);
    }

    fn expected(mut self, setup: &Setup, table: &TopicTable, places: &[Place]) -> Expected {
        let plan = crate::rules::plan(setup.rules);
        let mut correlations = CorrelationEncoder::new(plan, table.clone(), OUTPUTS[0].into(), false);
        let dead_letters = DeadLetterEncoder::new(table.clone(), OUTPUTS[1].into());
        let mut expected = Expected::default();
        let limits = TopicLimits::default();
        for found in &self.out.correlations {
            expected.correlations.push(correlations.encode(found, |topic| limits.of(topic)).record);
        }
        self.letters.append(&mut self.out.dead_letters);
        for letter in self.letters {
            let topic = self.topics.iter().position(|topic| *topic == letter.origin.topic).expect("an input topic");
            let place = places.iter().position(|place| *place == (topic, letter.origin.partition)).expect("a place");
            let offset = letter.origin.offset;
            let record = dead_letters.encode(letter, Timestamp::MIN, |topic| limits.of(topic));
            expected.dead_letters.push((place, offset, record));
        }
        for (topic, counts) in self.out.counts.drain(..) {
            self.counts.entry(topic).or_default().merge(&counts);
        }
        expected.counts = self.counts.into_iter().map(|(topic, counts)| (table.name(topic), counts)).collect();
        let copied = self.ids.into_iter().filter(|(_, topics)| topics.len() > 1);
        expected.copied = copied.map(|(id, topics)| (id, topics.iter().all(|topic| *topic == topics[0]))).collect();
        expected
    }
}
