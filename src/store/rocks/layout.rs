//! Where things stand in the database: column families, keys and the records of `meta`.
//!
//! | family | key | value | held as |
//! |---|---|---|---|
//! | `meta` | `format` | u32 | as it is |
//! | `meta` | `application` | the application id | as it is |
//! | `meta` | `changelog` | the changelog topic's id | as it is |
//! | `meta` | `applied`, partition u16 | version u8 = 1, position i64, written_ms i64 | as it is |
//! | `meta` | `batch` | number of the last batch u64 | as it is |
//! | `warm` | partition u16, part key | part; of a sealed kind: seconds u32 since the epoch when it was written, part | as it is |
//! | `cold` | partition u16, part key of a sealed kind | part | zstd |
//! | `warm`, `cold` | 0xffff | number of the last batch u64 | |
//! | `scratch` | scratch key | anything | as it is, no write-ahead log |
//!
//! Numbers are big-endian. A part of a sealed kind is written to `warm` and goes to `cold` once it is old, see `ageing`; what
//! `warm` has counts before what `cold` has. Other kinds live in `warm` only. A change of anything here is a new [`FORMAT`].
//! In format 1 sealed kinds were in `cold` from the first on.
//!
//! Each batch puts its number into every family that it concerns. RocksDB goes back to an earlier moment where files are
//! damaged, and mostly, but not with a manifest cut short, to the same one for all families: three equal numbers show it.

use smallvec::SmallVec;

use super::failure::Failure;
use crate::store::{Applied, StoreErrorKind};

/// The layout that this program writes.
pub(super) const FORMAT: u32 = 2;

/// The oldest layout that it can read. Older ones are set aside.
pub(super) const FORMAT_OLDEST: u32 = 1;

/// Key of the layout's number: under this name in every layout there will be.
pub(super) const FORMAT_KEY: &[u8] = b"format";

/// Key of the application id.
pub(super) const APPLICATION_KEY: &[u8] = b"application";

/// Key of the changelog topic's id.
pub(super) const CHANGELOG_KEY: &[u8] = b"changelog";

/// The number of the last batch: where it stands in each family that has it. No partition is 0xffff.
pub(super) const BATCH_KEYS: [(Family, &[u8]); 3] =
    [(Family::Meta, b"batch"), (Family::Warm, b"\xff\xff"), (Family::Cold, b"\xff\xff")];

const APPLIED_KEY: &[u8] = b"applied";

const APPLIED_VERSION: u8 = 1;

/// Kinds of parts (the first byte of a part's key) that are written once, rarely read and dropped whole: sealed dedup
/// segments and sealed timeline segments. They are in the family `cold` when they are old. Ascending.
pub const SEALED_KINDS: [u8; 2] = [0x10, 0x22];

/// Where the families of parts change along the keys: each sealed kind's first key, and the first behind it.
const CUTS: [[u8; 1]; 4] = [[SEALED_KINDS[0]], [SEALED_KINDS[0] + 1], [SEALED_KINDS[1]], [SEALED_KINDS[1] + 1]];

/// Bytes before a part of a sealed kind in `warm`.
const STAMP_BYTES: usize = 4;

/// Bytes of a key in the database that all parts of one kind and correlation key share: partition, kind, hash.
pub(super) const PREFIX_BYTES: usize = 2 + 1 + 8;

/// A column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Meta,
    Warm,
    Cold,
    Scratch,
}

impl Family {
    pub(super) const ALL: [Family; 4] = [Family::Meta, Family::Warm, Family::Cold, Family::Scratch];

    pub(super) fn name(self) -> &'static str {
        match self {
            Family::Meta => "meta",
            Family::Warm => "warm",
            Family::Cold => "cold",
            Family::Scratch => "scratch",
        }
    }
}

/// Whether a part is of a sealed kind.
pub(super) fn is_sealed(key: &[u8]) -> bool {
    key.first().is_some_and(|kind| SEALED_KINDS.contains(kind))
}

/// A time by the wall clock as sealed parts bear it. What lies before 1970 or after 2106 is taken as the one or the other.
pub(super) fn stamp(now_ms: i64) -> u32 {
    u32::try_from((now_ms / 1_000).max(0)).unwrap_or(u32::MAX)
}

/// Makes `buffer` the value in `warm` of a part of a sealed kind.
pub(super) fn stamped<'a>(buffer: &'a mut Vec<u8>, stamp: u32, part: &[u8]) -> &'a [u8] {
    buffer.clear();
    buffer.extend_from_slice(&stamp.to_be_bytes());
    buffer.extend_from_slice(part);
    buffer
}

