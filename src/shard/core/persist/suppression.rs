//! Kind `30`: what suppression remembers of one repeat. Key: the repeat's hash (16 bytes), its upper 16 bits those of the
//! correlation key's. Value, version 1: `reported · last · count · window`.

use super::{Ledger, kind};
use crate::event::{Hash128, Span, Timestamp};
use crate::shard::core::suppress::{Kept, Suppressed};
use crate::store::codec::{Damaged, Reader};

const VERSION: u8 = 1;

pub(super) fn store(ledger: &mut Ledger, suppressed: &mut Suppressed) {
    suppressed.take_changes(|repeat, kept| {
        let partition = ledger.partition(repeat.key_hash());
        let (key, value) = (&mut ledger.key, &mut ledger.value);
        key.clear();
        key.byte(kind::SUPPRESSION);
        key.raw(&repeat.0.to_be_bytes());
        let Some(kept) = kept else { return ledger.changes.delete(partition, key.bytes()) };
        value.clear();
        value.byte(VERSION);
        value.int(kept.reported.0);
        value.int(kept.last.0);
        value.uint(kept.count);
        value.int(kept.window.0);
        ledger.changes.put(partition, key.bytes(), value.bytes());
    });
}

pub(super) fn read(
    ledger: &Ledger,
    key: &mut Reader<'_>,
    value: &[u8],
    retention: Span,
    suppressed: &mut Suppressed,
) -> Result<(), Damaged> {
    let repeat = Hash128(key.raw(16)?.iter().fold(0, |hash, byte| hash << 8 | u128::from(*byte)));
    if !ledger.durable.range.contains(repeat.key_hash()) {
        return Ok(());
    }
    let mut reader = Reader::new(value);
    reader.version(VERSION)?;
    let (reported, last) = (Timestamp(reader.int()?), Timestamp(reader.int()?));
    let kept = Kept { reported, last, count: reader.uint()?, window: Span(reader.int()?) };
    suppressed.restore(repeat, kept, retention);
    Ok(())
}
