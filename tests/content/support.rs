//! Runs rules over events held in memory: the engine's own rooms (rules, decode, detect, shard), joined here by a router of
//! a few lines and one watermark, without threads, broker or files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use throughline::decode::{Decoder, StreamFields};
use throughline::detect::Detector;
use throughline::event::{
    Correlation, DimensionId, Evidence, Key, KeyBuilder, Late, MeasuredValue, Origin, Projected, Signal, Span, StepId,
    Timestamp, TopicTable, Val, stable_hash128,
};
use throughline::rules::plan::{ConditionId, KeyField, Plan};
use throughline::rules::{self, Compiled};
use throughline::shard::core::{Core, Output, Settings};

/// How events are read.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    pub time: &'static str,
    pub id: &'static str,
    pub category: &'static str,
    pub out_of_orderness: Span,
}

impl Stream {
    /// Events in the Elastic Common Schema; all are read before any is matched.
    pub const ECS: Stream =
        Stream { time: "@timestamp", id: "event.id", category: "event.category", out_of_orderness: Span::MAX };
    /// CloudTrail's own records; those at hand cover less than an hour.
    pub const CLOUDTRAIL: Stream =
        Stream { time: "eventTime", id: "eventID", category: "", out_of_orderness: Span::from_secs(3600) };
}

/// What is compared of a correlation: its rule, its key, and the ids of its events (`None`: a missing event).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub rule: String,
    pub key: BTreeMap<String, String>,
    pub events: Vec<Option<String>>,
}

impl Found {
    /// Of a correlation record.
    pub fn of(record: &Value) -> Found {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let key = record["key"].as_object().into_iter().flatten();
        let events = record["events"].as_array().into_iter().flatten();
        Found {
            rule: text(&record["rule"]["id"]),
            key: key.map(|(name, value)| (name.clone(), text(value))).collect(),
            events: events.map(|event| (!event.is_null()).then(|| text(&event["id"]))).collect(),
        }
    }
}

/// A path under `rules/`.
pub fn rules(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/rules")).join(path)
}

/// The ids that the file names of a directory under `rules/` stand for.
pub fn rule_files(directory: &str) -> Vec<String> {
    let files = rules::read_paths(&[rules(directory)]).unwrap_or_else(|e| panic!("{e:?}"));
    let stem = |path: &str| PathBuf::from(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    files.iter().filter_map(|file| stem(&file.path)).collect()
}

/// The records of a simulated attack on an AWS account, one a line, not in the order of their time.
pub fn cloudtrail_records() -> Vec<Value> {
    let directory = std::env::var_os("THROUGHLINE_TEST_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")), PathBuf::from);
    let path = directory.join("cloudtrail.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| {
        panic!("this test needs the real events at {}: {e}; THROUGHLINE_TEST_DATA names another folder", path.display())
    });
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Compiles rules that must have no errors.
pub fn compiled(paths: &[PathBuf]) -> Compiled {
    let all = |diagnostics: Vec<rules::Diagnostic>| -> String {
        diagnostics.iter().map(|diagnostic| format!("\n{diagnostic}")).collect()
    };
    let files = rules::read_paths(paths).unwrap_or_else(|e| panic!("{}", all(e)));
    rules::compile(&files).unwrap_or_else(|e| panic!("{}", all(e)))
}

/// Shards that a run is cut into: more than one, so that a key that met in two places would show.
const SHARDS: usize = 3;

/// Events between two watermarks.
const WATERMARK_EVERY: usize = 64;

/// Runs rules over events in the order given, to the end of the input. Gives correlation records with `rule.id`, `key`,
/// `events` and `values`.
pub fn run_rules(paths: &[PathBuf], lines: &[Vec<u8>], stream: &Stream) -> Vec<Value> {
    let plan = Arc::new(compiled(paths).plan);
    let topics = TopicTable::default();
    let topic = topics.intern("events").expect("room for one topic");
    let settings = Settings { dedup_window: Span::from_secs(3600), retention: Span::from_secs(86_400), durable: None };
    let mut cores: Vec<Core> = (0..SHARDS).map(|_| Core::new(plan.clone(), settings, topics.clone())).collect();
    let mut out = Output::default();
    let mut router = Router::new(&plan, stream);
    let mut newest = Timestamp::MIN;
    for (offset, line) in lines.iter().enumerate() {
        let origin = Origin { topic, partition: 0, offset: offset as i64 };
        let watermark = if newest == Timestamp::MIN { newest } else { newest - stream.out_of_orderness };
        let time = router.route(line, origin, watermark);
        for (core, batch) in cores.iter_mut().zip(&mut router.batches) {
            core.take(batch, &mut out);
        }
        newest = newest.max(time);
        if offset % WATERMARK_EVERY == 0 {
            cores.iter_mut().for_each(|core| core.advance(0, newest - stream.out_of_orderness, &mut out));
        }
    }
    cores.iter_mut().for_each(|core| core.advance(0, newest, &mut out));
    cores.iter_mut().for_each(|core| core.finish(&mut out));
    assert!(out.dead_letters.is_empty());
    out.correlations.iter().map(|correlation| record(&plan, correlation)).collect()
}

