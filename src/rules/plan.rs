//! The compiled form of a rule set: what decode, detect, route and shards work from. Immutable; holds no state.
//!
//! Everything that rules share is shared here: field paths (one projection), atoms (one predicate index), conditions
//! (each distinct one is evaluated once an event), dimensions (one timeline per key, however many rules read it).
//! Indices are those of the vectors and mean nothing outside their plan; what outlives a plan is named by `id`,
//! `version`, dimension name and field path.

use std::collections::BTreeSet;

use crate::event::{DimensionId, FieldId, RuleIndex, Span, StepId};

/// A compiled rule set.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// [`FieldId`] → path. Index 0 is [`FieldId::CATEGORY`], whose path each stream sets.
    pub fields: Vec<FieldPath>,
    /// The distinct atoms of all conditions.
    pub atoms: Vec<Atom>,
    /// The distinct conditions of all steps.
    pub conditions: Vec<Cond>,
    /// All steps, ordered by rule, then by slot.
    pub steps: Vec<Step>,
    /// All dimensions.
    pub dimensions: Vec<Dimension>,
    /// The rules, ordered by id.
    pub rules: Vec<Rule>,
}

/// A dotted path as written in rules, e.g. `user.name`. It reaches nested objects, objects in arrays and keys that
/// themselves contain dots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(pub String);

/// Index into [`Plan::atoms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AtomId(pub u32);

/// Index into [`Plan::conditions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConditionId(pub u32);

/// A condition over one event in three-valued (Kleene) logic: it holds only if true. The category of an EQL query
/// (`process where ...`) is an ordinary [`Predicate::Equals`] on [`FieldId::CATEGORY`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cond {
    /// A constant; `None` is null.
    Const(Option<bool>),
    /// A shared atom.
    Atom(AtomId),
    /// False if any is false, else null if any is null, else true.
    And(Vec<Cond>),
    /// True if any is true, else null if any is null, else false.
    Or(Vec<Cond>),
    /// Null stays null.
    Not(Box<Cond>),
}

/// The smallest thing the predicate index knows: a predicate on one field, or an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Atom {
    /// Looks at one field. An array satisfies it if any element does.
    Field {
        /// The field.
        field: FieldId,
        /// Written `?field`: where the field is null the predicate is false instead of null.
        optional: bool,
        /// What must hold.
        predicate: Predicate,
    },
    /// Anything else: functions, arithmetic, comparisons between fields. Evaluated as a tree; must be boolean or null.
    Expr(Expr),
}

/// What one field's value must satisfy. A value of another type gives false; null gives null (see [`Atom::Field`]),
/// except for [`Predicate::IsNull`] and [`Predicate::Exists`], which are never null.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// Equals any of these (one: `==`; several: `in`). Numbers compare as numbers, exactly.
    Equals {
        /// At least one.
        values: Vec<Literal>,
        /// Fold case (text only).
        ignore_case: bool,
    },
    /// Matches any of these wildcard patterns as a whole.
    Wildcard {
        /// At least one.
        patterns: Vec<WildcardPattern>,
        /// Fold case.
        ignore_case: bool,
    },
    /// Matches any of these regular expressions as a whole (`regex` crate syntax, already anchored by the compiler).
    Regex {
        /// At least one, each as `^(?s:...)$`.
        patterns: Vec<String>,
        /// Fold case.
        ignore_case: bool,
    },
    /// Ordered against a number or text (text by code point).
    Compare {
        /// Which order.
        op: CompareOp,
        /// Against what: [`Literal::Str`] or a number.
        value: Literal,
    },
    /// An IP address inside any of these blocks.
    Cidr {
        /// At least one.
        blocks: Vec<CidrBlock>,
    },
    /// Absent or null.
    IsNull,
    /// The path is in the event, also with null (Sigma `exists`).
    Exists,
    /// A boolean that is true: a bare field as condition.
    IsTrue,
}

/// A constant in a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// Null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above `i64::MAX`.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(String),
}

/// A wildcard pattern in pieces: text that must stand there, `?` (one character), `*` (any text).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WildcardPattern(pub Vec<WildcardPiece>);

/// A piece of a wildcard pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WildcardPiece {
    /// This text. Adjacent texts are merged; never empty.
    Text(String),
    /// Exactly one character (code point).
    One,
    /// Any text, also none. Never twice in a row.
    Any,
}

/// An ordering comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// An address block; host bits may be set in the source, here they are cleared. IPv4 is held apart from IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CidrBlock {
    /// Network address.
    pub address: std::net::IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}

