//! One payload to one projected event.

use criterion::{Criterion, Throughput};
use throughline::decode::Decoder;

use super::events;

/// The benches of this stage.
pub fn benches(criterion: &mut Criterion) {
    let payloads = events::payloads();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes((payloads.iter().map(Vec::len).sum::<usize>() / payloads.len()) as u64));
    let mut decoder = Decoder::new(&events::plan(1000), &events::stream());
    let mut event = decoder.new_event();
    let mut next = payloads.iter().cycle();
    group.bench_function("event_of_300_bytes", |bencher| {
        bencher.iter(|| next.next().map(|payload| decoder.decode(payload, &mut event).is_ok()));
    });
    group.finish();
}
