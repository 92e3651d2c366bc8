//! Kind `10`: a segment of dedup ids of one bucket. Key: `writer (2 bytes) · bucket (8, sign flipped) · number (8)`, the writer
//! being the first hash that the writing shard owned. Value, version 1: the ids, 16 bytes each.

use super::{Ledger, kind};
use crate::shard::core::dedup::{Dedup, Id, SegmentName};
use crate::store::codec::{Damaged, Reader};

const VERSION: u8 = 1;

const SIGN: u64 = 1 << 63;

pub(super) fn store(ledger: &mut Ledger, dedup: &mut Dedup) {
    dedup.take_changes(ledger.durable.range.first, |bucket, name, ids| {
        let partition = ledger.partition_of_writer(name.writer);
        let key = &mut ledger.key;
        key.clear();
        key.byte(kind::DEDUP);
        key.raw(&name.writer.to_be_bytes());
        key.fixed(bucket as u64 ^ SIGN);
        key.fixed(name.number);
        let Some(ids) = ids else { return ledger.changes.delete(partition, key.bytes()) };
        let value = &mut ledger.value;
        value.clear();
        value.byte(VERSION);
        ids.iter().for_each(|id| value.raw(&id.to_bytes()));
        ledger.changes.put(partition, key.bytes(), value.bytes());
    });
}

pub(super) fn read(ledger: &Ledger, key: &mut Reader<'_>, value: &[u8], dedup: &mut Dedup) -> Result<(), Damaged> {
    let writer = key.raw(2)?;
    let writer = u16::from_be_bytes([writer[0], writer[1]]);
    let bucket = (key.fixed()? ^ SIGN) as i64;
    let name = SegmentName { writer, number: key.fixed()? };
    let mut reader = Reader::new(value);
    reader.version(VERSION)?;
    let (ids, rest) = reader.rest().as_chunks::<{ Id::BYTES }>();
    if !rest.is_empty() {
        return Err(Damaged::new("half an id at the end of a dedup segment"));
    }
    let range = ledger.durable.range;
    let ours = ids.iter().map(|bytes| Id::from_bytes(*bytes)).filter(|id| range.contains(id.key_hash()));
    dedup.restore(bucket, name, ours);
    Ok(())
}
