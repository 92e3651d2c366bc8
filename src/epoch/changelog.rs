//! Changes as changelog records, and back.
//!
//! A part is one record: its key, its value (none: a tombstone). A value too large for one record goes in chunks: records with
//! key `FE · chunk number (2 bytes) · part key` and then, under the part's own key, `FF · number of chunks · length · hash`.
//! Versions of values stay below `FF`. Chunks of a value that was replaced by a smaller one stay in the topic; they are
//! rare and do no harm.

use std::collections::HashMap;
use std::sync::Arc;

use crate::broker::OutRecord;
use crate::event::{Changes, stable_hash64};
use crate::fault::{self, Bug};
use crate::store::codec::{Damaged, Reader, Writer};

/// Bytes of one chunk at most: with a key of any size below Kafka's default `max.message.bytes` of 1 MiB.
const CHUNK: usize = 900 << 10;

/// Room that a record takes beside its key and value: the header of its batch and lengths, our own key of a chunk.
const OVERHEAD: usize = 512;

const CHUNK_KEY: u8 = 0xfe;
const CHUNKED: u8 = 0xff;

/// Makes changelog records.
#[derive(Debug)]
pub struct Changelog {
    topic: Arc<str>,
    record_bytes_max: usize,
}

impl Changelog {
    /// For this topic, whose `max.message.bytes` are given.
    pub fn new(topic: Arc<str>, record_bytes_max: usize) -> Changelog {
        Changelog { topic, record_bytes_max }
    }

    /// Most bytes of a value that go with this key in one record. Keys are bounded (`KEY_BYTES_MAX`), and so is the topic's limit
    /// from below, so there is always room for something.
    fn chunk(&self, key: &[u8]) -> usize {
        self.record_bytes_max.saturating_sub(OVERHEAD + key.len()).clamp(1, CHUNK)
    }

    fn record(&self, partition: u16, key: Vec<u8>, value: Option<Vec<u8>>) -> OutRecord {
        let topic = Arc::clone(&self.topic);
        OutRecord { topic, partition: Some(partition.into()), key: Some(key), value, headers: Vec::new(), order: None }
    }

    /// The records of some changes, in their order.
    pub fn records(&self, changes: &Changes, mut send: impl FnMut(OutRecord)) {
        for (partition, key, value) in changes.iter() {
            if value.is_none() && fault::planted(Bug::TombstoneLost) {
                continue;
            }
            let chunk = self.chunk(key);
            let Some(large) = value.filter(|value| value.len() > chunk) else {
                send(self.record(partition, key.to_vec(), value.map(<[u8]>::to_vec)));
                continue;
            };
            let mut chunks = 0;
            for (number, chunk) in large.chunks(chunk).enumerate() {
                let mut name = vec![CHUNK_KEY];
                name.extend_from_slice(&(number as u16).to_be_bytes());
                name.extend_from_slice(key);
                send(self.record(partition, name, Some(chunk.to_vec())));
                chunks += 1;
            }
            let mut head = Writer::default();
            head.byte(CHUNKED);
            head.uint(chunks);
            head.uint(large.len() as u64);
            head.fixed(stable_hash64(0, large));
            send(self.record(partition, key.to_vec(), Some(head.bytes().to_vec())));
        }
    }
}

/// Puts changelog records together again, partition by partition.
#[derive(Debug, Default)]
pub struct Reassembly {
    /// Chunks seen whose head has not come: part key → value so far.
    open: HashMap<(u16, Vec<u8>), Vec<u8>>,
    /// Heads whose chunks were compacted away; a later value must have come for each.
    missing: HashMap<(u16, Vec<u8>), Damaged>,
}

impl Reassembly {
    /// Takes the next record of a partition; what it changes goes to `out`.
    pub fn take(&mut self, partition: u16, key: &[u8], value: Option<&[u8]>, out: &mut Changes) {
        if let Some((&CHUNK_KEY, rest)) = key.split_first() {
            let Some((number, part)) = rest.split_at_checked(2) else { return };
            let so_far = self.open.entry((partition, part.to_vec())).or_default();
            if number == [0, 0] {
                so_far.clear();
            }
            so_far.extend_from_slice(value.unwrap_or_default());
            return;
        }
        if !self.missing.is_empty() {
            self.missing.remove(&(partition, key.to_vec()));
        }
        match value {
            None => out.delete(partition, key),
            Some(head) if head.first() == Some(&CHUNKED) => {
                let name = (partition, key.to_vec());
                match whole(head, self.open.remove(&name)) {
                    Ok(value) => out.put(partition, key, &value),
                    Err(damage) => drop(self.missing.insert(name, damage)),
                }
            }
            Some(value) => out.put(partition, key, value),
        }
    }

    /// At the end of the log: whether every large value was there whole.
    pub fn finish(self) -> Result<(), Damaged> {
        match self.missing.into_iter().next() {
            None => Ok(()),
            Some(((partition, key), damage)) => {
                Err(Damaged::new(format!("part {key:02x?} in partition {partition} of the changelog: {damage}")))
            }
        }
    }
}

fn whole(head: &[u8], chunks: Option<Vec<u8>>) -> Result<Vec<u8>, Damaged> {
    let mut reader = Reader::new(head.get(1..).unwrap_or_default());
    let (_, len, hash) = (reader.uint()?, reader.uint()?, reader.fixed()?);
    chunks
        .filter(|value| value.len() as u64 == len && stable_hash64(0, value) == hash)
        .ok_or_else(|| Damaged::new("chunks of a large value are missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(changes: &Changes) -> Vec<OutRecord> {
        let mut records = Vec::new();
        // Four bytes of a value beside a key of five.
        Changelog::new("log".into(), OVERHEAD + 5 + 4).records(changes, |record| records.push(record));
        records
    }

    fn back(records: &[OutRecord]) -> (Changes, Result<(), Damaged>) {
        let (mut changes, mut reassembly) = (Changes::default(), Reassembly::default());
        for record in records {
            let partition = record.partition.expect("a partition") as u16;
            let key = record.key.as_deref().expect("a key");
            reassembly.take(partition, key, record.value.as_deref(), &mut changes);
        }
        (changes, reassembly.finish())
    }

    #[test]
    fn changes_of_any_size_come_back_as_they_went_in() {
        let mut changes = Changes::default();
        changes.put(3, b"small", b"1234");
        changes.put(3, b"large", b"0123456789");
        changes.delete(4, b"gone");
        changes.put(3, b"large", b"abcdefgh");
        let records = records(&changes);
        assert!(records.iter().all(|record| record.value.as_ref().is_none_or(|value| value.len() <= 20)));
        let (read, whole) = back(&records);
        assert_eq!(whole, Ok(()));
        assert!(read.iter().eq(changes.iter()));
    }

    #[test]
    fn a_large_value_without_its_chunks_counts_only_if_nothing_later_replaced_it() {
        let mut changes = Changes::default();
        changes.put(0, b"large", b"0123456789");
        let first = records(&changes);
        let head = &first[first.len() - 1..];
        assert!(back(head).1.is_err());
        let replaced = [head, &first[..]].concat();
        assert_eq!(back(&replaced).1, Ok(()));
        let mut deleted = Changes::default();
        deleted.delete(0, b"large");
        assert_eq!(back(&[head, &records(&deleted)[..]].concat()).1, Ok(()));
    }
}
