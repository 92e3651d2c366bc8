//! Predicates, compiled: what one value must satisfy.

use std::net::{IpAddr, Ipv4Addr};

use super::compare::{Number, fold, fold_into, folds_to, satisfies};
use super::glob::Glob;
use crate::event::Val;
use crate::rules::plan::{CidrBlock, CompareOp, Literal, Predicate};

/// From here on a list of values is looked up instead of walked through.
const LOOKUP_FROM: usize = 8;

/// A [`Predicate`] ready to be tested.
#[derive(Debug)]
pub(super) enum Matcher {
    Equals {
        texts: Texts,
        numbers: Vec<Number>,
        bools: [bool; 2],
        ignore_case: bool,
    },
    Wildcard {
        globs: Vec<Glob>,
        ignore_case: bool,
    },
    Regex(Vec<regex::Regex>),
    CompareNumber(CompareOp, Number),
    CompareText(CompareOp, String),
    Cidr(Vec<CidrBlock>),
    IsNull,
    Exists,
    IsTrue,
    /// What no value satisfies: an order against neither number nor text.
    Never,
}

/// Texts to be equal to, folded if case is ignored.
#[derive(Debug)]
pub(super) enum Texts {
    Few(Vec<String>),
    Many(std::collections::HashSet<String, ahash::RandomState>),
}

impl Matcher {
    /// Compiles a predicate. A regular expression that cannot be compiled never matches and is named in `problems`.
    pub fn new(predicate: &Predicate, problems: &mut Vec<String>) -> Matcher {
        match predicate {
            Predicate::Equals { values, ignore_case } => equals(values, *ignore_case),
            Predicate::Wildcard { patterns, ignore_case } => Matcher::Wildcard {
                globs: patterns.iter().map(|p| Glob::new(p, *ignore_case)).collect(),
                ignore_case: *ignore_case,
            },
            Predicate::Regex { patterns, ignore_case } => {
                let compile = |pattern: &String| {
                    let built = regex::RegexBuilder::new(pattern).case_insensitive(*ignore_case).build();
                    built.map_err(|error| problems.push(format!("regular expression `{pattern}`: {error}"))).ok()
                };
                Matcher::Regex(patterns.iter().filter_map(compile).collect())
            }
            Predicate::Compare { op, value } => match (Number::of_literal(value), value) {
                (Some(number), _) => Matcher::CompareNumber(*op, number),
                (None, Literal::Str(text)) => Matcher::CompareText(*op, text.clone()),
                _ => Matcher::Never,
            },
            Predicate::Cidr { blocks } => Matcher::Cidr(blocks.clone()),
            Predicate::IsNull => Matcher::IsNull,
            Predicate::Exists => Matcher::Exists,
            Predicate::IsTrue => Matcher::IsTrue,
        }
    }

    /// Three-valued: null gives null, except to the predicates that ask for it. Of an array any element will do; its nulls
    /// satisfy nothing. `scratch` is overwritten.
    #[inline]
    pub fn test(&self, value: Val<'_>, scratch: &mut String) -> Option<bool> {
        match (self, value) {
            (Matcher::IsNull, value) => Some(value.is_null()),
            (Matcher::Exists, value) => Some(!matches!(value, Val::Absent)),
            (_, Val::Absent | Val::Null) => None,
            (_, Val::Array(elements)) => Some(elements.iter().any(|element| self.holds(element, scratch))),
            (_, scalar) => Some(self.holds(scalar, scratch)),
        }
    }

    /// For one value that is no array.
    fn holds(&self, value: Val<'_>, scratch: &mut String) -> bool {
        match (self, value) {
            (Matcher::Equals { texts, ignore_case, .. }, Val::Str(text)) => texts.contain(text, *ignore_case, scratch),
            (Matcher::Equals { bools, .. }, Val::Bool(b)) => bools[usize::from(b)],
            (Matcher::Equals { numbers, .. }, value) => Number::of(value).is_some_and(|n| numbers.contains(&n)),
            (Matcher::Wildcard { globs, ignore_case: false }, Val::Str(text)) => globs.iter().any(|g| g.matches(text)),
            (Matcher::Wildcard { globs, ignore_case: true }, Val::Str(text)) => {
                scratch.clear();
                fold_into(text, scratch);
                globs.iter().any(|g| g.matches(scratch))
            }
            (Matcher::Regex(patterns), Val::Str(text)) => patterns.iter().any(|p| p.is_match(text)),
            (Matcher::CompareNumber(op, bound), value) => {
                Number::of(value).and_then(|n| n.compare(*bound)).is_some_and(|order| satisfies(*op, order))
            }
            (Matcher::CompareText(op, bound), Val::Str(text)) => satisfies(*op, text.cmp(bound.as_str())),
            (Matcher::Cidr(blocks), Val::Str(text)) => {
                address_of(text).is_some_and(|address| blocks.iter().any(|block| contains(block, address)))
            }
            (Matcher::IsTrue, value) => matches!(value, Val::Bool(true)),
            _ => false,
        }
    }

