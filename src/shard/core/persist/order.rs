//! Kind `11`: signals that wait for the watermark. Key: `writer (2 bytes) · number (8)`. Value, version 1: `names · (evidence,
//! identity (16), dimension (8), key hash (8), key, steps, counts)…` in the order of their coming.
//!
//! A segment holds what came in one epoch and still waited at its end; it is not written again as its signals leave, but
//! removed when the watermark has passed the last, or when the input has ended: that releases all and leaves the watermark
//! where it was. Who reads a segment leaves out what the watermark has passed. After a change of the number of shards several
//! shards know one segment; both reasons to remove it hold for all of them in the same epoch.

use super::names::{Known, Names};
use super::{Ledger, evidence, kind};
use crate::event::{Hash128, Key, Signal, Timestamp};
use crate::store::codec::{Damaged, Reader};
use crate::timeline::Order;

const VERSION: u8 = 1;

/// Bytes at which a segment is cut.
const CUT_AT: usize = 64 << 10;

/// Who wrote a segment, and its number.
pub(super) type Name = (u16, u64);

/// `ended`: the input has ended and nothing waits any more.
pub(super) fn store(ledger: &mut Ledger, order: &mut Order, (watermark, ended): (Timestamp, bool), names: &mut Names) {
    let passed = |newest: Timestamp| newest < watermark || ended;
    while let Some(first) = ledger.waiting.first_entry().filter(|first| passed(*first.key())) {
        for name in first.remove() {
            write_name(ledger, name);
            ledger.changes.delete(ledger.partition_of_writer(name.0), ledger.key.bytes());
        }
    }
    let mut newest = Timestamp::MIN;
    for signal in order.take_fresh() {
        newest = newest.max(signal.event.time);
        write_signal(ledger, signal, names);
        if ledger.body.len() >= CUT_AT {
            cut(ledger, newest, names);
            newest = Timestamp::MIN;
        }
    }
    if !ledger.body.is_empty() {
        cut(ledger, newest, names);
    }
}

fn write_name(ledger: &mut Ledger, (writer, number): Name) {
    ledger.key.clear();
    ledger.key.byte(kind::ORDER);
    ledger.key.raw(&writer.to_be_bytes());
    ledger.key.fixed(number);
}

fn cut(ledger: &mut Ledger, newest: Timestamp, names: &mut Names) {
    let name = (ledger.durable.range.first, ledger.next_order);
    ledger.next_order += 1;
    write_name(ledger, name);
    ledger.seal(VERSION, names);
    let partition = ledger.partition_of_writer(name.0);
    ledger.changes.put(partition, ledger.key.bytes(), ledger.value.bytes());
    ledger.waiting.entry(newest).or_default().push(name);
}

fn write_signal(ledger: &mut Ledger, signal: &Signal, names: &Names) {
    let Ledger { body, used, .. } = ledger;
    evidence::write(&signal.event, used, body);
    body.raw(&signal.identity.0.to_be_bytes());
    body.fixed(names.dimension(signal.dimension));
    body.fixed(signal.key.hash());
    body.blob(signal.key.bytes());
    evidence::write_steps(&signal.steps, used, body);
    body.byte(u8::from(signal.counts));
}

pub(super) fn read(
    ledger: &mut Ledger,
    names: &Names,
    key: &mut Reader<'_>,
    value: &[u8],
    watermark: Timestamp,
    order: &mut Order,
    mut see: impl FnMut(&Signal),
) -> Result<(), Damaged> {
    let writer = key.raw(2)?;
    let name = (u16::from_be_bytes([writer[0], writer[1]]), key.fixed()?);
    let mut reader = Reader::new(value);
    reader.version(VERSION)?;
    let known = Known::read(names, &mut reader)?;
    let mut newest = Timestamp::MIN;
    while !reader.is_empty() {
        let event = evidence::read(&known, &mut reader)?;
        let identity = reader.raw(16)?.iter().fold(0, |hash, byte| hash << 8 | u128::from(*byte));
        let dimension = names.dimension_of(reader.fixed()?);
        let hash = reader.fixed()?;
        let key = Key::from_parts(hash, reader.blob()?);
        let steps = evidence::read_steps(&known, &mut reader)?;
        let counts = reader.byte()? != 0;
        newest = newest.max(event.time);
        let Some(dimension) = dimension else { continue };
        if event.time >= watermark && ledger.durable.range.contains(hash) {
            let (identity, task) = (Hash128(identity), ledger.task);
            let signal = Signal { event, identity, dimension, key, task, steps, counts, late: None };
            see(&signal);
            // Without a rule that is still there nobody waits for it.
            if !signal.steps.is_empty() {
                order.push(signal);
            }
        }
    }
    ledger.waiting.entry(newest).or_default().push(name);
    ledger.next_order = ledger.next_order.max(name.1 + 1);
    Ok(())
}
