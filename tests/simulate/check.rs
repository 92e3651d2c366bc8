//! Whether what came out is what must come out, invariant by invariant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use throughline::broker::OutRecord;
use throughline::broker::memory::MemoryBroker;
use throughline::epoch::{Progress, TaskRecord};
use throughline::event::{OutcomeCounts, RawRecord};

use crate::oracle::Expected;
use crate::scenario::Setup;
use crate::setup::{CHANGELOG, OUTPUTS};
use crate::world::Snapshot;

/// A header whose value is the time of writing.
const WRITTEN_AT: &str = "__throughline.errors.time";

/// All checks on a finished run.
pub fn all(setup: &Setup, expected: &Expected, broker: &MemoryBroker, snapshots: &[Snapshot]) -> Result<(), String> {
    let visible = |topic: usize| broker.records(OUTPUTS[topic], true).into_iter().map(|stored| stored.record);
    let wanted = expected.correlations.iter().map(|record| out_text(record, expected));
    let got = visible(0).map(|record| raw_text(&record, expected));
    let repeats = setup.at_least_once;
    same("INV-ONCE: correlations", wanted, got, repeats)?;
    let wanted = expected.dead_letters.iter().map(|(.., record)| out_text(record, expected));
    let got = visible(1).map(|record| raw_text(&record, expected));
    same("INV-ONCE: dead letters", wanted, got, repeats)?;
    if !repeats {
        commits(expected, snapshots)?;
    }
    counts(expected, broker)
}

/// As multisets; where repeats are right, as sets.
fn same(
    what: &str,
    wanted: impl Iterator<Item = String>,
    got: impl Iterator<Item = String>,
    repeats: bool,
) -> Result<(), String> {
    let mut balance: BTreeMap<String, i64> = BTreeMap::new();
    wanted.for_each(|text| *balance.entry(text).or_default() += 1);
    let wanted: BTreeSet<String> = balance.keys().cloned().collect();
    for text in got {
        let known = wanted.contains(&text);
        let balance = balance.entry(text).or_default();
        *balance = if repeats && known { 0 } else { *balance - 1 };
    }
    let side = |sign: i64| -> Vec<String> {
        let lines = balance.iter().filter(|(_, n)| **n * sign > 0).map(|(text, n)| format!("    {}x {text}", n.abs()));
        lines.take(5).collect()
    };
    let (missing, extra) = (side(1), side(-1));
    if missing.is_empty() && extra.is_empty() {
        return Ok(());
    }
    Err(format!("{what} differ\n  missing:\n{}\n  too many:\n{}", missing.join("\n"), extra.join("\n")))
}

/// INV-COMMIT: at any moment exactly the dead letters of the records below the committed offsets are visible.
fn commits(expected: &Expected, snapshots: &[Snapshot]) -> Result<(), String> {
    for snapshot in snapshots {
        let below = |(place, offset, _): &&(usize, i64, OutRecord)| *offset < snapshot.committed[*place];
        let wanted = expected.dead_letters.iter().filter(below).count();
        if wanted != snapshot.dead_letters {
            return Err(format!(
                "INV-COMMIT: {} dead letters were visible where the committed offsets {:?} stand for {wanted}",
                snapshot.dead_letters, snapshot.committed
            ));
        }
    }
    Ok(())
}

/// INV-COUNT, by topic; in sum only, if it is a matter of chance in which topic the copy of an event is met first.
fn counts(expected: &Expected, broker: &MemoryBroker) -> Result<(), String> {
    let mut progress = Progress::default();
    for record in task_records(broker)?.into_values() {
        progress.merge(record.progress);
    }
    let by_topic = |counts: &BTreeMap<Arc<str>, OutcomeCounts>| -> BTreeMap<String, OutcomeCounts> {
        let apart = expected.copied.values().all(|one_topic| *one_topic);
        let mut sums: BTreeMap<String, OutcomeCounts> = BTreeMap::new();
        for (topic, counts) in counts {
            let name = if apart { topic.to_string() } else { "all".to_owned() };
            sums.entry(name).or_default().merge(counts);
        }
        sums.retain(|_, counts| counts.total() > 0);
        sums
    };
    let (wanted, got) = (by_topic(&expected.counts), by_topic(&progress.counts));
    if wanted == got { Ok(()) } else { Err(format!("INV-COUNT: {got:?} were counted, {wanted:?} is right")) }
}

/// The newest committed record of each task, by changelog partition.
pub fn task_records(broker: &MemoryBroker) -> Result<BTreeMap<i32, TaskRecord>, String> {
    let mut records = BTreeMap::new();
    for stored in broker.records(CHANGELOG, true) {
        if let (Some([1]), Some(value)) = (stored.record.key.as_deref(), stored.record.value.as_deref()) {
            let record = TaskRecord::read(value).map_err(|damage| format!("a task record cannot be read: {damage}"))?;
            records.insert(stored.partition, record);
        }
    }
    Ok(records)
}

fn raw_text(record: &RawRecord, expected: &Expected) -> String {
    let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    text(record.key.as_deref(), record.value.as_deref(), headers, expected)
}

fn out_text(record: &OutRecord, expected: &Expected) -> String {
    let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    text(record.key.as_deref(), record.value.as_deref(), headers, expected)
}

/// A record as text, without what may differ: the time of writing, and the place of an event that has copies.
fn text<'a>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    expected: &Expected,
) -> String {
    let lossy = |bytes: Option<&[u8]>| bytes.map_or("-".into(), |bytes| String::from_utf8_lossy(bytes).into_owned());
    let mut text = format!("{} {}", lossy(key), placeless(lossy(value), expected));
    for (name, value) in headers.filter(|(name, _)| *name != WRITTEN_AT) {
        text.push_str(&format!(" {name}={}", lossy(value)));
    }
    text
}

fn placeless(text: String, expected: &Expected) -> String {
    if expected.copied.is_empty() {
        return text;
    }
    let Ok(serde_json::Value::Object(mut correlation)) = serde_json::from_str(&text) else { return text };
    let Some(serde_json::Value::Array(events)) = correlation.get_mut("events") else { return text };
    for event in events.iter_mut().filter_map(serde_json::Value::as_object_mut) {
        let copied = event.get("id").and_then(|id| id.as_str()).is_some_and(|id| expected.copied.contains_key(id));
        if copied {
            event.retain(|name, _| !["topic", "partition", "offset"].contains(&name.as_str()));
        }
    }
    serde_json::Value::Object(correlation).to_string()
}
