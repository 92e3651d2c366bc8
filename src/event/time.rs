//! Event time: integer nanoseconds since the epoch, and spans of it. Nothing is rounded to seconds.

use std::fmt;
use std::ops::{Add, Sub};

/// A point in event time: nanoseconds since 1970-01-01T00:00:00Z. Range 1677-09-21 to 2262-04-11.
///
/// [`Timestamp::MIN`] and [`Timestamp::MAX`] also stand for "no time yet" and "the end of a bounded input".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(pub i64);

/// A non-negative length of event time in nanoseconds. [`Span::MAX`] is "without bound".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span(pub i64);

impl Timestamp {
    /// Before every event: nothing is known yet.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// After every event: the end of a bounded input.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// From milliseconds since the epoch, as Kafka stamps records; saturates.
    pub fn from_millis(millis: i64) -> Self {
        Timestamp(millis.saturating_mul(1_000_000))
    }

    /// To milliseconds since the epoch, towards negative infinity.
    pub fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The wall clock. Not for hot loops.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Saturating: [`Timestamp::MIN`] and [`Timestamp::MAX`] absorb.
impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        match self {
            Timestamp::MIN => self,
            _ => Timestamp(self.0.saturating_add(span.0)),
        }
    }
}

/// Saturating: [`Timestamp::MIN`] and [`Timestamp::MAX`] absorb.
impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Span) -> Timestamp {
        match self {
            Timestamp::MAX => self,
            _ => Timestamp(self.0.saturating_sub(span.0)),
        }
    }
}

/// The distance between two times; 0 if `other` is later. Saturates.
impl Sub<Timestamp> for Timestamp {
    type Output = Span;
    fn sub(self, other: Timestamp) -> Span {
        Span(self.0.saturating_sub(other.0).max(0))
    }
}

/// RFC 3339 in UTC, with 0, 3, 6 or 9 decimals: the fewest that are exact.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.0)).map_err(|_| fmt::Error)?;
        let nanos = self.0.rem_euclid(1_000_000_000);
        let decimals = match nanos {
            0 => 0,
            n if n % 1_000_000 == 0 => 3,
            n if n % 1_000 == 0 => 6,
            _ => 9,
        };
        write!(f, "{at:.decimals$}")
    }
}

/// Why a value is no event time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Text that is neither RFC 3339 nor a number.
    #[error("not an RFC 3339 time or a number of s, ms, µs or ns since the epoch")]
    Unreadable,
    /// Before 1677 or after 2262.
    #[error("outside the years 1677 to 2262")]
    OutOfRange,
}

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Epoch time by magnitude: below 10^11 seconds, below 10^14 milliseconds, below 10^17 microseconds, else nanoseconds
/// (so seconds reach the year 5138 and milliseconds start in 1973). `fraction_nanos` is the decimal part in billionths of
/// the unit.
fn by_magnitude(whole: i128, fraction_billionths: i128) -> Result<Timestamp, TimeError> {
    let unit_nanos: i128 = match whole.unsigned_abs() {
        0..100_000_000_000 => NANOS_PER_SECOND,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    let nanos = whole * unit_nanos + fraction_billionths * unit_nanos / NANOS_PER_SECOND;
    match i64::try_from(nanos) {
        // The extremes are reserved for "no time yet" and "the end".
        Ok(n) if n != i64::MIN && n != i64::MAX => Ok(Timestamp(n)),
        _ => Err(TimeError::OutOfRange),
    }
}

/// Event time from the text of a number: `1588205199.82437`, `-1`, `1.6e9`. Decimals are kept exactly up to billionths.
pub fn parse_time_number(text: &str) -> Result<Timestamp, TimeError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if digits.bytes().any(|b| b == b'e' || b == b'E') {
        let value: f64 = text.parse().map_err(|_| TimeError::Unreadable)?;
        if !value.is_finite() || value.abs() > 1e19 {
            return Err(TimeError::OutOfRange);
        }
        let whole = value.trunc();
        return by_magnitude(whole as i128, ((value - whole) * 1e9) as i128);
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(TimeError::Unreadable);
    }
    if whole.len() > 20 {
        return Err(TimeError::OutOfRange);
    }
    let whole = whole.parse::<i128>().map_err(|_| TimeError::OutOfRange)?;
    let billionths =
        fraction.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0i128, |n, b| n * 10 + i128::from(b - b'0'));
    if negative { by_magnitude(-whole, -billionths) } else { by_magnitude(whole, billionths) }
}