/// From a line to the signals of each shard.
struct Router<'a> {
    plan: &'a Plan,
    decoder: Decoder,
    event: Projected,
    detector: Detector,
    hits: Vec<ConditionId>,
    steps: Vec<Vec<StepId>>,
    batches: Vec<Vec<Signal>>,
}

impl<'a> Router<'a> {
    fn new(plan: &'a Arc<Plan>, stream: &Stream) -> Self {
        let fields = StreamFields {
            time: Some(stream.time.to_owned()),
            id: vec![stream.id.to_owned()],
            category: stream.category.to_owned(),
        };
        let decoder = Decoder::new(plan, &fields);
        let event = decoder.new_event();
        Router {
            plan,
            decoder,
            event,
            detector: Detector::new(plan.clone()),
            hits: Vec::new(),
            steps: plan.steps_by_condition(),
            batches: vec![Vec::new(); SHARDS],
        }
    }

    /// Fills the batches with the line's signals; gives its time.
    fn route(&mut self, line: &[u8], origin: Origin, watermark: Timestamp) -> Timestamp {
        let shown = || String::from_utf8_lossy(line).into_owned();
        let header = self.decoder.decode(line, &mut self.event).unwrap_or_else(|e| panic!("{e}: {}", shown()));
        let time = header.time.unwrap_or_else(|| panic!("no time: {}", shown()));
        let id = self.decoder.id_text(&self.event).unwrap_or_else(|| panic!("no id: {}", shown()));
        self.detector.detect(&self.event, &mut self.hits);
        let mut signals: BTreeMap<(DimensionId, Key), Vec<StepId>> = BTreeMap::new();
        for &step in self.hits.iter().flat_map(|condition| &self.steps[condition.0 as usize]) {
            for (dimension, key) in self.keys(step, &id) {
                signals.entry((dimension, key)).or_default().push(step);
            }
        }
        let mut fields: Vec<_> = signals.values().flatten().flat_map(|step| self.fields_of(*step)).collect();
        fields.sort_unstable();
        let evidence = Arc::new(Evidence {
            time,
            origin,
            id: Some(id.as_str().into()),
            fields: self.event.extract(&fields),
            trace: None,
        });
        for (at, ((dimension, key), mut steps)) in signals.into_iter().enumerate() {
            steps.sort_unstable();
            steps.dedup();
            let shard = (key.hash() >> 32) as usize % SHARDS;
            self.batches[shard].push(Signal {
                event: evidence.clone(),
                identity: stable_hash128(0, id.as_bytes()),
                dimension,
                key,
                task: 0,
                steps: steps.into_iter().collect(),
                counts: at == 0,
                late: (time < watermark).then_some(Late::Drop),
            });
        }
        time
    }

    fn fields_of(&self, step: StepId) -> impl Iterator<Item = throughline::event::FieldId> + use<'a> {
        let rule = self.plan.steps[step.0 as usize].rule;
        self.plan.rules[rule.0 as usize].fields.iter().copied()
    }

    /// The keys of one step: none where a value is missing, one for each combination of array elements.
    fn keys(&self, step: StepId, id: &str) -> Vec<(DimensionId, Key)> {
        let step = &self.plan.steps[step.0 as usize];
        let dimension = &self.plan.dimensions[step.dimension.0 as usize];
        let mut combinations: Vec<Vec<Val<'_>>> = vec![Vec::new()];
        if dimension.per_event {
            combinations[0].push(Val::Str(id));
        }
        for field in &step.key {
            let values = self.values(*field);
            combinations = combinations
                .iter()
                .flat_map(|front| values.iter().map(|value| front.iter().copied().chain([*value]).collect()))
                .collect();
        }
        let build = |values: &Vec<Val<'_>>| {
            let mut builder = KeyBuilder::default();
            values.iter().for_each(|value| builder.push(*value));
            (step.dimension, builder.build(dimension.hash))
        };
        combinations.iter().map(build).collect()
    }

    fn values(&self, key: KeyField) -> Vec<Val<'_>> {
        let values: Vec<Val<'_>> = match self.event.get(key.field) {
            Val::Array(elements) => elements.iter().filter(|element| !element.is_null()).collect(),
            value if value.is_null() => Vec::new(),
            value => vec![value],
        };
        if values.is_empty() && key.optional { vec![Val::Null] } else { values }
    }
}

fn record(plan: &Plan, found: &Correlation) -> Value {
    let rule = &plan.rules[found.rule.0 as usize];
    let parts = found.key.parts();
    let key: serde_json::Map<String, Value> =
        rule.key_names.iter().cloned().zip(parts.iter().map(|part| part.to_json())).collect();
    let event = |matched: &Option<throughline::event::MatchedEvent>| match matched {
        Some(matched) => json!({"id": matched.event.id, "step": rule.step_names[matched.step as usize]}),
        None => Value::Null,
    };
    let number = |value: MeasuredValue| match value {
        MeasuredValue::Int(value) => json!(i64::try_from(value).ok()),
        MeasuredValue::Float(value) => json!(value),
    };
    let values: serde_json::Map<String, Value> =
        found.values.iter().map(|(measure, value)| (measure.name().to_owned(), number(*value))).collect();
    json!({
        "rule": {"id": rule.id},
        "key": key,
        "events": found.events.iter().map(event).collect::<Vec<_>>(),
        "values": values,
    })
}
