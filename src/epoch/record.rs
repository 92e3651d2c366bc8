//! The task record: where a task stands. Written with every epoch that changed it, in the same transaction as the offsets.
//!
//! Part key `01` in the task's first changelog partition. Value, version 2:
//! `program version · epoch · written (ms) · watermarks: count, (task, watermark)… · partitions: count, (topic, partition, next offset, newest event
//! time, its stamp, idle)… · counts: count, (topic, one number an outcome)… · correlations: count, (rule, n)… · dead letters: count,
//! (code, n)…`
//!
//! Version 1 had no program version. In every later one, also those that this program does not know, it stands right behind the
//! version byte, so that a program that is too old can say which one to start instead.
//!
//! Beside it, part key `02`: the rules that have run, written when they change. Value, version 1: `count, content hash (8)…`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Progress;
use crate::broker::TopicPartition;
use crate::event::{Outcome, OutcomeCounts, PartitionClockState, Task, Timestamp};
use crate::store::codec::{Damaged, Reader, Writer};

/// Part key of a task record.
pub const KEY: &[u8] = &[0x01];

/// Part key of a task's rules.
pub const RULES_KEY: &[u8] = &[0x02];

/// Part keys below this are of a task as a whole.
pub const KEYS_END: u8 = 0x10;

const VERSION: u8 = 2;
const RULES_VERSION: u8 = 1;

/// Where one input partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRecord {
    /// Offset of the next record to process.
    pub next: i64,
    /// Its clock.
    pub clock: PartitionClockState,
}

/// Where a task stands after an epoch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskRecord {
    /// Version of the program that wrote it; empty: unknown, or not written yet.
    pub writer: String,
    /// The epoch that changed it last; also in the metadata of its offsets.
    pub epoch: u64,
    /// When that was, by the wall clock, milliseconds since the epoch.
    pub written_ms: i64,
    /// The watermark that its shards had reached.
    pub watermarks: BTreeMap<Task, Timestamp>,
    /// Its input partitions.
    pub partitions: BTreeMap<TopicPartition, PartitionRecord>,
    /// What was counted since its creation.
    pub progress: Progress,
    /// Rules that have run here, by content hash: none of them is run over the past again. A part of its own, not in the bytes of the
    /// record.
    pub rules: BTreeSet<u64>,
}

impl TaskRecord {
    /// The metadata that goes with this record's offsets.
    pub fn metadata(&self) -> String {
        format!("epoch={}", self.epoch)
    }

    /// The epoch that an offset's metadata names.
    pub fn epoch_of(metadata: &str) -> Option<u64> {
        metadata.strip_prefix("epoch=")?.parse().ok()
    }

    /// Its bytes.
    pub fn write(&self, out: &mut Writer) {
        out.clear();
        out.byte(VERSION);
        out.blob(env!("CARGO_PKG_VERSION").as_bytes());
        out.uint(self.epoch);
        out.int(self.written_ms);
        out.uint(self.watermarks.len() as u64);
        for (task, watermark) in &self.watermarks {
            out.uint((*task).into());
            out.int(watermark.0);
        }
        out.uint(self.partitions.len() as u64);
        for (partition, record) in &self.partitions {
            out.blob(partition.topic.as_bytes());
            out.uint(partition.partition as u32 as u64);
            out.int(record.next);
            out.int(record.clock.newest.0);
            out.int(record.clock.stamp.0);
            out.byte(u8::from(record.clock.idle));
        }
        let Progress { counts, correlations, dead_letters, .. } = &self.progress;
        out.uint(counts.len() as u64);
        for (topic, counts) in counts {
            out.blob(topic.as_bytes());
            Outcome::ALL.iter().for_each(|outcome| out.uint(counts.get(*outcome)));
        }
        out.uint(correlations.len() as u64);
        for (rule, n) in correlations {
            out.blob(rule.as_bytes());
            out.uint(*n);
        }
        out.uint(dead_letters.len() as u64);
        for (code, n) in dead_letters {
            out.blob(code.as_bytes());
            out.uint(*n);
        }
    }

    /// The bytes of its rules.
    pub fn write_rules(&self, out: &mut Writer) {
        out.clear();
        out.byte(RULES_VERSION);
        out.uint(self.rules.len() as u64);
        self.rules.iter().for_each(|rule| out.fixed(*rule));
    }

