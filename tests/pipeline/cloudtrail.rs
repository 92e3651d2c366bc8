//! Real CloudTrail records, shuffled over four partitions, must give what `backtest` gives on the file, and what a plain
//! computation gives.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::harness::{App, Random, data, repository, throughline};
use crate::support::client::NewRecord;
use crate::support::kafka;

const INPUT: &str = "time: {field: eventTime}\n    id: eventID\n    out_of_orderness: 1h\n    max_future: 1h";

/// All CloudTrail starter rules as one file.
fn rules() -> String {
    let mut files: Vec<_> = std::fs::read_dir(repository("rules/cloudtrail"))
        .expect("rules")
        .map(|entry| entry.expect("entry").path())
        .collect();
    files.sort();
    let texts: Vec<String> = files.iter().map(|path| std::fs::read_to_string(path).expect("rule")).collect();
    texts.join("\n---\n")
}

fn lines() -> Vec<String> {
    let text = std::fs::read_to_string(data("cloudtrail.jsonl")).expect("data");
    text.lines().map(str::to_owned).collect()
}

/// A correlation without what depends on where its events came from and when it was found.
fn essence(mut correlation: Value) -> String {
    let record = correlation.as_object_mut().expect("object");
    record.remove("detected_at");
    for event in record["events"].as_array_mut().expect("events").iter_mut().filter_map(Value::as_object_mut) {
        event.remove("topic");
        event.remove("partition");
        event.remove("offset");
    }
    correlation.to_string()
}

fn sorted(correlations: impl IntoIterator<Item = Value>) -> Vec<String> {
    let mut all: Vec<String> = correlations.into_iter().map(essence).collect();
    all.sort();
    all
}

