//! A seeded stream of events with planted incidents, and what the starter rules must find in it.
//!
//! Owns: the events' shapes (one file a kind), the scripts of incidents and near misses, and their order in time. A pure
//! library: it knows no broker and reads no clock ([`run`] paces, nothing else does); a caller's closure takes the events.
//!
//! Invariants:
//! - The same [`Options`] give the same bytes, on every machine. The first lines of each kind are a golden file.
//! - Record i arrives at `start + i / rate`, in event time. An event is older than its arrival by at most `disorder`, so no
//!   event is older than the newest one before it by more; a duplicate may be.
//! - No event outside an incident completes a starter rule of its kind, and no two incidents share an entity, so
//!   [`Generator::expected`] is exact: one correlation for each incident, none for a near miss. It holds for events of one
//!   run that are deduplicated by `event.id`, with an `out_of_orderness` of at least `disorder`, to the end of the input.
//! - An incident is begun only if all of its events fit into `count`.
//!
//! Must not: depend on a crate for randomness or number formatting (their output may change with a release); allocate per
//! event once the buffers have grown.

mod kubernetes;
mod line;
mod payments;
mod random;
mod rule_set;
mod run;
mod script;
mod security;

use std::collections::VecDeque;
use std::ops::Range;

use crate::event::{Span, Timestamp};
use line::{Line, Stamp};
use random::{Random, nth};
use script::{Agenda, Gaps, Incident, Planted, Script};

pub use rule_set::rule_set;
pub use run::{Record, Summary, run, run_into};

/// Which world the events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Pods, services and nodes of clusters; incidents for `rules/kubernetes`.
    Kubernetes,
    /// Logins and activity of users; incidents for `rules/authentication`.
    Security,
    /// Sales, transfers and settlements; incidents for `rules/payments`.
    Payments,
}

impl Kind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Kind; 3] = [Kind::Kubernetes, Kind::Security, Kind::Payments];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kubernetes => "kubernetes",
            Kind::Security => "security",
            Kind::Payments => "payments",
        }
    }

    /// The directory under `rules/` whose rules find this kind's incidents.
    pub fn rules_directory(self) -> &'static str {
        match self {
            Kind::Kubernetes => "kubernetes",
            Kind::Security => "authentication",
            Kind::Payments => "payments",
        }
    }

    fn scripts(self) -> &'static [Script] {
        match self {
            Kind::Kubernetes => kubernetes::SCRIPTS,
            Kind::Security => security::SCRIPTS,
            Kind::Payments => payments::SCRIPTS,
        }
    }
}

/// Largest [`Options::disorder`]. The gaps between an incident's events are longer than the disorder, and the longest
/// incident must still fit into the shortest span that its rule allows.
pub const DISORDER_MAX: Span = Span::from_secs(10);

/// Event-time density without a `rate`, in events a second.
pub const RATE_DEFAULT: u64 = 1000;

/// What to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The kind.
    pub kind: Kind,
    /// How many records, duplicates included; `None`: without end.
    pub count: Option<u64>,
    /// Records a second: of event time, and in [`run`] of the wall clock. `None`: [`RATE_DEFAULT`] in event time, as fast
    /// as the sink takes them.
    pub rate: Option<u64>,
    /// How many entities the background events are about, at least 1.
    pub keys: u64,
    /// Everything random follows from it.
    pub seed: u64,
    /// Event time of the first record, kept in milliseconds, from 1970 on.
    pub start: Timestamp,
    /// How far events may arrive out of order; cut to [`DISORDER_MAX`] and to whole milliseconds.
    pub disorder: Span,
    /// Of a thousand events, how many are sent a second time, some 100 records later.
    pub duplicates_per_mille: u32,
}

impl Default for Options {
    /// 10,000 Kubernetes events in order, from the start of 2026.
    fn default() -> Self {
        Options {
            kind: Kind::Kubernetes,
            count: Some(10_000),
            rate: None,
            keys: 10_000,
            seed: 1,
            start: Timestamp::from_millis(1_767_225_600_000),
            disorder: Span::ZERO,
            duplicates_per_mille: 0,
        }
    }
}

/// What [`Generator::next`] says of the event it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Event time.
    pub time: Timestamp,
    /// When the record arrives, in event time: what an open-loop sender is paced by.
    pub arrival: Timestamp,
    /// Where the record's key stands in the line: the entity's name.
    pub key: Range<usize>,
    /// A copy of an earlier event.
    pub duplicate: bool,
}

