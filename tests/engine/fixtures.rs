//! State as earlier versions wrote it: `tests/fixtures/state/<kind>-v<N>.hex`, one file for each kind of part and version of its layout.
//!
//! What is written now must be what the newest file of its kind holds: a layout that changes gets a new version, and so a new file,
//! beside the old one (`THROUGHLINE_BLESS=1` writes it). And every file there is must be read, and mean what it meant.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use throughline::broker::TopicPartition;
use throughline::decode::{Decoder, StreamFields};
use throughline::detect::Detector;
use throughline::epoch::record::PartitionRecord;
use throughline::epoch::{Progress, TaskRecord};
use throughline::event::{
    Changes, Correlation, HashRange, Origin, Outcome, OutcomeCounts, PartitionClockState, Resumed, Span, Timestamp,
    TopicTable,
};
use throughline::rules::RuleFile;
use throughline::rules::plan::Plan;
use throughline::shard::core::{Core, Cut, Durable, Output, Settings};
use throughline::shard::fetch::carry_out;
use throughline::shard::restore::{restore, sweep_all};
use throughline::source::route::{Arrival, Router};
use throughline::store::codec::{Reader, Writer};
use throughline::store::memory::MemoryStore;
use throughline::store::{Batch, Store};

/// Rules that keep every kind of state, with evidence of every type. They must not change: their hashes stand in the files.
const RULES: &str = r#"
id: pending
query: |
  sequence by k with maxspan=35s
    ![any where t == "z"]
    [any where t == "a"]
    [any where t == "b"]
evidence: [v]
---
id: waiting
query: |
  sequence by k with maxspan=1h
    [any where t == "a"]
    ![any where t == "c"]
evidence: [v]
---
id: sliding
events:
  some: any where t == "d"
correlation: {type: event_count, rules: [some], group-by: [k], timespan: 1h, condition: {gte: 3}}
evidence: [v]
---
id: tumbling
events:
  some: any where t == "e"
correlation: {type: event_count, rules: [some], group-by: [k], timespan: 1h, condition: {lt: 5}}
---
id: suppressed
events:
  some: any where t == "f"
correlation: {type: event_count, rules: [some], group-by: [k], timespan: 1m, condition: {gte: 1}, refire: every}
suppress: {for: 5h}
"#;

