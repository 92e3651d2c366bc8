//! Instructions of the five hottest paths, counted by valgrind's callgrind: `make check-instructions`.
//!
//! Times of a shared machine scatter by a third; counts do not, so that a few percent can be held. What a case starts from
//! is made, and gone through once, before the count begins; nor is its end counted. `limits`, beside this file, has the
//! figures that the counts are held to.

#![expect(missing_docs, reason = "the harness's macros write public functions without")]

#[path = "../input/drained.rs"]
mod drained;
#[path = "../input/events.rs"]
mod events;
#[path = "../input/ruleset.rs"]
mod ruleset;
#[path = "../input/signals.rs"]
mod signals;

use std::sync::Arc;

use gungraun::Callgrind;
use gungraun::prelude::*;
use throughline::decode::Decoder;
use throughline::detect::Detector;
use throughline::event::{Projected, Signal, Span, TopicTable};
use throughline::shard::core::{Core, Output, Settings};

use drained::{Engine, Start};
use signals::SECOND;

/// As in the binary, so that what is counted is what ships.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const RULES: usize = 1_000;
const EVENTS: u64 = 20_000;
const KEYS: i64 = 1_000;
/// Batches that are counted, and those before them: more than a second of event time, so that some of them have got as far as
/// the keys.
const BATCHES: i64 = 64;
const BATCHES_BEFORE: i64 = 1024;

struct Decoding {
    payloads: Vec<Vec<u8>>,
    decoder: Decoder,
    event: Projected,
}

impl Decoding {
    fn run(mut self) -> Decoding {
        for payload in &self.payloads {
            self.decoder.decode(payload, &mut self.event).expect("a payload of the bench is an event");
        }
        self
    }
}

/// The second time that a decoder meets the payloads.
fn decoding() -> Decoding {
    let decoder = Decoder::new(&events::plan(RULES), &events::stream());
    Decoding { event: decoder.new_event(), payloads: events::payloads(), decoder }.run()
}

#[library_benchmark]
#[bench::events(decoding())]
fn decode(decoding: Decoding) -> Decoding {
    decoding.run()
}

struct Detecting {
    events: Vec<Projected>,
    detector: Detector,
    hits: usize,
}

impl Detecting {
    fn run(mut self) -> Detecting {
        let mut hits = Vec::new();
        for event in &self.events {
            self.detector.detect(event, &mut hits);
            self.hits += hits.len();
        }
        self
    }
}

fn detecting() -> Detecting {
    let plan = Arc::new(events::plan(RULES));
    let mut decoder = Decoder::new(&plan, &events::stream());
    let decode = |payload: Vec<u8>| {
        let mut event = decoder.new_event();
        decoder.decode(&payload, &mut event).expect("a payload of the bench is an event");
        event
    };
    let events = events::payloads().into_iter().map(decode).collect();
    let detecting = Detecting { events, detector: Detector::new(plan), hits: 0 }.run();
    assert_ne!(detecting.hits, 0, "some events satisfy rules");
    detecting
}

#[library_benchmark]
#[bench::events(detecting())]
fn detect(detecting: Detecting) -> Detecting {
    detecting.run()
}

fn engine() -> (Engine, Start) {
    let mut engine = Engine::new(EVENTS, ruleset::plan(RULES));
    engine.check();
    let start = engine.start();
    (engine, start)
}

#[library_benchmark]
#[bench::events(engine())]
fn whole((mut engine, start): (Engine, Start)) -> (Engine, Start) {
    let end = engine.drain(start);
    (engine, end)
}

/// A shard, and what it is to take.
struct Shard {
    core: Core,
    out: Output,
    batches: Vec<Vec<Signal>>,
}

impl Shard {
    fn run(mut self) -> Shard {
        signals::drive(&mut self.core, std::mem::take(&mut self.batches), &mut self.out);
        self
    }
}

/// A shard that has taken batches, and those that come `behind` these; zero repeats the last.
fn shard(behind: i64) -> Shard {
    let settings = Settings { dedup_window: Span(60 * SECOND), retention: Span::MAX, durable: None };
    let core = Core::new(Arc::new(signals::sequence(false, 10 * SECOND)), settings, TopicTable::default());
    let batches = signals::batches(0, BATCHES_BEFORE, KEYS);
    let size = batches.first().map_or(0, Vec::len) as i64;
    let mut shard = Shard { core, out: Output::default(), batches }.run();
    let held = shard.core.stats();
    assert!(held.keys > 0 && held.waiting > 0, "keys with state, and signals that wait: {held:?}");
    shard.batches = signals::batches((BATCHES_BEFORE - BATCHES + behind) * size, BATCHES, KEYS);
    shard
}

#[library_benchmark]
#[bench::sequence(shard(BATCHES))]
#[bench::dedup(shard(0))]
fn step(shard: Shard) -> Shard {
    shard.run()
}

library_benchmark_group!(name = hot, benchmarks = [decode, detect, whole, step]);

// The allocator as it ships would draw samples by chance and give pages back by the clock. Instructions alone: no caches.
main!(
    config = LibraryBenchmarkConfig::default()
        .env("MALLOC_CONF", "background_thread:false,prof:false,dirty_decay_ms:-1")
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = hot
);
