//! What producers write, in the order of its coming: events out of order, their copies in other partitions, late ones,
//! poison, transactions that commit or abort, and silences.

use std::collections::{HashMap, HashSet};

use crate::random::Random;
use crate::scenario::{BEGIN_MS, Setup};

/// Keys of correlation.
const KEYS: u64 = 4;

/// Producers that write in transactions.
pub const PRODUCERS: usize = 2;

/// A partition: index into `TOPICS`, number.
pub type Place = (usize, i32);

/// What a record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// An event: its number gives its id.
    Event {
        /// Id.
        id: u32,
        /// Event time.
        time_ms: i64,
        /// The letter that rules ask for; `z` satisfies nothing.
        kind: char,
        /// Correlation key; `None`: null.
        key: Option<u64>,
        /// A number.
        value: u64,
    },
    /// Something that cannot be read, by number.
    Poison(u64),
    /// No value.
    Tombstone,
}

/// One thing that producers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Write a record, in this producer's open transaction if there is one.
    Write {
        /// Where to.
        place: Place,
        /// `None`: outside transactions.
        producer: Option<usize>,
        /// What.
        payload: Payload,
    },
    /// Begin a transaction.
    Begin(usize),
    /// End it.
    End {
        /// Whose.
        producer: usize,
        /// Commit, else abort.
        commit: bool,
    },
    /// Nothing follows before all that was written is committed downstream.
    Quiet,
    /// Nothing follows before every partition is committed as idle, and with it a watermark that its idleness let pass. Events
    /// written right after, the sleepers, are newer than their partition's own clock asks for and older than that: late.
    Asleep {
        /// The watermark.
        watermark_ms: i64,
    },
}

/// An act and when it comes, in milliseconds since the begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Not before this time.
    pub at_ms: i64,
    /// What.
    pub act: Act,
}

/// An event of an id in a partition, as it will be written.
struct Draft {
    at_ms: i64,
    place: Place,
    payload: Payload,
}

/// The input of a scenario: some phases, each ended by a tick in every partition and a silence. Without the ticks a partition
/// that has nothing to say would hold the others for good.
pub fn generate(setup: &Setup, one_shot: bool, random: &mut Random) -> Vec<Input> {
    let mut inputs = Vec::new();
    let mut ids = 0;
    let mut now = 1_000;
    let mut known = Vec::new();
    if setup.idle_ms.is_some() {
        // A partition that is idle from its beginning has no clock of its own to say what is late.
        push_ticks(setup, &mut inputs, &mut ids, now);
    }
    for phase in 0..random.between(1, 3) {
        if phase > 0 {
            // Long enough for everything that expires in a run: windows, suppression, short dedup.
            now += random.between(40_000, 90_000) + setup.out_of_orderness_ms;
            push_ticks(setup, &mut inputs, &mut ids, now);
            inputs.push(Input { at_ms: now, act: Act::Quiet });
            // The clocks of the ticks are committed, the watermark that follows from them only with what comes next: without it
            // a restart falls back behind it, and remembers ids for longer.
            now += 1;
            push_ticks(setup, &mut inputs, &mut ids, now);
            inputs.push(Input { at_ms: now, act: Act::Quiet });
        }
        // An id is surely forgotten only where all clocks have moved on before it comes again.
        known.retain(|_| !one_shot);
        let drafts = phase_of(setup, random, &mut ids, &mut now, &mut known);
        in_transactions(setup, drafts, random, &mut inputs);
        push_ticks(setup, &mut inputs, &mut ids, now);
        inputs.push(Input { at_ms: now, act: Act::Quiet });
        if setup.idle_ms.is_some() && !one_shot && random.one_in(2) {
            push_sleepers(setup, random, &mut inputs, &mut ids, now);
        }
    }
    // The last word: newer than anything a clock has said, in every partition.
    now += 40_000;
    push_ticks(setup, &mut inputs, &mut ids, now);
    without_disputed_copies(setup, &mut inputs);
    inputs
}

fn push_ticks(setup: &Setup, inputs: &mut Vec<Input>, ids: &mut u32, now: i64) {
    for place in setup.places() {
        let payload = event(ids, BEGIN_MS + now, 'z', None, 0);
        inputs.push(Input { at_ms: now, act: Act::Write { place, producer: None, payload } });
    }
}

/// Events that are late only because their partition was idle.
fn push_sleepers(setup: &Setup, random: &mut Random, inputs: &mut Vec<Input>, ids: &mut u32, ticked_ms: i64) {
    let mut push = |act| inputs.push(Input { at_ms: ticked_ms, act });
    let own_ms = BEGIN_MS + ticked_ms - setup.out_of_orderness_ms;
    push(Act::Asleep { watermark_ms: own_ms + 600 });
    for _ in 0..random.between(1, 3) {
        let key = Some(random.below(KEYS));
        let place = place_of(setup, random, key);
        let time_ms = own_ms + random.between(1, 500);
        let payload = event(ids, time_ms, random.pick(&['a', 'b', 'c', 'd']), key, random.below(10));
        push(Act::Write { place, producer: None, payload });
    }
    push(Act::Quiet);
}

