//! How state is found again: the store is brought level with the changelog, and tasks learn where they stood.
//!
//! Truth is what Kafka has committed; the store is a cache that may be behind, and is never ahead (INV-BEHIND). Whatever is
//! wrong with it (gone, of another log, too old to be caught up), the answer is the same: start from the beginning of the changelog.
//! Runs before anything of a task is read, after the producer has finished or aborted what a predecessor left open.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::changelog::Reassembly;
use super::record::{self, TaskRecord};
use crate::broker::{Broker, BrokerError, ErrorKind, Flow, TopicPartition};
use crate::event::{Changes, Clock};
use crate::fault::{self, Bug};
use crate::store::codec::Damaged;
use crate::store::{Applied, Batch, Bulk, Store, StoreError};
use crate::telemetry::metrics::RestoreMetrics;

/// Bytes of changes that the store takes in at once while it is brought level; three times as many are held, as two loads are
/// written while the next is gathered.
const LOAD_BYTES: usize = 32 << 20;

/// How long the broker may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// How often progress is said.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Why state could not be found again.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where state is kept.
#[derive(Clone)]
pub struct StateHome {
    /// On disk.
    pub store: Arc<dyn Store>,
    /// The changelog topic.
    pub changelog: Arc<str>,
    /// How long the changelog keeps tombstones. A store that stood still for longer than half of it is not caught up: it
    /// would keep what was deleted.
    pub tombstones_kept: Duration,
    /// The changelog's `max.message.bytes`.
    pub record_bytes_max: usize,
}

/// What bringing the store level took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaughtUp {
    /// Changelog records applied.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Partitions that were rebuilt from their beginning.
    pub rebuilt: usize,
}

impl StateHome {
    /// Brings the store level with the changelog for these partitions.
    pub fn catch_up(
        &self,
        broker: &dyn Broker,
        partitions: &[u16],
        clock: &dyn Clock,
        metrics: &RestoreMetrics,
    ) -> Result<CaughtUp, RecoveryError> {
        let numbers: Vec<i32> = partitions.iter().map(|partition| i32::from(*partition)).collect();
        let bounds = broker.log_bounds(&self.changelog, &numbers, ANSWER_WAIT)?;
        let mut caught_up = CaughtUp::default();
        let mut ranges = Vec::new();
        for (&partition, (start, end)) in partitions.iter().zip(bounds) {
            let from = match self.position(partition, start, end, clock)? {
                Some(position) => position,
                None => {
                    self.store.clear(partition)?;
                    caught_up.rebuilt += usize::from(end > start);
                    start
                }
            };
            ranges.push((i32::from(partition), from, end));
        }
        let reading: Vec<_> = ranges.iter().copied().filter(|(_, from, end)| from < end).collect();
        if !reading.is_empty() {
            let total = reading.iter().map(|(_, from, end)| end - from).sum();
            let mut reading_to = Applying::new(self, total, clock, metrics);
            broker.read_log(&self.changelog, &reading, &mut |read| match reading_to.take(
                read.partition as u16,
                read.offset,
                read.key,
                read.value,
            ) {
                Ok(()) => Flow::Continue,
                Err(error) => {
                    reading_to.failed = Some(error);
                    Flow::Stop
                }
            })?;
            reading_to.finish(&mut caught_up)?;
        }
        metrics.remaining.set(0);
        fault::point("recovery.log-read");
        // Also where nothing was to be read: the store was level at this time.
        let written_ms = clock.wall().as_millis();
        let applied = ranges
            .iter()
            .map(|(partition, from, end)| (*partition as u16, Applied { position: *from.max(end), written_ms }));
        self.store.write(&Batch { changes: Vec::new(), applied: applied.collect() })?;
        Ok(caught_up)
    }

