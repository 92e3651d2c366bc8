//! INV-ONCE: what an application has left behind, against what its twin left: the same rules over the same topic, run once
//! and uninterrupted under another application id.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use throughline::epoch::{Progress, TaskRecord, record};

use crate::harness::App;
use crate::oracle_load::{INPUT, RULES};
use crate::support::client::Consumed;

/// The header of a dead letter that bears the time of writing.
const WRITTEN_AT: &str = "__throughline.errors.time";

/// Everything that an application has made visible.
pub struct Left {
    /// Correlations as text, without `detected_at`.
    pub correlations: Vec<String>,
    /// Dead letters as text, without the time of writing.
    pub dead_letters: Vec<String>,
    /// What it has counted since its creation.
    pub progress: Progress,
}

impl Left {
    /// Reads it all.
    pub fn by(app: &App) -> Left {
        let correlations = app.kafka.read_committed(&app.output);
        let dead_letters = app.kafka.read_committed(&app.dead_letters);
        let mut progress = Progress::default();
        task_records(app).into_values().for_each(|record| progress.merge(record.progress));
        Left {
            correlations: correlations.iter().map(correlation).collect(),
            dead_letters: dead_letters.iter().map(|letter| text(letter, lossy(letter.value.as_deref()))).collect(),
            progress,
        }
    }

    /// Fails unless `other` left the same: records as multisets, counts one by one.
    pub fn assert_same(&self, other: &Left) {
        assert_multisets("INV-ONCE: dead letters", &other.dead_letters, &self.dead_letters);
        assert_multisets("INV-ONCE: correlations", &other.correlations, &self.correlations);
        let (ours, theirs) = (&self.progress, &other.progress);
        assert_eq!(ours.counts, theirs.counts, "INV-COUNT: outcomes");
        assert_eq!(ours.correlations, theirs.correlations, "INV-COUNT: correlations by rule");
        assert_eq!(ours.dead_letters, theirs.dead_letters, "INV-COUNT: dead letters by code");
    }
}

/// What must come out: the twin of `app`, one shard and one source, in one go. It was not idle: each kind of rule has found
/// something and each kind of record was there. `settings` are those that change what comes out.
pub fn uninterrupted(app: &App, settings: &str) -> Left {
    uninterrupted_with(app, RULES, settings)
}

fn uninterrupted_with(app: &App, rules: &str, settings: &str) -> Left {
    let settings = format!("workers: {{shards: 1, sources: 1}}\n{settings}");
    let twin = App::on(&app.kafka, &app.topic, rules).input(INPUT).settings(&settings);
    twin.until_end();
    let left = Left::by(&twin);
    let silent: Vec<&str> = rule_ids(rules).filter(|rule| !left.progress.correlations.contains_key(*rule)).collect();
    assert!(silent.is_empty(), "rules that find nothing attack nothing: {silent:?}");
    let records = app.kafka.read_committed(&app.topic).len() as u64;
    assert_eq!(left.progress.records(), records, "INV-COUNT: every record has one outcome");
    left
}

/// Runs `app` to the end of its topic, twice, and holds what it left to its twin's.
pub fn finish_and_compare(app: &App, settings: &str) {
    finish_and_compare_with(app, RULES, settings);
}

/// The same for an application with other rules.
pub fn finish_and_compare_with(app: &App, rules: &str, settings: &str) {
    app.until_end();
    assert!(app.until_end().is_empty(), "a second run finds nothing new");
    Left::by(app).assert_same(&uninterrupted_with(app, rules, settings));
}

/// The newest task record in each partition of the changelog.
pub fn task_records(app: &App) -> BTreeMap<i32, TaskRecord> {
    let mut newest = BTreeMap::new();
    for stored in app.kafka.read_committed(&format!("{}-changelog", app.id)) {
        if stored.key.as_deref() == Some(record::KEY) {
            newest.insert(stored.partition, stored.value.expect("a task record is never deleted"));
        }
    }
    newest.into_iter().map(|(partition, value)| (partition, TaskRecord::read(&value).expect("a task record"))).collect()
}

fn rule_ids(rules: &str) -> impl Iterator<Item = &str> {
    rules.lines().filter_map(|line| line.strip_prefix("id: "))
}

/// A correlation's record as text. Its keys keep their order.
fn correlation(record: &Consumed) -> String {
    let mut value: Value = serde_json::from_str(record.text()).expect("a correlation is JSON");
    let detected = value.as_object_mut().expect("an object").shift_remove("detected_at");
    assert!(detected.is_some_and(|at| at.is_string()), "detected_at: {}", record.text());
    text(record, value.to_string())
}

fn text(record: &Consumed, value: String) -> String {
    let mut text = format!("{} {value}", lossy(record.key.as_deref()));
    for (name, value) in record.headers.iter().filter(|(name, _)| name != WRITTEN_AT) {
        write!(text, " {name}={}", lossy(value.as_deref())).expect("memory");
    }
    text
}

fn lossy(bytes: Option<&[u8]>) -> String {
    bytes.map_or("(null)".to_owned(), |bytes| bytes.escape_ascii().to_string())
}

fn assert_multisets(what: &str, wanted: &[String], got: &[String]) {
    let mut times: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    wanted.iter().for_each(|text| times.entry(text).or_default().0 += 1);
    got.iter().for_each(|text| times.entry(text).or_default().1 += 1);
    let side = |off: fn(usize, usize) -> bool| -> Vec<String> {
        let off = times.iter().filter(|(_, (wanted, got))| off(*wanted, *got));
        off.map(|(text, (wanted, got))| format!("    {got} instead of {wanted}: {text}")).collect()
    };
    let (missing, extra) = (side(|wanted, got| wanted > got), side(|wanted, got| wanted < got));
    let some = |lines: &[String]| lines.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{what} differ\n  {} missing:\n{}\n  {} too many:\n{}",
        missing.len(),
        some(&missing),
        extra.len(),
        some(&extra)
    );
}
