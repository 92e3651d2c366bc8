//! "scale": what a signal costs a shard as there is more to hold: more keys, or more of each key within its window. Each point holds
//! what it says from before its first measurement on. `scripts/plot-scale.py` draws the figures.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use throughline::event::{FieldId, FieldSet, Signal, Slot, Span, StepId, TopicTable};
use throughline::rules::plan::{AggregateKind, Plan};
use throughline::shard::core::{Core, Output, Settings};

use super::signals::{self, BETWEEN_NS, SECOND, drive};
use super::{BATCHES, SIGNALS, timed, windows};

/// Signals within the window of the second group, over all keys: ten seconds of event time.
const HELD: i64 = 1_000_000;
const VALUE: FieldId = FieldId(1);

/// Signals over so many keys, each with a value of its own; at any time half of the keys are between the steps of a sequence.
fn batches(from: i64, keys: i64) -> Vec<Vec<Signal>> {
    let mut batches = signals::batches(from, BATCHES, keys);
    for signal in batches.iter_mut().flatten() {
        let number = signal.event.origin.offset;
        signal.steps = smallvec::smallvec![StepId(((number / keys + number) % 2) as u32)];
        let value = Slot::Int(number.wrapping_mul(48_271) % 1_000_003);
        if let Some(event) = Arc::get_mut(&mut signal.event) {
            event.fields = FieldSet::from_parts(vec![(VALUE, value)], Vec::new(), String::new());
        }
    }
    batches
}

/// Drives a core of its own until it holds `held` signals, and measures it from there on.
fn point(group: &mut Group<'_>, id: BenchmarkId, plan: Plan, keys: i64, held: i64) {
    let settings = Settings { dedup_window: Span(SECOND), retention: Span::MAX, durable: None };
    let (mut core, mut out, mut from) =
        (Core::new(Arc::new(plan), settings, TopicTable::default()), Output::default(), 0);
    let mut next = || {
        from += SIGNALS;
        batches(from - SIGNALS, keys)
    };
    // What waits for the watermark comes on top, and as much again for what is freed and taken anew.
    (0..(held + held / 5) / SIGNALS + 50).for_each(|_| drive(&mut core, next(), &mut out));
    let keys_held = core.stats().keys as i64;
    assert!((keys / 3..=keys).contains(&keys_held), "{keys_held} of {keys} keys are held");
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|rounds| timed(rounds, &mut core, &mut out, &mut next));
    });
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(SIGNALS as u64));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3)).sample_size(20);
    group
}

/// From ten thousand keys to a million, of each of which two signals are held.
fn keys(criterion: &mut Criterion) {
    let mut group = group(criterion, "scale/keys");
    for keys in [10_000, 30_000, 100_000, 300_000, 1_000_000] {
        // Longer than from one signal of a key to its next, so that a first step is held until the second comes.
        let span = 2 * keys * BETWEEN_NS + SECOND;
        let plans = [
            ("sequence", signals::sequence(false, span)),
            ("event_count", windows::plan(AggregateKind::EventCount, span)),
        ];
        for (name, plan) in plans {
            point(&mut group, BenchmarkId::new(name, keys), plan, keys, 2 * keys);
        }
    }
}

/// From a hundred signals within a key's window to a hundred thousand, a million over all keys.
fn window(criterion: &mut Criterion) {
    let mut group = group(criterion, "scale/window");
    let kinds = [
        ("event_count", AggregateKind::EventCount),
        ("value_count", AggregateKind::ValueCount(vec![VALUE])),
        ("value_sum", AggregateKind::ValueSum(VALUE)),
        ("value_median", AggregateKind::ValueMedian(VALUE)),
        ("temporal_ordered", AggregateKind::TemporalOrdered),
    ];
    for held in [100, 1_000, 10_000, 100_000] {
        for (name, kind) in kinds.clone() {
            let plan = windows::plan(kind, HELD * BETWEEN_NS);
            point(&mut group, BenchmarkId::new(name, held), plan, HELD / held, HELD);
        }
    }
}

pub(super) fn benches(criterion: &mut Criterion) {
    keys(criterion);
    window(criterion);
}