/// What was there when the files were written: second, kind, value.
const BEFORE: [(i64, &str, &str); 14] = [
    (1, "z", "null"),
    (10, "a", "null"),
    (20, "a", "true"),
    (21, "d", "-7"),
    (22, "d", "18446744073709551615"),
    (23, "e", "2.5"),
    (24, "e", r#""text""#),
    (25, "f", r#"{"in": {"side": 1}}"#),
    (26, "f", r#"[1, "two", null, 3.5, false]"#),
    (27, "a", r#""\u00e9\u0000""#),
    (30, "u", "0"),
    // Not passed by the watermark.
    (39, "d", "39"),
    (40, "b", "40"),
    (41, "f", "41"),
];

/// The watermark that was reached, in seconds.
const REACHED: i64 = 35;

/// What comes after, copies of events from before among it.
const AFTER: [(i64, &str, &str); 8] = [
    (21, "d", "-7"),
    (39, "d", "39"),
    (50, "d", "50"),
    (51, "e", "51"),
    (52, "f", "52"),
    (4_000, "f", "4000"),
    (4_001, "e", "4001"),
    (20_000, "f", "20000"),
];

struct Engine {
    decoder: Decoder,
    detector: Detector,
    router: Router,
    topics: TopicTable,
    core: Core,
    out: Output,
    plan: Arc<Plan>,
}

impl Engine {
    fn new() -> Engine {
        let file = RuleFile { path: "rules.yaml".into(), text: RULES.into() };
        let compiled = throughline::rules::compile(&[file]);
        let plan = Arc::new(compiled.unwrap_or_else(|errors| panic!("{errors:?}")).plan);
        let fields = StreamFields { time: Some("ts".into()), id: vec!["id".into()], category: "category".into() };
        let topics = TopicTable::default();
        let durable = Durable { cut: Cut::ByHash(16), range: HashRange::of_shard(0, 1), budget: None };
        let settings = Settings {
            dedup_window: Span::from_secs(3600),
            retention: Span::from_secs(86_400),
            durable: Some(durable),
        };
        Engine {
            decoder: Decoder::new(&plan, &fields),
            detector: Detector::new(Arc::clone(&plan)),
            router: Router::new(Arc::clone(&plan), 1),
            core: Core::new(Arc::clone(&plan), settings, topics.clone()),
            topics,
            out: Output::default(),
            plan,
        }
    }

    fn take(&mut self, events: &[(i64, &str, &str)]) {
        for (second, kind, value) in events {
            let time = time_of(*second);
            let payload = format!(r#"{{"ts":"{time}","id":"{second}-{kind}","t":"{kind}","k":"key","v":{value}}}"#);
            let mut event = self.decoder.new_event();
            self.decoder.decode(payload.as_bytes(), &mut event).expect("an event");
            let mut hits = Vec::new();
            self.detector.detect(&event, &mut hits);
            let identity = self.decoder.id_hash(&event, 7).expect("an id");
            let topic = self.topics.intern("events").expect("room");
            let arrival = Arrival {
                trace: &|| None,
                time,
                origin: Origin { topic, partition: 3, offset: *second },
                task: 0,
                id: &|| self.decoder.id_text(&event),
                identity: &|| identity,
                late: &|_| None,
            };
            let mut signals = Vec::new();
            self.router.route(&event, &hits, &arrival, |_, signal| signals.push(signal));
            self.core.take(&mut signals, &mut self.out);
        }
    }

    /// Everything that is stored, by (partition, key).
    fn store(&mut self) -> BTreeMap<(u16, Vec<u8>), Vec<u8>> {
        let mut changes = Changes::default();
        self.core.store(&mut changes);
        let mut parts = BTreeMap::new();
        for (partition, key, value) in changes.iter() {
            match value {
                Some(value) => drop(parts.insert((partition, key.to_vec()), value.to_vec())),
                None => drop(parts.remove(&(partition, key.to_vec()))),
            }
        }
        parts
    }

    /// Goes on to the end; what is found, with all evidence.
    fn finish(mut self) -> Vec<String> {
        self.out = Output::default();
        for event in AFTER {
            self.take(&[event]);
            self.core.advance(0, time_of(event.0 - 5), &mut self.out);
        }
        self.core.finish(&mut self.out);
        let found = std::mem::take(&mut self.out.correlations);
        found.iter().map(|found| self.text(found)).collect()
    }

    fn text(&self, found: &Correlation) -> String {
        let rule = &self.plan.rules[found.rule.0 as usize];
        let mut text = format!("{} {} {}..{}", found.id, rule.id, found.window_start, found.window_end);
        write!(text, " suppressed {} values {:?}", found.suppressed, found.values).expect("memory");
        for event in &found.events {
            match event {
                None => text.push_str(" | null"),
                Some(event) => {
                    let event = &event.event;
                    write!(text, " | {} {:?} {:?}", event.time, event.id, event.origin.offset).expect("memory");
                    for (field, value) in event.fields.iter() {
                        write!(text, " {}={}", self.plan.fields[field.index()].0, value.to_json()).expect("memory");
                    }
                }
            }
        }
        text
    }
}

fn time_of(second: i64) -> Timestamp {
    Timestamp::from_millis((1_767_225_600 + second) * 1000)
}

/// The engine where the files were written.
fn engine_then() -> Engine {
    let mut engine = Engine::new();
    engine.take(&BEFORE);
    engine.core.advance(0, time_of(REACHED), &mut engine.out);
    engine
}

/// The kind of a part, by its name in file names.
fn kind_of(key: &[u8]) -> &'static str {
    match key[0] {
        0x10 => "dedup",
        0x11 => "order",
        0x22 => "timeline",
        0x30 => "suppression",
        0x20 => {
            let mut reader = Reader::new(&key[17..]);
            reader.blob().expect("a key");
            match reader.byte().expect("a tag") {
                1 => "rule",
                2 => "waiting",
                3 => "suppression",
                other => panic!("a key's part of tag {other}: give it a name here"),
            }
        }
        other => panic!("a part of kind {other:#x}: give it a name here"),
    }
}

type Parts = BTreeMap<(u16, Vec<u8>), Vec<u8>>;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

/// A file: `partition`, `key` and `value` of each part, a line each.
fn render(kind: &str, version: u8, parts: &Parts) -> String {
    let mut text = format!("# {kind}, layout version {version}. Written by tests/engine/fixtures.rs; never changed.\n");
    for ((partition, key), value) in parts {
        write!(text, "\npartition {partition}\nkey {}\nvalue {}\n", hex(key), hex(value)).expect("memory");
    }
    text
}

fn parse(text: &str) -> Parts {
    let field = |name: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let names = field("partition").into_iter().zip(field("key"));
    let parts = names.zip(field("value"));
    parts
        .map(|((partition, key), value)| ((partition.parse().expect("a number"), bytes(&key)), bytes(&value)))
        .collect()
}

/// All files: kind and version → content.
fn files() -> BTreeMap<(String, u8), String> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder()).expect("tests/fixtures/state") {
        let path = entry.expect("entry").path();
        let name = path.file_stem().expect("a name").to_str().expect("text");
        let (kind, version) = name.rsplit_once("-v").expect("<kind>-v<N>.hex");
        files.insert((kind.to_owned(), version.parse().expect("a version")), fs::read_to_string(&path).expect("text"));
    }
    files
}

/// Holds what is written now to the newest file of its kind.
fn hold(kind: &str, version: u8, parts: &Parts) {
    let path = folder().join(format!("{kind}-v{version}.hex"));
    let text = render(kind, version, parts);
    if std::env::var_os("THROUGHLINE_BLESS").is_some() && !path.exists() {
        fs::create_dir_all(folder()).expect("a folder");
        fs::write(&path, &text).expect("written");
    }
    let there = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; a new layout version? THROUGHLINE_BLESS=1 writes the file", path.display())
    });
    let newest = files().into_keys().filter(|(other, _)| other == kind).map(|(_, version)| version).max();
    assert_eq!(newest, Some(version), "{kind}: what is written now is not the newest version");
    assert!(
        there == text,
        "{kind}: the layout changed; give it a new version, and keep version {version} readable\n{text}"
    );
}