/// A part of a sealed kind out of its value in `warm`, and when it was written.
pub(super) fn unstamped(value: &[u8]) -> Result<(u32, &[u8]), Failure> {
    let (stamp, part) = value.split_first_chunk::<STAMP_BYTES>().ok_or_else(|| {
        let detail = format!("a sealed part has {} bytes, its time alone has {STAMP_BYTES}", value.len());
        Failure::new(StoreErrorKind::Corrupt, detail)
    })?;
    Ok((u32::from_be_bytes(*stamp), part))
}

/// The first key in the database, at or behind `stored`, that a part of a sealed kind may have; `None`: there is none.
pub(super) fn next_sealed(stored: &[u8]) -> Option<Vec<u8>> {
    let (partition, own) = stored.split_first_chunk::<2>()?;
    if is_sealed(own) {
        return Some(stored.to_vec());
    }
    let kind = SEALED_KINDS.iter().find(|kind| own < &[**kind][..]);
    let partition = match kind {
        Some(_) => u16::from_be_bytes(*partition),
        None => u16::from_be_bytes(*partition).checked_add(1)?,
    };
    Some([&partition.to_be_bytes()[..], &[*kind.unwrap_or(&SEALED_KINDS[0])]].concat())
}

/// Makes `buffer` the key of a part in the database.
pub(super) fn part_key(buffer: &mut Vec<u8>, partition: u16, key: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(&partition.to_be_bytes());
    buffer.extend_from_slice(key);
}

/// The part's own key within a key of the database.
pub(super) fn own_key(stored: &[u8]) -> &[u8] {
    stored.get(2..).unwrap_or_default()
}

/// A range of part keys, and whether all of them are of sealed kinds, or none.
pub(super) type Piece<'a> = (bool, &'a [u8], &'a [u8]);

/// Cuts `from <= key < to` where sealed kinds begin and end, in key order. A range of one kind is one piece.
pub(super) fn pieces<'a>(from: &'a [u8], to: &'a [u8]) -> SmallVec<[Piece<'a>; 1]> {
    let mut pieces = SmallVec::new();
    let mut at = from;
    for cut in CUTS.iter().map(<[u8; 1]>::as_slice).filter(|cut| from < *cut && *cut < to) {
        pieces.push((is_sealed(at), at, cut));
        at = cut;
    }
    if at < to {
        pieces.push((is_sealed(at), at, to));
    }
    pieces
}

/// Whether all keys of the database in `from <= key < to` share the first [`PREFIX_BYTES`] bytes.
pub(super) fn one_prefix(from: &[u8], to: &[u8]) -> bool {
    let (Some(prefix), Some(end)) = (from.get(..PREFIX_BYTES), to.get(..PREFIX_BYTES.min(to.len()))) else {
        return false;
    };
    if end == prefix {
        return true;
    }
    // The first key behind the prefix, with the zero bytes that end it left off or not.
    let mut behind: SmallVec<[u8; PREFIX_BYTES]> = SmallVec::from_slice(prefix);
    for at in (0..PREFIX_BYTES).rev() {
        behind[at] = behind[at].wrapping_add(1);
        if behind[at] != 0 {
            break;
        }
    }
    to <= behind.as_slice()
}

