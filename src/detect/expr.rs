//! Expressions over one event, compiled and evaluated as trees. This is the slow way, for what no single predicate says.

use std::borrow::Cow;

use super::compare::{Number, fold, folds_to, satisfies};
use super::function::call;
use super::matcher::Matcher;
use crate::event::{FieldId, Projected, Val};
use crate::limits;
use crate::rules::plan::{ArithmeticOp, CompareOp, Expr, Function, Literal};

/// A computed value. Integers and floats are kept apart, because `/` treats them differently.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Computed<'a> {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Cow<'a, str>),
    /// An object, which equals nothing and is no argument of any function.
    Object,
    /// The values of an array, none of them an array: any of them will do.
    List(Vec<Computed<'a>>),
}

impl<'a> From<Val<'a>> for Computed<'a> {
    fn from(value: Val<'a>) -> Self {
        match value {
            Val::Absent | Val::Null => Computed::Null,
            Val::Bool(b) => Computed::Bool(b),
            Val::Int(i) => Computed::Int(i.into()),
            Val::Uint(u) => Computed::Int(u.into()),
            Val::Float(f) => Computed::Float(f),
            Val::Str(s) => Computed::Text(s.into()),
            Val::Object(_) => Computed::Object,
            Val::Array(elements) => Computed::List(elements.iter().map(Computed::from).collect()),
        }
    }
}

impl<'a> From<&'a Literal> for Computed<'a> {
    fn from(literal: &'a Literal) -> Self {
        match literal {
            Literal::Null => Computed::Null,
            Literal::Bool(b) => Computed::Bool(*b),
            Literal::Int(i) => Computed::Int((*i).into()),
            Literal::Uint(u) => Computed::Int((*u).into()),
            Literal::Float(f) => Computed::Float(*f),
            Literal::Str(s) => Computed::Text(s.into()),
        }
    }
}

impl Computed<'_> {
    fn number(&self) -> Option<Number> {
        match *self {
            Computed::Int(i) => Some(Number::Int(i)),
            Computed::Float(f) => Some(f.into()),
            _ => None,
        }
    }

    /// As a predicate sees it. An integer beyond `u64` is only there as the nearest float.
    fn val(&self) -> Val<'_> {
        match self {
            Computed::Bool(b) => Val::Bool(*b),
            Computed::Int(i) => match (i64::try_from(*i), u64::try_from(*i)) {
                (Ok(int), _) => Val::Int(int),
                (_, Ok(uint)) => Val::Uint(uint),
                _ => Val::Float(*i as f64),
            },
            Computed::Float(f) => Val::Float(*f),
            Computed::Text(text) => Val::Str(text),
            Computed::Object => Val::Object("{}"),
            Computed::Null | Computed::List(_) => Val::Null,
        }
    }

    /// As a condition: a boolean is itself, null is null, anything else does not hold.
    fn truth(&self) -> Option<bool> {
        match self {
            Computed::Null => None,
            Computed::List(values) => Some(values.contains(&Computed::Bool(true))),
            value => Some(*value == Computed::Bool(true)),
        }
    }

    /// Whether `test` holds for any pair of values of the two sides; null if a side is null.
    fn any_pair(&self, other: &Computed<'_>, test: &dyn Fn(&Computed<'_>, &Computed<'_>) -> bool) -> Option<bool> {
        match (self, other) {
            (Computed::Null, _) | (_, Computed::Null) => None,
            (Computed::List(values), other) => Some(values.iter().any(|v| v.any_pair(other, test) == Some(true))),
            (value, Computed::List(others)) => Some(others.iter().any(|o| value.any_pair(o, test) == Some(true))),
            (value, other) => Some(test(value, other)),
        }
    }
}

/// A compiled [`Expr`].
#[derive(Debug)]
pub(super) enum Node {
    Literal(Literal),
    Field(FieldId, bool),
    Equals(Box<[Node; 2]>, bool),
    Compare(CompareOp, Box<[Node; 2]>),
    Test(Box<Node>, Matcher),
    Call(Function, Vec<Node>, bool),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
}

impl Node {
    /// Compiles an expression; see [`Matcher::new`] for `problems`.
    pub fn new(expr: &Expr, problems: &mut Vec<String>) -> Node {
        let mut all = |exprs: &[Expr]| exprs.iter().map(|e| Node::new(e, problems)).collect::<Vec<_>>();
        match expr {
            Expr::Literal(literal) => Node::Literal(literal.clone()),
            Expr::Field { field, optional } => Node::Field(*field, *optional),
            Expr::Neg(value) => {
                let zero = Node::Literal(Literal::Int(0));
                Node::Call(Function::Subtract, vec![zero, Node::new(value, problems)], false)
            }
            Expr::Arithmetic { op, left, right } => {
                let function = match op {
                    ArithmeticOp::Add => Function::Add,
                    ArithmeticOp::Sub => Function::Subtract,
                    ArithmeticOp::Mul => Function::Multiply,
                    ArithmeticOp::Div => Function::Divide,
                    ArithmeticOp::Rem => Function::Modulo,
                };
                Node::Call(function, vec![Node::new(left, problems), Node::new(right, problems)], false)
            }
            Expr::Equals { left, right, ignore_case } => {
                Node::Equals(Box::new([Node::new(left, problems), Node::new(right, problems)]), *ignore_case)
            }
            Expr::Compare { op, left, right } => {
                Node::Compare(*op, Box::new([Node::new(left, problems), Node::new(right, problems)]))
            }
            Expr::Test { value, predicate } => {
                Node::Test(Box::new(Node::new(value, problems)), Matcher::new(predicate, problems))
            }
            Expr::Call { function, arguments, ignore_case } => Node::Call(*function, all(arguments), *ignore_case),
            Expr::And(parts) => Node::And(all(parts)),
            Expr::Or(parts) => Node::Or(all(parts)),
            Expr::Not(inner) => Node::Not(Box::new(Node::new(inner, problems))),
        }
    }