#[test]
fn what_is_written_is_what_the_newest_files_hold() {
    let mut by_kind: BTreeMap<&str, Parts> = BTreeMap::new();
    for (name, value) in engine_then().store() {
        by_kind.entry(kind_of(&name.1)).or_default().insert(name, value);
    }
    let kinds: Vec<&str> = by_kind.keys().copied().collect();
    assert_eq!(kinds, ["dedup", "order", "rule", "suppression", "timeline", "waiting"], "there is something of each");
    for (kind, parts) in by_kind {
        let versions: Vec<u8> = parts.values().map(|value| value[0]).collect();
        assert!(versions.iter().all(|version| *version == versions[0]), "{kind}: one version of a layout is written");
        hold(kind, versions[0], &parts);
    }
    let (mut record, mut rules) = (Writer::default(), Writer::default());
    task_record().write(&mut record);
    task_record().write_rules(&mut rules);
    for (kind, key, value) in [("task-record", 1, record.bytes()), ("task-rules", 2, rules.bytes())] {
        // The version of the program stands in front and changes with each.
        let ours = env!("CARGO_PKG_VERSION").as_bytes();
        let value = match value.strip_prefix(&[&[value[0], ours.len() as u8], ours].concat()[..]) {
            Some(rest) => [&[value[0], 5][..], b"0.1.0", rest].concat(),
            None => value.to_vec(),
        };
        hold(kind, value[0], &Parts::from([((0, vec![key]), value)]));
    }
}