/// An expression over one event. Three-valued: null propagates unless said otherwise.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A constant.
    Literal(Literal),
    /// A field; `optional` where it was written `?field`.
    Field {
        /// The field.
        field: FieldId,
        /// Written `?field`.
        optional: bool,
    },
    /// Unary minus.
    Neg(Box<Expr>),
    /// Arithmetic.
    Arithmetic {
        /// Which.
        op: ArithmeticOp,
        /// Left.
        left: Box<Expr>,
        /// Right.
        right: Box<Expr>,
    },
    /// Equality of two values; any element of an array counts. `!=` is `not ==`.
    Equals {
        /// Left.
        left: Box<Expr>,
        /// Right.
        right: Box<Expr>,
        /// Fold case.
        ignore_case: bool,
    },
    /// Order of two values.
    Compare {
        /// Which order.
        op: CompareOp,
        /// Left.
        left: Box<Expr>,
        /// Right.
        right: Box<Expr>,
    },
    /// A predicate on a computed value, e.g. `length(x) in (1, 2)` or `concat(a, b) like "x*"`.
    Test {
        /// The value.
        value: Box<Expr>,
        /// The predicate.
        predicate: Predicate,
    },
    /// A function call.
    Call {
        /// Which.
        function: Function,
        /// Arguments; their number was checked by the compiler.
        arguments: Vec<Expr>,
        /// Written with `~`.
        ignore_case: bool,
    },
    /// All hold.
    And(Vec<Expr>),
    /// Any holds.
    Or(Vec<Expr>),
    /// Negation.
    Not(Box<Expr>),
}

/// An arithmetic operator. `/` of two integers truncates toward zero; division by zero is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArithmeticOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Rem,
}

/// EQL's functions.
#[expect(missing_docs, reason = "each variant is the function of that name in Elastic's EQL reference")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    Add,
    Between,
    CidrMatch,
    Concat,
    Divide,
    EndsWith,
    IndexOf,
    Length,
    Modulo,
    Multiply,
    Number,
    StartsWith,
    String,
    StringContains,
    Substring,
    Subtract,
}

/// One event condition of one rule, with the key fields that place its signals.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The rule.
    pub rule: RuleIndex,
    /// What the step is to its rule.
    pub role: Role,
    /// When an event satisfies it.
    pub condition: ConditionId,
    /// Where its signals go.
    pub dimension: DimensionId,
    /// The fields whose values are the key, in the dimension's order. Empty: one key for all.
    pub key: Vec<KeyField>,
    /// The step's index in [`Rule::step_names`].
    pub name: u16,
}

/// A `by` field of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyField {
    /// The field.
    pub field: FieldId,
    /// Written `?field`: null is a value like any other. Else an event with null here is not for this step.
    pub optional: bool,
}

/// What a step is to its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The only step of a single-event rule.
    Event,
    /// Positive states `first .. first + count` of a sequence (`count` > 1: `with runs=count`).
    State {
        /// Index of the first state it fills.
        first: u16,
        /// How many states in a row.
        count: u16,
    },
    /// A missing event in gap `gap` of a sequence (0: before the first state, n: after state n), the `index`-th of that gap.
    Absent {
        /// Which gap.
        gap: u16,
        /// Which of the gap's missing events.
        index: u16,
    },
    /// The `until` of a sequence.
    Until,
    /// The named event (or referenced rule) number `0..` of an aggregate, as in [`Aggregate::references`].
    Reference(u16),
}

/// One correlation-key field list. Rules whose steps name the same lists share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dimension {
    /// Its stable name: the distinct lists of field names, `,` between fields, `|` between lists, `?` behind optional ones;
    /// `@all` without any field, `@event` if it is per event.
    pub name: String,
    /// `stable_hash64(0, name)`; seeds the hash of its keys.
    pub hash: u64,
    /// The key is the event's identity: single-event rules, spread over all shards. [`Step::key`] is empty.
    pub per_event: bool,
}

/// A rule: what to look for and what to say then.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Unique id.
    pub id: String,
    /// For people.
    pub name: String,
    /// Content hash, 16 hex digits, of everything that changes what the rule finds or says.
    pub version: String,
    /// Hash of what decides which events it finds, and of nothing that only tells of them: state is kept by it. See
    /// [`Plan::content_hash`].
    pub content_hash: u64,
    /// How bad.
    pub severity: Severity,
    /// Free labels.
    pub tags: Vec<String>,
    /// For people.
    pub description: String,
    /// What to look for.
    pub pattern: Pattern,
    /// The dimension of all its steps.
    pub dimension: DimensionId,
    /// Names of the key's parts as printed: the first positive step's field names; a name that comes twice has `#2`. May be
    /// shorter than the key: a single-event rule with suppression is keyed by its `suppress.by` fields (so that repeats
    /// meet in one shard), yet has no correlation key and names none.
    pub key_names: Vec<String>,
    /// Names of its steps as printed in `events[].step`: `1`, `2`, … of a sequence in source order (missing ones included),
    /// then `until`, if any; the event's name in an aggregate; the rule id of a single-event rule.
    pub step_names: Vec<String>,
    /// Every field the rule names (conditions, keys, evidence, summary, suppression, output key): what is kept of its
    /// events and printed in `events[].fields`; ordered by path.
    pub fields: Vec<FieldId>,
    /// Suppression, if asked for.
    pub suppress: Option<Suppress>,
    /// The `summary` template.
    pub summary: Option<Template>,
    /// The output topic, if not the default.
    pub output_topic: Option<String>,
    /// The field whose value is the record key, if not the correlation key.
    pub output_key: Option<FieldId>,
    /// Where it is new, it is first run over what is still held of the past.
    pub backfill: bool,
    /// File and line the rule came from, for messages: `rules/a.yaml:12`.
    pub place: String,
}