/// A correlation that the starter rules must find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The rule's id.
    pub rule: &'static str,
    /// The correlation's key, field by field.
    pub key: Vec<(&'static str, String)>,
    /// Ids of its events in their order; `None` stands for a missing event.
    pub events: Vec<Option<String>>,
}

impl Expected {
    /// As one line of JSON: `{"rule":…,"key":{…},"events":[…]}`.
    pub fn to_json(&self) -> serde_json::Value {
        let key: serde_json::Map<String, serde_json::Value> =
            self.key.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        serde_json::json!({"rule": self.rule, "key": key, "events": self.events})
    }
}

/// Records between an event and its duplicate.
const DUPLICATE_DELAY: u64 = 100;

/// A copy that waits to be sent.
#[derive(Debug)]
struct Copy {
    slot: u64,
    bytes: Vec<u8>,
    time: Timestamp,
    key: Range<usize>,
}

/// Writes the events one by one.
#[derive(Debug)]
pub struct Generator {
    options: Options,
    rate: u64,
    disorder_ms: u64,
    random: Random,
    stamp: Stamp,
    /// Records written.
    slot: u64,
    /// Events written, copies not counted: the number behind the next event's id.
    fresh: u64,
    agenda: Agenda,
    pace: Pace,
    /// Incidents and near misses begun.
    begun: u64,
    expected: Vec<Expected>,
    copies: VecDeque<Copy>,
    spare: Vec<Vec<u8>>,
}

/// How often incidents begin and how long they take, in records. Small streams get shorter ones, so that they too have some.
#[derive(Debug, Clone, Copy)]
struct Pace {
    every: u64,
    gaps: Gaps,
    open_max: usize,
}

impl Pace {
    fn new(options: &Options, rate: u64, disorder_ms: u64) -> Self {
        let records = |millis: u64| (u128::from(millis) * u128::from(rate)).div_ceil(1000) as u64;
        let count = options.count.unwrap_or(u64::MAX);
        let min = records(disorder_ms + 2).max(1);
        let longest = min + records(8_000);
        Pace {
            every: (count / 64).clamp(50, 1000),
            gaps: Gaps { min, max: (count / 64).clamp(min + 4, longest.max(min + 4)) },
            open_max: (count / 256).clamp(4, 64) as usize,
        }
    }

    /// Most records from the begin of a script to its end: each step waits a gap, and behind all other incidents.
    fn longest(&self, script: &Script) -> u64 {
        (self.gaps.max + self.open_max as u64 + 1).saturating_mul(script.steps.len() as u64)
    }
}

