//! EQL's functions on single values, as Elastic's reference has them.
//!
//! A null argument gives null, except where the argument is optional; so does an argument of the wrong type. Positions and
//! lengths count code points.

use std::borrow::Cow;
use std::net::IpAddr;

use super::compare::fold;
use super::expr::Computed;
use super::matcher::contains;
use crate::rules::plan::{CidrBlock, Function};

/// Calls a function. No argument is a list.
pub(super) fn call<'a>(function: Function, arguments: &[Computed<'a>], ignore_case: bool) -> Computed<'a> {
    evaluate(function, arguments, ignore_case).unwrap_or(Computed::Null)
}

fn evaluate<'a>(function: Function, arguments: &[Computed<'a>], ignore_case: bool) -> Option<Computed<'a>> {
    let argument = |at: usize| arguments.get(at).unwrap_or(&Computed::Null);
    let text = |at: usize| match argument(at) {
        Computed::Text(text) => Some(text),
        _ => None,
    };
    let folded = |at: usize| text(at).map(|t| if ignore_case { Cow::Owned(fold(t)) } else { Cow::Borrowed(&**t) });
    Some(match function {
        Function::Add | Function::Subtract | Function::Multiply | Function::Divide | Function::Modulo => {
            arithmetic(function, argument(0), argument(1))?
        }
        Function::Between => {
            let greedy = matches!(argument(3), Computed::Bool(true));
            between(text(0)?, &folded(0)?, &folded(1)?, &folded(2)?, greedy)
        }
        Function::CidrMatch => {
            let address: IpAddr = match text(0)?.parse() {
                Ok(address) => address,
                Err(_) => return Some(Computed::Bool(false)),
            };
            let mut inside = false;
            for at in 1..arguments.len() {
                inside |= parse_block(text(at)?).is_some_and(|block| contains(&block, address));
            }
            Computed::Bool(inside)
        }
        Function::Concat => {
            let mut joined = String::new();
            for value in arguments {
                joined.push_str(&to_text(value)?);
            }
            Computed::Text(joined.into())
        }
        Function::StartsWith => Computed::Bool(folded(0)?.starts_with(&*folded(1)?)),
        Function::EndsWith => Computed::Bool(folded(0)?.ends_with(&*folded(1)?)),
        Function::StringContains => Computed::Bool(folded(0)?.contains(&*folded(1)?)),
        Function::IndexOf => index_of(&folded(0)?, &folded(1)?, argument(2))?,
        Function::Length => Computed::Int(text(0)?.chars().count() as i128),
        Function::Number => match argument(0) {
            Computed::Text(text) => parse_number(text, argument(1))?,
            number @ (Computed::Int(_) | Computed::Float(_)) => number.clone(),
            _ => return None,
        },
        Function::String => Computed::Text(to_text(argument(0))?),
        Function::Substring => substring(text(0)?, argument(1), argument(2))?,
    })
}

/// Two integers give an integer, as long as it fits; `/` truncates, `%` has the sign of the dividend, by zero is null.
fn arithmetic(function: Function, left: &Computed<'_>, right: &Computed<'_>) -> Option<Computed<'static>> {
    let float = |value: &Computed<'_>| match *value {
        Computed::Int(i) => Some(i as f64),
        Computed::Float(f) => Some(f),
        _ => None,
    };
    let (a, b) = (float(left)?, float(right)?);
    if b == 0.0 && matches!(function, Function::Divide | Function::Modulo) {
        return None;
    }
    if let (Computed::Int(a), Computed::Int(b)) = (left, right) {
        let exact = match function {
            Function::Add => a.checked_add(*b),
            Function::Subtract => a.checked_sub(*b),
            Function::Multiply => a.checked_mul(*b),
            Function::Divide => a.checked_div(*b),
            _ => a.checked_rem(*b),
        };
        if let Some(exact) = exact {
            return Some(Computed::Int(exact));
        }
    }
    let result = match function {
        Function::Add => a + b,
        Function::Subtract => a - b,
        Function::Multiply => a * b,
        Function::Divide => a / b,
        _ => a % b,
    };
    result.is_finite().then_some(Computed::Float(result))
}

/// `searched`, `left` and `right` are folded alike; folding keeps the number of characters, so positions carry over.
fn between<'a>(source: &str, searched: &str, left: &str, right: &str, greedy: bool) -> Computed<'a> {
    let found = || {
        let start = searched.find(left)? + left.len();
        let rest = searched.get(start..)?;
        let length = if greedy { rest.rfind(right) } else { rest.find(right) }?;
        let (before, inside) = (searched.get(..start)?.chars().count(), rest.get(..length)?.chars().count());
        Some(source.chars().skip(before).take(inside).collect::<String>())
    };
    Computed::Text(found().unwrap_or_default().into())
}

fn index_of(source: &str, part: &str, start: &Computed<'_>) -> Option<Computed<'static>> {
    let start = match start {
        Computed::Null => 0,
        Computed::Int(start) => usize::try_from((*start).max(0)).unwrap_or(usize::MAX),
        _ => return None,
    };
    if part.is_empty() {
        return Some(Computed::Int(0));
    }
    let from = source.char_indices().nth(start).map(|(at, _)| at)?;
    let at = from + source.get(from..)?.find(part)?;
    Some(Computed::Int(source.get(..at)?.chars().count() as i128))
}

/// A negative position counts from the end; the end is exclusive.
fn substring(source: &str, start: &Computed<'_>, end: &Computed<'_>) -> Option<Computed<'static>> {
    let length = source.chars().count();
    let position = |value: i128| {
        let at = if value < 0 { value.saturating_add(length as i128) } else { value };
        at.clamp(0, length as i128) as usize
    };
    let Computed::Int(start) = *start else { return None };
    let end = match *end {
        Computed::Null => length,
        Computed::Int(end) => position(end),
        _ => return None,
    };
    let start = position(start);
    let cut: String = source.chars().skip(start).take(end.saturating_sub(start)).collect();
    Some(Computed::Text(cut.into()))
}

/// `0x` stands for base 16 where no base is given; otherwise decimal, fractions and exponents included.
fn parse_number(text: &str, base: &Computed<'_>) -> Option<Computed<'static>> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let base = match *base {
        Computed::Null if hex.is_some() => 16,
        Computed::Null => 10,
        Computed::Int(base) if (2..=36).contains(&base) => base as u32,
        _ => return None,
    };
    let digits = hex.filter(|_| base == 16).unwrap_or(digits);
    let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-'));
    if !plain || digits.starts_with(['+', '-']) {
        return None;
    }
    if let Ok(int) = i128::from_str_radix(digits, base) {
        return Some(Computed::Int(if negative { -int } else { int }));
    }
    let decimal = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let float: f64 = digits.parse().ok().filter(|f: &f64| base == 10 && decimal && f.is_finite())?;
    Some(Computed::Float(if negative { -float } else { float }))
}

fn to_text<'a>(value: &Computed<'a>) -> Option<Cow<'a, str>> {
    Some(match value {
        Computed::Text(text) => text.clone(),
        Computed::Bool(b) => b.to_string().into(),
        Computed::Int(i) => i.to_string().into(),
        Computed::Float(f) => serde_json::Number::from_f64(*f)?.to_string().into(),
        Computed::Null | Computed::Object | Computed::List(_) => return None,
    })
}

/// An address block `10.0.0.0/8`; host bits may be set.
fn parse_block(text: &str) -> Option<CidrBlock> {
    let (address, prefix) = text.split_once('/')?;
    let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some(CidrBlock { address, prefix })
}
