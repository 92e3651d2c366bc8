//! The load that attacks run on: rules of every kind, and an endless stream of events, copies, late ones and poison.
//!
//! What must come out of it follows from the log alone. Event times are all different; a copy in another partition lies so
//! far behind that alignment has the first one read before it; no partition ever counts as idle.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::harness::{App, Random};
use crate::support::client::{Kafka, NewRecord, Writer};

/// The keys of the input.
pub const INPUT: &str =
    "time: {field: ts}\n    id: id\n    out_of_orderness: 2s\n    idle_timeout: 0s\n    max_skew: 30s";

/// One rule for each kind of state that a rule can keep.
pub const RULES: &str = r#"
id: single
query: any where t == "a" and v >= 8
---
id: sequence
query: |
  sequence by k with maxspan=40s
    [any where t == "a"]
    [any where t == "b"]
    [any where t == "c"]
---
id: runs
query: |
  sequence by k with maxspan=2m
    [any where t == "d"] with runs=3
---
id: until
query: |
  sequence by k with maxspan=5m
    [any where t == "a"]
    [any where t == "c"]
    until [any where t == "d"]
---
id: gap
query: |
  sequence by k with maxspan=1m
    [any where t == "a"]
    ![any where t == "b"]
    [any where t == "c"]
---
id: silence
query: |
  sequence by k with maxspan=30s
    [any where t == "b"]
    ![any where t == "c"]
---
id: before
query: |
  sequence by k with maxspan=50s
    ![any where t == "a"]
    [any where t == "d"]
    [any where t == "b"]
---
id: edge
events:
  some: any where t != "z"
correlation: {type: event_count, rules: [some], group-by: [k], timespan: 1m, condition: {gte: 7}}
---
id: every
events:
  some: any where t in ("c", "d")
correlation: {type: event_count, rules: [some], group-by: [k], timespan: 1m, condition: {gte: 5}, refire: every}
---
id: reset
events:
  some: any where t in ("a", "d")
correlation: {type: event_count, rules: [some], group-by: [k], timespan: 5m, condition: {gte: 10}, refire: reset}
---
id: quiet
events:
  some: any where t in ("a", "b")
correlation: {type: event_count, rules: [some], group-by: [k], timespan: 2m, condition: {lt: 2}}
---
id: spread
events:
  some: any where t in ("c", "d")
correlation: {type: value_count, rules: [some], group-by: [k], timespan: 2m, condition: {field: v, gte: 7}}
---
id: sum
events:
  some: any where t in ("a", "d")
correlation: {type: value_sum, rules: [some], group-by: [k], timespan: 2m, condition: {field: v, gt: 50}}
---
id: both
events:
  first: any where t == "b" and v == 3
  second: any where t == "d" and v == 4
correlation: {type: temporal, rules: [first, second], group-by: [k], timespan: 2m}
---
id: ordered
events:
  first: any where t == "c" and v == 5
  second: any where t == "a" and v < 3
correlation: {type: temporal_ordered, rules: [first, second], group-by: [k], timespan: 2m}
---
id: muted
query: |
  sequence by k with maxspan=30s
    [any where t in ("a", "b")]
    [any where t in ("c", "d")]
suppress: {for: 10m}
"#;

/// A rule that keeps every event, for the keys of [`Load::wide`].
pub const WIDE: &str = r#"
---
id: wide
events:
  some: any where w != null
correlation: {type: event_count, rules: [some], group-by: [w], timespan: 2d, condition: {gte: 4}}
"#;

/// 2026-01-01T00:00:00Z in milliseconds.
const BEGIN_MS: i64 = 1_767_225_600_000;

/// Event time between two events: 30,000 of them are two hours, so that what dedup remembers for an hour expires.
const STEP_MS: i64 = 250;

/// Keys of correlation: each has an event every 7 s.
const KEYS: usize = 28;

/// How far an event may come behind the newest one; below `out_of_orderness`.
const DELAY_MS: i64 = 1_500;

/// How far behind its first one the copy of an event in another partition comes: within the hour that ids are remembered.
const COPY_MS: (i64, i64) = (20 * 60_000, 45 * 60_000);

/// An endless, seeded stream of records into the topic of an application.
pub struct Load {
    writer: Writer,
    random: Random,
    partitions: usize,
    /// A key's events lie in one partition, with the key as record key.
    by_key: bool,
    /// How many other keys, `w`, events have beside the usual one; 0: none.
    wide: usize,
    made: i64,
    /// By the time of their coming.
    coming: BinaryHeap<Reverse<(i64, i64, Record)>>,
}

/// What comes: partition, key, value.
type Record = (i32, Option<String>, Option<Vec<u8>>);

impl Load {
    /// For the input of `app`.
    pub fn new(app: &App, seed: u64) -> Load {
        let partitions = app.kafka.partitions(&app.topic) as usize;
        let writer = app.kafka.writer(&app.topic);
        Load { writer, random: Random(seed), partitions, by_key: false, wide: 0, made: 0, coming: BinaryHeap::new() }
    }

