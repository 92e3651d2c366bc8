//! From drafts to the plan's rules: steps, roles, dimensions, suppression, and the checks that need the whole rule.

use super::ast::{ByField, Query, SequenceQuery, SequenceStep};
use super::correlation::{CorrelationDraft, Kind};
use super::diagnostic::{Diagnostic, Problem};
use super::intern::Interner;
use super::lower::Lowering;
use super::native::{Body, Draft, Summary, SuppressDraft};
use super::plan::{
    Absent, Aggregate, AggregateKind, KeyField, Pattern, Role, Rule, Sequence, Step, Suppress, Template, TemplatePart,
    ThresholdOp,
};
use super::reader::Eql;
use super::template::{self, Piece};
use super::{temporal, version};
use crate::event::{DimensionId, FieldId, Measure, RuleIndex, StepId};
use crate::limits;

/// Builds the rules of a plan, one after the other.
pub(super) struct Assembler {
    pub interner: Interner,
    pub steps: Vec<Step>,
    pub rules: Vec<Rule>,
}

/// A step before its dimension is known.
struct Part {
    role: Role,
    condition: super::plan::ConditionId,
    key: Vec<(String, bool)>,
    name: u16,
}

/// What a rule's body compiled to.
struct Built {
    pattern: Pattern,
    parts: Vec<Part>,
    step_names: Vec<String>,
    /// The correlation key's fields, as the first positive step names them.
    key: Vec<String>,
    measured: Option<Measure>,
}

impl Assembler {
    pub(super) fn new() -> Self {
        Assembler { interner: Interner::new(), steps: Vec::new(), rules: Vec::new() }
    }

    /// Adds a rule. With an error in `out` the plan is not to be used.
    pub(super) fn add(&mut self, draft: &Draft<'_>, out: &mut Vec<Diagnostic>) {
        let first = self.steps.len() as u32;
        let mut lowering = Lowering::new(&mut self.interner);
        let mut compiled = match &draft.body {
            Body::Query(eql) => query(&mut lowering, draft, eql, first, out),
            Body::Correlation(correlation) => aggregate(&mut lowering, draft, correlation, out),
        };
        let summary =
            draft.summary.as_ref().and_then(|text| summary(&mut lowering, draft, text, compiled.measured, out));
        let suppress = draft.suppress.as_ref().and_then(|suppress| {
            let extra = suppressed_by(draft, suppress, &compiled, out)?;
            // The fields that tell single events apart are their key in the shard, so that repeats meet there.
            let by = if compiled.pattern == Pattern::Event {
                compiled.parts.iter_mut().for_each(|part| part.key = extra.iter().map(|f| (f.clone(), true)).collect());
                Vec::new()
            } else {
                extra.iter().map(|field| lowering.field(field)).collect()
            };
            Some(Suppress { window: suppress.window, by })
        });
        for field in &draft.evidence {
            lowering.field(field);
        }
        if let (Some(place), Pattern::Event) = (draft.backfill, &compiled.pattern) {
            let message = "`backfill` is for rules that keep timelines; one of single events has no past".to_string();
            let help = "leave it out; `throughline search` looks through what a topic or file holds".to_string();
            out.push(draft.source.diagnostic(place, "E0116", message, Some(help)));
        }
        let output_key = draft.output_key.as_ref().map(|field| lowering.field(field));
        let keys: Vec<Vec<KeyField>> = compiled
            .parts
            .iter()
            .map(|part| {
                part.key
                    .iter()
                    .map(|(f, optional)| KeyField { field: lowering.field(f), optional: *optional })
                    .collect()
            })
            .collect();
        let fields = std::mem::take(&mut lowering.fields);
        let dimension = self.dimension(&compiled, draft.suppress.is_some());
        let rule = RuleIndex(self.rules.len() as u32);
        for (part, key) in compiled.parts.iter().zip(keys) {
            self.steps.push(Step { rule, role: part.role, condition: part.condition, dimension, key, name: part.name });
        }
        let mut fields: Vec<FieldId> = fields.into_iter().filter(|field| *field != FieldId::CATEGORY).collect();
        fields.sort_by(|a, b| self.interner.path(*a).cmp(self.interner.path(*b)));
        self.rules.push(Rule {
            id: draft.id.clone(),
            name: draft.name.clone(),
            version: version::of(draft),
            // Taken from the whole plan, when it is there.
            content_hash: 0,
            severity: draft.severity,
            tags: draft.tags.clone(),
            description: draft.description.clone(),
            pattern: compiled.pattern,
            dimension,
            key_names: key_names(&compiled.key),
            step_names: compiled.step_names,
            fields,
            suppress,
            summary,
            output_topic: draft.output_topic.clone(),
            output_key,
            backfill: draft.backfill.is_some(),
            place: format!("{}:{}", draft.source.path, draft.place.line),
        });
    }

