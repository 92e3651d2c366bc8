//! The bytes of state: varints, texts, and a version in front of every value.
//!
//! Integers are LEB128 (signed ones zigzag first, as in Protocol Buffers), texts and bytes have their length in front. A
//! value starts with one byte, the version of its kind's layout; a reader refuses versions it does not know. Readers are
//! total: any input gives a value or a [`Damaged`].

use std::fmt::Display;

use super::StoreErrorKind;

/// A value that cannot be read: cut short, out of range, or of a layout that only a newer program knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Damaged {
    what: String,
    newer: bool,
}

impl Damaged {
    /// Bytes that no version has written.
    pub fn new(what: impl Into<String>) -> Damaged {
        Damaged { what: what.into(), newer: false }
    }

    /// Bytes that a newer version of this program has written. They are whole: whoever meets them must leave them alone.
    pub fn newer(what: impl Display) -> Damaged {
        let ours = env!("CARGO_PKG_VERSION");
        let what =
            format!("{what}, written by a program newer than this one, {ours}: start that one again, or a newer one");
        Damaged { what, newer: true }
    }

    /// Whether a newer version can read it.
    pub fn is_newer(&self) -> bool {
        self.newer
    }

    /// What it means to a store that holds these bytes.
    pub fn kind(&self) -> StoreErrorKind {
        if self.newer { StoreErrorKind::Foreign } else { StoreErrorKind::Corrupt }
    }
}

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Forgets all, keeps the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of bytes written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Back to an earlier length.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// One byte.
    pub fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// An unsigned integer.
    pub fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// A signed integer.
    pub fn int(&mut self, value: i64) {
        self.uint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// Eight bytes, big-endian, so that they sort as numbers do.
    pub fn fixed(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes with their length in front.
    pub fn blob(&mut self, bytes: &[u8]) {
        self.uint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// A value that may be missing.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Takes values off a buffer.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes as they are.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) =
            self.bytes.split_at_checked(len).ok_or_else(|| Damaged::new(format!("ends {len} bytes too early")))?;
        self.bytes = rest;
        Ok(taken)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Damaged> {
        Ok(self.raw(1)?[0])
    }

    /// An unsigned integer.
    pub fn uint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged::new("an integer of more than 64 bits"))
    }

    /// A number of things each at least one byte long: never more than what is left could hold.
    pub fn count(&mut self) -> Result<usize, Damaged> {
        let count = self.uint()?;
        if count > self.bytes.len() as u64 {
            return Err(Damaged::new(format!("{count} things in {} bytes", self.bytes.len())));
        }
        Ok(count as usize)
    }

    /// An unsigned integer that fits `T`.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Damaged> {
        let value = self.uint()?;
        T::try_from(value).map_err(|_| Damaged::new(format!("{value} is out of range")))
    }

    /// A signed integer.
    pub fn int(&mut self) -> Result<i64, Damaged> {
        let value = self.uint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Eight bytes, big-endian.
    pub fn fixed(&mut self) -> Result<u64, Damaged> {
        let bytes = self.raw(8)?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Bytes with their length in front.
    pub fn blob(&mut self) -> Result<&'a [u8], Damaged> {
        let len = self.count()?;
        self.raw(len)
    }

    /// Text with its length in front.
    pub fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.blob()?).map_err(|_| Damaged::new("text that is not UTF-8"))
    }

    /// A value that may be missing.
    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Damaged>) -> Result<Option<T>, Damaged> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            other => Err(Damaged::new(format!("{other} is neither there nor missing"))),
        }
    }

    /// The version byte, which must not be above `newest`.
    pub fn version(&mut self, newest: u8) -> Result<u8, Damaged> {
        match self.byte()? {
            0 => Err(Damaged::new("layout version 0, which there never was")),
            version if version <= newest => Ok(version),
            version => {
                Err(Damaged::newer(format_args!("layout version {version}, and this program knows up to {newest}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(uint: u64, int: i64, text: String, some: Option<i64>) {
            let mut writer = Writer::default();
            writer.uint(uint);
            writer.int(int);
            writer.fixed(uint);
            writer.blob(text.as_bytes());
            writer.option(some, Writer::int);
            let mut reader = Reader::new(writer.bytes());
            prop_assert_eq!(reader.uint(), Ok(uint));
            prop_assert_eq!(reader.int(), Ok(int));
            prop_assert_eq!(reader.fixed(), Ok(uint));
            prop_assert_eq!(reader.text(), Ok(&*text));
            prop_assert_eq!(reader.option(Reader::int), Ok(some));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() {
                let before = reader.rest().len();
                let read = reader.text().map(|_| ()).or_else(|_| reader.uint().map(|_| ()));
                if read.is_err() || reader.rest().len() == before {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_version_from_the_future_is_refused() {
        assert_eq!(Reader::new(&[1]).version(1), Ok(1));
        let refused = Reader::new(&[2]).version(1).expect_err("newer");
        assert!(refused.is_newer() && refused.to_string().contains("version 2"), "{refused}");
        assert!(!Reader::new(&[0]).version(1).expect_err("no version").is_newer());
    }

    #[test]
    fn an_integer_of_more_than_64_bits_is_damage() {
        assert!(Reader::new(&[0xff; 10]).uint().is_err());
    }
}