    /// Each key in a partition of its own.
    pub fn by_key(self) -> Load {
        Load { by_key: true, ..self }
    }

    /// Events have one of so many keys more, for [`WIDE`]: state that does not fit in little memory.
    pub fn wide(self, keys: usize) -> Load {
        Load { wide: keys, ..self }
    }

    /// Writes the next `count` records.
    pub fn write(&mut self, count: usize) {
        let records: Vec<NewRecord> = std::iter::repeat_with(|| self.next()).take(count).collect();
        self.writer.write(records);
    }

    /// Writes a little, as often as is good for epochs of 50 ms: each finds something.
    pub fn trickle(&mut self) {
        self.write(20);
        std::thread::sleep(Duration::from_millis(30));
    }

    /// Writes events in a transaction that aborts: nobody may see them.
    pub fn write_aborted(&self, app: &App) {
        let events = (0..self.partitions).map(|n| {
            NewRecord { value: event(-1, BEGIN_MS, "a", (Some(0), None), 9), ..NewRecord::default() }.to(n as i32)
        });
        app.kafka.produce_transaction(&app.topic, events, false);
    }

    /// The record that comes next.
    fn next(&mut self) -> NewRecord {
        // Whatever is made from now on comes later than the time of the event made last.
        while self.coming.peek().is_none_or(|Reverse((at, ..))| *at > self.made * STEP_MS) {
            self.make();
        }
        let (partition, key, value) = self.coming.pop().expect("just made").0.2;
        NewRecord { partition: Some(partition), key: key.map(String::into_bytes), value, ..NewRecord::default() }
    }

    fn come(&mut self, at_ms: i64, record: Record) {
        let order = self.random.next() as i64;
        self.coming.push(Reverse((at_ms, order, record)));
    }

    /// One more event, and what comes with it.
    fn make(&mut self) {
        let n = self.made;
        self.made += 1;
        let time = n * STEP_MS + self.random.below(STEP_MS as usize) as i64;
        let at = time + self.random.below(DELAY_MS as usize) as i64;
        let key = (self.random.below(30) > 0).then(|| self.random.below(KEYS));
        let kind = ["a", "b", "c", "d", "z"][self.random.below(5)];
        let late = self.random.below(150) == 0;
        let number = self.random.below(10);
        let wide = (self.wide > 0).then(|| self.random.below(self.wide));
        let value = event(n, BEGIN_MS + if late { time - 45_000 } else { time }, kind, (key, wide), number);
        let (partition, text) = self.place(key);
        self.come(at, (partition, text.clone(), value.clone()));
        if !late {
            if self.random.below(40) == 0 {
                // A producer that tried again.
                let again = at + self.random.below(DELAY_MS as usize) as i64;
                self.come(again, (partition, text, value.clone()));
            }
            if self.random.below(25) == 0 {
                let (partition, text) = self.place(key);
                let (from, to) = COPY_MS;
                let again = at + from + self.random.below((to - from) as usize) as i64;
                self.come(again, (partition, text, value));
            }
        }
        if self.random.below(60) == 0 {
            let poison = self.poison(n);
            let key = (self.random.below(2) == 0).then(|| format!("poison-{n}"));
            let partition = self.random.below(self.partitions) as i32;
            self.come(at, (partition, key, poison));
        }
    }

    fn place(&mut self, key: Option<usize>) -> (i32, Option<String>) {
        match key {
            Some(key) if self.by_key => ((key % self.partitions) as i32, Some(format!("k{key}"))),
            _ => (self.random.below(self.partitions) as i32, None),
        }
    }

    fn poison(&mut self, n: i64) -> Option<Vec<u8>> {
        Some(match self.random.below(7) {
            0 => return None,
            1 => format!("{{\"ts\":{n}").into_bytes(),
            2 => b"  ".to_vec(),
            3 => format!("[{n}]").into_bytes(),
            4 => format!(r#"{{"id":"p{n}","t":"a"}}"#).into_bytes(),
            5 => vec![0xff, 0xfe, n as u8],
            _ => format!(r#"{{"ts":9999999999999,"id":"p{n}","t":"a","k":"k1","v":9}}"#).into_bytes(),
        })
    }
}

type Keys = (Option<usize>, Option<usize>);

fn event(id: i64, time_ms: i64, kind: &str, (key, wide): Keys, value: usize) -> Option<Vec<u8>> {
    let key = key.map_or("null".to_owned(), |key| format!("\"k{key}\""));
    let wide = wide.map_or(String::new(), |key| format!(",\"w\":\"w{key}\""));
    Some(format!(r#"{{"ts":{time_ms},"id":"e{id}","t":"{kind}","k":{key},"v":{value}{wide}}}"#).into_bytes())
}

/// An application for these rules and this input.
pub fn app(kafka: &Kafka, partitions: i32, settings: &str) -> App {
    App::new(kafka, partitions, RULES).input(INPUT).settings(settings)
}
