//! The other end: a read_committed reader of the output topic, which notes what came and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::broker::kafka::{Bare, KafkaBroker};
use crate::broker::{BrokerError, Flow};
use crate::event::{Span, Timestamp, parse_time_text};
use crate::generate::Expected;
use crate::pipeline::Control;

/// A correlation as its reader sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Rule and ids of the events, `-` for a missing one.
    pub name: String,
    /// When what decided it was due to be sent.
    pub decided: Timestamp,
    /// When it was here.
    pub at: Timestamp,
}

impl Seen {
    /// From the intended time of what decided it to its arrival here.
    pub fn latency(&self) -> Span {
        self.at - self.decided
    }
}

#[derive(Deserialize)]
struct Rule {
    id: String,
}

#[derive(Deserialize)]
struct Window {
    end: String,
}

#[derive(Deserialize)]
struct Event {
    id: Option<String>,
}

#[derive(Deserialize)]
struct Correlation {
    rule: Rule,
    window: Window,
    events: Vec<Option<Event>>,
}

/// What an incident is called here.
pub fn name_of(expected: &Expected) -> String {
    let ids: Vec<&str> = expected.events.iter().map(|id| id.as_deref().unwrap_or("-")).collect();
    format!("{} {}", expected.rule, ids.join(" "))
}

/// Up to which offset is to be read, once that is known. Clones share it.
#[derive(Debug, Clone)]
pub struct End(Arc<AtomicI64>);

impl Default for End {
    fn default() -> End {
        End(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

impl End {
    /// It is known now.
    pub fn set(&self, offset: i64) {
        self.0.store(offset, Ordering::Release);
    }

    /// [`i64::MAX`]: it is not known.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Reads the committed records of a topic with one partition up to `end`.
pub fn follow(broker: &KafkaBroker, topic: &str, end: &End) -> Result<Vec<Seen>, BrokerError> {
    let mut seen = Vec::new();
    let mut next = 0;
    broker.read_bare(topic, 1, true, &mut |given| {
        match given {
            Bare::Record(_, record) => {
                next = record.offset + 1;
                seen.extend(read(record.value.unwrap_or_default()));
            }
            // Transaction markers leave no record at the end.
            Bare::End(_, position) => next = next.max(position),
            Bare::Nothing => {}
        }
        if next >= end.get() { Flow::Stop } else { Flow::Continue }
    })?;
    Ok(seen)
}

fn read(value: &[u8]) -> Option<Seen> {
    let at = Timestamp::now();
    let correlation: Correlation = serde_json::from_slice(value).ok()?;
    let ids: Vec<&str> = correlation
        .events
        .iter()
        .map(|event| event.as_ref().and_then(|event| event.id.as_deref()).unwrap_or("-"))
        .collect();
    let name = format!("{} {}", correlation.rule.id, ids.join(" "));
    Some(Seen { name, decided: parse_time_text(&correlation.window.end).ok()?, at })
}

/// Expected and not seen, seen and not expected (or more often than once).
pub fn differences(expected: &[Expected], seen: &[Seen]) -> (u64, u64) {
    let mut balance: BTreeMap<String, i64> = BTreeMap::new();
    for incident in expected {
        *balance.entry(name_of(incident)).or_default() += 1;
    }
    for correlation in seen {
        *balance.entry(correlation.name.clone()).or_default() -= 1;
    }
    let missing = balance.values().filter(|n| **n > 0).sum::<i64>();
    let unexpected = balance.values().filter(|n| **n < 0).sum::<i64>();
    (missing.unsigned_abs(), unexpected.unsigned_abs())
}

/// Events a second between the first commit with a record and the one with the last.
pub fn rate(control: &Control, records: u64, ended: impl Fn() -> bool) -> f64 {
    let mut first: Option<(Instant, u64)> = None;
    let mut last = None;
    while !ended() {
        let (done, now) = (control.progress().records(), Instant::now());
        if done > 0 && first.is_none() {
            first = Some((now, done));
        }
        if done >= records && last.is_none() {
            last = Some((now, done));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let (Some((begun, from)), Some((at, to))) = (first, last.or(Some((Instant::now(), records)))) else {
        return f64::NAN;
    };
    (to - from) as f64 / (at - begun).as_secs_f64().max(1e-3)
}
