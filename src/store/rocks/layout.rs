//! Where things stand in the database: column families, keys and the records of `meta`.
//!
//! | family | key | value | held as |
//! |---|---|---|---|
//! | `meta` | `format` | u32 | as it is |
//! | `meta` | `application` | the application id | as it is |
//! | `meta` | `changelog` | the changelog topic's id | as it is |
//! | `meta` | `applied`, partition u16 | version u8 = 1, position i64, written_ms i64 | as it is |
//! | `meta` | `batch` | number of the last batch u64 | as it is |
//! | `warm` | partition u16, part key | part | as it is |
//! | `cold` | partition u16, part key | part | zstd |
//! | `warm`, `cold` | 0xffff | number of the last batch u64 | |
//! | `scratch` | scratch key | anything | as it is, no write-ahead log |
//!
//! Numbers are big-endian. A part's kind, the first byte of its key, decides between `warm` and `cold`, so each kind lives
//! in one family only. A change of anything here is a new [`FORMAT`].
//!
//! Each batch puts its number into every family that it concerns. RocksDB goes back to an earlier moment where files are
//! damaged, and mostly, but not with a manifest cut short, to the same one for all families: three equal numbers show it.

use smallvec::SmallVec;

use super::failure::Failure;
use crate::store::{Applied, StoreErrorKind};

/// The layout that this program writes.
pub(super) const FORMAT: u32 = 1;

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
/// segments and sealed timeline segments. They live in the family `cold`. Ascending.
pub const COLD_KINDS: [u8; 2] = [0x10, 0x22];

/// Where the family of parts changes along the keys: each cold kind's first key, and the first behind it.
const CUTS: [[u8; 1]; 4] = [[COLD_KINDS[0]], [COLD_KINDS[0] + 1], [COLD_KINDS[1]], [COLD_KINDS[1] + 1]];

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

    /// The family of a part.
    pub(super) fn of_part(key: &[u8]) -> Family {
        match key.first() {
            Some(kind) if COLD_KINDS.contains(kind) => Family::Cold,
            _ => Family::Warm,
        }
    }
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

/// A range of part keys within one family.
pub(super) type Piece<'a> = (Family, &'a [u8], &'a [u8]);

/// Cuts `from <= key < to` where the family changes, in key order. A range of one kind is one piece.
pub(super) fn pieces<'a>(from: &'a [u8], to: &'a [u8]) -> SmallVec<[Piece<'a>; 1]> {
    let mut pieces = SmallVec::new();
    let mut at = from;
    for cut in CUTS.iter().map(<[u8; 1]>::as_slice).filter(|cut| from < *cut && *cut < to) {
        pieces.push((Family::of_part(at), at, cut));
        at = cut;
    }
    if at < to {
        pieces.push((Family::of_part(at), at, to));
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
    fn cold_kinds_ascend_and_have_a_successor() {
        assert!(COLD_KINDS.is_sorted_by(|a, b| a < b) && COLD_KINDS.iter().all(|kind| *kind < u8::MAX));
    }

    #[test]
    fn a_range_of_one_kind_is_one_piece_and_others_are_cut_at_cold_kinds() {
        use Family::{Cold, Warm};
        let cut = |from: &'static [u8], to: &'static [u8]| pieces(from, to).into_vec();
        assert_eq!(cut(b"\x22abc", b"\x22abd"), [(Cold, &b"\x22abc"[..], &b"\x22abd"[..])]);
        assert_eq!(cut(b"\x22", b"\x23"), [(Cold, &b"\x22"[..], &b"\x23"[..])]);
        assert_eq!(cut(b"\x21z", b"\x22"), [(Warm, &b"\x21z"[..], &b"\x22"[..])]);
        assert_eq!(
            cut(b"", b"\xff"),
            [
                (Warm, &b""[..], &b"\x10"[..]),
                (Cold, b"\x10", b"\x11"),
                (Warm, b"\x11", b"\x22"),
                (Cold, b"\x22", b"\x23"),
                (Warm, b"\x23", b"\xff"),
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