/// The key in `meta` of a partition's position.
pub(super) fn applied_key(partition: u16) -> Vec<u8> {
    let mut key = APPLIED_KEY.to_vec();
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// The partition that a key in `meta` speaks of, if it is that of a position.
pub(super) fn applied_partition(key: &[u8]) -> Option<u16> {
    key.strip_prefix(APPLIED_KEY)?.try_into().ok().map(u16::from_be_bytes)
}

/// A position as it is stored.
pub(super) fn encode_applied(applied: Applied) -> [u8; 17] {
    let mut bytes = [APPLIED_VERSION; 17];
    bytes[1..9].copy_from_slice(&applied.position.to_be_bytes());
    bytes[9..].copy_from_slice(&applied.written_ms.to_be_bytes());
    bytes
}

/// A position out of its stored form.
pub(super) fn decode_applied(bytes: &[u8]) -> Result<Applied, Failure> {
    let parts = bytes.split_first_chunk::<1>().and_then(|([version], rest)| {
        let (position, rest) = rest.split_first_chunk::<8>()?;
        let (written_ms, rest) = rest.split_first_chunk::<8>()?;
        (*version == APPLIED_VERSION && rest.is_empty()).then_some((*position, *written_ms))
    });
    match parts {
        Some((position, written_ms)) => {
            Ok(Applied { position: i64::from_be_bytes(position), written_ms: i64::from_be_bytes(written_ms) })
        }
        None => Err(Failure::new(
            StoreErrorKind::Corrupt,
            format!("a record of a changelog position has {} bytes that this version did not write", bytes.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_kinds_ascend_and_have_a_successor() {
        assert!(SEALED_KINDS.is_sorted_by(|a, b| a < b) && SEALED_KINDS.iter().all(|kind| *kind < u8::MAX));
    }

    #[test]
    fn the_next_sealed_key_is_that_or_the_beginning_of_the_next_sealed_kind() {
        let next = |stored: &[u8]| next_sealed(stored);
        assert_eq!(next(b"\0\x05\x10abc"), Some(b"\0\x05\x10abc".to_vec()));
        assert_eq!(next(b"\0\x05"), Some(b"\0\x05\x10".to_vec()));
        assert_eq!(next(b"\0\x05\x0f\xff\xff"), Some(b"\0\x05\x10".to_vec()));
        assert_eq!(next(b"\0\x05\x11"), Some(b"\0\x05\x22".to_vec()));
        assert_eq!(next(b"\0\xff\x23"), Some(b"\x01\0\x10".to_vec()));
        assert_eq!(next(b"\xff\xff\xff"), None);
        assert_eq!(next(b"\0"), None);
    }

    #[test]
    fn a_stamp_comes_back_and_what_is_too_short_for_one_is_damage() {
        let mut buffer = Vec::new();
        assert_eq!(stamped(&mut buffer, stamp(1_999), b"part"), b"\0\0\0\x01part");
        assert_eq!(unstamped(&buffer).ok(), Some((1, &b"part"[..])));
        assert_eq!(unstamped(b"\0\0\0").expect_err("refused").kind, StoreErrorKind::Corrupt);
        assert_eq!((stamp(i64::MIN), stamp(i64::MAX)), (0, u32::MAX));
    }

    #[test]
    fn a_range_of_one_kind_is_one_piece_and_others_are_cut_at_sealed_kinds() {
        const SEALED: bool = true;
        const OTHER: bool = false;
        let cut = |from: &'static [u8], to: &'static [u8]| pieces(from, to).into_vec();
        assert_eq!(cut(b"\x22abc", b"\x22abd"), [(SEALED, &b"\x22abc"[..], &b"\x22abd"[..])]);
        assert_eq!(cut(b"\x22", b"\x23"), [(SEALED, &b"\x22"[..], &b"\x23"[..])]);
        assert_eq!(cut(b"\x21z", b"\x22"), [(OTHER, &b"\x21z"[..], &b"\x22"[..])]);
        assert_eq!(
            cut(b"", b"\xff"),
            [
                (OTHER, &b""[..], &b"\x10"[..]),
                (SEALED, b"\x10", b"\x11"),
                (OTHER, b"\x11", b"\x22"),
                (SEALED, b"\x22", b"\x23"),
                (OTHER, b"\x23", b"\xff"),
            ]
        );
        assert_eq!(cut(b"\x30", b"\x30"), []);
        assert_eq!(cut(b"\x30", b"\x10"), []);
    }

    #[test]
    fn one_prefix_is_seen_with_each_way_to_write_its_end() {
        let prefix = b"\x00\x05\x20\x00\x00\x00\x00\x00\x00\x01\xff";
        let with = |tail: &[u8]| [prefix.as_slice(), tail].concat();
        assert!(one_prefix(prefix, &with(b"\xff\xff")));
        assert!(one_prefix(&with(b"\x01"), &with(b"\x02")));
        assert!(one_prefix(prefix, b"\x00\x05\x20\x00\x00\x00\x00\x00\x00\x02\x00"));
        assert!(one_prefix(prefix, b"\x00\x05\x20\x00\x00\x00\x00\x00\x00\x02"), "the last zeros left off");
        assert!(!one_prefix(prefix, b"\x00\x05\x20\x00\x00\x00\x00\x00\x00\x02\x00\x00"), "one key more");
        assert!(!one_prefix(prefix, b"\x00\x05\x21"));
        assert!(!one_prefix(&prefix[..10], &with(b"")), "the beginning is shorter than a prefix");
    }

    #[test]
    fn positions_come_back_and_nothing_else_passes_for_one() {
        let applied = Applied { position: 77, written_ms: -3 };
        let bytes = encode_applied(applied);
        assert_eq!(bytes, *b"\x01\0\0\0\0\0\0\0\x4d\xff\xff\xff\xff\xff\xff\xff\xfd", "the layout of format 1");
        assert_eq!(decode_applied(&bytes).ok(), Some(applied));
        for wrong in [&bytes[..16], &[&bytes[..], b"\0"].concat(), b"", &[&b"\x02"[..], &bytes[1..]].concat()] {
            assert_eq!(decode_applied(wrong).expect_err("refused").kind, StoreErrorKind::Corrupt);
        }
        assert_eq!(applied_partition(&applied_key(513)), Some(513));
        assert_eq!(applied_partition(FORMAT_KEY), None);
    }
}