/// The ids of sleepers.
pub fn sleepers(inputs: &[Input]) -> HashSet<u32> {
    let mut found = HashSet::new();
    let mut asleep = false;
    for input in inputs {
        match &input.act {
            Act::Asleep { .. } => asleep = true,
            Act::Write { payload: Payload::Event { id, .. }, .. } if asleep => drop(found.insert(*id)),
            Act::Write { .. } => {}
            _ => asleep = false,
        }
    }
    found
}

fn event(ids: &mut u32, time_ms: i64, kind: char, key: Option<u64>, value: u64) -> Payload {
    *ids += 1;
    Payload::Event { id: *ids, time_ms, kind, key, value }
}

/// One phase's records in the order of their coming. Event times are all different, so that no order hangs on where a copy
/// lies.
fn phase_of(setup: &Setup, random: &mut Random, ids: &mut u32, now: &mut i64, known: &mut Vec<Payload>) -> Vec<Draft> {
    let idle = setup.idle_ms.is_some();
    let delay_max = if idle { 3_000 } else { 1 + setup.out_of_orderness_ms * 3 / 2 };
    let mut drafts = Vec::new();
    let mut time = *now;
    let mut fresh = Vec::new();
    for _ in 0..random.between(8, 45) {
        time += random.between(2, 1_500);
        let arrival = time + random.between(0, delay_max);
        let key = (!random.one_in(20)).then(|| random.below(KEYS));
        let place = place_of(setup, random, key);
        let kind = random.pick(&['a', 'a', 'b', 'b', 'c', 'c', 'd', 'd', 'z']);
        let late = random.one_in(25);
        let event_time = if late { time - setup.out_of_orderness_ms - 35_000 } else { time };
        let payload = event(ids, BEGIN_MS + event_time, kind, key, random.below(10));
        drafts.push(Draft { at_ms: arrival, place, payload: payload.clone() });
        if !late && setup.dedup_ms > 0 && random.one_in(5) {
            let place = place_of(setup, random, key);
            drafts.push(Draft { at_ms: time + random.between(0, delay_max), place, payload: payload.clone() });
        }
        if random.one_in(12) {
            let payload = if random.one_in(4) { Payload::Tombstone } else { Payload::Poison(random.below(6)) };
            drafts.push(Draft { at_ms: arrival, place: place_of(setup, random, None), payload });
        }
        if setup.dedup_ms == 20_000 && !known.is_empty() && random.one_in(6) {
            // The id of an earlier phase: forgotten by now, so it is another event. Once a phase.
            let Payload::Event { id, kind, key, value, .. } =
                known.swap_remove(random.below(known.len() as u64) as usize)
            else {
                continue;
            };
            time += 1;
            let payload = Payload::Event { id, time_ms: BEGIN_MS + time, kind, key, value };
            drafts.push(Draft { at_ms: time, place: place_of(setup, random, key), payload });
        }
        fresh.push(payload);
    }
    known.extend(fresh);
    *now = drafts.iter().map(|draft| draft.at_ms).max().unwrap_or(time).max(time) + 1;
    drafts.sort_by_key(|draft| draft.at_ms);
    drafts
}

/// Any partition, or the one that owns the key.
fn place_of(setup: &Setup, random: &mut Random, key: Option<u64>) -> Place {
    let topic = random.below(setup.topics().len() as u64) as usize;
    let count = setup.partitions[topic];
    let partition = match key {
        Some(key) if setup.by_partition => key as i32 % count,
        _ => random.below(count as u64) as i32,
    };
    (topic, partition)
}

/// Puts some runs of records into transactions. With idle partitions a transaction begins and ends at one moment.
fn in_transactions(setup: &Setup, drafts: Vec<Draft>, random: &mut Random, inputs: &mut Vec<Input>) {
    let mut open: [i64; PRODUCERS] = [0; PRODUCERS];
    let mut held_at = None;
    for Draft { at_ms, place, payload } in drafts {
        if held_at.is_some_and(|held| at_ms > held + 2_000) {
            // Later events would lie too far ahead of the wall clock.
            end_all(&mut open, random, inputs);
            held_at = None;
        }
        let at_ms = held_at.unwrap_or(at_ms);
        let producer = random.below(PRODUCERS as u64) as usize;
        // With `at_least_once` what is read may abort later: whether it was seen is a matter of time.
        let wanted = random.one_in(3) && !setup.at_least_once;
        if wanted && open[producer] == 0 {
            open[producer] = random.between(1, 6);
            inputs.push(Input { at_ms, act: Act::Begin(producer) });
            held_at = setup.idle_ms.map(|_| at_ms);
        }
        let inside = (open[producer] > 0).then_some(producer);
        inputs.push(Input { at_ms, act: Act::Write { place, producer: inside, payload } });
        if inside.is_some() {
            open[producer] -= 1;
            if open[producer] == 0 {
                inputs.push(Input { at_ms, act: Act::End { producer, commit: !random.one_in(3) } });
            }
        }
        if open == [0; PRODUCERS] {
            held_at = None;
        }
    }
    end_all(&mut open, random, inputs);
}