    /// Where to go on reading; `None`: what the store has of the partition is of no use.
    fn position(&self, partition: u16, start: i64, end: i64, clock: &dyn Clock) -> Result<Option<i64>, RecoveryError> {
        let Some(applied) = self.store.applied(partition)? else { return Ok(None) };
        let age_ms = clock.wall().as_millis().saturating_sub(applied.written_ms);
        let reason = if applied.position < start {
            "the changelog no longer reaches back to where it stood"
        } else if applied.position > end {
            "it is ahead of the changelog, which was deleted or cut"
        } else if applied.position < end && age_ms > self.tombstones_kept.as_millis() as i64 / 2 {
            "it stood still for longer than half of the changelog's delete.retention.ms"
        } else {
            return Ok(Some(applied.position));
        };
        tracing::warn!(partition, reason, "the state on disk is not used; it is rebuilt from the changelog");
        Ok(None)
    }

    /// The record of the task whose first changelog partition this is.
    pub fn record(&self, partition: u16) -> Result<Option<TaskRecord>, RecoveryError> {
        let mut found = None;
        self.store.scan(partition, record::KEY, &[record::KEY[0] + 1], &mut |_, value| {
            found = Some(TaskRecord::read(value));
            ControlFlow::Break(())
        })?;
        let damaged = |damage: Damaged| {
            if !damage.is_newer() {
                self.store.condemn(&damage.to_string());
            }
            StoreError::new(
                damage.kind(),
                format!("the record of the task in partition {partition} cannot be read: {damage}"),
            )
        };
        let mut record = found.transpose().map_err(damaged)?;
        if let Some(record) = &mut record {
            let mut rules = None;
            self.store.scan(partition, record::RULES_KEY, &[record::RULES_KEY[0] + 1], &mut |_, value| {
                rules = Some(TaskRecord::read_rules(value));
                ControlFlow::Break(())
            })?;
            record.rules = rules.transpose().map_err(damaged)?.unwrap_or_default();
        }
        let mut unknown = None;
        self.store.scan(partition, &[record::RULES_KEY[0] + 1], &[record::KEYS_END], &mut |key, _| {
            unknown = Some(damaged(Damaged::newer(format_args!("a part with the key {key:02x?}"))));
            ControlFlow::Break(())
        })?;
        if let Some(unknown) = unknown {
            return Err(unknown.into());
        }
        if fault::planted(Bug::WatermarkBack) {
            record.iter_mut().for_each(|record| record.watermarks.clear());
        }
        Ok(record)
    }

    /// Whether the group's committed offsets are those of the record: both were written in one transaction, so anything else
    /// means that one of them was changed by hand, or that one is lost.
    pub fn check(
        record: Option<&TaskRecord>,
        committed: &BTreeMap<TopicPartition, (i64, String)>,
        changelog: &str,
    ) -> Result<(), BrokerError> {
        for (partition, (offset, metadata)) in committed {
            let TopicPartition { topic, partition: number } = partition;
            let ours = record.and_then(|record| record.partitions.get(partition));
            let epoch = TaskRecord::epoch_of(metadata);
            let same = match (record, ours) {
                // An epoch that found nothing of it assigned leaves the offset as it was.
                (Some(record), Some(ours)) => epoch.is_some_and(|epoch| epoch <= record.epoch) && ours.next == *offset,
                // A topic that was not read for a while: its offset is of an earlier epoch.
                (Some(record), None) => epoch.is_none_or(|epoch| epoch <= record.epoch),
                (None, _) => epoch.is_none(),
            };
            if !same {
                let at = record.map_or("is empty".to_owned(), |record| format!("stands at epoch {}", record.epoch));
                let message = format!(
                    "the committed offset {offset} of {topic}/{number} ({metadata}) and the state do not belong together: \
                     changelog {changelog} {at}. Offsets were reset by hand, or the changelog was deleted. To go on from the \
                     state, delete the group's offsets (kafka-consumer-groups.sh --delete-offsets); to start with empty state, \
                     choose another application_id"
                );
                return Err(BrokerError::new(ErrorKind::Setting, message));
            }
        }
        Ok(())
    }
}