    /// The expression as a condition.
    pub fn truth(&self, event: &Projected) -> Option<bool> {
        self.evaluate(event).truth()
    }

    fn evaluate<'a>(&'a self, event: &'a Projected) -> Computed<'a> {
        let truth = match self {
            Node::Literal(literal) => return literal.into(),
            Node::Field(field, _) => return event.get(*field).into(),
            Node::Call(function, arguments, ignore_case) => {
                let arguments: Vec<_> = arguments.iter().map(|a| a.evaluate(event)).collect();
                let mut budget = limits::ARRAY_ELEMENTS_MAX;
                return call_each(*function, arguments, *ignore_case, &mut budget);
            }
            Node::Equals(sides, ignore_case) => equals(sides, *ignore_case, event),
            Node::Compare(op, sides) => {
                let [left, right] = sides.each_ref().map(|side| side.evaluate(event));
                left.any_pair(&right, &|a, b| ordered(*op, a, b))
            }
            Node::Test(value, matcher) => test(value, matcher, event),
            Node::And(parts) => all_of(parts.iter().map(|p| p.truth(event))),
            Node::Or(parts) => all_of(parts.iter().map(|p| p.truth(event).map(|t| !t))).map(|t| !t),
            Node::Not(inner) => inner.truth(event).map(|t| !t),
        };
        truth.map_or(Computed::Null, Computed::Bool)
    }

    /// Whether this is `null` as if written so: the word itself, or an optional field that is not there.
    fn is_written_null(&self, value: &Computed<'_>) -> bool {
        matches!(self, Node::Literal(Literal::Null) | Node::Field(_, true)) && *value == Computed::Null
    }
}

/// Kleene's conjunction.
fn all_of(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(true);
    for part in parts {
        match part {
            Some(false) => return Some(false),
            None => result = None,
            Some(true) => {}
        }
    }
    result
}

fn equals(sides: &[Node; 2], ignore_case: bool, event: &Projected) -> Option<bool> {
    let [left, right] = sides.each_ref().map(|side| side.evaluate(event));
    if sides[0].is_written_null(&left) || sides[1].is_written_null(&right) {
        return Some(left == Computed::Null && right == Computed::Null);
    }
    left.any_pair(&right, &|a, b| match (a, b) {
        (Computed::Text(a), Computed::Text(b)) if ignore_case => folds_to(a, &fold(b)),
        (Computed::Text(a), Computed::Text(b)) => a == b,
        (Computed::Bool(a), Computed::Bool(b)) => a == b,
        (a, b) => a.number().is_some_and(|a| Some(a) == b.number()),
    })
}

fn ordered(op: CompareOp, a: &Computed<'_>, b: &Computed<'_>) -> bool {
    let order = match (a, b) {
        (Computed::Text(a), Computed::Text(b)) => Some(a.cmp(b)),
        (a, b) => a.number().zip(b.number()).and_then(|(a, b)| a.compare(b)),
    };
    order.is_some_and(|order| satisfies(op, order))
}

fn test(node: &Node, matcher: &Matcher, event: &Projected) -> Option<bool> {
    let mut scratch = String::new();
    if let Node::Field(field, optional) = node {
        return matcher.test(event.get(*field), &mut scratch).or(optional.then_some(false));
    }
    match node.evaluate(event) {
        Computed::List(values) => {
            Some(values.iter().any(|v| *v != Computed::Null && matcher.test(v.val(), &mut scratch) == Some(true)))
        }
        value => matcher.test(value.val(), &mut scratch),
    }
}

/// Calls a function; with a list among its arguments, once for each of its values, and the list of results is the result.
/// `budget` bounds how often, whatever the lists.
fn call_each<'a>(
    function: Function,
    mut arguments: Vec<Computed<'a>>,
    ignore_case: bool,
    budget: &mut usize,
) -> Computed<'a> {
    let Some(at) = arguments.iter().position(|a| matches!(a, Computed::List(_))) else {
        *budget = budget.saturating_sub(1);
        return call(function, &arguments, ignore_case);
    };
    let Computed::List(values) = std::mem::replace(&mut arguments[at], Computed::Null) else { return Computed::Null };
    let mut results = Vec::new();
    for value in values {
        if *budget == 0 {
            break;
        }
        let mut chosen = arguments.clone();
        chosen[at] = value;
        match call_each(function, chosen, ignore_case, budget) {
            Computed::Null => {}
            Computed::List(more) => results.extend(more),
            result => results.push(result),
        }
    }
    if results.is_empty() { Computed::Null } else { Computed::List(results) }
}
