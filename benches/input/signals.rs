//! Signals for a shard's step, and plans of one rule that take them.
//!
//! Keys in a scattered order, first and second steps in turn, times a little out of order, 100k signals a second of event time.

use std::sync::Arc;

use throughline::event::*;
use throughline::limits::BATCH_SIGNALS;
use throughline::rules::plan::*;
use throughline::shard::core::{Core, Output};

/// One second.
pub const SECOND: i64 = 1_000_000_000;
/// Event time from one signal to the next.
pub const BETWEEN_NS: i64 = 10_000;
const DIMENSION: &[u8] = b"key";

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

/// A plan of one rule whose steps have these roles.
pub fn plan(pattern: Pattern, roles: &[Role]) -> Plan {
    let step = |(name, role): (usize, &Role)| Step {
        rule: RuleIndex(0),
        role: *role,
        condition: ConditionId(0),
        dimension: DimensionId(0),
        key: Vec::new(),
        name: name as u16,
    };
    Plan {
        fields: ["event.category", "value"].map(|path| FieldPath(path.into())).into(),
        steps: roles.iter().enumerate().map(step).collect(),
        dimensions: vec![Dimension { name: "key".into(), hash: stable_hash64(0, DIMENSION), per_event: false }],
        rules: vec![rule("r", pattern, 0)],
        ..Plan::default()
    }
}

/// The second step after the first within so many nanoseconds; or, at its `end`, the first without the second after it.
pub fn sequence(end: bool, maxspan_ns: i64) -> Plan {
    let gap = |there: bool| if there { vec![Absent { step: StepId(1), runs: 1 }] } else { Vec::new() };
    let states = if end { vec![StepId(0)] } else { vec![StepId(0), StepId(1)] };
    let gaps = if end { vec![gap(false), gap(true)] } else { vec![gap(false), gap(false), gap(false)] };
    let second = if end { Role::Absent { gap: 1, index: 0 } } else { Role::State { first: 1, count: 1 } };
    let pattern = Pattern::Sequence(Sequence { states, gaps, maxspan: Some(Span(maxspan_ns)), until: None });
    plan(pattern, &[Role::State { first: 0, count: 1 }, second])
}

/// `count` batches from event number `from` on, over so many keys.
pub fn batches(from: i64, count: i64, keys: i64) -> Vec<Vec<Signal>> {
    let dimension = stable_hash64(0, DIMENSION);
    let mut builder = KeyBuilder::default();
    let mut signal = |n: i64| {
        builder.clear();
        builder.push(Val::Int(n * 7_919 % keys));
        let origin = Origin { topic: TopicId(1), partition: 0, offset: n };
        let time = Timestamp((n ^ 7) * BETWEEN_NS);
        Signal {
            event: Arc::new(Evidence { time, origin, id: None, fields: FieldSet::default(), trace: None }),
            identity: stable_hash128(0, &n.to_le_bytes()),
            dimension: DimensionId(0),
            key: builder.build(dimension),
            task: 0,
            steps: smallvec::smallvec![StepId((n / keys % 2) as u32)],
            counts: true,
            late: None,
        }
    };
    let size = BATCH_SIGNALS as i64;
    (0..count).map(|b| (0..size).map(|n| signal(from + b * size + n)).collect()).collect()
}

/// Takes the batches, the watermark one second behind.
pub fn drive(core: &mut Core, batches: Vec<Vec<Signal>>, out: &mut Output) {
    for mut batch in batches {
        let newest = batch.last().map_or(Timestamp(0), |signal| signal.event.time);
        core.take(&mut batch, out);
        core.advance(0, newest - Span(SECOND), out);
        out.clear();
    }
}