/// Event time from text: RFC 3339 with any offset (`T` or a space between; without an offset: UTC), up to nanoseconds, or
/// a number as [`parse_time_number`].
pub fn parse_time_text(text: &str) -> Result<Timestamp, TimeError> {
    if let Some(fast) = parse_rfc3339_utc(text.as_bytes()) {
        return Ok(fast);
    }
    let text = text.trim();
    let numeric = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
    if text.bytes().all(numeric)
        && let Ok(number) = parse_time_number(text)
    {
        return Ok(number);
    }
    let nanos = if let Ok(at) = text.parse::<jiff::Timestamp>() {
        at.as_nanosecond()
    } else {
        let civil = text.parse::<jiff::civil::DateTime>().map_err(|_| TimeError::Unreadable)?;
        let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| TimeError::OutOfRange)?;
        zoned.timestamp().as_nanosecond()
    };
    i64::try_from(nanos).map(Timestamp).map_err(|_| TimeError::OutOfRange)
}

/// The common form `YYYY-MM-DDTHH:MM:SS[.fraction]Z`, without a general parser. `None`: not that form (or not certain).
fn parse_rfc3339_utc(text: &[u8]) -> Option<Timestamp> {
    let (at, fraction) = text.split_first_chunk::<19>()?;
    if [at[4], at[7], at[10], at[13], at[16]] != *b"--T::" {
        return None;
    }
    let mut digits = true;
    let mut digit = |byte: u8| {
        let digit = byte.wrapping_sub(b'0');
        digits &= digit <= 9;
        u32::from(digit)
    };
    let mut pair = |from: usize| digit(at[from]) * 10 + digit(at[from + 1]);
    let (year, month, day) = (pair(0) * 100 + pair(2), pair(5), pair(8));
    let (hour, minute, second) = (pair(11), pair(14), pair(17));
    let mut nanos = 0i64;
    match fraction {
        [b'Z'] => {}
        [b'.', fraction @ .., b'Z'] if (1..=9).contains(&fraction.len()) => {
            nanos = fraction.iter().fold(0, |sum, byte| sum * 10 + i64::from(digit(*byte)));
            nanos *= 10i64.pow(9 - fraction.len() as u32);
        }
        _ => return None,
    }
    // Leap seconds, the ends of the range and wrong dates go to the general parser.
    if !digits || !(1678..2262).contains(&year) || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59
    {
        return None;
    }
    if !(1..=28).contains(&day) && !valid_day(year, month, day) {
        return None;
    }
    let seconds = i64::from(days_from_civil(year, month, day)) * 86_400 + i64::from((hour * 60 + minute) * 60 + second);
    Some(Timestamp(seconds * 1_000_000_000 + nanos))
}

fn valid_day(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=last).contains(&day)
}

/// Days since 1970-01-01 of a Gregorian date from 1678 on; Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: u32, month: u32, day: u32) -> i32 {
    // The year begins with March: a leap day is its last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    (before + (153 * month + 2) / 5 + day) as i32 - 719_469
}

/// Why text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// No digits, or something else than digits and a unit.
    #[error("`{0}` is not a duration: write a whole number and a unit, e.g. 500ms, 30s, 10m, 2h, 1d")]
    Unreadable(String),
    /// Longer than 292 years.
    #[error("`{0}` is too long: at most 106751d")]
    TooLong(String),
}

impl Span {
    /// Without bound.
    pub const MAX: Span = Span(i64::MAX);
    /// Nothing.
    pub const ZERO: Span = Span(0);

    /// From whole milliseconds; saturates.
    pub const fn from_millis(millis: i64) -> Self {
        Span(millis.saturating_mul(1_000_000))
    }

    /// From whole seconds; saturates.
    pub const fn from_secs(seconds: i64) -> Self {
        Span(seconds.saturating_mul(1_000_000_000))
    }

    /// As a wall-clock duration.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Reads `500ms`, `30s`, `10m`, `2h`, `1d`, `1w` (units `ns`, `us`, `µs`, `ms`, `s`, `m`, `h`, `d`, `w`), or `0`.
    pub fn parse(text: &str) -> Result<Span, SpanError> {
        let trimmed = text.trim();
        if trimmed == "0" {
            return Ok(Span::ZERO);
        }
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let unit: i64 = match trimmed[digits..].trim_start() {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return Err(SpanError::Unreadable(text.into())),
        };
        if digits == 0 {
            return Err(SpanError::Unreadable(text.into()));
        }
        let number: i64 = trimmed[..digits].parse().map_err(|_| SpanError::TooLong(text.into()))?;
        number.checked_mul(unit).map(Span).ok_or_else(|| SpanError::TooLong(text.into()))
    }
}

