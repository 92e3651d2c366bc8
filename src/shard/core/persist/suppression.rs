//! What suppression remembers of one repeat.
//!
//! Kind `20`, key suffix `03 · the repeat's hash (16 bytes)`. Value, version 2: `reported · last · count · window`.
//!
//! Version 1 was kind `30`, with the repeat's hash alone as its key, whose upper 16 bits are those of the correlation key's, and
//! the same value. It is read for ever; each is written as version 2 once its key is known.

use super::{Ledger, kind};
use crate::event::{Hash128, Span, Timestamp};
use crate::shard::core::suppress::{Kept, Repeats, Unplaced};
use crate::store::codec::{Damaged, Reader, Writer};

const VERSION: u8 = 2;
const UNPLACED_VERSION: u8 = 1;

/// After the key: a repeat.
pub(super) const REPEAT: u8 = 3;

pub(super) fn repeat_key(repeat: Hash128, key: &mut Writer) {
    key.byte(REPEAT);
    key.raw(&repeat.0.to_be_bytes());
}

/// Writes what changed; the ledger's key stands behind the correlation key.
pub(super) fn store(ledger: &mut Ledger, partition: u16, repeats: &mut Repeats) {
    let (stem, Ledger { key, value, changes, .. }) = (ledger.key.bytes().len(), ledger);
    repeats.take_changes(|repeat, kept| {
        value.clear();
        value.byte(VERSION);
        value.int(kept.reported.0);
        value.int(kept.last.0);
        value.uint(kept.count);
        value.int(kept.window.0);
        repeat_key(repeat, key);
        changes.put(partition, key.bytes(), value.bytes());
        key.truncate(stem);
    });
}

/// Removes what was kept without a key and is not any more.
pub(super) fn bury_unplaced(ledger: &mut Ledger, unplaced: &mut Unplaced) {
    for repeat in unplaced.take_gone() {
        let partition = ledger.partition(repeat.key_hash());
        ledger.key.clear();
        ledger.key.byte(kind::SUPPRESSION);
        ledger.key.raw(&repeat.0.to_be_bytes());
        ledger.changes.delete(partition, ledger.key.bytes());
    }
}

pub(super) fn read_repeat(key: &mut Reader<'_>) -> Result<Hash128, Damaged> {
    Ok(Hash128(key.raw(16)?.iter().fold(0, |hash, byte| hash << 8 | u128::from(*byte))))
}

pub(super) fn read(value: &[u8]) -> Result<Kept, Damaged> {
    read_version(VERSION, value)
}

fn read_version(version: u8, value: &[u8]) -> Result<Kept, Damaged> {
    let mut reader = Reader::new(value);
    reader.version(version)?;
    let (reported, last) = (Timestamp(reader.int()?), Timestamp(reader.int()?));
    Ok(Kept { reported, last, count: reader.uint()?, window: Span(reader.int()?) })
}

/// A part of kind `30`.
pub(super) fn read_unplaced(
    ledger: &Ledger,
    key: &mut Reader<'_>,
    value: &[u8],
    retention: Span,
    unplaced: &mut Unplaced,
) -> Result<(), Damaged> {
    let repeat = read_repeat(key)?;
    if ledger.durable.range.contains(repeat.key_hash()) {
        unplaced.restore(repeat, read_version(UNPLACED_VERSION, value)?, retention);
    }
    Ok(())
}
