//! The JSON scanner: where strings, numbers and containers end, with the grammar of RFC 8259 enforced everywhere, also in
//! what nobody asked for.
//!
//! It works on bytes that are known to be UTF-8, never recurses (nesting is a bit per level) and never looks at a byte
//! beyond the end. It does not build values: it returns positions, and [`number_slot`] reads a number once its caller knows
//! that somebody wants it.

use wide::u8x16;

use crate::event::{DeadCode, Slot};
use crate::limits;

/// Why a payload is no event, and at which byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub code: DeadCode,
    pub at: usize,
    pub what: &'static str,
}

/// A string without its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct StringSpan {
    pub start: usize,
    pub end: usize,
    /// There is at least one backslash in it.
    pub escaped: bool,
}

/// A number as it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct NumberSpan {
    pub start: usize,
    pub end: usize,
    /// Neither fraction nor exponent.
    whole: bool,
}

/// A cursor over one payload.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

/// Bytes looked at together.
const LANES: usize = 16;

/// One bit for each byte that ends the plain part of a string: quote, backslash, control character.
#[inline(always)]
fn string_ends(bytes: [u8; LANES]) -> u32 {
    let bytes = u8x16::new(bytes);
    let controls = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    let ends = bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\')) | controls;
    ends.to_bitmask()
}

/// One bit for each byte that is no digit.
#[inline(always)]
fn others_than_digits(bytes: [u8; LANES]) -> u32 {
    let digits = u8x16::new(bytes) - u8x16::splat(b'0');
    !digits.min(u8x16::splat(9)).simd_eq(digits).to_bitmask() & u32::from(u16::MAX)
}

impl<'a> Scanner<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Scanner { bytes, at: 0 }
    }

    #[cold]
    #[inline(never)]
    pub fn fault<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault { code: DeadCode::InvalidJson, at: self.at, what })
    }

    /// What was not read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The byte at the cursor; 0, which JSON allows nowhere, at the end.
    #[inline]
    pub fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub fn skip_space(&mut self) {
        // Most payloads are compact.
        if self.peek() <= b' ' {
            while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
                self.at += 1;
            }
        }
    }

    /// Steps over the opening quote.
    #[inline]
    pub fn open_quote(&mut self) -> Result<(), Fault> {
        if self.peek() != b'"' {
            return self.fault("expected a key in quotes");
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    pub fn colon(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.peek() != b':' {
            return self.fault("expected `:` after a key");
        }
        self.at += 1;
        Ok(())
    }

    /// From behind the opening quote to behind the closing one.
    #[inline(always)]
    pub fn string(&mut self) -> Result<StringSpan, Fault> {
        let start = self.at;
        let mut escaped = false;
        loop {
            while let Some(bytes) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<LANES>()) {
                let ends = string_ends(*bytes);
                if ends != 0 {
                    self.at += ends.trailing_zeros() as usize;
                    break;
                }
                self.at += LANES;
            }
            // Here stands an end, or fewer bytes are left.
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(StringSpan { start, end: self.at - 1, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..0x20) => return self.fault("a control character inside a string"),
                Some(_) => self.at += 1,
                None => return self.fault("the payload ends inside a string"),
            }
        }
    }

    /// From the backslash to behind the escape.
    #[cold]
    #[inline(never)]
    fn escape(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6).unwrap_or_default();
                if digits.len() != 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return self.fault("`\\u` without four hexadecimal digits");
                }
                self.at += 6;
            }
            _ => return self.fault("an unknown escape inside a string"),
        }
        Ok(())
    }

    /// Over digits; how many.
    #[inline(always)]
    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(bytes) = self.rest().first_chunk::<LANES>() {
            let others = others_than_digits(*bytes);
            if others != 0 {
                self.at += others.trailing_zeros() as usize;
                return self.at - start;
            }
            self.at += LANES;
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        self.at - start
    }

    /// From the sign or first digit to behind the number.
    #[inline(always)]
    pub fn number(&mut self) -> Result<NumberSpan, Fault> {
        let start = self.at;
        self.at += usize::from(self.peek() == b'-');
        let first = self.at;
        match self.digits() {
            0 => return self.fault("expected a digit"),
            1 => {}
            _ if self.bytes.get(first) == Some(&b'0') => {
                self.at = first;
                return self.fault("a number that starts with 0");
            }
            _ => {}
        }
        let mut whole = true;
        if matches!(self.peek(), b'.' | b'e' | b'E') {
            whole = false;
            self.fraction()?;
        }
        Ok(NumberSpan { start, end: self.at, whole })
    }

    /// From the decimal point or the `e` to behind the number.
    #[inline(never)]
    fn fraction(&mut self) -> Result<(), Fault> {
        if self.peek() == b'.' {
            self.at += 1;
            if self.digits() == 0 {
                return self.fault("expected a digit after the decimal point");
            }
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.fault("expected a digit in the exponent");
            }
        }
        Ok(())
    }

    /// `true`, `false` or `null`.
    #[inline]
    pub fn literal(&mut self) -> Result<Slot, Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (length, slot) = if rest.starts_with(b"true") {
            (4, Slot::Bool(true))
        } else if rest.starts_with(b"false") {
            (5, Slot::Bool(false))
        } else if rest.starts_with(b"null") {
            (4, Slot::Null)
        } else {
            let what = if rest.is_empty() { "the payload ends where a value should stand" } else { "expected a value" };
            return self.fault(what);
        };
        self.at += length;
        Ok(slot)
    }

    pub fn too_deep<T>(&self) -> Result<T, Fault> {
        Err(Fault { code: DeadCode::TooDeep, at: self.at, what: "objects and arrays are nested too deeply" })
    }

    /// Over one value of any kind, inside `depth` open containers.
    pub fn skip_value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            b'{' | b'[' => self.skip_container(depth),
            b'"' => {
                self.at += 1;
                self.string().map(drop)
            }
            b'-' | b'0'..=b'9' => self.number().map(drop),
            _ => self.literal().map(drop),
        }
    }

    /// Over an object or array whose bracket stands at the cursor, inside `depth` open containers.
    pub fn skip_container(&mut self, depth: usize) -> Result<(), Fault> {
        const { assert!(limits::JSON_DEPTH_MAX <= u128::BITS as usize, "one bit per level") };
        let mut objects = 0u128; // bit 0: the innermost container is an object
        let mut open = 0usize;
        loop {
            // A value.
            match self.peek() {
                bracket @ (b'{' | b'[') => {
                    if depth + open >= limits::JSON_DEPTH_MAX {
                        return self.too_deep();
                    }
                    let object = bracket == b'{';
                    objects = objects << 1 | u128::from(object);
                    open += 1;
                    self.at += 1;
                    self.skip_space();
                    if self.peek() != if object { b'}' } else { b']' } {
                        if object {
                            self.skip_key()?;
                        }
                        continue;
                    }
                }
                _ => self.skip_value(0)?,
            }
            // Behind a value, or at the end of an empty container.
            loop {
                self.skip_space();
                let object = objects & 1 == 1;
                match (self.peek(), object) {
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        objects >>= 1;
                        open -= 1;
                        if open == 0 {
                            return Ok(());
                        }
                    }
                    (b',', _) => {
                        self.at += 1;
                        self.skip_space();
                        if object {
                            self.skip_key()?;
                        }
                        break;
                    }
                    _ => return self.expected_end(object),
                }
            }
        }
    }

    /// Behind the object that is the event nothing may follow.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.at < self.bytes.len() {
            return self.fault("something follows the object");
        }
        Ok(())
    }

    pub fn expected_end<T>(&self, object: bool) -> Result<T, Fault> {
        self.fault(match (self.at >= self.bytes.len(), object) {
            (true, true) => "the payload ends inside an object",
            (true, false) => "the payload ends inside an array",
            (false, true) => "expected `,` or `}`",
            (false, false) => "expected `,` or `]`",
        })
    }

    fn skip_key(&mut self) -> Result<(), Fault> {
        self.open_quote()?;
        self.string()?;
        self.colon()?;
        self.skip_space();
        Ok(())
    }
}

