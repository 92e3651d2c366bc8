//! Rules as the oracle sees them: a structured description of what RULES.md lets a rule say, over the fields of
//! [`super::event::Event`]. Rendered to native YAML by [`super::yaml`], evaluated by the rest of this room.

use super::event::{Event, Field};

/// A condition on one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cond {
    /// Any event.
    Any,
    /// An event of this kind.
    Kind(char),
    /// An event of one of these kinds.
    KindIn(Vec<char>),
    /// An event of another kind.
    NotKind(char),
    /// An event of this kind whose `v` is a number of at least this many halves.
    KindFrom(char, i64),
}

impl Cond {
    /// Whether the event satisfies it.
    pub fn holds(&self, event: &Event) -> bool {
        match self {
            Cond::Any => true,
            Cond::Kind(kind) => event.kind == *kind,
            Cond::KindIn(kinds) => kinds.contains(&event.kind),
            Cond::NotKind(kind) => event.kind != *kind,
            Cond::KindFrom(kind, from) => event.kind == *kind && event.v.halves().is_some_and(|v| v >= *from),
        }
    }
}

/// A `by` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By {
    /// The field.
    pub field: Field,
    /// Written `?field`: null is a value like any other.
    pub optional: bool,
}

/// One bracket of a sequence: `[...]` or `![...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// A missing event.
    pub missing: bool,
    /// What it looks for.
    pub cond: Cond,
    /// `with runs=`; 1 is left unwritten.
    pub runs: usize,
    /// Its own `by`, after the shared one.
    pub by: Vec<By>,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// The shared `by`.
    pub by: Vec<By>,
    /// The brackets in source order; at least one is positive.
    pub elements: Vec<Element>,
    /// `maxspan` in milliseconds; always there if an element is missing.
    pub maxspan_ms: Option<i64>,
    /// The `until` bracket and its own `by`.
    pub until: Option<(Cond, Vec<By>)>,
}

/// What an aggregate measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// `event_count`
    EventCount,
    /// `value_count`
    ValueCount(Vec<Field>),
    /// `value_sum`
    Sum(Field),
    /// `value_avg`
    Avg(Field),
    /// `value_median`
    Median(Field),
    /// `value_percentile`
    Percentile(Field, u8),
    /// `temporal`, with an extended condition if not just all of the references.
    Temporal(Option<Extended>),
    /// `temporal_ordered`
    TemporalOrdered,
}

/// An extended temporal condition over the references, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extended {
    /// The reference has an event in the window.
    Reference(usize),
    /// Both hold.
    And(Box<Extended>, Box<Extended>),
    /// Either holds.
    Or(Box<Extended>, Box<Extended>),
    /// It does not hold.
    Not(Box<Extended>),
}

impl Extended {
    /// Whether it holds, where `seen` says which references have an event.
    pub fn holds(&self, seen: &dyn Fn(usize) -> bool) -> bool {
        match self {
            Extended::Reference(at) => seen(*at),
            Extended::And(a, b) => a.holds(seen) && b.holds(seen),
            Extended::Or(a, b) => a.holds(seen) || b.holds(seen),
            Extended::Not(a) => !a.holds(seen),
        }
    }

    /// Whether `not` stands anywhere in it.
    pub fn negates(&self) -> bool {
        match self {
            Extended::Reference(_) => false,
            Extended::And(a, b) | Extended::Or(a, b) => a.negates() || b.negates(),
            Extended::Not(_) => true,
        }
    }
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Gt,
    Gte,
    Lt,
    Lte,
    Eq,
    Neq,
}

impl Op {
    /// Sigma's name.
    pub fn name(self) -> &'static str {
        match self {
            Op::Gt => "gt",
            Op::Gte => "gte",
            Op::Lt => "lt",
            Op::Lte => "lte",
            Op::Eq => "eq",
            Op::Neq => "neq",
        }
    }

    /// Whether `measured op threshold`.
    pub fn holds(self, measured: f64, threshold: f64) -> bool {
        match self {
            Op::Gt => measured > threshold,
            Op::Gte => measured >= threshold,
            Op::Lt => measured < threshold,
            Op::Lte => measured <= threshold,
            Op::Eq => measured == threshold,
            Op::Neq => measured != threshold,
        }
    }

    /// Decided when a tumbling window closes.
    pub fn tumbles(self) -> bool {
        !matches!(self, Op::Gt | Op::Gte)
    }
}

/// When an aggregate fires again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refire {
    /// When the condition turns true.
    Edge,
    /// At each event that finds it true.
    Every,
    /// Each time from an empty window.
    Reset,
}

/// An aggregate.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// The named events, in the order of `rules`; their names are `r0`, `r1`, ….
    pub references: Vec<Cond>,
    /// `group-by`.
    pub group_by: Vec<Field>,
    /// `timespan` in milliseconds.
    pub timespan_ms: i64,
    /// What is measured.
    pub measure: Measure,
    /// What it is compared with; all must hold. Thresholds in hundredths. Empty for temporal ones.
    pub condition: Vec<(Op, i64)>,
    /// When it fires again.
    pub refire: Refire,
}

impl Aggregate {
    /// Decided when a tumbling window closes, not at each event.
    pub fn tumbles(&self) -> bool {
        self.condition.iter().any(|(op, _)| op.tumbles())
            || matches!(&self.measure, Measure::Temporal(Some(extended)) if extended.negates())
    }
}

/// What a rule looks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// One event.
    Event(Cond),
    /// Events in order.
    Sequence(Sequence),
    /// A measure over events.
    Aggregate(Aggregate),
}

/// `suppress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppress {
    /// `for`, in milliseconds.
    pub window_ms: i64,
    /// Fields beyond the correlation key.
    pub beyond: Vec<Field>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// What it looks for.
    pub body: Body,
    /// Suppression.
    pub suppress: Option<Suppress>,
}

impl Rule {
    /// The fields of the correlation key as the first positive step names them.
    pub fn key_fields(&self) -> Vec<Field> {
        match &self.body {
            Body::Event(_) => Vec::new(),
            Body::Aggregate(aggregate) => aggregate.group_by.clone(),
            Body::Sequence(sequence) => {
                let own = sequence.elements.iter().find(|e| !e.missing).map(|e| e.by.as_slice()).unwrap_or_default();
                sequence.by.iter().chain(own).map(|by| by.field).collect()
            }
        }
    }
}
