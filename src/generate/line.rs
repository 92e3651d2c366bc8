//! Writes one event as a line of JSON into a buffer that is reused, without a formatter: at a million events a second the
//! time goes into copying literals. Everything written here is ASCII that needs no escape.

use std::ops::Range;

/// An event being written.
#[derive(Debug)]
pub(super) struct Line<'a> {
    out: &'a mut Vec<u8>,
    key: Range<usize>,
}

/// Writes the name of entity `n`: of a user, a pod, an account.
pub(super) type Name = fn(&mut Line<'_>, u64);

impl<'a> Line<'a> {
    /// Starts a line in `out`, which is cleared.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        out.clear();
        Line { out, key: 0..0 }
    }

    /// Starts an event: `{"@timestamp":…,"event":{"id":…,"category":…,"action":…`, left open inside `event`.
    pub(super) fn open(&mut self, stamp: &[u8; 24], id: u64) {
        self.raw("{\"@timestamp\":\"");
        self.out.extend_from_slice(stamp);
        self.raw("\",\"event\":{\"id\":\"").hex(id, 16).raw("\"");
    }

    /// Literal text.
    #[inline]
    pub(super) fn raw(&mut self, text: &str) -> &mut Self {
        self.out.extend_from_slice(text.as_bytes());
        self
    }

    /// `,"category":…,"action":…` and the end of `event`.
    pub(super) fn event(&mut self, category: &str, action: &str) -> &mut Self {
        self.raw(",\"category\":\"").raw(category).raw("\",\"action\":\"").raw(action).raw("\"}")
    }

    /// `,"category":…,"action":…,"outcome":…` and the end of `event`.
    pub(super) fn outcome(&mut self, category: &str, action: &str, outcome: &str) -> &mut Self {
        self.raw(",\"category\":\"").raw(category).raw("\",\"action\":\"").raw(action);
        self.raw("\",\"outcome\":\"").raw(outcome).raw("\"}")
    }

    /// A decimal number.
    #[inline]
    pub(super) fn number(&mut self, mut n: u64) -> &mut Self {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
        self
    }

    /// The lowest `digits` (at most 16) hexadecimal digits of `n`.
    #[inline]
    pub(super) fn hex(&mut self, n: u64, digits: u32) -> &mut Self {
        let mut text = [0u8; 16];
        let digits = digits.min(16) as usize;
        for (at, place) in text.iter_mut().take(digits).enumerate() {
            let nibble = (n >> (4 * (digits - 1 - at))) & 0xf;
            *place = b"0123456789abcdef"[nibble as usize];
        }
        self.out.extend_from_slice(&text[..digits]);
        self
    }

    /// The UUID of entity `n` (version 8: our own making; different for different `n`).
    pub(super) fn uuid(&mut self, n: u64) -> &mut Self {
        let (high, low) = (super::random::mix(n), super::random::mix(!n));
        self.hex(high >> 32, 8).raw("-").hex(high >> 16, 4).raw("-8").hex(high, 3).raw("-8");
        self.hex(low >> 48, 3).raw("-").hex(low, 12)
    }

    /// An IPv4 address: `first`, then the lowest 24 bits of `n`.
    pub(super) fn ipv4(&mut self, first: u64, n: u64) -> &mut Self {
        self.number(first).raw(".").number((n >> 16) & 0xff).raw(".").number((n >> 8) & 0xff).raw(".").number(n & 0xff)
    }

    /// Another writer's text.
    pub(super) fn name(&mut self, write: Name, n: u64) -> &mut Self {
        write(self, n);
        self
    }

    /// As [`Line::name`], and this text is the record's key.
    pub(super) fn key(&mut self, write: Name, n: u64) -> &mut Self {
        let start = self.out.len();
        write(self, n);
        self.key = start..self.out.len();
        self
    }

    /// Where the record's key stands in the line.
    pub(super) fn key_range(&self) -> Range<usize> {
        self.key.clone()
    }
}

/// Times as RFC 3339 in UTC with milliseconds. The part up to the second is kept: most events share it with the one before.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    second: i64,
    text: [u8; 24],
}

impl Default for Stamp {
    fn default() -> Self {
        let mut stamp = Stamp { second: 0, text: *b"0000-00-00T00:00:00.000Z" };
        stamp.set_second(0);
        stamp
    }
}

impl Stamp {
    /// The text of a time in milliseconds since the epoch (years 1970 to 9999).
    #[inline]
    pub(super) fn text(&mut self, millis: i64) -> &[u8; 24] {
        let second = millis.div_euclid(1000);
        if second != self.second {
            self.set_second(second);
        }
        put(&mut self.text[20..23], millis.rem_euclid(1000) as u64);
        &self.text
    }

    fn set_second(&mut self, second: i64) {
        self.second = second;
        let (days, of_day) = (second.div_euclid(86_400), second.rem_euclid(86_400) as u64);
        let (year, month, day) = civil(days);
        put(&mut self.text[0..4], year);
        put(&mut self.text[5..7], month);
        put(&mut self.text[8..10], day);
        put(&mut self.text[11..13], of_day / 3600);
        put(&mut self.text[14..16], of_day / 60 % 60);
        put(&mut self.text[17..19], of_day % 60);
    }
}

/// Right-aligned decimal digits with leading zeros.
fn put(place: &mut [u8], mut n: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

/// Date of a day since 1970-01-01; Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: i64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year.unsigned_abs(), month.unsigned_abs(), (day_of_year - (153 * shifted + 2) / 5 + 1).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    #[test]
    fn stamps_read_back_as_the_time_they_were_made_from() {
        let mut stamp = Stamp::default();
        for day in 0..60_000i64 {
            let millis = day * 86_400_000 + day * 7919 % 86_400_000;
            let text = std::str::from_utf8(stamp.text(millis)).expect("ascii").to_owned();
            assert_eq!(crate::event::parse_time_text(&text), Ok(Timestamp::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn numbers_hex_and_addresses() {
        let mut out = Vec::new();
        Line::new(&mut out).number(0).raw(" ").number(u64::MAX).raw(" ").hex(0xbeef, 6).raw(" ").ipv4(81, 0x01_02ff);
        assert_eq!(String::from_utf8(out).expect("ascii"), "0 18446744073709551615 00beef 81.1.2.255");
    }

    #[test]
    fn uuids_have_their_form_and_differ() {
        let uuid = |n| {
            let mut out = Vec::new();
            Line::new(&mut out).uuid(n);
            String::from_utf8(out).expect("ascii")
        };
        assert_eq!(uuid(7).split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!((&uuid(7)[14..15], &uuid(7)[19..20]), ("8", "8"));
        let distinct: std::collections::HashSet<_> = (0..10_000).map(uuid).collect();
        assert_eq!(distinct.len(), 10_000);
    }
}
