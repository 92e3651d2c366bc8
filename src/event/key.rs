//! Correlation keys: the values of a rule's `by` fields, as canonical bytes.
//!
//! Two keys are equal exactly when EQL calls their values equal, field by field: `1` and `1.0` are one key, `1` and `"1"`
//! are two. Layout per part: a tag byte, then the payload (little-endian for numbers, length + UTF-8 for text).

use super::id::{Hash128, stable_hash64};
use super::value::Val;

const TAG_NULL: u8 = 0;
const TAG_FALSE: u8 = 1;
const TAG_TRUE: u8 = 2;
const TAG_INT: u8 = 3;
const TAG_UINT: u8 = 4;
const TAG_FLOAT: u8 = 5;
const TAG_STR: u8 = 6;
const TAG_OBJECT: u8 = 7;

/// A correlation key: canonical bytes and their stable hash (seeded by the dimension's hash).
#[derive(Debug, Clone)]
pub struct Key {
    hash: u64,
    bytes: Box<[u8]>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.bytes == other.bytes
    }
}
impl Eq for Key {}
impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

/// One value of a key, decoded again for output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeyPart<'a> {
    /// A null that an optional `by` field let through.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above `i64::MAX`.
    Uint(u64),
    /// A number that is no integer.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// An object, as raw JSON.
    Object(&'a str),
}

impl KeyPart<'_> {
    /// The value as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match *self {
            KeyPart::Null => serde_json::Value::Null,
            KeyPart::Bool(b) => b.into(),
            KeyPart::Int(i) => i.into(),
            KeyPart::Uint(u) => u.into(),
            KeyPart::Float(f) => serde_json::Number::from_f64(f).map_or(serde_json::Value::Null, Into::into),
            KeyPart::Str(s) => s.into(),
            KeyPart::Object(raw) => serde_json::from_str(raw).unwrap_or_else(|_| raw.into()),
        }
    }
}

/// Which shard owns a key of this hash. Only the upper 16 bits decide, so that an id that carries them (dedup, suppression)
/// finds its shard without its key.
#[inline]
pub fn shard_of(hash: u64, shards: usize) -> usize {
    ((hash >> 48) as usize * shards.max(1)) >> 16
}

/// The upper 16 bits of the hashes that one shard owns, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashRange {
    /// Lowest.
    pub first: u16,
    /// Highest.
    pub last: u16,
}

impl HashRange {
    /// All hashes.
    pub const ALL: HashRange = HashRange { first: 0, last: u16::MAX };

    /// What shard `index` of `shards` owns.
    pub fn of_shard(index: usize, shards: usize) -> HashRange {
        let shards = shards.max(1);
        let first = |index: usize| (index << 16).div_ceil(shards);
        HashRange { first: first(index) as u16, last: (first(index + 1) - 1) as u16 }
    }

    /// The lowest hash in it.
    pub fn first_hash(self) -> u64 {
        u64::from(self.first) << 48
    }

    /// The lowest hash behind it; `None`: there is none.
    pub fn end_hash(self) -> Option<u64> {
        Some(u64::from(self.last.checked_add(1)?) << 48)
    }

    /// Whether a hash lies in it.
    #[inline]
    pub fn contains(&self, hash: u64) -> bool {
        (self.first..=self.last).contains(&((hash >> 48) as u16))
    }
}

impl Key {
    /// A key as it was: its bytes and their hash.
    pub fn from_parts(hash: u64, bytes: &[u8]) -> Self {
        Key { hash, bytes: bytes.into() }
    }

    /// The key of a single event in a per-event dimension: no parts, spread over the shards by the event's identity.
    pub fn of_event(identity: Hash128) -> Self {
        Key { hash: identity.0 as u64, bytes: Box::default() }
    }

    /// The canonical bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Stable hash of dimension and bytes; its high bits choose the shard.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether the key has no part: a rule without `by`.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The values in their order.
    pub fn parts(&self) -> Vec<KeyPart<'_>> {
        let mut parts = Vec::new();
        let mut rest = &*self.bytes;
        while let Some((part, after)) = decode_part(rest) {
            parts.push(part);
            rest = after;
        }
        debug_assert!(rest.is_empty(), "key bytes are written only by KeyBuilder");
        parts
    }
}

