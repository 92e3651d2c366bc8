//! "ring hand-off": batches of `limits::BATCH_SIGNALS` between two threads. Run with `cargo bench --bench ring`.
//!
//! `batches` is a steady flow through a ring as long as the one between a source and a shard, buffers coming back, both
//! sides sleeping on their bells when they must: time per batch, the writing and reading of its numbers included.
//! `round_trip` sends one batch there and back and waits for it; half of it is one hand-off. `asleep` has each side sleep
//! until its bell rings, as an idle pipeline does; `awake` has both look again and again, as under load.
//!
//! Behind these, `hand-off under load` prints percentiles: batches sent at a fixed rate, whatever becomes of them, and for
//! each the time from when it was due to when the other thread has it.

use std::hint::{black_box, spin_loop};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use throughline::limits::{BATCH_SIGNALS, RING_BATCHES};
use throughline::ring::{Bell, Consumer, Producer, ring};

type Batch = Vec<u64>;

/// How a thread waits for the next batch.
#[derive(Clone, Copy)]
enum Wait {
    Asleep,
    Awake,
}

fn next(ring: &mut Consumer<Batch>, bell: &Bell, wait: Wait) -> Option<Batch> {
    loop {
        // Closed is looked at first: what was pushed before the other end went is then seen by the pop.
        let closed = ring.is_closed();
        if let Some(batch) = ring.pop() {
            return Some(batch);
        }
        if closed {
            return None;
        }
        match wait {
            Wait::Asleep => {
                bell.wait(|| !ring.is_empty() || ring.is_closed(), None);
            }
            Wait::Awake => spin_loop(),
        }
    }
}

fn push(ring: &mut Producer<Batch>, bell: &Bell, mut batch: Batch) {
    while let Err(refused) = ring.push(batch) {
        batch = refused;
        bell.wait(|| !ring.is_full(), None);
    }
}

fn fill(batch: &mut Batch, n: u64) {
    batch.clear();
    batch.extend(n..n + BATCH_SIGNALS as u64);
}

/// From the first push until the other thread has read the last batch.
fn flow(batches: u64) -> Duration {
    let (room, data) = (Bell::default(), Bell::default());
    let (mut producer, mut consumer) = ring::<Batch>(RING_BATCHES, room.clone(), data.clone());
    let reader = std::thread::spawn(move || {
        let (mut seen, mut sum) = (0, 0u64);
        while let Some(batch) = next(&mut consumer, &data, Wait::Asleep) {
            sum = batch.iter().fold(sum, |sum, n| sum.wrapping_add(*n));
            seen += 1;
            consumer.recycle(batch);
        }
        black_box(sum);
        seen
    });
    let start = Instant::now();
    for n in 0..batches {
        let mut batch = producer.spare().unwrap_or_else(|| Vec::with_capacity(BATCH_SIGNALS));
        fill(&mut batch, n);
        push(&mut producer, &room, batch);
    }
    drop(producer);
    let seen: u64 = reader.join().expect("the reading thread");
    let elapsed = start.elapsed();
    assert_eq!(seen, batches, "every batch arrives");
    elapsed
}

/// One batch there and back, `trips` times.
fn echo(trips: u64, wait: Wait) -> Duration {
    let bells: [Bell; 4] = std::array::from_fn(|_| Bell::default());
    let [there, back, room_there, room_back] = bells;
    let (mut out, mut remote_in) = ring::<Batch>(RING_BATCHES, room_there.clone(), there.clone());
    let (mut remote_out, mut home) = ring::<Batch>(RING_BATCHES, room_back.clone(), back.clone());
    let remote = std::thread::spawn(move || {
        while let Some(batch) = next(&mut remote_in, &there, wait) {
            push(&mut remote_out, &room_back, batch);
        }
    });
    let mut batch = Vec::with_capacity(BATCH_SIGNALS);
    fill(&mut batch, 1);
    let mut trip = |batch| {
        push(&mut out, &room_there, batch);
        next(&mut home, &back, wait).expect("the other side echoes until this one is gone")
    };
    // The other thread has started when the first batch is back.
    batch = trip(batch);
    let start = Instant::now();
    for _ in 0..trips {
        batch = trip(batch);
    }
    let elapsed = start.elapsed();
    assert_eq!(batch.len(), BATCH_SIGNALS, "the batch that was sent");
    drop(out);
    remote.join().expect("the echoing thread");
    elapsed
}

fn hand_off(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring hand-off");
    group.throughput(Throughput::Elements(1));
    group.bench_function("batches", |b| b.iter_custom(flow));
    group.bench_function("round_trip_asleep", |b| b.iter_custom(|trips| echo(trips, Wait::Asleep)));
    group.bench_function("round_trip_awake", |b| b.iter_custom(|trips| echo(trips, Wait::Awake)));
    group.finish();
}

/// Batches sent at each rate.
const PACED: usize = 200_000;
/// Batches a second: 2.5M and 13M signals.
const RATES: [u32; 2] = [20_000, 100_000];

/// From when each batch was due until the other thread had it, sorted.
fn paced(rate: u32, wait: Wait) -> Vec<Duration> {
    let (room, data) = (Bell::default(), Bell::default());
    let (mut producer, mut consumer) = ring::<Batch>(RING_BATCHES, room.clone(), data.clone());
    let start = Instant::now() + Duration::from_millis(10);
    let due = move |n: u32| start + Duration::from_secs(1) * n / rate;
    let reader = std::thread::spawn(move || {
        let (mut took, mut sum) = (Vec::with_capacity(PACED), 0u64);
        while let Some(batch) = next(&mut consumer, &data, wait) {
            let first = batch.first().copied().unwrap_or_default();
            took.push(due(first as u32).elapsed());
            sum = batch.iter().fold(sum, |sum, n| sum.wrapping_add(*n));
            consumer.recycle(batch);
        }
        black_box(sum);
        took
    });
    for n in 0..PACED as u32 {
        let mut batch = producer.spare().unwrap_or_else(|| Vec::with_capacity(BATCH_SIGNALS));
        fill(&mut batch, n.into());
        while Instant::now() < due(n) {
            spin_loop();
        }
        push(&mut producer, &room, batch);
    }
    drop(producer);
    let mut took = reader.join().expect("the reading thread");
    assert_eq!(took.len(), PACED, "every batch arrives");
    took.sort_unstable();
    took
}

fn under_load() {
    for (name, wait) in [("awake", Wait::Awake), ("asleep", Wait::Asleep)] {
        for rate in RATES {
            let took = paced(rate, wait);
            let us = |per_mille: usize| took.get(PACED * per_mille / 1000).map_or(0.0, |d| d.as_secs_f64() * 1e6);
            let (p50, p99, p999) = (us(500), us(990), us(999));
            println!("hand-off under load, {name}, {rate} batches/s: us p50 {p50:.2} p99 {p99:.2} p99.9 {p999:.1}");
        }
    }
}

criterion_group!(benches, hand_off);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    under_load();
}