    fn dimension(&mut self, compiled: &Built, suppressed: bool) -> DimensionId {
        if compiled.pattern == Pattern::Event && !suppressed {
            return self.interner.per_event();
        }
        let lists: Vec<Vec<(String, bool)>> = compiled.parts.iter().map(|part| part.key.clone()).collect();
        self.interner.keyed(&lists)
    }
}

/// Names of the key's parts as printed: a name that comes again has `#2`, `#3`, …
fn key_names(fields: &[String]) -> Vec<String> {
    let mut names = Vec::with_capacity(fields.len());
    for (at, field) in fields.iter().enumerate() {
        let before = fields.iter().take(at).filter(|other| *other == field).count();
        names.push(if before == 0 { field.clone() } else { format!("{field}#{}", before + 1) });
    }
    names
}

fn query(lowering: &mut Lowering<'_>, draft: &Draft<'_>, eql: &Eql, first: u32, out: &mut Vec<Diagnostic>) -> Built {
    let compiled = match &eql.query {
        Query::Event(event) => Built {
            pattern: Pattern::Event,
            parts: vec![Part { role: Role::Event, condition: lowering.event(event), key: Vec::new(), name: 0 }],
            step_names: vec![draft.id.clone()],
            key: Vec::new(),
            measured: None,
        },
        Query::Sequence(query) => sequence(lowering, query, first),
    };
    place(lowering, draft, eql, out);
    compiled
}

/// Moves what the lowering found wrong to the rule set's diagnostics.
fn place(lowering: &mut Lowering<'_>, draft: &Draft<'_>, eql: &Eql, out: &mut Vec<Diagnostic>) {
    out.extend(lowering.problems.drain(..).map(|problem| draft.source.place(problem, &eql.text, &eql.map)));
}

fn sequence(lowering: &mut Lowering<'_>, query: &SequenceQuery, first: u32) -> Built {
    check_sequence(query, &mut lowering.problems);
    let mut parts = Vec::new();
    let mut states: Vec<StepId> = Vec::new();
    let mut gaps: Vec<Vec<Absent>> = vec![Vec::new()];
    let mut key = None;
    for (at, step) in query.steps.iter().enumerate() {
        let id = StepId(first + at as u32);
        let part_key = step_key(&query.by, &step.by);
        let role = if step.missing {
            let gap = states.len();
            let absent = gaps.last_mut().map_or(0, |gap| {
                gap.push(Absent { step: id, runs: step.runs });
                gap.len() - 1
            });
            Role::Absent { gap: gap as u16, index: absent as u16 }
        } else {
            key.get_or_insert_with(|| part_key.iter().map(|(field, _)| field.clone()).collect());
            let first_state = states.len() as u16;
            // Beyond the limit, which is reported, nothing more is built.
            let room = limits::SEQUENCE_STATES_MAX.saturating_sub(states.len());
            states.extend(std::iter::repeat_n(id, usize::from(step.runs).min(room)));
            gaps.resize(states.len() + 1, Vec::new());
            Role::State { first: first_state, count: step.runs }
        };
        parts.push(Part { role, condition: lowering.event(&step.query), key: part_key, name: at as u16 });
    }
    let mut step_names: Vec<String> = (1..=query.steps.len()).map(|number| number.to_string()).collect();
    let until = query.until.as_ref().map(|step| {
        let name = query.steps.len() as u16;
        step_names.push("until".to_string());
        let key = step_key(&query.by, &step.by);
        parts.push(Part { role: Role::Until, condition: lowering.event(&step.query), key, name });
        StepId(first + u32::from(name))
    });
    Built {
        pattern: Pattern::Sequence(Sequence { states, gaps, maxspan: query.maxspan, until }),
        parts,
        step_names,
        key: key.unwrap_or_default(),
        measured: None,
    }
}

