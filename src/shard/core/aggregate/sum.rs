//! Sums that stay exact while events come and go.
//!
//! A running f64 sum drifts when values are taken out again: after 1e300 has come and gone, what was added beside it is
//! lost, and a window would remember its past. Integers are summed in an i128; floats in a fixed-point number wide enough
//! for every finite f64 (Kulisch), rounded once when read. So a sum depends on the values in the window alone.

use super::number::Number;
use crate::event::{MeasuredValue, allotted};

/// Bits of one limb in use; the rest of the i64 takes carries.
const LIMB_BITS: usize = 32;
/// Weight of the lowest bit: 2^-1074, the smallest f64.
const LOWEST_EXPONENT: i32 = -1074;
/// 2046 exponents + 53 bits of mantissa + 64 bits for carries of up to 2^64 values, in limbs; also holds any i128.
const LIMBS: usize = 69;
/// Additions before carries must be moved: each adds less than 2^32 to a limb.
const ADDITIONS_MAX: u32 = 1 << 30;

/// A sum over a window.
#[derive(Debug, Default)]
pub(super) struct Sum {
    ints: i128,
    count: u64,
    floats: u64,
    /// Only while there is a float.
    exact: Option<Box<Exact>>,
}

impl Sum {
    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.exact.as_ref().map_or(0, |exact| allotted(size_of_val(&**exact)))
    }

    pub(super) fn add(&mut self, number: Number) {
        self.count += 1;
        match number {
            Number::Int(i) => self.ints += i,
            Number::Float(f) => {
                self.floats += 1;
                self.exact.get_or_insert_default().add(f);
            }
        }
    }

    pub(super) fn remove(&mut self, number: Number) {
        self.count = self.count.saturating_sub(1);
        match number {
            Number::Int(i) => self.ints -= i,
            Number::Float(f) => {
                self.floats = self.floats.saturating_sub(1);
                if self.floats == 0 {
                    self.exact = None;
                } else if let Some(exact) = &mut self.exact {
                    exact.add(-f);
                }
            }
        }
    }

    /// The sum: an exact integer as long as all values are integers.
    pub(super) fn value(&self) -> MeasuredValue {
        match &self.exact {
            None => MeasuredValue::Int(self.ints),
            Some(exact) => {
                let mut total = exact.clone();
                total.add_int(self.ints);
                MeasuredValue::Float(total.round())
            }
        }
    }

    /// The mean; null of nothing.
    pub(super) fn mean(&self) -> Option<MeasuredValue> {
        let sum = match self.value() {
            MeasuredValue::Int(i) => i as f64,
            MeasuredValue::Float(f) => f,
        };
        (self.count > 0).then(|| MeasuredValue::Float(sum / self.count as f64))
    }
}

/// A fixed-point number in limbs of 32 bits, lowest first; a limb may be negative or too large until carries move.
#[derive(Debug, Clone)]
struct Exact {
    limbs: [i64; LIMBS],
    additions: u32,
}

impl Default for Exact {
    fn default() -> Self {
        Exact { limbs: [0; LIMBS], additions: 0 }
    }
}

impl Exact {
    fn add(&mut self, value: f64) {
        let bits = value.to_bits();
        let biased = ((bits >> 52) & 0x7ff) as usize;
        let fraction = bits & ((1 << 52) - 1);
        // Subnormals have no hidden bit and the exponent of the smallest normal numbers.
        let (mantissa, position) = if biased == 0 { (fraction, 0) } else { (fraction | 1 << 52, biased - 1) };
        self.add_at(u128::from(mantissa), position, value.is_sign_negative());
    }

    fn add_int(&mut self, value: i128) {
        let magnitude = value.unsigned_abs();
        let one = -LOWEST_EXPONENT as usize;
        self.add_at(magnitude & u128::from(u64::MAX), one, value < 0);
        self.add_at(magnitude >> 64, one + 64, value < 0);
    }