fn decode_part(bytes: &[u8]) -> Option<(KeyPart<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let eight = |rest: &[u8]| rest.first_chunk::<8>().copied();
    Some(match tag {
        TAG_NULL => (KeyPart::Null, rest),
        TAG_FALSE => (KeyPart::Bool(false), rest),
        TAG_TRUE => (KeyPart::Bool(true), rest),
        TAG_INT => (KeyPart::Int(i64::from_le_bytes(eight(rest)?)), &rest[8..]),
        TAG_UINT => (KeyPart::Uint(u64::from_le_bytes(eight(rest)?)), &rest[8..]),
        TAG_FLOAT => (KeyPart::Float(f64::from_le_bytes(eight(rest)?)), &rest[8..]),
        TAG_STR | TAG_OBJECT => {
            let len = u32::from_le_bytes(*rest.first_chunk::<4>()?) as usize;
            let text = std::str::from_utf8(rest.get(4..4 + len)?).ok()?;
            let part = if tag == TAG_STR { KeyPart::Str(text) } else { KeyPart::Object(text) };
            (part, &rest[4 + len..])
        }
        _ => return None,
    })
}

/// Builds keys in a buffer that is reused.
#[derive(Debug, Default)]
pub struct KeyBuilder {
    bytes: Vec<u8>,
}

impl KeyBuilder {
    /// Forgets the parts so far.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Length so far in bytes; with [`KeyBuilder::truncate`] a way back when enumerating combinations.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no part was pushed.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The canonical bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Back to an earlier length.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Appends a value. Absent and null are null. An array is not a key value: the caller enumerates its elements; here it
    /// counts as null.
    pub fn push(&mut self, value: Val<'_>) {
        match value {
            Val::Absent | Val::Null | Val::Array(_) => self.bytes.push(TAG_NULL),
            Val::Bool(b) => self.bytes.push(if b { TAG_TRUE } else { TAG_FALSE }),
            Val::Int(i) => self.push_int(i),
            Val::Uint(u) => match i64::try_from(u) {
                Ok(i) => self.push_int(i),
                Err(_) => {
                    self.bytes.push(TAG_UINT);
                    self.bytes.extend_from_slice(&u.to_le_bytes());
                }
            },
            Val::Float(f) => self.push_float(f),
            Val::Str(s) => self.push_text(TAG_STR, s),
            Val::Object(raw) => self.push_text(TAG_OBJECT, raw),
        }
    }

    fn push_int(&mut self, value: i64) {
        self.bytes.push(TAG_INT);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A float that is exactly an integer is that integer, so that `1.0` and `1` meet.
    fn push_float(&mut self, value: f64) {
        const I64_END: f64 = 9_223_372_036_854_775_808.0; // 2^63, exact
        const U64_END: f64 = 18_446_744_073_709_551_616.0; // 2^64, exact
        if value.fract() == 0.0 && (-I64_END..I64_END).contains(&value) {
            self.push_int(value as i64);
        } else if value.fract() == 0.0 && (I64_END..U64_END).contains(&value) {
            self.bytes.push(TAG_UINT);
            self.bytes.extend_from_slice(&(value as u64).to_le_bytes());
        } else {
            self.bytes.push(TAG_FLOAT);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn push_text(&mut self, tag: u8, text: &str) {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// The key so far, in the dimension with this hash.
    pub fn build(&self, dimension_hash: u64) -> Key {
        Key { hash: stable_hash64(dimension_hash, &self.bytes), bytes: self.bytes.as_slice().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_has_one_shard_and_ranges_say_which() {
        for shards in [1, 2, 3, 7, 16, 100, 1024] {
            for top in (0..=u16::MAX).step_by(13).chain([u16::MAX]) {
                let hash = u64::from(top) << 48 | 0xffff;
                let owners: Vec<usize> =
                    (0..shards).filter(|index| HashRange::of_shard(*index, shards).contains(hash)).collect();
                assert_eq!(owners, [shard_of(hash, shards)]);
            }
        }
    }

    fn key(values: &[Val<'_>]) -> Key {
        let mut builder = KeyBuilder::default();
        values.iter().for_each(|v| builder.push(*v));
        builder.build(0)
    }

    #[test]
    fn equal_numbers_are_one_key_and_text_is_another() {
        assert_eq!(key(&[Val::Int(1)]), key(&[Val::Float(1.0)]));
        assert_eq!(key(&[Val::Uint(u64::MAX)]).parts(), [KeyPart::Uint(u64::MAX)]);
        assert_eq!(key(&[Val::Float(9_223_372_036_854_775_808.0)]), key(&[Val::Uint(1 << 63)]));
        assert_ne!(key(&[Val::Int(1)]), key(&[Val::Str("1")]));
        assert_ne!(key(&[Val::Str("ab"), Val::Str("c")]), key(&[Val::Str("a"), Val::Str("bc")]));
    }

    #[test]
    fn parts_come_back_as_they_went_in() {
        let parts = [Val::Null, Val::Bool(true), Val::Int(-5), Val::Float(0.5), Val::Str("ü")];
        assert_eq!(
            key(&parts).parts(),
            [KeyPart::Null, KeyPart::Bool(true), KeyPart::Int(-5), KeyPart::Float(0.5), KeyPart::Str("ü")]
        );
    }
}