/// The sequence's own `by` fields, then the step's.
fn step_key(all: &[ByField], own: &[ByField]) -> Vec<(String, bool)> {
    all.iter().chain(own).map(|field| (field.path.clone(), field.optional)).collect()
}

fn check_sequence(query: &SequenceQuery, problems: &mut Vec<Problem>) {
    let positive = query.steps.iter().filter(|step| !step.missing);
    let states: usize = positive.clone().map(|step| usize::from(step.runs)).sum();
    let total: usize = query.steps.iter().map(|step| usize::from(step.runs)).sum();
    if states == 0 {
        let help = "absence alone has no beginning: add the event after or before which nothing may come";
        problems.push(Problem::new("E0310", query.extent, "this sequence has only missing events").help(help));
    } else if total < 2 {
        let help = "add a step, repeat it `with runs=2`, or write an event query without `sequence`";
        problems.push(Problem::new("E0310", query.extent, "a sequence has at least two steps").help(help));
    } else if total > limits::SEQUENCE_STATES_MAX {
        let message = format!("{total} steps (runs counted) are more than {}", limits::SEQUENCE_STATES_MAX);
        let help = "count events with a correlation of type `event_count`";
        problems.push(Problem::new("E0310", query.extent, message).help(help));
    }
    let missing = query.steps.iter().find(|step| step.missing);
    match (query.maxspan, missing) {
        (None, Some(step)) => problems.push(
            Problem::new("E0306", step.extent, "a missing event needs `with maxspan`")
                .help("say until when it must not come: `sequence by ... with maxspan=10m`"),
        ),
        (None, None) => problems.push(
            Problem::new("W0502", query.extent, "a sequence without `maxspan` waits for its next step without end")
                .help("its state is kept until it expires; add e.g. `with maxspan=1h`"),
        ),
        _ => {}
    }
    check_keys(query, problems);
}

/// Every step, missing ones and `until` included, must have as many key fields as the first.
fn check_keys(query: &SequenceQuery, problems: &mut Vec<Problem>) {
    let Some(first) = query.steps.first() else { return };
    let wanted = first.by.len();
    let count = |step: &SequenceStep| match query.by.len() + step.by.len() {
        1 => "1 key field".to_string(),
        n => format!("{n} key fields"),
    };
    for step in query.steps.iter().skip(1).chain(&query.until) {
        if step.by.len() != wanted {
            let extent = match (step.by.first(), step.by.last()) {
                (Some(from), Some(to)) => from.extent.to(to.extent),
                _ => step.extent,
            };
            let message = format!("this step has {}, the first has {}", count(step), count(first));
            problems.push(Problem::new("E0305", extent, message).help("`by` lists are joined position by position"));
        }
    }
}

