//! Triggers: single facts about one field that the index finds without looking at any rule, and the few of them of which
//! one must hold for an atom, and for a condition, to hold.

use std::collections::HashMap;

use super::compare::{Number, fold};
use super::literal::required;
use super::matcher::{address_bits, network};
use crate::event::FieldId;
use crate::rules::plan::{
    Atom, CidrBlock, CompareOp, Cond, Expr, Function, Literal, Plan, Predicate, WildcardPattern, WildcardPiece,
};

/// A fact about one field; of an array, about any of its elements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Trigger {
    pub field: FieldId,
    pub fact: Fact,
}

/// What a [`Trigger`] says of its field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Fact {
    /// It is this text.
    Text(String),
    /// It is this text once its case is folded.
    Folded(String),
    Number(Number),
    Bool(bool),
    /// This text occurs in it.
    Contains(String),
    /// This text occurs in it once its case is folded.
    ContainsFolded(String),
    NumberBound(CompareOp, Number),
    TextBound(CompareOp, String),
    /// It is an address in the block of this family (bits), network and prefix length.
    Block(u32, u128, u8),
    NonNull,
    /// Its path is there, maybe with null.
    Present,
    Null,
}

/// Triggers of which one must hold; `None`: nothing is known, the condition is always a candidate. Empty: it never holds.
pub(super) type Witness = Option<Vec<Trigger>>;

impl Trigger {
    /// How often an event is expected to have it, against a rare equality (1). Rough: what matters is the order.
    fn frequency(&self) -> f64 {
        match &self.fact {
            // There are few categories, and every event has one.
            Fact::Text(_) | Fact::Folded(_) if self.field == FieldId::CATEGORY => 300.0,
            Fact::Text(_) | Fact::Folded(_) => 1.0,
            Fact::Number(_) => 2.0,
            Fact::Contains(text) | Fact::ContainsFolded(text) => match text.len() {
                0 | 1 => 400.0,
                2 => 80.0,
                3 => 20.0,
                4 | 5 => 8.0,
                _ => 4.0,
            },
            Fact::Block(..) => 20.0,
            Fact::NumberBound(..) => 100.0,
            Fact::TextBound(..) => 200.0,
            Fact::Bool(_) => 400.0,
            Fact::NonNull | Fact::Present => 500.0,
            Fact::Null => 1000.0,
        }
    }
}

/// Chooses for each condition of a plan the witness that is expected to be rarest.
pub(super) fn witnesses(plan: &Plan) -> Vec<Witness> {
    let mut chooser = Chooser {
        of_true: plan.atoms.iter().map(if_true).collect(),
        of_false: plan.atoms.iter().map(if_false).collect(),
        shared: HashMap::new(),
    };
    for condition in &plan.conditions {
        chooser.count(condition, true);
    }
    let chosen = plan.conditions.iter().map(|condition| chooser.choose(condition, true));
    chosen.map(|choice| choice.map(|(triggers, _)| triggers.into_iter().cloned().collect())).collect()
}

struct Chooser {
    of_true: Vec<Witness>,
    of_false: Vec<Witness>,
    /// How many conditions could have a trigger as witness. What many rules ask for is common in the events they were
    /// written for, so of two equalities the one that fewer rules share is the better witness.
    shared: HashMap<Trigger, u32>,
}

impl Chooser {
    fn of_atom(&self, atom: usize, truth: bool) -> &Witness {
        let table = if truth { &self.of_true } else { &self.of_false };
        table.get(atom).unwrap_or(&None)
    }

    fn count(&mut self, condition: &Cond, truth: bool) {
        match condition {
            Cond::Const(_) => {}
            Cond::Atom(atom) => {
                let triggers = self.of_atom(atom.0 as usize, truth).clone();
                for trigger in triggers.into_iter().flatten() {
                    *self.shared.entry(trigger).or_default() += 1;
                }
            }
            Cond::And(parts) | Cond::Or(parts) => parts.iter().for_each(|part| self.count(part, truth)),
            Cond::Not(inner) => self.count(inner, !truth),
        }
    }