/// Changelog records on their way into the store.
struct Applying<'a> {
    home: &'a StateHome,
    /// For more than one load.
    bulk: Option<Box<dyn Bulk + 'a>>,
    clock: &'a dyn Clock,
    metrics: &'a RestoreMetrics,
    reassembly: Reassembly,
    changes: Changes,
    /// Of each partition the first offset that came, and the one behind the last.
    gone: BTreeMap<u16, (i64, i64)>,
    records: u64,
    bytes: u64,
    /// Records and bytes that the metrics have.
    counted: (u64, u64),
    /// Offsets to go through.
    total: i64,
    began: Instant,
    said: Instant,
    failed: Option<StoreError>,
}

impl<'a> Applying<'a> {
    fn new(home: &'a StateHome, total: i64, clock: &'a dyn Clock, metrics: &'a RestoreMetrics) -> Self {
        metrics.expected.set(total);
        metrics.remaining.set(total);
        let now = clock.instant();
        Applying {
            home,
            bulk: None,
            clock,
            metrics,
            reassembly: Reassembly::default(),
            changes: Changes::default(),
            gone: BTreeMap::new(),
            records: 0,
            bytes: 0,
            counted: (0, 0),
            total,
            began: now,
            said: now,
            failed: None,
        }
    }

    fn take(&mut self, partition: u16, offset: i64, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        self.reassembly.take(partition, key, value, &mut self.changes);
        self.gone.entry(partition).or_insert((offset, offset)).1 = offset + 1;
        self.records += 1;
        self.bytes += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
        if self.changes.bytes() >= LOAD_BYTES {
            self.load()?;
            let now = self.clock.instant();
            if now - self.said >= SAY_EVERY {
                self.said = now;
                let percent = self.gone_through() * 100 / self.total.max(1);
                tracing::info!(percent, megabytes = self.bytes >> 20, "restoring state from the changelog");
            }
        }
        Ok(())
    }

    /// Offsets gone through.
    fn gone_through(&self) -> i64 {
        self.gone.values().map(|(first, next)| next - first).sum()
    }

    /// Counts what was read; gives the positions to which it brings the store.
    fn reached(&mut self) -> Vec<(u16, Applied)> {
        self.metrics.remaining.set((self.total - self.gone_through()).max(0));
        self.metrics.records.add(self.records - self.counted.0);
        self.metrics.bytes.add(self.bytes - self.counted.1);
        self.counted = (self.records, self.bytes);
        let written_ms = self.clock.wall().as_millis();
        let applied =
            |(partition, (_, next)): (&u16, &(i64, i64))| (*partition, Applied { position: *next, written_ms });
        self.gone.iter().map(applied).collect()
    }

    fn load(&mut self) -> Result<(), StoreError> {
        let applied = self.reached();
        let bulk = match &mut self.bulk {
            Some(bulk) => bulk,
            none => none.insert(self.home.store.bulk()?),
        };
        bulk.take(&mut self.changes, applied)
    }

    fn finish(mut self, caught_up: &mut CaughtUp) -> Result<(), StoreError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let applied = self.reached();
        match self.bulk.take() {
            Some(mut bulk) => {
                bulk.take(&mut self.changes, applied)?;
                bulk.finish()?;
            }
            None => self.home.store.write(&Batch { changes: vec![&self.changes], applied })?,
        }
        let home = self.home;
        self.reassembly.finish().map_err(|damage| {
            let message = format!("changelog {} cannot be read: {damage}", home.changelog);
            StoreError::new(crate::store::StoreErrorKind::Foreign, message)
        })?;
        (caught_up.records, caught_up.bytes) = (self.records, self.bytes);
        let took = self.clock.instant() - self.began;
        tracing::info!(
            records = self.records,
            megabytes = self.bytes >> 20,
            ms = took.as_millis() as u64,
            "state brought level with the changelog"
        );
        Ok(())
    }
}