/// How bad a correlation is; ordered.
#[expect(missing_docs, reason = "the five levels are their own names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Severity {
    Informational,
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

impl Severity {
    /// The name in rules and records.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Informational => "informational",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

/// What a rule looks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// One event.
    Event,
    /// Events in order.
    Sequence(Sequence),
    /// A measure over events.
    Aggregate(Aggregate),
}

/// A sequence, runs expanded. With n positive states there are n + 1 gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// The positive states, each the [`StepId`] that fills it (a step with runs fills several in a row). At least one.
    pub states: Vec<StepId>,
    /// `gaps[0]` before the first state, `gaps[i]` between state i-1 and state i, `gaps[n]` after the last; each holds
    /// its missing events in order.
    pub gaps: Vec<Vec<Absent>>,
    /// Last time − first time ≤ this. Always there if any gap has a missing event.
    pub maxspan: Option<Span>,
    /// The `until` condition.
    pub until: Option<StepId>,
}

/// A missing event `![...]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absent {
    /// The step whose events break the match.
    pub step: StepId,
    /// How many nulls stand for it (`with runs=n`).
    pub runs: u16,
}

/// A measure over the events of a group: Sigma's correlations.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Which measure.
    pub kind: AggregateKind,
    /// Names of the referenced events, in the order of `rules`.
    pub references: Vec<String>,
    /// The window's length.
    pub timespan: Span,
    /// Comparisons that must all hold for the measured value. Empty for `temporal*` without a condition.
    pub condition: Vec<Threshold>,
    /// Extended condition of `temporal*` over the references; `None`: all of them.
    pub temporal: Option<TemporalCond>,
    /// When to fire again.
    pub refire: Refire,
    /// Decided when a tumbling window closes (`lt`, `lte`, `eq`, `neq`, `not`), not at each event.
    pub tumbling: bool,
}

/// Sigma's correlation types.
#[derive(Debug, Clone, PartialEq)]
pub enum AggregateKind {
    /// Number of events.
    EventCount,
    /// Number of distinct tuples of these fields.
    ValueCount(Vec<FieldId>),
    /// Every reference at least once.
    Temporal,
    /// Different events in the order of the references.
    TemporalOrdered,
    /// Sum of a field.
    ValueSum(FieldId),
    /// Mean of a field.
    ValueAvg(FieldId),
    /// Median of a field.
    ValueMedian(FieldId),
    /// Percentile (1 to 99) of a field, linear between closest ranks.
    ValuePercentile(FieldId, u8),
}

/// One comparison of a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// Which.
    pub op: ThresholdOp,
    /// Against what: a number, fractions included.
    pub value: Literal,
}

/// How a measure is compared.
#[expect(missing_docs, reason = "Sigma's own names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThresholdOp {
    Lt,
    Lte,
    Gt,
    Gte,
    Eq,
    Neq,
}

/// An extended temporal condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemporalCond {
    /// This reference has an event in the window.
    Reference(u16),
    /// All hold.
    And(Vec<TemporalCond>),
    /// Any holds.
    Or(Vec<TemporalCond>),
    /// Does not hold.
    Not(Box<TemporalCond>),
}

/// When an aggregate fires again while its condition stays true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Refire {
    /// When the condition turns true; further events are folded in.
    #[default]
    Edge,
    /// At each event that finds it true.
    Every,
    /// Empties the window after firing.
    Reset,
}

/// Fold repeated correlations of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppress {
    /// For how long after one that was reported.
    pub window: Span,
    /// Further fields, beyond the key, that tell repeats apart: taken from the correlation's first event that has them.
    /// Empty for a single-event rule: its key holds them.
    pub by: Vec<FieldId>,
}

/// A parsed `summary` template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(pub Vec<TemplatePart>);

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    /// As it stands.
    Text(String),
    /// `{{ field }}`: the value in the correlation's first event that has it, else in the key, else empty.
    Field(FieldId),
    /// `{{ count }}`, `{{ distinct }}`, `{{ sum }}`, `{{ avg }}`, `{{ median }}`, `{{ percentile }}`; `count` of a sequence
    /// is its number of events.
    Measure(crate::event::Measure),
    /// `{{ rule }}`: the rule's name.
    RuleName,
}

impl Plan {
    /// The topics that rules name for their correlations.
    pub fn output_topics(&self) -> BTreeSet<&str> {
        self.rules.iter().filter_map(|rule| rule.output_topic.as_deref()).collect()
    }

    /// The steps that each condition satisfies: index is the condition's.
    pub fn steps_by_condition(&self) -> Vec<Vec<StepId>> {
        let mut steps = vec![Vec::new(); self.conditions.len()];
        for (at, step) in self.steps.iter().enumerate() {
            steps[step.condition.0 as usize].push(StepId(at as u32));
        }
        steps
    }
}
