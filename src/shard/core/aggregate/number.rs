//! Numbers of events and thresholds, compared exactly: integers beyond 2^53 and fractions alike.

use std::cmp::Ordering;

use crate::event::{MeasuredValue, Val};
use crate::rules::plan::{Literal, Threshold, ThresholdOp};

/// A usable number: finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    /// The number of a field's value; text, booleans, arrays and what JSON calls infinite are not numbers.
    pub(super) fn of(value: Val<'_>) -> Option<Number> {
        match value {
            Val::Int(i) => Some(Number::Int(i.into())),
            Val::Uint(u) => Some(Number::Int(u.into())),
            Val::Float(f) if f.is_finite() => Some(Number::Float(f)),
            _ => None,
        }
    }

    pub(super) fn to_f64(self) -> f64 {
        match self {
            Number::Int(i) => i as f64,
            Number::Float(f) => f,
        }
    }
}

/// Whether a measured value satisfies a comparison; null (`None`) satisfies none.
pub(super) fn holds(measured: Option<MeasuredValue>, threshold: &Threshold) -> bool {
    let Some(order) = measured.and_then(|measured| compare(measured, &threshold.value)) else { return false };
    match threshold.op {
        ThresholdOp::Lt => order.is_lt(),
        ThresholdOp::Lte => order.is_le(),
        ThresholdOp::Gt => order.is_gt(),
        ThresholdOp::Gte => order.is_ge(),
        ThresholdOp::Eq => order.is_eq(),
        ThresholdOp::Neq => order.is_ne(),
    }
}

fn compare(measured: MeasuredValue, with: &Literal) -> Option<Ordering> {
    let with = match *with {
        Literal::Int(i) => Number::Int(i.into()),
        Literal::Uint(u) => Number::Int(u.into()),
        Literal::Float(f) => Number::Float(f),
        Literal::Null | Literal::Bool(_) | Literal::Str(_) => return None,
    };
    match (measured, with) {
        (MeasuredValue::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
        (MeasuredValue::Float(a), Number::Float(b)) => a.partial_cmp(&b),
        (MeasuredValue::Int(a), Number::Float(b)) => compare_exactly(a, b),
        (MeasuredValue::Float(a), Number::Int(b)) => compare_exactly(b, a).map(Ordering::reverse),
    }
}

/// An integer against a float, without rounding either.
fn compare_exactly(int: i128, float: f64) -> Option<Ordering> {
    const I128_END: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0; // 2^127, exact
    if float.is_nan() {
        None
    } else if float >= I128_END {
        Some(Ordering::Less)
    } else if float < -I128_END {
        Some(Ordering::Greater)
    } else {
        // The whole part is exact; equal whole parts are decided by the fraction.
        let whole = float.trunc();
        let fraction = float - whole;
        Some(int.cmp(&(whole as i128)).then_with(|| 0.0f64.partial_cmp(&fraction).unwrap_or(Ordering::Equal)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_compare_exactly() {
        let big = (1i128 << 53) + 1;
        assert_eq!(compare_exactly(big, (1i64 << 53) as f64), Some(Ordering::Greater));
        assert_eq!(compare_exactly(2, 2.5), Some(Ordering::Less));
        assert_eq!(compare_exactly(-2, -2.5), Some(Ordering::Greater));
        assert_eq!(compare_exactly(3, 3.0), Some(Ordering::Equal));
        assert_eq!(compare_exactly(i128::MAX, f64::INFINITY), Some(Ordering::Less));
        assert_eq!(compare_exactly(i128::MIN, f64::NEG_INFINITY), Some(Ordering::Greater));
        assert_eq!(compare_exactly(0, f64::NAN), None);
    }
}