    /// A guess at the cost of one test, to look at the cheap ones first.
    pub fn effort(&self) -> u32 {
        match self {
            Matcher::IsNull | Matcher::Exists | Matcher::IsTrue | Matcher::Never => 1,
            Matcher::CompareNumber(..) | Matcher::CompareText(..) => 2,
            Matcher::Equals { .. } => 3,
            Matcher::Cidr(_) => 20,
            Matcher::Wildcard { globs, .. } => 10 + 10 * globs.len() as u32,
            Matcher::Regex(patterns) => 100 + 100 * patterns.len() as u32,
        }
    }
}

fn equals(values: &[Literal], ignore_case: bool) -> Matcher {
    let text = |value: &Literal| match value {
        Literal::Str(text) if ignore_case => Some(fold(text)),
        Literal::Str(text) => Some(text.clone()),
        _ => None,
    };
    let texts: Vec<String> = values.iter().filter_map(text).collect();
    Matcher::Equals {
        texts: if texts.len() < LOOKUP_FROM { Texts::Few(texts) } else { Texts::Many(texts.into_iter().collect()) },
        numbers: values.iter().filter_map(Number::of_literal).collect(),
        bools: [false, true].map(|b| values.contains(&Literal::Bool(b))),
        ignore_case,
    }
}

impl Texts {
    fn contain(&self, text: &str, ignore_case: bool, scratch: &mut String) -> bool {
        match (self, ignore_case) {
            (Texts::Few(texts), false) => texts.iter().any(|t| t == text),
            (Texts::Few(texts), true) => texts.iter().any(|t| folds_to(text, t)),
            (Texts::Many(texts), false) => texts.contains(text),
            (Texts::Many(texts), true) => {
                scratch.clear();
                fold_into(text, scratch);
                texts.contains(scratch.as_str())
            }
        }
    }
}

/// The address that a text is.
pub(super) fn address_of(text: &str) -> Option<IpAddr> {
    // Dotted decimals are by far the most.
    dotted(text.as_bytes()).map_or_else(|| text.parse().ok(), |address| Some(address.into()))
}

fn dotted(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut address, mut octet, mut digits, mut dots) = (0u32, 0u32, 0u32, 0u32);
    for byte in text {
        match byte {
            // No octet but 0 itself starts with 0.
            b'0'..=b'9' if digits == 0 || octet != 0 => {
                octet = octet * 10 + u32::from(byte - b'0');
                digits += 1;
                if octet > 255 {
                    return None;
                }
            }
            b'.' if digits > 0 && dots < 3 => {
                address = address << 8 | octet;
                (octet, digits, dots) = (0, 0, dots + 1);
            }
            _ => return None,
        }
    }
    (digits > 0 && dots == 3).then(|| Ipv4Addr::from_bits(address << 8 | octet))
}

/// An address as a number, and how many bits it has.
pub(super) fn address_bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// The network part of an address of `bits` bits.
pub(super) fn network(address: u128, bits: u32, prefix: u8) -> u128 {
    let host = bits.saturating_sub(u32::from(prefix));
    address.checked_shr(host).and_then(|n| n.checked_shl(host)).unwrap_or(0)
}

/// Whether a block holds an address of its own family.
pub(super) fn contains(block: &CidrBlock, address: IpAddr) -> bool {
    let ((address, bits), (start, block_bits)) = (address_bits(address), address_bits(block.address));
    bits == block_bits && network(address, bits, block.prefix) == network(start, bits, block.prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_standard_library_reads_them() {
        let octets = ["0", "1", "9", "10", "99", "255", "256", "01", "00", "", "x", "1000", "+1", " 1"];
        for a in octets {
            for b in octets {
                for text in
                    [format!("{a}.{b}.3.4"), format!("1.2.{a}.{b}"), format!("{a}.2.3"), format!("{a}.2.3.4.{b}")]
                {
                    assert_eq!(address_of(&text), text.parse().ok(), "{text}");
                }
            }
        }
        for text in ["", ".", "...", "1.2.3.", "::1", "2001:db8::", "::ffff:1.2.3.4"] {
            assert_eq!(address_of(text), text.parse().ok(), "{text}");
        }
    }
}