/// The value of a number: `i64`, else `u64`, else the nearest `f64` (an exponent beyond its range gives an infinity, which
/// is ordered rightly against every finite number). `-0` is the float.
pub(super) fn number_slot(payload: &str, span: NumberSpan) -> Slot {
    let text = payload.get(span.start..span.end).unwrap_or_default();
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let magnitude = if span.whole { magnitude(digits.as_bytes()) } else { None };
    match (magnitude, negative) {
        (Some(magnitude), false) => match i64::try_from(magnitude) {
            Ok(int) => Slot::Int(int),
            Err(_) => Slot::Uint(magnitude),
        },
        (Some(magnitude), true) if magnitude != 0 && magnitude <= i64::MIN.unsigned_abs() => {
            Slot::Int(0i64.wrapping_sub_unsigned(magnitude))
        }
        // The grammar was checked, so this is a number to the standard library too.
        _ => text.parse().map_or(Slot::Null, Slot::Float),
    }
}

/// Digits as an integer; `None`: more than `u64` holds.
#[inline]
fn magnitude(digits: &[u8]) -> Option<u64> {
    // Nineteen digits always fit.
    if digits.len() > 19 {
        return std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    }
    Some(digits.iter().fold(0u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')))))
}

/// Appends a scanned string with its escapes resolved. A surrogate without its partner becomes U+FFFD: one odd string is no
/// reason to lose the event.
pub(super) fn unescape(escaped: &str, out: &mut String) {
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(rest.get(..at).unwrap_or_default());
        let kind = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        match kind {
            b'n' => out.push('\n'),
            b't' => out.push('\t'),
            b'r' => out.push('\r'),
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'u' => {
                let unit = hex4(rest);
                rest = rest.get(4..).unwrap_or_default();
                let low = rest.strip_prefix("\\u").map(hex4).filter(|low| (0xdc00..0xe000).contains(low));
                match (unit, low) {
                    (0xd800..0xdc00, Some(low)) => {
                        let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                        rest = rest.get(6..).unwrap_or_default();
                    }
                    _ => out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
            plain => out.push(char::from(plain)),
        }
    }
    out.push_str(rest);
}

fn hex4(text: &str) -> u32 {
    text.get(..4)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(u32::from(char::REPLACEMENT_CHARACTER))
}