fn aggregate(
    lowering: &mut Lowering<'_>,
    draft: &Draft<'_>,
    correlation: &CorrelationDraft,
    out: &mut Vec<Diagnostic>,
) -> Built {
    let mut parts = Vec::new();
    for (at, ((_, eql), key)) in correlation.references.iter().zip(&correlation.group_by).enumerate() {
        if let Query::Event(event) = &eql.query {
            let key = key.iter().map(|field| (field.clone(), false)).collect();
            parts.push(Part {
                role: Role::Reference(at as u16),
                condition: lowering.event(event),
                key,
                name: at as u16,
            });
        }
        place(lowering, draft, eql, out);
    }
    let fields: Vec<FieldId> = correlation.value_fields.iter().map(|field| lowering.field(field)).collect();
    let one = fields.first().copied().unwrap_or(FieldId::CATEGORY);
    let kind = match correlation.kind {
        Kind::EventCount => AggregateKind::EventCount,
        Kind::ValueCount => AggregateKind::ValueCount(fields),
        Kind::Temporal => AggregateKind::Temporal,
        Kind::TemporalOrdered => AggregateKind::TemporalOrdered,
        Kind::ValueSum => AggregateKind::ValueSum(one),
        Kind::ValueAvg => AggregateKind::ValueAvg(one),
        Kind::ValueMedian => AggregateKind::ValueMedian(one),
        Kind::ValuePercentile => AggregateKind::ValuePercentile(one, correlation.percentile),
    };
    let rising = |op: ThresholdOp| matches!(op, ThresholdOp::Gt | ThresholdOp::Gte);
    let tumbling = correlation.thresholds.iter().any(|threshold| !rising(threshold.op))
        || correlation.temporal.as_ref().is_some_and(temporal::has_not);
    let references: Vec<String> = correlation.references.iter().map(|(name, _)| name.clone()).collect();
    Built {
        pattern: Pattern::Aggregate(Aggregate {
            kind,
            references: references.clone(),
            timespan: correlation.timespan,
            condition: correlation.thresholds.clone(),
            temporal: correlation.temporal.clone(),
            refire: correlation.refire,
            tumbling,
        }),
        parts,
        step_names: references,
        key: correlation.group_by.first().cloned().unwrap_or_default(),
        measured: correlation.kind.measure(),
    }
}

/// The `suppress.by` fields beyond the correlation key. `None`: reported.
fn suppressed_by(
    draft: &Draft<'_>,
    suppress: &SuppressDraft,
    compiled: &Built,
    out: &mut Vec<Diagnostic>,
) -> Option<Vec<String>> {
    let by = suppress.by.clone().unwrap_or_else(|| compiled.key.clone());
    let mut fail = |message: String, help: String| {
        out.push(draft.source.diagnostic(suppress.place, "E0114", message, Some(help)));
    };
    if by.is_empty() {
        let message = "`suppress` needs `by`: this rule has no correlation key".to_string();
        fail(message, "name the fields that tell repeats apart; one finding must not hide all others".to_string());
        return None;
    }
    let missing: Vec<&str> = compiled.key.iter().filter(|field| !by.contains(field)).map(String::as_str).collect();
    if !missing.is_empty() {
        let message = format!("`suppress.by` must contain the correlation key; it lacks {}", missing.join(", "));
        fail(message, "add the fields, or leave `by` out: the correlation key is its default".to_string());
        return None;
    }
    let mut extra: Vec<String> = Vec::new();
    for field in by {
        if !compiled.key.contains(&field) && !extra.contains(&field) {
            extra.push(field);
        }
    }
    Some(extra)
}

fn summary(
    lowering: &mut Lowering<'_>,
    draft: &Draft<'_>,
    summary: &Summary,
    measured: Option<Measure>,
    out: &mut Vec<Diagnostic>,
) -> Option<Template> {
    match template::parse(&summary.text, measured) {
        Ok(pieces) => {
            let parts = pieces.into_iter().map(|piece| match piece {
                Piece::Text(text) => TemplatePart::Text(text),
                Piece::Field(path) => TemplatePart::Field(lowering.field(&path)),
                Piece::Measure(measure) => TemplatePart::Measure(measure),
                Piece::RuleName => TemplatePart::RuleName,
            });
            Some(Template(parts.collect()))
        }
        Err(error) => {
            let extent = super::diagnostic::Extent::new(error.start, error.end);
            let problem = Problem::new("E0115", extent, format!("`summary`: {}", error.message))
                .help("write e.g. `{{ user.name }} failed {{ count }} times`");
            out.push(draft.source.place(problem, &summary.text, &summary.map));
            None
        }
    }
}