fn backtest() -> Vec<Value> {
    let output = throughline()
        .args(["backtest", "--rules"])
        .arg(repository("rules/cloudtrail"))
        .args(["--time", "eventTime", "--id", "eventID", "-o", "json"])
        .arg(data("cloudtrail.jsonl"))
        .output()
        .expect("backtest runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Ties in event time are broken by (topic, partition, offset), and the records have whole seconds: among records of one
/// second the order is that of the log. So that all logs agree on it, records keep their order within a second, and the
/// records of one second go to one partition.
fn spread(lines: &[String], seed: u64) -> Vec<NewRecord> {
    let mut random = Random(seed);
    let mut by_second: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for line in lines {
        let event: Value = serde_json::from_str(line).expect("JSON");
        by_second.entry(event["eventTime"].as_str().expect("time").to_owned()).or_default().push(line);
    }
    let mut groups: Vec<Vec<&String>> = by_second.into_values().collect();
    random.shuffle(&mut groups);
    let mut records = Vec::new();
    for group in groups {
        let partition = random.below(4) as i32;
        records.extend(group.into_iter().map(|line| NewRecord::value(line.as_str()).to(partition)));
    }
    records
}

#[test]
fn shuffled_over_four_partitions_it_finds_what_backtest_finds_in_the_file() {
    let lines = lines();
    let from_file = sorted(backtest());
    assert!(from_file.len() > 10, "the rules find something: {}", from_file.len());
    // Nothing depends on the number of threads.
    for (seed, workers) in [(7, ""), (8, "workers: {sources: 3, shards: 4}")] {
        let app = App::new(kafka(), 4, &rules()).input(INPUT).settings(workers);
        app.kafka.produce(&app.topic, spread(&lines, seed));
        let totals = app.until_end();
        assert_eq!(sorted(app.correlations()), from_file, "{workers}");
        let counts = &totals[&app.topic];
        assert_eq!(counts.values().sum::<u64>(), lines.len() as u64, "INV-COUNT");
        assert_eq!((counts["late"], counts["dead_letter"], counts["tombstone"]), (0, 0, 0));
    }
}

#[test]
fn truly_shuffled_lines_find_the_same_incidents() {
    // Without care for ties: incidents by rule and key must be the same; which of two records of one second stands in a match
    // is decided by the log.
    let mut lines = lines();
    Random(11).shuffle(&mut lines);
    let app = App::new(kafka(), 4, &rules()).input(INPUT);
    let mut random = Random(12);
    app.kafka.produce(&app.topic, lines.iter().map(|line| NewRecord::value(line.as_str()).to(random.below(4) as i32)));
    app.until_end();
    let incidents = |found: Vec<Value>| -> BTreeSet<String> {
        found.iter().map(|c| format!("{} {}", c["rule"]["id"], c["key"])).collect()
    };
    assert_eq!(incidents(app.correlations()), incidents(backtest()));
}

#[test]
fn a_plain_computation_agrees() {
    let found = backtest();
    let count = |rule: &str| found.iter().filter(|c| c["rule"]["id"] == rule).count();
    let events = Events::read();
    // The rule, its calls, its span in seconds, the request parameter that joins them beside the principal.
    let sequences = [
        (
            "aws-user-created-with-policy-and-key",
            &["CreateUser", "AttachUserPolicy", "CreateAccessKey"][..],
            600,
            "userName",
        ),
        ("aws-role-created-and-granted", &["CreateRole", "AttachRolePolicy"][..], 300, "roleName"),
        // Refused calls count too, and the names of the trails need not agree.
        ("aws-trail-stopped-then-deleted", &["StopLogging", "DeleteTrail"][..], 1800, ""),
    ];
    for (rule, names, seconds, parameter) in sequences {
        let expected = events.sequences(names, seconds, parameter);
        assert!(expected > 0, "{rule} has something to find");
        assert_eq!(count(rule), expected, "{rule}");
    }
    assert!(count("aws-password-data-burst") > 0);
}

/// One call as a plain program would hold it.
struct Call {
    time: i64,
    line: usize,
    event: Value,
}

/// All calls in time order, ties by line.
struct Events(Vec<Call>);

impl Events {
    fn read() -> Events {
        let call = |(line, text): (usize, &String)| {
            let event: Value = serde_json::from_str(text).expect("JSON");
            let time: jiff::Timestamp = event["eventTime"].as_str().expect("time").parse().expect("time");
            Call { time: time.as_second(), line, event }
        };
        let mut calls: Vec<Call> = lines().iter().enumerate().map(call).collect();
        calls.sort_by_key(|call| (call.time, call.line));
        Events(calls)
    }

    /// What a parameter-joined rule groups by; `None`: the call is none of its business.
    fn key(event: &Value, parameter: &str) -> Option<String> {
        let principal = event["userIdentity"]["arn"].as_str()?;
        if parameter.is_empty() {
            return Some(principal.to_owned());
        }
        let joined = event["requestParameters"][parameter].as_str()?;
        event["errorCode"].is_null().then(|| format!("{principal} {joined}"))
    }

    /// Matches of a sequence of names within a span: the state machine of RULES §2, written plainly: `pending[i]` is the start
    /// of the newest match that waits for step i.
    fn sequences(&self, names: &[&str], seconds: i64, parameter: &str) -> usize {
        let mut pending: HashMap<String, Vec<Option<i64>>> = HashMap::new();
        let mut found = 0;
        for Call { time, event, .. } in &self.0 {
            let Some(key) = Self::key(event, parameter) else { continue };
            let pending = pending.entry(key).or_insert_with(|| vec![None; names.len()]);
            for step in (0..names.len()).rev().filter(|step| event["eventName"] == names[*step]) {
                let start = if step == 0 { Some(*time) } else { pending[step].take() };
                let Some(start) = start.filter(|start| time - start <= seconds) else { continue };
                match step + 1 == names.len() {
                    true => found += 1,
                    false => pending[step + 1] = Some(start),
                }
            }
        }
        found
    }
}

#[test]
fn every_event_twice_changes_nothing_but_the_duplicate_count() {
    let mut lines = lines();
    // In time order, so that `out_of_orderness` can be short and the copies much later than it.
    lines.sort_by_key(|line| serde_json::from_str::<Value>(line).expect("JSON")["eventTime"].to_string());
    let input = "time: {field: eventTime}\n    id: eventID\n    out_of_orderness: 2m\n    max_future: 1h";
    let once = App::new(kafka(), 4, &rules()).input(input);
    let twice = App::new(kafka(), 4, &rules()).input(input).settings("dedup: {window: 2h}");
    let mut random = Random(3);
    let mut by_second: HashMap<String, usize> = HashMap::new();
    let mut records = Vec::new();
    for line in &lines {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let partition = *by_second.entry(event["eventTime"].to_string()).or_insert_with(|| random.below(4));
        records.push((line, partition));
    }
    let first = |(line, partition): &(&String, usize)| NewRecord::value(line.as_str()).to(*partition as i32);
    once.kafka.produce(&once.topic, records.iter().map(first));
    twice.kafka.produce(&twice.topic, records.iter().map(first));
    // The copies: in another partition, after everything else, in the reverse of no order at all.
    let mut copies: Vec<_> = records
        .iter()
        .map(|(line, partition)| NewRecord::value(line.as_str()).to((*partition as i32 + 1) % 4))
        .collect();
    random.shuffle(&mut copies);
    twice.kafka.produce(&twice.topic, copies);
    let plain = once.until_end();
    let totals = twice.until_end();
    let (counts_once, counts) = (&plain[&once.topic], &totals[&twice.topic]);
    assert_eq!(counts["matched"], counts_once["matched"], "{counts:?} against {counts_once:?}");
    assert_eq!(counts["duplicate"], counts_once["matched"], "copies of matched events are duplicates");
    assert_eq!(counts["late"], 0, "also those later than out_of_orderness");
    assert_eq!(counts.values().sum::<u64>(), 2 * lines.len() as u64, "INV-COUNT");
    assert_eq!(sorted(twice.correlations()), sorted(once.correlations()));
}