    /// Adds `magnitude` (below 2^64) times 2^`position`.
    fn add_at(&mut self, magnitude: u128, position: usize, negative: bool) {
        let mut rest = magnitude << (position % LIMB_BITS);
        for limb in self.limbs.iter_mut().skip(position / LIMB_BITS).take(3) {
            let part = (rest & 0xffff_ffff) as i64;
            *limb += if negative { -part } else { part };
            rest >>= LIMB_BITS;
        }
        self.additions += 1;
        if self.additions >= ADDITIONS_MAX {
            self.carry();
        }
    }

    /// Moves carries up: all limbs but the last are then in 0..2^32, and the last has the sign.
    fn carry(&mut self) {
        let mut carry = 0;
        let (last, lower) = match self.limbs.split_last_mut() {
            Some(parts) => parts,
            None => return,
        };
        for limb in lower {
            let sum = *limb + carry;
            carry = sum >> LIMB_BITS;
            *limb = sum & 0xffff_ffff;
        }
        *last += carry;
        self.additions = 0;
    }

    /// The nearest f64, ties to even.
    fn round(mut self) -> f64 {
        self.carry();
        let negative = self.limbs[LIMBS - 1] < 0;
        if negative {
            self.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            self.carry();
        }
        let Some(high) = self.limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
        // 96 bits from the top, of which at least 65 count; what lies below only breaks ties.
        let limb = |down: usize| high.checked_sub(down).map_or(0, |at| self.limbs[at] as u128);
        let below = self.limbs[..high.saturating_sub(2)].iter().any(|limb| *limb != 0);
        let top = limb(0) << 64 | limb(1) << 32 | limb(2) | u128::from(below);
        let exponent = (high as i32 - 2) * LIMB_BITS as i32 + LOWEST_EXPONENT;
        // In two steps, because 2^exponent alone may be beyond what an f64 can hold.
        let half = exponent / 2;
        let magnitude = top as f64 * 2f64.powi(half) * 2f64.powi(exponent - half);
        if negative { -magnitude } else { magnitude }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(values: &[f64]) -> f64 {
        let mut sum = Sum::default();
        values.iter().for_each(|v| sum.add(Number::Float(*v)));
        match sum.value() {
            MeasuredValue::Float(f) => f,
            MeasuredValue::Int(_) => panic!("a sum of floats is a float"),
        }
    }

    #[test]
    fn one_value_comes_back_as_it_went_in() {
        for value in [0.0, 0.1, -0.1, 1e-300, 5e-324, -5e-324, 2.2250738585072014e-308, 1.5, 1e15, f64::MAX, f64::MIN] {
            assert_eq!(total(&[value]), value);
        }
    }

    #[test]
    fn the_sum_is_that_of_the_values_in_the_window_alone() {
        let mut sum = Sum::default();
        sum.add(Number::Float(0.1));
        sum.add(Number::Float(1e300));
        sum.add(Number::Int(i128::from(u64::MAX)));
        sum.remove(Number::Float(1e300));
        sum.remove(Number::Int(i128::from(u64::MAX)));
        assert_eq!(sum.value(), MeasuredValue::Float(0.1));
        sum.remove(Number::Float(0.1));
        assert_eq!(sum.value(), MeasuredValue::Int(0));
        assert_eq!(sum.mean(), None);
    }

    #[test]
    fn sums_are_rounded_once_and_ties_go_to_even() {
        assert_eq!(total(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(total(&[0.1; 10]), 1.0);
        let two53 = 9_007_199_254_740_992.0;
        assert_eq!(total(&[two53, 1.0]), two53);
        assert_eq!(total(&[two53, 1.0, 5e-324]), two53 + 2.0);
        assert_eq!(total(&[-two53, -1.0, -5e-324]), -two53 - 2.0);
        assert_eq!(total(&[f64::MAX, f64::MAX]), f64::INFINITY);
    }
}