/// The largest unit that is exact: `90s` stays `90s`, `120s` is `2m`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 7] = [
            (86_400_000_000_000, "d"),
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
            (1, "ns"),
        ];
        if *self == Span::MAX {
            return f.write_str("max");
        }
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let (unit, name) = UNITS.into_iter().find(|(unit, _)| self.0 % unit == 0).unwrap_or((1, "ns"));
        write!(f, "{}{name}", self.0 / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        parse_time_text(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn rfc3339_with_any_offset_and_up_to_nanoseconds() {
        assert_eq!(time("1970-01-01T00:00:00Z"), Timestamp(0));
        assert_eq!(time("2023-07-10T11:42:36Z"), Timestamp(1_688_989_356_000_000_000));
        assert_eq!(time("2023-07-10T13:42:36.5+02:00"), Timestamp(1_688_989_356_500_000_000));
        assert_eq!(time("2023-07-10 11:42:36.123456789"), Timestamp(1_688_989_356_123_456_789));
        assert_eq!(time("2024-02-29T00:00:00Z").to_string(), "2024-02-29T00:00:00Z");
        assert_eq!(time("1969-12-31T23:59:59.9Z"), Timestamp(-100_000_000));
        assert!(parse_time_text("2023-02-30T00:00:00Z").is_err());
        assert!(parse_time_text("yesterday").is_err());
        assert!(parse_time_text("").is_err());
        assert_eq!(parse_time_text("9999-01-01T00:00:00Z"), Err(TimeError::OutOfRange));
    }

    #[test]
    fn the_fast_form_agrees_with_the_general_parser() {
        for day in -100_000i64..80_000 {
            let at = Timestamp(day * 86_400_000_000_000 + 12_345_678_901);
            let text = at.to_string();
            assert_eq!(parse_rfc3339_utc(text.as_bytes()), Some(at), "{text}");
        }
    }

    #[test]
    fn the_fast_form_takes_no_other() {
        let text = "2024-02-29T23:59:58.123Z";
        assert_eq!(time(&format!(" {text}\n")), time(text));
        // One byte changed, dropped or doubled: either it is what the general parser reads too, or no time.
        for at in 0..text.len() {
            for byte in b"0/9:-T.Z a" {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = *byte;
                let changed = String::from_utf8(bytes).expect("ASCII");
                for text in [&changed, &changed[1..], &changed[..at], &format!("{changed}Z")] {
                    let general = text.parse::<jiff::Timestamp>().map(|at| at.as_nanosecond()).ok();
                    if let Some(fast) = parse_rfc3339_utc(text.as_bytes()) {
                        assert_eq!(Some(i128::from(fast.0)), general, "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn epoch_numbers_by_magnitude() {
        assert_eq!(time("1588205199.82437"), Timestamp(1_588_205_199_824_370_000));
        assert_eq!(time("1588205199824"), Timestamp(1_588_205_199_824_000_000));
        assert_eq!(time("1588205199824370"), Timestamp(1_588_205_199_824_370_000));
        assert_eq!(time("1588205199824370123"), Timestamp(1_588_205_199_824_370_123));
        assert_eq!(time("1.5e9"), Timestamp(1_500_000_000_000_000_000));
        assert_eq!(time("-1.5"), Timestamp(-1_500_000_000));
        assert_eq!(parse_time_number("99999999999999999999"), Err(TimeError::OutOfRange));
        assert_eq!(parse_time_number("--1"), Err(TimeError::Unreadable));
    }

    #[test]
    fn spans_read_and_print() {
        for (text, nanos) in [("10m", 600_000_000_000), ("500ms", 500_000_000), ("0", 0), ("1w", 604_800_000_000_000)] {
            assert_eq!(Span::parse(text), Ok(Span(nanos)));
        }
        assert!(Span::parse("10").is_err());
        assert!(Span::parse("m").is_err());
        assert!(Span::parse("1.5h").is_err());
        assert!(matches!(Span::parse("999999999999d"), Err(SpanError::TooLong(_))));
        assert_eq!(Span::parse("120s").expect("span").to_string(), "2m");
    }
}
