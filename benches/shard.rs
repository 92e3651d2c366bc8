//! "shard step": the pure step over batches, from a signal to its place in a key's state. Run with
//! `cargo bench --bench shard`.
//!
//! Each input is made once; an iteration takes 64 batches of `limits::BATCH_SIGNALS` and lets the watermark follow one
//! second behind, over 10,000 keys. `dedup` repeats what was sent, so every signal is a duplicate.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use throughline::event::*;
use throughline::limits;
use throughline::rules::plan::*;
use throughline::shard::core::{Core, Output, Settings};

const KEYS: i64 = 10_000;
const BATCHES: i64 = 64;
const SECOND: i64 = 1_000_000_000;
/// 100k signals a second of event time.
const STEP_NS: i64 = 10_000;

fn rule(id: &str, pattern: Pattern, dimension: u32) -> Rule {
    Rule {
        id: id.into(),
        name: id.into(),
        version: String::new(),
        content_hash: 0,
        severity: Severity::High,
        tags: Vec::new(),
        description: String::new(),
        pattern,
        dimension: DimensionId(dimension),
        key_names: vec!["key".into()],
        step_names: vec!["1".into(), "2".into()],
        fields: Vec::new(),
        suppress: None,
        summary: None,
        output_topic: None,
        output_key: None,
        backfill: false,
        place: String::new(),
    }
}

fn plan(pattern: Pattern, roles: &[Role]) -> Plan {
    let step = |(name, role): (usize, &Role)| Step {
        rule: RuleIndex(0),
        role: *role,
        condition: ConditionId(0),
        dimension: DimensionId(0),
        key: Vec::new(),
        name: name as u16,
    };
    Plan {
        steps: roles.iter().enumerate().map(step).collect(),
        dimensions: vec![Dimension { name: "key".into(), hash: stable_hash64(0, b"key"), per_event: false }],
        rules: vec![rule("r", pattern, 0)],
        ..Plan::default()
    }
}

fn sequence(end: bool) -> Plan {
    let gap = |there: bool| if there { vec![Absent { step: StepId(1), runs: 1 }] } else { Vec::new() };
    let states = if end { vec![StepId(0)] } else { vec![StepId(0), StepId(1)] };
    let gaps = if end { vec![gap(false), gap(true)] } else { vec![gap(false), gap(false), gap(false)] };
    let second = if end { Role::Absent { gap: 1, index: 0 } } else { Role::State { first: 1, count: 1 } };
    let pattern = Pattern::Sequence(Sequence { states, gaps, maxspan: Some(Span(10 * SECOND)), until: None });
    plan(pattern, &[Role::State { first: 0, count: 1 }, second])
}

fn count() -> Plan {
    let pattern = Pattern::Aggregate(Aggregate {
        kind: AggregateKind::EventCount,
        references: vec!["a".into(), "b".into()],
        timespan: Span(10 * SECOND),
        condition: vec![Threshold { op: ThresholdOp::Gte, value: Literal::Int(1_000_000) }],
        temporal: None,
        refire: Refire::Edge,
        tumbling: false,
    });
    plan(pattern, &[Role::Reference(0), Role::Reference(1)])
}

/// Batches from event number `from` on: keys in a scattered order, first and second steps in turn, times a little out of
/// order.
fn batches(from: i64) -> Vec<Vec<Signal>> {
    let dimension = stable_hash64(0, b"key");
    let mut builder = KeyBuilder::default();
    let mut signal = |n: i64| {
        builder.clear();
        builder.push(Val::Int(n * 7_919 % KEYS));
        let origin = Origin { topic: TopicId(1), partition: 0, offset: n };
        let time = Timestamp((n ^ 7) * STEP_NS);
        Signal {
            event: Arc::new(Evidence { time, origin, id: None, fields: FieldSet::default(), trace: None }),
            identity: stable_hash128(0, &n.to_le_bytes()),
            dimension: DimensionId(0),
            key: builder.build(dimension),
            task: 0,
            steps: smallvec::smallvec![StepId((n / KEYS % 2) as u32)],
            counts: true,
            late: None,
        }
    };
    let size = limits::BATCH_SIGNALS as i64;
    (0..BATCHES).map(|b| (0..size).map(|n| signal(from + b * size + n)).collect()).collect()
}

fn drive(core: &mut Core, batches: Vec<Vec<Signal>>, out: &mut Output) {
    for mut batch in batches {
        let newest = batch.last().map_or(Timestamp(0), |signal| signal.event.time);
        core.take(&mut batch, out);
        core.advance(0, newest - Span(SECOND), out);
        out.clear();
    }
}

fn shard_step(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard step");
    let signals = BATCHES * limits::BATCH_SIGNALS as i64;
    group.throughput(Throughput::Elements(signals as u64));
    group.measurement_time(Duration::from_secs(5)).sample_size(20);
    for (name, plan) in [("sequence", sequence(false)), ("absence", sequence(true)), ("count", count())] {
        let settings = Settings { dedup_window: Span(60 * SECOND), retention: Span::MAX, durable: None };
        let mut core = Core::new(Arc::new(plan), settings, TopicTable::default());
        let (mut out, mut from) = (Output::default(), 0);
        // The first turns fill keys, heap and windows.
        (0..200).for_each(|_| {
            drive(&mut core, batches(from), &mut out);
            from += signals;
        });
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    from += signals;
                    batches(from - signals)
                },
                |batches| drive(&mut core, batches, &mut out),
                BatchSize::PerIteration,
            );
        });
        if name == "sequence" {
            let repeats = batches(from - signals);
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
