//! What it means for two values to be equal, ordered, or equal but for case.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use crate::event::Val;
use crate::rules::plan::{CompareOp, Literal};

/// A number in one canonical form, so that `1`, `1.0` and `1e0` are one value and nothing is rounded to be compared.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    /// Every integral value within `i128`.
    Int(i128),
    /// A fraction, or beyond `i128`.
    Float(f64),
}

const I128_END: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0; // 2^127, exact

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        if value.fract() == 0.0 && (-I128_END..I128_END).contains(&value) {
            Number::Int(value as i128)
        } else {
            Number::Float(value)
        }
    }
}

impl Number {
    pub fn of(value: Val<'_>) -> Option<Number> {
        match value {
            Val::Int(i) => Some(Number::Int(i.into())),
            Val::Uint(u) => Some(Number::Int(u.into())),
            Val::Float(f) => Some(f.into()),
            _ => None,
        }
    }

    pub fn of_literal(value: &Literal) -> Option<Number> {
        match *value {
            Literal::Int(i) => Some(Number::Int(i.into())),
            Literal::Uint(u) => Some(Number::Int(u.into())),
            Literal::Float(f) => Some(f.into()),
            _ => None,
        }
    }

    /// `None` only for NaN, which no payload can hold.
    pub fn compare(self, other: Number) -> Option<Ordering> {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
            (Number::Float(a), Number::Float(b)) => a.partial_cmp(&b),
            (Number::Float(_), Number::Int(_)) => other.compare(self).map(Ordering::reverse),
            (Number::Int(_), Number::Float(b)) if b.is_nan() => None,
            (Number::Int(_), Number::Float(b)) if b >= I128_END => Some(Ordering::Less),
            (Number::Int(_), Number::Float(b)) if b < -I128_END => Some(Ordering::Greater),
            // `b` is a fraction: strictly between its floor and the integer above.
            (Number::Int(a), Number::Float(b)) => {
                Some(if a <= b.floor() as i128 { Ordering::Less } else { Ordering::Greater })
            }
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a == b,
            (Number::Float(a), Number::Float(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }
}
impl Eq for Number {}
impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Number::Int(i) => state.write_i128(*i),
            Number::Float(f) => state.write_u64(f.to_bits()),
        }
    }
}

/// Whether an order satisfies an operator.
pub(super) fn satisfies(op: CompareOp, order: Ordering) -> bool {
    match op {
        CompareOp::Lt => order.is_lt(),
        CompareOp::Le => order.is_le(),
        CompareOp::Gt => order.is_gt(),
        CompareOp::Ge => order.is_ge(),
    }
}

/// One character with its case folded, always to one character, so that `?` and positions mean the same before and after.
///
/// Lower case of upper case, where both are single characters: Unicode's simple folding in all but a handful of rare
/// letters. Dotless `ı` is not `i`.
#[inline]
pub(super) fn fold_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    if c == 'ı' {
        return c;
    }
    let upper = single(c.to_uppercase()).unwrap_or(c);
    single(upper.to_lowercase()).unwrap_or(c)
}

fn single(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let only = chars.next()?;
    chars.next().is_none().then_some(only)
}

/// Appends `text` with its case folded.
pub(super) fn fold_into(text: &str, out: &mut String) {
    if text.is_ascii() {
        let start = out.len();
        out.push_str(text);
        if let Some(copied) = out.get_mut(start..) {
            copied.make_ascii_lowercase();
        }
    } else {
        out.extend(text.chars().map(fold_char));
    }
}

/// `text` with its case folded.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    fold_into(text, &mut folded);
    folded
}

/// Whether `text` folds to `folded`.
#[inline]
pub(super) fn folds_to(text: &str, folded: &str) -> bool {
    if text.len() == folded.len() && text.as_bytes().eq_ignore_ascii_case(folded.as_bytes()) {
        return true;
    }
    !text.is_ascii() && text.chars().map(fold_char).eq(folded.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_exactly_across_their_kinds() {
        use Ordering::*;
        let big = 9_007_199_254_740_993_i64; // 2^53 + 1, no f64
        let cases = [
            (Val::Int(1), Val::Float(1.0), Equal),
            (Val::Int(big), Val::Float(9_007_199_254_740_992.0), Greater),
            (Val::Int(i64::MAX), Val::Float(9_223_372_036_854_775_808.0), Less),
            (Val::Uint(1 << 63), Val::Float(9_223_372_036_854_775_808.0), Equal),
            (Val::Int(-3), Val::Float(-2.5), Less),
            (Val::Int(-2), Val::Float(-2.5), Greater),
            (Val::Int(2), Val::Float(2.5), Less),
            (Val::Int(i64::MIN), Val::Float(f64::NEG_INFINITY), Greater),
            (Val::Uint(u64::MAX), Val::Float(1e300), Less),
            (Val::Float(-0.0), Val::Int(0), Equal),
        ];
        for (a, b, order) in cases {
            let (x, y) = (Number::of(a).expect("number"), Number::of(b).expect("number"));
            assert_eq!(x.compare(y), Some(order), "{a:?} {b:?}");
            assert_eq!(y.compare(x), Some(order.reverse()), "{b:?} {a:?}");
            assert_eq!(x == y, order.is_eq(), "{a:?} {b:?}");
        }
    }

    #[test]
    fn folding_is_simple_folding() {
        for (a, b) in [("ABC", "abc"), ("ÄÖ", "äö"), ("ΣΑΣ", "σας"), ("\u{212a}", "k"), ("ẞ", "ß"), ("ſ", "S")]
        {
            assert_eq!(fold(a), fold(b));
            assert!(folds_to(a, &fold(b)));
        }
        assert_ne!(fold("ı"), fold("i"));
        assert_ne!(fold("ss"), fold("ß"));
        assert_eq!(fold("İx").chars().count(), 2);
    }
}
