//! The whole engine from memory, on one thread.
//!
//! An iteration drains the same events through a shard without state, so every iteration does the same work and is held to
//! the same result: the correlations that the generator planted. `source_side` is the same without the shard's step.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};

use super::drained::{Engine, Start};
use super::ruleset;

const EVENTS: u64 = 200_000;
const RULES: usize = 1_000;

/// The benches of this stage.
pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(EVENTS)).measurement_time(Duration::from_secs(10)).sample_size(20);
    let mut engine = Engine::new(EVENTS, ruleset::plan(RULES));
    engine.check();
    group.bench_function("whole", |bencher| bencher.iter_custom(|passes| timed(&mut engine, passes, Engine::drain)));
    group.bench_function("source_side", |bencher| {
        let pass = |engine: &mut Engine, mut start: Start| {
            engine.read(&mut start.reader, &mut start.batch, |batch, _| batch.clear());
            start
        };
        bencher.iter_custom(|passes| timed(&mut engine, passes, pass));
    });
    group.finish();
}

/// Neither making what a pass starts from nor dropping it is timed.
fn timed(engine: &mut Engine, passes: u64, pass: impl Fn(&mut Engine, Start) -> Start) -> Duration {
    let one = |_| {
        let start = engine.start();
        let began = Instant::now();
        let end = pass(engine, start);
        let took = began.elapsed();
        drop(end);
        took
    };
    (0..passes).map(one).sum()
}