    /// The witness for `condition` being `truth`, and its expected cost.
    fn choose<'a>(&'a self, condition: &Cond, truth: bool) -> Option<(Vec<&'a Trigger>, f64)> {
        match condition {
            Cond::Const(value) if *value == Some(truth) => None,
            Cond::Const(_) => Some((Vec::new(), 0.0)),
            Cond::Atom(atom) => {
                let triggers: Vec<_> = self.of_atom(atom.0 as usize, truth).as_ref()?.iter().collect();
                let cost = |t: &&Trigger| t.frequency() * f64::from(1 + self.shared.get(*t).copied().unwrap_or(0));
                let cost = triggers.iter().map(cost).sum();
                Some((triggers, cost))
            }
            Cond::Not(inner) => self.choose(inner, !truth),
            Cond::And(parts) if truth => self.rarest(parts, truth),
            Cond::Or(parts) if !truth => self.rarest(parts, truth),
            Cond::And(parts) | Cond::Or(parts) => {
                let mut union = (Vec::new(), 0.0);
                for part in parts {
                    let (triggers, cost) = self.choose(part, truth)?;
                    union.0.extend(triggers);
                    union.1 += cost;
                }
                Some(union)
            }
        }
    }

    /// All of `parts` must be `truth`: any one's witness will do.
    fn rarest<'a>(&'a self, parts: &[Cond], truth: bool) -> Option<(Vec<&'a Trigger>, f64)> {
        parts.iter().filter_map(|part| self.choose(part, truth)).min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// What must be so for an atom to be true.
fn if_true(atom: &Atom) -> Witness {
    let (field, predicate) = match atom {
        Atom::Expr(expr) => return expr_if_true(expr),
        Atom::Field { field, predicate, .. } => (*field, predicate),
    };
    let one = |fact: Fact| vec![fact];
    let facts = match predicate {
        Predicate::Equals { values, ignore_case } => values.iter().filter_map(|v| equal(v, *ignore_case)).collect(),
        Predicate::Wildcard { patterns, ignore_case } => patterns.iter().map(|p| wildcard(p, *ignore_case)).collect(),
        Predicate::Regex { patterns, ignore_case } => {
            let texts = patterns.iter().map(|p| required(p, *ignore_case)).collect::<Option<Vec<_>>>();
            texts.map_or_else(
                || one(Fact::NonNull),
                |texts| texts.into_iter().flatten().map(Fact::ContainsFolded).collect(),
            )
        }
        Predicate::Compare { op, value } => match (Number::of_literal(value), value) {
            (Some(number), _) => one(Fact::NumberBound(*op, number)),
            (None, Literal::Str(text)) => one(Fact::TextBound(*op, text.clone())),
            _ => Vec::new(),
        },
        Predicate::Cidr { blocks } => blocks.iter().map(block).collect(),
        Predicate::IsNull => one(Fact::Null),
        Predicate::Exists => one(Fact::Present),
        Predicate::IsTrue => one(Fact::Bool(true)),
    };
    // One that holds for any value makes the others pointless.
    let facts = if facts.contains(&Fact::NonNull) { one(Fact::NonNull) } else { facts };
    Some(facts.into_iter().map(|fact| Trigger { field, fact }).collect())
}

/// What must be so for an atom to be false (not null).
fn if_false(atom: &Atom) -> Witness {
    let trigger = match atom {
        Atom::Expr(expr) => Trigger { field: null_with(expr)?, fact: Fact::NonNull },
        Atom::Field { field, predicate: Predicate::Exists, .. } => Trigger { field: *field, fact: Fact::Null },
        Atom::Field { field, predicate: Predicate::IsNull, .. } => Trigger { field: *field, fact: Fact::NonNull },
        Atom::Field { optional: true, .. } => return None,
        Atom::Field { field, .. } => Trigger { field: *field, fact: Fact::NonNull },
    };
    Some(vec![trigger])
}

fn equal(value: &Literal, ignore_case: bool) -> Option<Fact> {
    match value {
        Literal::Null => None,
        Literal::Bool(b) => Some(Fact::Bool(*b)),
        Literal::Str(text) if ignore_case => Some(Fact::Folded(fold(text))),
        Literal::Str(text) => Some(Fact::Text(text.clone())),
        number => Number::of_literal(number).map(Fact::Number),
    }
}

fn wildcard(pattern: &WildcardPattern, ignore_case: bool) -> Fact {
    match &*pattern.0 {
        [] => return Fact::Text(String::new()),
        [WildcardPiece::Text(text)] if ignore_case => return Fact::Folded(fold(text)),
        [WildcardPiece::Text(text)] => return Fact::Text(text.clone()),
        _ => {}
    }
    let text = |piece: &WildcardPiece| match piece {
        WildcardPiece::Text(text) => Some(text.clone()),
        _ => None,
    };
    pattern.0.iter().filter_map(text).max_by_key(String::len).map_or(Fact::NonNull, |t| containing(&t, ignore_case))
}

fn containing(text: &str, ignore_case: bool) -> Fact {
    if text.is_empty() {
        Fact::NonNull
    } else if ignore_case {
        Fact::ContainsFolded(fold(text))
    } else {
        Fact::Contains(text.to_owned())
    }
}

fn block(block: &CidrBlock) -> Fact {
    let (address, bits) = address_bits(block.address);
    Fact::Block(bits, network(address, bits, block.prefix), block.prefix)
}

fn expr_if_true(expr: &Expr) -> Witness {
    match expr {
        Expr::And(parts) => {
            let frequency = |triggers: &Vec<Trigger>| triggers.iter().map(Trigger::frequency).sum::<f64>();
            parts.iter().filter_map(expr_if_true).min_by(|a, b| frequency(a).total_cmp(&frequency(b)))
        }
        Expr::Or(parts) => Some(parts.iter().map(expr_if_true).collect::<Option<Vec<_>>>()?.concat()),
        Expr::Call {
            function: Function::StartsWith | Function::EndsWith | Function::StringContains,
            arguments,
            ignore_case,
        } => match &**arguments {
            [Expr::Field { field, .. }, Expr::Literal(Literal::Str(text))] => {
                Some(vec![Trigger { field: *field, fact: containing(text, *ignore_case) }])
            }
            _ => null_with(expr).map(|field| vec![Trigger { field, fact: Fact::NonNull }]),
        },
        _ => null_with(expr).map(|field| vec![Trigger { field, fact: Fact::NonNull }]),
    }
}

/// A field whose being null makes the expression null.
fn null_with(expr: &Expr) -> Option<FieldId> {
    match expr {
        Expr::Field { field, optional: false } => Some(*field),
        Expr::Literal(_) | Expr::Field { .. } | Expr::And(_) | Expr::Or(_) => None,
        Expr::Not(inner) | Expr::Neg(inner) => null_with(inner),
        Expr::Arithmetic { left, right, .. } | Expr::Compare { left, right, .. } => {
            null_with(left).or_else(|| null_with(right))
        }
        Expr::Equals { left, right, .. } => {
            // `x == null` is never null, nor is `x == ?y`.
            let written_null =
                |e: &Expr| matches!(e, Expr::Literal(Literal::Null) | Expr::Field { optional: true, .. });
            if written_null(left) || written_null(right) {
                return None;
            }
            null_with(left).or_else(|| null_with(right))
        }
        Expr::Test { predicate: Predicate::IsNull | Predicate::Exists, .. } => None,
        Expr::Test { value, .. } => null_with(value),
        // The first argument is never an optional one.
        Expr::Call { arguments, .. } => arguments.first().and_then(null_with),
    }
}
