//! "shard step": the pure step over batches, from a signal to its place in a key's state. Run with
//! `cargo bench --bench shard`.
//!
//! Each input is made once; an iteration takes 64 batches of `limits::BATCH_SIGNALS` and lets the watermark follow one
//! second behind, over 10,000 keys. `dedup` repeats what was sent, so every signal is a duplicate.

#[path = "../input/signals.rs"]
mod signals;
#[path = "../input/windows.rs"]
mod windows;

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use throughline::event::{Span, TopicTable};
use throughline::limits;
use throughline::rules::plan::AggregateKind;
use throughline::shard::core::{Core, Output, Settings};

use signals::{SECOND, batches, drive, sequence};

const KEYS: i64 = 10_000;
const BATCHES: i64 = 64;

fn shard_step(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard step");
    let signals = BATCHES * limits::BATCH_SIGNALS as i64;
    group.throughput(Throughput::Elements(signals as u64));
    group.measurement_time(Duration::from_secs(5)).sample_size(20);
    let span = 10 * SECOND;
    let count = windows::plan(AggregateKind::EventCount, span);
    let plans = [("sequence", sequence(false, span)), ("absence", sequence(true, span)), ("count", count)];
    for (name, plan) in plans {
        let settings = Settings { dedup_window: Span(60 * SECOND), retention: Span::MAX, durable: None };
        let mut core = Core::new(Arc::new(plan), settings, TopicTable::default());
        let (mut out, mut from) = (Output::default(), 0);
        // The first turns fill keys, heap and windows.
        (0..200).for_each(|_| {
            drive(&mut core, batches(from, BATCHES, KEYS), &mut out);
            from += signals;
        });
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    from += signals;
                    batches(from - signals, BATCHES, KEYS)
                },
                |batches| drive(&mut core, batches, &mut out),
                BatchSize::PerIteration,
            );
        });
        if name == "sequence" {
            let repeats = batches(from - signals, BATCHES, KEYS);
            group.bench_function("dedup", |b| {
                b.iter_batched(
                    || repeats.clone(),
                    |batches| drive(&mut core, batches, &mut out),
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, shard_step);
criterion_main!(benches);
