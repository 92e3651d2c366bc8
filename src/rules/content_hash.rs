//! A rule's content hash: what its state in a store or a changelog is kept by.
//!
//! It covers what decides which events the rule finds and how it puts them together: id, pattern, and for each step role,
//! dimension, key and condition; and suppression. It leaves out what only tells of a finding (name, severity, tags,
//! summary, output, the names of an aggregate's events), which [`Rule::version`] has too: a rule whose wording changed
//! keeps its state. It is taken from the compiled form, spelled out: no id of a table is in it, so the other rules of the
//! set do not show.
//!
//! Each variant has a word of its own below. A word that changes loses the state of every rule that uses it.

use super::function;
use super::plan::{
    Absent, Aggregate, AggregateKind, ArithmeticOp, Atom, CompareOp, Cond, Expr, Literal, Pattern, Plan, Predicate,
    Refire, Role, Rule, Sequence, Step, TemporalCond, ThresholdOp, WildcardPiece,
};
use super::version::Digest;
use crate::event::{FieldId, RuleIndex, Span, StepId};

/// Changed whenever the same compiled rule comes to mean something else, or its state in memory another thing.
const SEMANTICS: &str = "throughline rule content 1";

impl Plan {
    /// The steps of a rule, and the id of the first.
    pub fn steps_of(&self, rule: RuleIndex) -> (StepId, &[Step]) {
        let first = self.steps.partition_point(|step| step.rule < rule);
        let end = self.steps.partition_point(|step| step.rule <= rule);
        (StepId(first as u32), &self.steps[first..end])
    }

    /// The hash of all that decides what a rule finds: equal in every process and every rule set that has this rule.
    /// The compiler puts it into [`Rule::content_hash`].
    pub fn content_hash(&self, rule: RuleIndex) -> u64 {
        let (first, steps) = self.steps_of(rule);
        let mut writer = Writer { plan: self, first, digest: Digest::default() };
        writer.digest.part(SEMANTICS);
        writer.rule(&self.rules[rule.0 as usize]);
        writer.list(steps, Writer::step);
        writer.digest.hash()
    }
}

/// Writes one rule out, in parts that carry their lengths.
struct Writer<'a> {
    plan: &'a Plan,
    /// The rule's first step: its steps are numbered from here.
    first: StepId,
    digest: Digest,
}