impl Generator {
    /// A generator at its first event. `keys` and `rate` of 0 count as 1.
    pub fn new(options: Options) -> Self {
        let rate = options.rate.unwrap_or(RATE_DEFAULT).max(1);
        let disorder_ms = options.disorder.min(DISORDER_MAX).0.max(0).unsigned_abs() / 1_000_000;
        Generator {
            pace: Pace::new(&options, rate, disorder_ms),
            random: Random::new(options.seed),
            options: Options { keys: options.keys.max(1), ..options },
            rate,
            disorder_ms,
            stamp: Stamp::default(),
            slot: 0,
            fresh: 0,
            agenda: Agenda::default(),
            begun: 0,
            expected: Vec::new(),
            copies: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// Writes the next event into `buf`, replacing what it holds, without a line end. `None` after the last one.
    pub fn next(&mut self, buf: &mut Vec<u8>) -> Option<Meta> {
        if self.options.count.is_some_and(|count| self.slot >= count) {
            return None;
        }
        let slot = self.slot;
        self.slot += 1;
        let arrival = self.arrival(slot);
        if slot % self.pace.every == 1 {
            self.begin(slot);
        }
        if let Some(incident) = self.agenda.take(slot) {
            return Some(self.planted(slot, arrival, incident, buf));
        }
        if self.copies.front().is_some_and(|copy| copy.slot <= slot) {
            return self.copy(arrival, buf);
        }
        let entity = self.random.below(self.options.keys);
        let background = match self.options.kind {
            Kind::Kubernetes => kubernetes::background,
            Kind::Security => security::background,
            Kind::Payments => payments::background,
        };
        Some(self.write(slot, arrival, buf, |line, random| background(line, random, entity)))
    }

    /// What the starter rules must find in the events written so far, in the order in which the incidents ended. Cheap to
    /// call once at the end; it grows with the stream, by some hundred bytes for each thousand events.
    pub fn expected(&self) -> &[Expected] {
        &self.expected
    }

    /// Takes what [`Generator::expected`] holds, so that a stream without end stays within bounds.
    pub fn take_expected(&mut self) -> Vec<Expected> {
        std::mem::take(&mut self.expected)
    }

    fn arrival(&self, slot: u64) -> Timestamp {
        let nanos = u128::from(slot) * 1_000_000_000 / u128::from(self.rate);
        self.options.start + Span(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// Begins the next script, in rotation, if it can end within the stream and not too many are under way.
    fn begin(&mut self, slot: u64) {
        let scripts = self.options.kind.scripts();
        let offset = self.options.seed % scripts.len() as u64;
        let script = &scripts[((self.begun + offset) % scripts.len() as u64) as usize];
        let fits = self.options.count.is_none_or(|count| slot.saturating_add(self.pace.longest(script)) <= count);
        if fits && self.agenda.len() < self.pace.open_max {
            self.agenda.begin(slot, script, self.options.keys + self.begun);
            self.begun += 1;
        }
    }

    fn planted(&mut self, slot: u64, arrival: Timestamp, mut incident: Incident, buf: &mut Vec<u8>) -> Meta {
        let at = incident.next;
        let planted = Planted { entity: incident.entity, at: at as u64 };
        incident.ids[at] = nth(self.options.seed, self.fresh);
        let meta = self.write(slot, arrival, buf, |line, _| incident.script.steps[at](line, planted));
        incident.next += 1;
        if incident.next < incident.script.steps.len() {
            let gap = self.pace.gaps.draw(&mut self.random);
            self.agenda.resume(slot.saturating_add(gap), incident);
        } else if !incident.script.reported.is_empty() {
            self.expected.push(expectation(&incident));
        }
        meta
    }

    /// Writes one new event: its head here, the rest by `rest`.
    #[inline]
    fn write(
        &mut self,
        slot: u64,
        arrival: Timestamp,
        buf: &mut Vec<u8>,
        rest: impl FnOnce(&mut Line<'_>, &mut Random),
    ) -> Meta {
        let delay_ms = if self.disorder_ms == 0 { 0 } else { self.random.below(self.disorder_ms + 1) };
        let millis = arrival.as_millis().saturating_sub_unsigned(delay_ms).max(0);
        let id = nth(self.options.seed, self.fresh);
        self.fresh += 1;
        let mut line = Line::new(buf);
        line.open(self.stamp.text(millis), id);
        rest(&mut line, &mut self.random);
        let meta = Meta { time: Timestamp::from_millis(millis), arrival, key: line.key_range(), duplicate: false };
        if self.options.duplicates_per_mille > 0
            && self.random.below(1000) < u64::from(self.options.duplicates_per_mille)
        {
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.clone_from(buf);
            self.copies.push_back(Copy { slot: slot + DUPLICATE_DELAY, bytes, time: meta.time, key: meta.key.clone() });
        }
        meta
    }

    fn copy(&mut self, arrival: Timestamp, buf: &mut Vec<u8>) -> Option<Meta> {
        let copy = self.copies.pop_front()?;
        buf.clone_from(&copy.bytes);
        self.spare.push(copy.bytes);
        Some(Meta { time: copy.time, arrival, key: copy.key, duplicate: true })
    }
}

/// What a completed incident must be reported as.
fn expectation(incident: &Incident) -> Expected {
    let text = |write: &dyn Fn(&mut Line<'_>)| {
        let mut bytes = Vec::new();
        write(&mut Line::new(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let name = |write: line::Name| {
        text(&|line| {
            write(line, incident.entity);
        })
    };
    let id = |at: usize| {
        text(&|line| {
            line.hex(incident.ids[at], 16);
        })
    };
    Expected {
        rule: incident.script.rule,
        key: incident.script.key.iter().map(|(field, write)| (*field, name(*write))).collect(),
        events: incident.script.reported.iter().map(|step| step.map(id)).collect(),
    }
}

#[cfg(test)]
mod tests;
