//! One projected event to the conditions it satisfies, and decode with detect, as a source thread does both.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion};
use throughline::decode::Decoder;
use throughline::detect::Detector;
use throughline::event::Projected;

use super::events;

/// The benches of this stage.
pub fn benches(criterion: &mut Criterion) {
    let payloads = events::payloads();
    let mut group = criterion.benchmark_group("detect");
    for rules in [10, 1_000, 10_000] {
        let plan = Arc::new(events::plan(rules));
        let mut decoder = Decoder::new(&plan, &events::stream());
        let mut decode = |payload: &Vec<u8>| -> Projected {
            let mut event = decoder.new_event();
            decoder.decode(payload, &mut event).expect("a payload of the bench is an event");
            event
        };
        let events: Vec<_> = payloads.iter().map(&mut decode).collect();
        let mut detector = Detector::new(Arc::clone(&plan));
        let mut hits = Vec::new();
        let mut next = events.iter().cycle();
        group.bench_with_input(BenchmarkId::new("rules", rules), &rules, |bencher, _| {
            bencher.iter(|| {
                next.next().into_iter().for_each(|event| detector.detect(event, &mut hits));
                hits.len()
            });
        });
        let mut event = decoder.new_event();
        let mut next = payloads.iter().cycle();
        group.bench_with_input(BenchmarkId::new("with_decode", rules), &rules, |bencher, _| {
            bencher.iter(|| {
                next.next().and_then(|payload| decoder.decode(payload, &mut event).ok()).into_iter().for_each(|_| {
                    detector.detect(&event, &mut hits);
                });
                hits.len()
            });
        });
    }
    group.finish();
}
