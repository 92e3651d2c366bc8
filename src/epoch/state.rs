//! An epoch's changes on their way: into the changelog with the transaction, and after its commit into the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::assembly::Epoch;
use super::changelog::Changelog;
use super::record::{self, PartitionRecord, TaskRecord};
use crate::broker::{BrokerError, Producer, TopicPartition};
use crate::event::{Changes, ReadPosition, Task, TopicTable};
use crate::fault::{self, Bug};
use crate::ring::Level;
use crate::store::codec::Writer;
use crate::store::{Applied, Batch, Store};

/// Which task record an input partition, and a changelog partition, belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// One record in partition 0 (`locality: instance`).
    One,
    /// One for each task, in the task's partition (`locality: partition`).
    ByTask,
}

impl Grouping {
    fn of_task(self, task: Task) -> u16 {
        match self {
            Grouping::One => 0,
            Grouping::ByTask => task as u16,
        }
    }

    fn of_partition(self, partition: u16) -> u16 {
        match self {
            Grouping::One => 0,
            Grouping::ByTask => partition,
        }
    }
}

/// The committer's share of durable state.
pub struct StateParts {
    /// On disk.
    pub store: Arc<dyn Store>,
    /// Makes changelog records.
    pub changelog: Changelog,
    /// How tasks are recorded.
    pub grouping: Grouping,
    /// Where tasks stand, by the partition of their record; restored ones come in through [`StateParts::adopt`].
    pub records: BTreeMap<u16, TaskRecord>,
    /// The present rules, by content hash.
    pub rules: BTreeSet<u64>,
    /// Records of tasks that came to us, and, with `None`, of tasks that went.
    pub restored: crossbeam_channel::Receiver<(u16, Option<TaskRecord>)>,
    /// The newest epoch of this committer that the store has. Stuck once the store failed: it is left as it is, behind, and
    /// the changelog brings it level at the next start.
    pub written: Level,
}

/// What an epoch adds to the transaction.
pub(super) struct Prepared {
    changes: Vec<Changes>,
}

impl Prepared {
    /// Parts of state, and their bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        let sum = |size: fn(&Changes) -> usize| self.changes.iter().map(size).sum::<usize>() as u64;
        (sum(Changes::len), sum(Changes::bytes))
    }
}

impl StateParts {
    /// Takes in the records of tasks that came to us meanwhile, and forgets those that went.
    fn adopt(&mut self) {
        while let Ok((group, record)) = self.restored.try_recv() {
            match record {
                Some(record) => drop(self.records.insert(group, record)),
                None => drop(self.records.remove(&group)),
            }
        }
    }

    /// What the epoch changes: parts of state, and the records of the tasks that it touched.
    pub(super) fn prepare(&mut self, epoch: &mut Epoch, topics: &TopicTable, now_ms: i64) -> Prepared {
        self.adopt();
        let mut changes = std::mem::take(&mut epoch.changes);
        let mut touched: BTreeSet<u16> = changes
            .iter()
            .flat_map(Changes::iter)
            .map(|(partition, ..)| self.grouping.of_partition(partition))
            .collect();
        let mut partitions: BTreeMap<u16, BTreeMap<TopicPartition, PartitionRecord>> = BTreeMap::new();
        for at in epoch.positions.values() {
            let partition = TopicPartition { topic: topics.name(at.next.topic), partition: at.next.partition };
            let record = PartitionRecord { next: at.next.offset, clock: at.clock };
            partitions.entry(self.grouping.of_task(at.task)).or_default().insert(partition, record);
        }
        let present = partitions.keys().next().copied();
        for (group, partitions) in partitions {
            let held = self.records.entry(group).or_default();
            // What is not in this epoch stays as it was: at the start one source may have its partitions before another has.
            for (partition, at) in partitions {
                if held.partitions.insert(partition, at) != Some(at) {
                    touched.insert(group);
                }
            }
        }
        // Outcomes are counted by topic, not by task: they go with the first record that is written, of a task that is ours.
        if let Some(counted) = touched.first().copied().or(present).or((self.grouping == Grouping::One).then_some(0)) {
            touched.insert(counted);
            self.records.entry(counted).or_default().progress.merge(epoch.progress.clone());
        }
        let (mut records, mut writer) = (Changes::default(), Writer::default());
        let epoch_number = self.records.values().map(|record| record.epoch).max().unwrap_or(0) + 1;
        for group in touched {
            let held = self.records.entry(group).or_default();
            held.epoch = epoch_number;
            held.written_ms = now_ms;
            let of_group = epoch.announced.iter().filter(|(task, _)| self.grouping.of_task(**task) == group);
            held.watermarks.extend(of_group.map(|(task, watermark)| (*task, *watermark)));
            held.write(&mut writer);
            records.put(group, record::KEY, writer.bytes());
            if held.rules != self.rules {
                held.rules.clone_from(&self.rules);
                held.write_rules(&mut writer);
                records.put(group, record::RULES_KEY, writer.bytes());
            }
        }
        changes.push(records);
        Prepared { changes }
    }

    /// The metadata of a partition's offset: the epoch of its task's record.
    pub(super) fn metadata(&self, at: &ReadPosition) -> String {
        self.records.get(&self.grouping.of_task(at.task)).map_or_else(String::new, TaskRecord::metadata)
    }

    pub(super) fn send(&self, prepared: &Prepared, producer: &mut dyn Producer) -> Result<(), BrokerError> {
        let mut sent = Ok(());
        let left_out = usize::from(fault::planted(Bug::ChangelogPartial) && prepared.changes.len() > 1);
        for changes in &prepared.changes[left_out..] {
            self.changelog.records(changes, |record| {
                if sent.is_ok() {
                    sent = producer.send(record);
                }
            });
        }
        sent
    }

    /// Bytes of the store on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.store.disk_bytes()
    }

    /// The epoch is committed: the store follows. A store that fails is not written any more by this committer; nothing is
    /// lost, the next start brings it level.
    pub(super) fn store(&self, number: u64, prepared: &Prepared, ends: Vec<(i32, i64)>, now_ms: i64) {
        if self.written.is_stuck() {
            return;
        }
        let applied =
            ends.into_iter().map(|(partition, position)| (partition as u16, Applied { position, written_ms: now_ms }));
        let batch = Batch { changes: prepared.changes.iter().collect(), applied: applied.collect() };
        if let Err(error) = self.store.write(&batch) {
            self.written.stick();
            tracing::error!(
                %error,
                "state can no longer be written to disk; going on from memory, within state.memory, and the changelog: nothing \
                 is lost. Restart when the disk is well"
            );
        }
        self.written(number);
    }

    /// Nothing of an epoch is to be written, or all of it is.
    pub(super) fn written(&self, number: u64) {
        if !self.written.is_stuck() {
            self.written.reach(number);
        }
    }
}
