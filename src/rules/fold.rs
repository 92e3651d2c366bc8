//! Constant folding: what can be decided before any event is seen. Where a result would not be exact in the literal's own
//! type it is left to the evaluator, so folding never changes a meaning.

use std::cmp::Ordering;

use super::plan::{ArithmeticOp, CompareOp, Expr, Literal};

/// A truth value as a literal; `None` is null.
pub(super) fn truth(value: Option<bool>) -> Expr {
    Expr::Literal(value.map_or(Literal::Null, Literal::Bool))
}

fn integer(literal: &Literal) -> Option<i128> {
    match literal {
        Literal::Int(n) => Some(i128::from(*n)),
        Literal::Uint(n) => Some(i128::from(*n)),
        _ => None,
    }
}

fn float(literal: &Literal) -> Option<f64> {
    match literal {
        Literal::Int(n) => Some(*n as f64),
        Literal::Uint(n) => Some(*n as f64),
        Literal::Float(n) => Some(*n),
        _ => None,
    }
}

fn from_integer(value: i128) -> Option<Literal> {
    if let Ok(n) = i64::try_from(value) {
        return Some(Literal::Int(n));
    }
    u64::try_from(value).ok().map(Literal::Uint)
}

/// `-literal`, if that is a literal.
pub(super) fn negative(literal: &Literal) -> Option<Literal> {
    match literal {
        Literal::Float(n) => Some(Literal::Float(-n)),
        _ => from_integer(-integer(literal)?),
    }
}

/// The result of an operator on two literals, if that is a number. Integers stay exact. A null that is computed (division
/// by zero, arithmetic with null) is not folded: a comparison with it is null, with a written `null` it is not.
pub(super) fn arithmetic(op: ArithmeticOp, left: &Literal, right: &Literal) -> Option<Literal> {
    if let (Some(a), Some(b)) = (integer(left), integer(right)) {
        return match op {
            ArithmeticOp::Add => from_integer(a + b),
            ArithmeticOp::Sub => from_integer(a - b),
            ArithmeticOp::Mul => from_integer(a.checked_mul(b)?),
            ArithmeticOp::Div | ArithmeticOp::Rem if b == 0 => None,
            ArithmeticOp::Div => from_integer(a / b),
            ArithmeticOp::Rem => from_integer(a % b),
        };
    }
    let (a, b) = (float(left)?, float(right)?);
    let result = match op {
        ArithmeticOp::Add => a + b,
        ArithmeticOp::Sub => a - b,
        ArithmeticOp::Mul => a * b,
        ArithmeticOp::Div | ArithmeticOp::Rem if b == 0.0 => return None,
        ArithmeticOp::Div => a / b,
        ArithmeticOp::Rem => a % b,
    };
    result.is_finite().then_some(Literal::Float(result))
}

/// Order of two literals of one kind; numbers exactly, text by code point. `None`: not decided here.
fn order(left: &Literal, right: &Literal) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (integer(left), integer(right)) {
        return Some(a.cmp(&b));
    }
    match (left, right) {
        (Literal::Str(a), Literal::Str(b)) => Some(a.cmp(b)),
        (Literal::Bool(a), Literal::Bool(b)) => Some(a.cmp(b)),
        (Literal::Float(a), Literal::Float(b)) => a.partial_cmp(b),
        _ => {
            // An integer beyond 2^53 has no exact float: left to the evaluator.
            let exact = |literal: &Literal| match integer(literal) {
                Some(n) if n.unsigned_abs() > 1 << 53 => None,
                _ => float(literal),
            };
            exact(left)?.partial_cmp(&exact(right)?)
        }
    }
}

/// `left == right` of two literals, if it can be decided here. Only null equals null.
pub(super) fn equals(left: &Literal, right: &Literal, ignore_case: bool) -> Option<bool> {
    match (left, right) {
        (Literal::Null, other) | (other, Literal::Null) => Some(*other == Literal::Null),
        // Case is folded by the evaluator, in its way; only what is equal without folding is certain.
        (Literal::Str(a), Literal::Str(b)) if ignore_case => (a == b).then_some(true),
        _ => match order(left, right) {
            Some(order) => Some(order == Ordering::Equal),
            None if float(left).is_some() && float(right).is_some() => None,
            None => Some(false),
        },
    }
}

/// `left op right` of two literals, if it can be decided here: outer `None` if not, inner `None` is null.
pub(super) fn compare(op: CompareOp, left: &Literal, right: &Literal) -> Option<Option<bool>> {
    if *left == Literal::Null || *right == Literal::Null {
        return Some(None);
    }
    let order = order(left, right)?;
    Some(Some(match op {
        CompareOp::Lt => order == Ordering::Less,
        CompareOp::Le => order != Ordering::Greater,
        CompareOp::Gt => order == Ordering::Greater,
        CompareOp::Ge => order != Ordering::Less,
    }))
}

/// The operator with its sides exchanged.
pub(super) fn flipped(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::Le => CompareOp::Ge,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::Ge => CompareOp::Le,
    }
}

/// Kleene's and (`all`) or or, flattened; constants that decide or do nothing are folded away.
pub(super) fn junction(parts: Vec<Expr>, all: bool) -> Expr {
    let mut flat: Vec<Expr> = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Expr::And(inner) if all => flat.extend(inner),
            Expr::Or(inner) if !all => flat.extend(inner),
            other => flat.push(other),
        }
    }
    let decides = Expr::Literal(Literal::Bool(!all));
    if flat.contains(&decides) {
        return decides;
    }
    flat.retain(|part| *part != Expr::Literal(Literal::Bool(all)));
    let mut kept: Vec<Expr> = Vec::with_capacity(flat.len());
    for part in flat {
        // Quadratic only for short lists: a generated list of thousands of alternatives is kept as it is.
        if kept.len() > 64 || !kept.contains(&part) {
            kept.push(part);
        }
    }
    match kept.len() {
        0 => Expr::Literal(Literal::Bool(all)),
        1 => kept.swap_remove(0),
        _ if all => Expr::And(kept),
        _ => Expr::Or(kept),
    }
}

/// Kleene's not.
pub(super) fn not(inner: Expr) -> Expr {
    match inner {
        Expr::Literal(Literal::Bool(value)) => truth(Some(!value)),
        Expr::Literal(Literal::Null) => truth(None),
        Expr::Not(inner) => *inner,
        other => Expr::Not(Box::new(other)),
    }
}