    /// Its rules from their bytes.
    pub fn read_rules(value: &[u8]) -> Result<BTreeSet<u64>, Damaged> {
        let mut reader = Reader::new(value);
        reader.version(RULES_VERSION)?;
        (0..reader.count()?).map(|_| reader.fixed()).collect()
    }

    /// From its bytes.
    pub fn read(value: &[u8]) -> Result<TaskRecord, Damaged> {
        let mut reader = Reader::new(value);
        let writer = match reader.version(VERSION) {
            Ok(1) => String::new(),
            Ok(_) => reader.text()?.to_owned(),
            Err(damage) if damage.is_newer() => {
                let writer = reader.text().unwrap_or("unknown");
                return Err(Damaged::newer(format_args!("a layout of program version {writer}")));
            }
            Err(damage) => return Err(damage),
        };
        let (epoch, written_ms) = (reader.uint()?, reader.int()?);
        let mut record = TaskRecord { writer, epoch, written_ms, ..TaskRecord::default() };
        for _ in 0..reader.count()? {
            let task = reader.small()?;
            record.watermarks.insert(task, Timestamp(reader.int()?));
        }
        for _ in 0..reader.count()? {
            let partition = TopicPartition { topic: reader.text()?.into(), partition: reader.small::<u32>()? as i32 };
            let next = reader.int()?;
            let (newest, stamp) = (Timestamp(reader.int()?), Timestamp(reader.int()?));
            let clock = PartitionClockState { newest, stamp, idle: reader.byte()? != 0 };
            record.partitions.insert(partition, PartitionRecord { next, clock });
        }
        for _ in 0..reader.count()? {
            let topic: Arc<str> = reader.text()?.into();
            let mut counts = OutcomeCounts::default();
            for outcome in Outcome::ALL {
                counts.add(outcome, reader.uint()?);
            }
            record.progress.counts.insert(topic, counts);
        }
        for _ in 0..reader.count()? {
            let rule = reader.text()?.to_owned();
            record.progress.correlations.insert(rule, reader.uint()?);
        }
        for _ in 0..reader.count()? {
            let code = reader.text()?.to_owned();
            record.progress.dead_letters.insert(code.into(), reader.uint()?);
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> TaskRecord {
        let writer = env!("CARGO_PKG_VERSION").to_owned();
        let mut record = TaskRecord { writer, epoch: 57, written_ms: 1_700_000_000_123, ..TaskRecord::default() };
        record.watermarks.insert(0, Timestamp(-5));
        let partition = TopicPartition { topic: "events".into(), partition: 3 };
        let clock = PartitionClockState { newest: Timestamp(99), stamp: Timestamp::MIN, idle: true };
        record.partitions.insert(partition, PartitionRecord { next: 17, clock });
        let mut counts = OutcomeCounts::default();
        counts.add(Outcome::Matched, 12);
        record.progress.counts.insert("events".into(), counts);
        record.progress.correlations.insert("rule-a".into(), 2);
        record.progress.dead_letters.insert("late".into(), 1);
        record
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let mut writer = Writer::default();
        record().write(&mut writer);
        assert_eq!(TaskRecord::read(writer.bytes()), Ok(record()));
        for cut in 0..writer.len() {
            assert!(TaskRecord::read(&writer.bytes()[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_record_of_the_future_says_who_wrote_it() {
        let mut bytes = vec![VERSION + 1, 5];
        bytes.extend(b"9.8.7 and more that is not known");
        let refused = TaskRecord::read(&bytes).expect_err("newer");
        assert!(refused.is_newer() && refused.to_string().contains("9.8.7"), "{refused}");
    }

    #[test]
    fn rules_come_back() {
        let (mut writer, mut record) = (Writer::default(), record());
        record.rules.extend([0xfeed, u64::MAX]);
        record.write_rules(&mut writer);
        assert_eq!(TaskRecord::read_rules(writer.bytes()), Ok(record.rules));
        assert!(TaskRecord::read_rules(&writer.bytes()[..9]).is_err());
    }

    #[test]
    fn metadata_names_the_epoch() {
        assert_eq!(TaskRecord::epoch_of(&record().metadata()), Some(57));
        assert_eq!(TaskRecord::epoch_of("by hand"), None);
    }
}
