//! What CloudTrail rules mean, computed plainly: over a sorted vector, with no index, no shard, no watermark. Shares nothing
//! with the engine, not even its time parser.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A condition on one record.
pub type Condition = fn(&Value) -> bool;

/// A finding: the key's values and the records' positions in the log.
pub type Row = (Vec<String>, Vec<usize>);

/// Records in the order of their time, then of their place in the file; with each its time in seconds.
pub struct Log(Vec<(i64, Value)>);

impl Log {
    /// Sorts records.
    pub fn new(records: &[Value]) -> Log {
        let seconds = |record: &Value| {
            let text = record["eventTime"].as_str().expect("eventTime");
            text.parse::<jiff::Timestamp>().unwrap_or_else(|e| panic!("{text}: {e}")).as_second()
        };
        let mut log: Vec<(i64, Value)> = records.iter().map(|record| (seconds(record), record.clone())).collect();
        log.sort_by_key(|(at, _)| *at);
        Log(log)
    }

    /// The id of the record at a position.
    pub fn id(&self, at: usize) -> String {
        field(&self.0[at].1, "eventID").expect("eventID")
    }

    /// Every record that satisfies a condition.
    pub fn events(&self, condition: Condition) -> Vec<Row> {
        let satisfied = self.0.iter().enumerate().filter(|(_, (_, record))| condition(record));
        satisfied.map(|(at, _)| (Vec::new(), vec![at])).collect()
    }

    /// Records in a row, at most `span` seconds from the first to the last, with the same values in each step's fields.
    /// One unfinished row at most stands at each step; a newer one takes its place.
    pub fn rows(&self, span: i64, steps: &[(Condition, &[&str])]) -> Vec<Row> {
        let mut unfinished: BTreeMap<Vec<String>, Vec<Option<Vec<usize>>>> = BTreeMap::new();
        let mut found = Vec::new();
        for (at, (time, record)) in self.0.iter().enumerate() {
            for step in (0..steps.len()).rev() {
                let (condition, fields) = steps[step];
                let Some(key) = fields.iter().map(|f| field(record, f)).collect::<Option<Vec<_>>>() else { continue };
                if !condition(record) {
                    continue;
                }
                let rows = unfinished.entry(key.clone()).or_insert_with(|| vec![None; steps.len()]);
                let mut row = match step {
                    0 => Vec::new(),
                    _ => match rows[step - 1].take_if(|row| time - self.0[row[0]].0 <= span) {
                        Some(row) => row,
                        None => continue,
                    },
                };
                row.push(at);
                if row.len() == steps.len() { found.push((key, row)) } else { rows[step] = Some(row) }
            }
        }
        found
    }

    /// At least `limit` records (or distinct values of `value`) with the same value in `by` within `span` seconds. Reported
    /// when that becomes true, and again once it was false or `span` has passed.
    pub fn bursts(&self, span: i64, limit: usize, condition: Condition, by: &str, value: Option<&str>) -> Vec<Row> {
        let mut found = Vec::new();
        let keys: BTreeSet<String> = self.0.iter().filter_map(|(_, record)| field(record, by)).collect();
        for key in keys {
            let counted: Vec<usize> = (0..self.0.len())
                .filter(|at| {
                    let record = &self.0[*at].1;
                    condition(record)
                        && field(record, by).as_ref() == Some(&key)
                        && value.is_none_or(|value| field(record, value).is_some())
                })
                .collect();
            let mut last_report: Option<i64> = None;
            for (n, &at) in counted.iter().enumerate() {
                let now = self.0[at].0;
                let window: Vec<usize> =
                    counted[..=n].iter().copied().filter(|&older| now - self.0[older].0 <= span).collect();
                let measure = match value {
                    None => window.len(),
                    Some(value) => window.iter().map(|&at| field(&self.0[at].1, value)).collect::<BTreeSet<_>>().len(),
                };
                if measure < limit {
                    last_report = None;
                } else if last_report.is_none_or(|last| now >= last + span) {
                    last_report = Some(now);
                    found.push((vec![key.clone()], window));
                }
            }
        }
        found
    }

    /// Leaves out what comes within `span` seconds of one that was kept, key by key.
    pub fn suppress(&self, span: i64, rows: Vec<Row>) -> Vec<Row> {
        let mut kept: BTreeMap<Vec<String>, i64> = BTreeMap::new();
        let end = |row: &Row| row.1.last().map_or(0, |&at| self.0[at].0);
        rows.into_iter()
            .filter(|row| {
                let report = kept.get(&row.0).is_none_or(|last| end(row) > last + span);
                if report {
                    kept.insert(row.0.clone(), end(row));
                }
                report
            })
            .collect()
    }
}

/// The text at a dotted path of objects; `None` if absent or null.
pub fn field(record: &Value, path: &str) -> Option<String> {
    let value = path.split('.').try_fold(record, |value, name| value.get(name))?;
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