/// Ends the transactions that are open.
fn end_all(open: &mut [i64; PRODUCERS], random: &mut Random, inputs: &mut Vec<Input>) {
    let at_ms = inputs.last().map_or(0, |input| input.at_ms);
    for producer in (0..PRODUCERS).filter(|producer| std::mem::take(&mut open[*producer]) > 0) {
        inputs.push(Input { at_ms, act: Act::End { producer, commit: !random.one_in(3) } });
    }
}

/// Which records are seen by nobody, because their transaction aborts or never ends. One flag for each input.
fn hidden(inputs: &[Input]) -> Vec<bool> {
    let mut hidden = vec![false; inputs.len()];
    let mut open: [Option<Vec<usize>>; PRODUCERS] = Default::default();
    for (at, input) in inputs.iter().enumerate() {
        match &input.act {
            Act::Begin(producer) => open[*producer] = Some(open[*producer].take().unwrap_or_default()),
            Act::Write { producer: Some(producer), .. } => {
                if let Some(written) = &mut open[*producer] {
                    written.push(at);
                    hidden[at] = true;
                }
            }
            Act::End { producer, commit } => {
                let written = open[*producer].take().unwrap_or_default();
                written.into_iter().for_each(|at| hidden[at] = !commit);
            }
            _ => {}
        }
    }
    hidden
}

/// The ids of events that are late in a partition and have copies. Which one counts depends on which comes first.
pub fn disputed(setup: &Setup, inputs: &[Input]) -> HashSet<u32> {
    let hidden = hidden(inputs);
    let mut newest: HashMap<Place, i64> = HashMap::new();
    let mut seen: HashMap<u32, (usize, bool)> = HashMap::new();
    for (input, _) in inputs.iter().zip(hidden).filter(|(_, hidden)| !hidden) {
        let Act::Write { place, payload: Payload::Event { id, time_ms, .. }, .. } = &input.act else { continue };
        let newest = newest.entry(*place).or_insert(i64::MIN);
        let late = *newest != i64::MIN && *time_ms < *newest - setup.out_of_orderness_ms;
        *newest = (*newest).max(*time_ms);
        let entry = seen.entry(*id).or_default();
        *entry = (entry.0 + 1, entry.1 | late);
    }
    seen.into_iter().filter(|(_, (copies, late))| *copies > 1 && *late).map(|(id, _)| id).collect()
}

/// Takes the copies of disputed events away; the first of each stays.
fn without_disputed_copies(setup: &Setup, inputs: &mut Vec<Input>) {
    loop {
        let disputed = disputed(setup, inputs);
        if disputed.is_empty() {
            return;
        }
        let mut seen = HashSet::new();
        inputs.retain(|input| match &input.act {
            Act::Write { payload: Payload::Event { id, .. }, .. } => !disputed.contains(id) || seen.insert(*id),
            _ => true,
        });
    }
}

impl Act {
    /// Whether a scenario without it means something else: silences, and the ticks that let all clocks follow.
    pub fn is_needed(&self) -> bool {
        match self {
            Act::Quiet | Act::Asleep { .. } => true,
            Act::Write { payload: Payload::Event { kind, key, .. }, .. } => *kind == 'z' && key.is_none(),
            _ => false,
        }
    }
}

impl Payload {
    /// The bytes; `None`: a tombstone.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Payload::Event { id, time_ms, kind, key, value } => {
                let key = key.map_or("null".to_owned(), |key| format!("\"k{key}\""));
                Some(format!(r#"{{"ts":{time_ms},"id":"e{id}","t":"{kind}","k":{key},"v":{value}}}"#).into_bytes())
            }
            Payload::Poison(which) => Some(match which {
                0 => b"{\"ts\":".to_vec(),
                1 => b"  ".to_vec(),
                2 => b"[1,2]".to_vec(),
                3 => br#"{"id":"x","t":"a"}"#.to_vec(),
                4 => br#"{"ts":"yesterday","t":"a"}"#.to_vec(),
                _ => br#"{"ts":9999999999999,"id":"far","t":"a","k":"k1","v":1}"#.to_vec(),
            }),
            Payload::Tombstone => None,
        }
    }
}
