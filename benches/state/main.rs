//! "state": what a shard keeps of signals, piece by piece: the set of ids, a key's timeline; and what becomes of its cost as there
//! is more of it ([`scale`]). `cargo bench --bench state`.
//!
//! `dedup` takes signals that satisfy no step, so that nothing but the look-up is done to them: the key and the id hashed, the
//! id looked for, remembered and in the end forgotten; a million ids are held throughout.

mod scale;
#[path = "../input/signals.rs"]
mod signals;
#[path = "../input/windows.rs"]
mod windows;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput};
use throughline::event::{Evidence, Signal, Span, StepId, TopicTable};
use throughline::limits::BATCH_SIGNALS;
use throughline::shard::core::{Core, Output, Settings};
use throughline::timeline::Timeline;

use signals::{SECOND, batches, drive};

/// As in the binary, so that what is measured is what ships.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BATCHES: i64 = 64;
const SIGNALS: i64 = BATCHES * BATCH_SIGNALS as i64;
const KEYS: i64 = 100_000;
/// Ids of eight seconds and a half, a second of which waits for the watermark, at 100k signals a second of event time.
const WINDOW: Span = Span(85 * SECOND / 10);

fn ids(from: i64) -> Vec<Vec<Signal>> {
    let mut batches = batches(from, BATCHES, KEYS);
    batches.iter_mut().flatten().for_each(|signal| signal.steps.clear());
    batches
}

/// So many rounds; making what they take is not in it.
fn timed(rounds: u64, core: &mut Core, out: &mut Output, mut next: impl FnMut() -> Vec<Vec<Signal>>) -> Duration {
    let one = |_| {
        let batches = next();
        let began = Instant::now();
        drive(core, batches, out);
        began.elapsed()
    };
    (0..rounds).map(one).sum()
}

fn dedup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dedup");
    group.throughput(Throughput::Elements(SIGNALS as u64)).measurement_time(Duration::from_secs(5)).sample_size(20);
    let plan = Arc::new(signals::sequence(false, SECOND));
    let settings = Settings { dedup_window: WINDOW, retention: Span::MAX, durable: None };
    let (mut core, mut out, mut from) = (Core::new(plan, settings, TopicTable::default()), Output::default(), 0);
    let next = |from: &mut i64| {
        *from += SIGNALS;
        ids(*from)
    };
    (0..400).for_each(|_| drive(&mut core, next(&mut from), &mut out));
    group.bench_function("new", |bencher| {
        bencher.iter_custom(|rounds| timed(rounds, &mut core, &mut out, || next(&mut from)));
    });
    let held = core.stats().dedup_ids;
    assert!((900_000..1_100_000).contains(&held), "about a million ids: {held}");
    // The newest ids, all of them known.
    let repeats = ids(from);
    group.bench_function("known", |bencher| {
        bencher.iter_batched(
            || repeats.clone(),
            |batches| drive(&mut core, batches, &mut out),
            BatchSize::PerIteration,
        );
    });
    assert_eq!(core.stats().dedup_ids, held, "nothing new among them");
    group.finish();
}

/// A thousand events are held of a key: as one comes, one goes.
const HELD: u64 = 1000;

fn timelines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timeline");
    let events: Vec<Arc<Evidence>> =
        batches(0, BATCHES, KEYS).into_iter().flatten().map(|signal| signal.event).collect();
    group.throughput(Throughput::Elements(events.len() as u64));
    for keys in [1, 64] {
        let mut timelines: Vec<Timeline> = (0..keys).map(|_| Timeline::default()).collect();
        let append = |timelines: &mut [Timeline], events: Vec<Arc<Evidence>>| {
            let of_key = events.len() / keys;
            let mut events = events.into_iter();
            for timeline in timelines {
                for event in events.by_ref().take(of_key) {
                    let position = timeline.append(event, smallvec::smallvec![StepId(0)]);
                    if let Some(gone) = position.checked_sub(HELD) {
                        timeline.release(gone);
                    }
                }
            }
        };
        (0..=HELD).for_each(|_| append(&mut timelines, events.clone()));
        assert!(timelines.iter().all(|timeline| timeline.len() as u64 == HELD), "a window of {HELD}");
        group.bench_function(format!("append/{keys}_keys"), |bencher| {
            bencher.iter_batched(|| events.clone(), |events| append(&mut timelines, events), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    dedup(&mut criterion);
    timelines(&mut criterion);
    scale::benches(&mut criterion);
    criterion.final_summary();
}