#[test]
fn every_file_is_read_and_means_what_it_meant() {
    let wanted = engine_then().finish();
    let rules = ["pending", "waiting", "sliding", "tumbling", "suppressed"];
    for rule in rules {
        assert!(wanted.iter().any(|text| text.contains(&format!(" {rule} "))), "{rule} is decided by what was kept");
    }
    let files = files();
    let of_parts = |kind: &str| !kind.starts_with("task-");
    let newest: BTreeMap<&str, &String> =
        files.iter().filter(|((kind, _), _)| of_parts(kind)).map(|((kind, _), text)| (kind.as_str(), text)).collect();
    for ((kind, version), text) in files.iter().filter(|((kind, _), _)| of_parts(kind)) {
        let mut changes = Changes::default();
        // This file in place of the newest of its kind.
        let others = newest.iter().filter(|(other, _)| *other != kind).map(|(_, text)| text.as_str());
        for ((partition, key), value) in others.chain([text.as_str()]).flat_map(parse) {
            changes.put(partition, &key, &value);
        }
        let store = MemoryStore::default();
        store.write(&Batch { changes: vec![&changes], applied: Vec::new() }).expect("memory");
        let mut engine = Engine::new();
        let resumed = Resumed { task: 0, watermark: time_of(REACHED), backfill: [].into() };
        let mut carry = |request| carry_out(&store, request).map(drop);
        restore(&mut engine.core, (&store, &mut carry), &resumed, 0..16)
            .and_then(|()| sweep_all(&mut engine.core, (&store, &mut carry), 0, 0, &mut engine.out))
            .unwrap_or_else(|error| panic!("{kind}-v{version}: {error}"));
        assert_eq!(engine.finish(), wanted, "{kind}-v{version}");
    }
}

#[test]
fn task_records_of_every_version_are_read() {
    let mut seen = 0;
    for ((kind, version), text) in files() {
        let parts = parse(&text);
        let value = parts.values().next().expect("a part");
        match (kind.as_str(), version) {
            ("task-record", _) => {
                let writer = if version == 1 { String::new() } else { "0.1.0".to_owned() };
                let wanted = TaskRecord { writer, rules: Default::default(), ..task_record() };
                assert_eq!(TaskRecord::read(value), Ok(wanted), "version {version}");
            }
            ("task-rules", _) => {
                assert_eq!(TaskRecord::read_rules(value), Ok(task_record().rules), "version {version}")
            }
            _ => continue,
        }
        seen += 1;
    }
    assert!(seen >= 3, "two versions of the record, one of its rules");
}

fn task_record() -> TaskRecord {
    let clock = PartitionClockState { newest: time_of(41), stamp: time_of(43), idle: true };
    let unknown = PartitionClockState { newest: Timestamp::MIN, stamp: Timestamp::MIN, idle: false };
    let at = |topic: &str, partition, next, clock| {
        (TopicPartition { topic: topic.into(), partition }, PartitionRecord { next, clock })
    };
    let mut counts = OutcomeCounts::default();
    Outcome::ALL.iter().zip(1..).for_each(|(outcome, n)| counts.add(*outcome, n * 1000));
    let progress = Progress {
        counts: BTreeMap::from([("events".into(), counts)]),
        correlations: BTreeMap::from([("pending".into(), 2), ("späte".into(), u64::MAX)]),
        dead_letters: BTreeMap::from([("late".into(), 1)]),
        ..Progress::default()
    };
    TaskRecord {
        writer: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: 57,
        written_ms: 1_767_225_641_123,
        watermarks: BTreeMap::from([(0, time_of(REACHED)), (9, Timestamp::MIN)]),
        partitions: BTreeMap::from([at("events", 3, 1 << 40, clock), at("other", 0, 0, unknown)]),
        progress,
        rules: [1, 0xfeed_0000_0000_beef].into(),
    }
}

#[test]
fn each_file_holds_parts_of_its_version() {
    for ((kind, version), text) in files() {
        let parts = parse(&text);
        assert!(!parts.is_empty(), "{kind}-v{version}");
        assert!(parts.values().all(|value| value[0] == version), "{kind}-v{version}: the first byte is the version");
    }
}