impl Writer<'_> {
    fn word(&mut self, word: &str) {
        self.digest.part(word);
    }

    fn number(&mut self, number: impl Into<i128>) {
        self.digest.part(&number.into().to_string());
    }

    fn flag(&mut self, flag: bool) {
        self.word(if flag { "yes" } else { "no" });
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            write(self, item);
        }
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn span(&mut self, span: Span) {
        self.number(span.0);
    }

    /// The category's path is each stream's own, and no field's, even of one spelled so.
    fn field(&mut self, field: FieldId) {
        if field == FieldId::CATEGORY {
            return self.word("category");
        }
        self.word("field");
        let plan = self.plan;
        self.word(&plan.fields[field.index()].0);
    }

    fn fields(&mut self, fields: &[FieldId]) {
        self.list(fields, |writer, field| writer.field(*field));
    }

    fn step_number(&mut self, step: StepId) {
        self.number(i64::from(step.0) - i64::from(self.first.0));
    }

    fn rule(&mut self, rule: &Rule) {
        self.word(&rule.id);
        match &rule.pattern {
            Pattern::Event => self.word("event"),
            Pattern::Sequence(sequence) => self.sequence(sequence),
            Pattern::Aggregate(aggregate) => self.aggregate(aggregate),
        }
        self.option(rule.suppress.as_ref(), |writer, suppress| {
            writer.span(suppress.window);
            writer.fields(&suppress.by);
        });
    }

    fn sequence(&mut self, sequence: &Sequence) {
        self.word("sequence");
        self.list(&sequence.states, |writer, state| writer.step_number(*state));
        self.list(&sequence.gaps, |writer, gap| {
            writer.list(gap, |writer, Absent { step, runs }| {
                writer.step_number(*step);
                writer.number(*runs);
            });
        });
        self.option(sequence.maxspan, Self::span);
        self.option(sequence.until, Self::step_number);
    }

    fn aggregate(&mut self, aggregate: &Aggregate) {
        let Aggregate { kind, references: _, timespan, condition, temporal, refire, tumbling } = aggregate;
        self.word("aggregate");
        self.kind(kind);
        self.span(*timespan);
        self.list(condition, |writer, threshold| {
            writer.word(match threshold.op {
                ThresholdOp::Lt => "lt",
                ThresholdOp::Lte => "lte",
                ThresholdOp::Gt => "gt",
                ThresholdOp::Gte => "gte",
                ThresholdOp::Eq => "eq",
                ThresholdOp::Neq => "neq",
            });
            writer.literal(&threshold.value);
        });
        self.option(temporal.as_ref(), Self::temporal);
        self.word(match refire {
            Refire::Edge => "edge",
            Refire::Every => "every",
            Refire::Reset => "reset",
        });
        self.flag(*tumbling);
    }

    fn kind(&mut self, kind: &AggregateKind) {
        let (word, fields) = match kind {
            AggregateKind::EventCount => ("event_count", &[][..]),
            AggregateKind::ValueCount(fields) => ("value_count", fields.as_slice()),
            AggregateKind::Temporal => ("temporal", &[][..]),
            AggregateKind::TemporalOrdered => ("temporal_ordered", &[][..]),
            AggregateKind::ValueSum(field) => ("value_sum", std::slice::from_ref(field)),
            AggregateKind::ValueAvg(field) => ("value_avg", std::slice::from_ref(field)),
            AggregateKind::ValueMedian(field) => ("value_median", std::slice::from_ref(field)),
            AggregateKind::ValuePercentile(field, rank) => {
                self.number(*rank);
                ("value_percentile", std::slice::from_ref(field))
            }
        };
        self.word(word);
        self.fields(fields);
    }

    fn temporal(&mut self, condition: &TemporalCond) {
        match condition {
            TemporalCond::Reference(reference) => {
                self.word("reference");
                self.number(*reference);
            }
            TemporalCond::And(parts) => {
                self.word("and");
                self.list(parts, Self::temporal);
            }
            TemporalCond::Or(parts) => {
                self.word("or");
                self.list(parts, Self::temporal);
            }
            TemporalCond::Not(inner) => {
                self.word("not");
                self.temporal(inner);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step.role {
            Role::Event => self.word("event"),
            Role::State { first, count } => {
                self.word("state");
                self.number(first);
                self.number(count);
            }
            Role::Absent { gap, index } => {
                self.word("absent");
                self.number(gap);
                self.number(index);
            }
            Role::Until => self.word("until"),
            Role::Reference(reference) => {
                self.word("reference");
                self.number(reference);
            }
        }
        let plan = self.plan;
        self.number(plan.dimensions[step.dimension.0 as usize].hash);
        self.list(&step.key, |writer, key| {
            writer.field(key.field);
            writer.flag(key.optional);
        });
        self.condition(&plan.conditions[step.condition.0 as usize]);
    }

    fn condition(&mut self, condition: &Cond) {
        match condition {
            Cond::Const(value) => {
                self.word("const");
                self.option(*value, Self::flag);
            }
            Cond::Atom(atom) => {
                let plan = self.plan;
                self.atom(&plan.atoms[atom.0 as usize]);
            }
            Cond::And(parts) => {
                self.word("and");
                self.list(parts, Self::condition);
            }
            Cond::Or(parts) => {
                self.word("or");
                self.list(parts, Self::condition);
            }
            Cond::Not(inner) => {
                self.word("not");
                self.condition(inner);
            }
        }
    }

    fn atom(&mut self, atom: &Atom) {
        match atom {
            Atom::Field { field, optional, predicate } => {
                self.word("test");
                self.field(*field);
                self.flag(*optional);
                self.predicate(predicate);
            }
            Atom::Expr(expr) => {
                self.word("expr");
                self.expr(expr);
            }
        }
    }

    fn predicate(&mut self, predicate: &Predicate) {
        match predicate {
            Predicate::Equals { values, ignore_case } => {
                self.word("equals");
                self.flag(*ignore_case);
                self.list(values, Self::literal);
            }
            Predicate::Wildcard { patterns, ignore_case } => {
                self.word("wildcard");
                self.flag(*ignore_case);
                self.list(patterns, |writer, pattern| writer.list(&pattern.0, Self::piece));
            }
            Predicate::Regex { patterns, ignore_case } => {
                self.word("regex");
                self.flag(*ignore_case);
                self.list(patterns, |writer, pattern| writer.word(pattern));
            }
            Predicate::Compare { op, value } => {
                self.compare(*op);
                self.literal(value);
            }
            Predicate::Cidr { blocks } => {
                self.word("cidr");
                self.list(blocks, |writer, block| writer.word(&format!("{}/{}", block.address, block.prefix)));
            }
            Predicate::IsNull => self.word("is null"),
            Predicate::Exists => self.word("exists"),
            Predicate::IsTrue => self.word("is true"),
        }
    }

    fn piece(&mut self, piece: &WildcardPiece) {
        match piece {
            WildcardPiece::Text(text) => {
                self.word("text");
                self.word(text);
            }
            WildcardPiece::One => self.word("one"),
            WildcardPiece::Any => self.word("any"),
        }
    }

    fn compare(&mut self, op: CompareOp) {
        self.word(match op {
            CompareOp::Lt => "<",
            CompareOp::Le => "<=",
            CompareOp::Gt => ">",
            CompareOp::Ge => ">=",
        });
    }

    fn literal(&mut self, literal: &Literal) {
        match literal {
            Literal::Null => self.word("null"),
            Literal::Bool(value) => self.flag(*value),
            Literal::Int(value) => {
                self.word("integer");
                self.number(*value);
            }
            Literal::Uint(value) => {
                self.word("integer");
                self.number(*value);
            }
            Literal::Float(value) => {
                self.word("float");
                self.number(value.to_bits());
            }
            Literal::Str(text) => {
                self.word("text");
                self.word(text);
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(literal) => self.literal(literal),
            Expr::Field { field, optional } => {
                self.field(*field);
                self.flag(*optional);
            }
            Expr::Neg(inner) => {
                self.word("negative");
                self.expr(inner);
            }
            Expr::Arithmetic { op, left, right } => {
                self.word(match op {
                    ArithmeticOp::Add => "+",
                    ArithmeticOp::Sub => "-",
                    ArithmeticOp::Mul => "*",
                    ArithmeticOp::Div => "/",
                    ArithmeticOp::Rem => "%",
                });
                self.both(left, right);
            }
            Expr::Equals { left, right, ignore_case } => {
                self.word("==");
                self.flag(*ignore_case);
                self.both(left, right);
            }
            Expr::Compare { op, left, right } => {
                self.compare(*op);
                self.both(left, right);
            }
            Expr::Test { value, predicate } => {
                self.word("test");
                self.expr(value);
                self.predicate(predicate);
            }
            Expr::Call { function, arguments, ignore_case } => {
                self.word("call");
                self.word(function::of(*function).map_or("", |signature| signature.name));
                self.flag(*ignore_case);
                self.list(arguments, Self::expr);
            }
            Expr::And(parts) => {
                self.word("and");
                self.list(parts, Self::expr);
            }
            Expr::Or(parts) => {
                self.word("or");
                self.list(parts, Self::expr);
            }
            Expr::Not(inner) => {
                self.word("not");
                self.expr(inner);
            }
        }
    }

    fn both(&mut self, left: &Expr, right: &Expr) {
        self.expr(left);
        self.expr(right);
    }
}
