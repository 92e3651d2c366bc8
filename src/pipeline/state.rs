//! Finding tasks' state again, for the incarnation that starts and for partitions that come later.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::spec::{Locality, Spec};
use crate::broker::{Broker, BrokerError, ErrorKind, TopicPartition};
use crate::epoch::{RecoveryError, StateHome, TaskRecord};
use crate::event::{Clock, PartitionClockState, Resumed, RuleIndex, Task, Timestamp};
use crate::rules::plan::{Plan, Rule};
use crate::store::StoreErrorKind;
use crate::telemetry::metrics::RestoreMetrics;

/// How long the broker may take to say what is committed.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

impl From<RecoveryError> for BrokerError {
    fn from(error: RecoveryError) -> BrokerError {
        match error {
            RecoveryError::Broker(error) => error,
            RecoveryError::Store(error) => {
                let kind = match error.kind {
                    StoreErrorKind::Corrupt => ErrorKind::State,
                    StoreErrorKind::Locked | StoreErrorKind::Foreign => ErrorKind::Setting,
                    StoreErrorKind::Full | StoreErrorKind::Io => ErrorKind::File,
                };
                BrokerError::new(kind, error.message)
            }
        }
    }
}

/// What the group thread needs to find state again.
#[derive(Clone)]
pub(super) struct Recovery {
    home: StateHome,
    plan: Arc<Plan>,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    locality: Locality,
    /// `locality: instance`: where the instance stood at its start.
    instance: Arc<Option<TaskRecord>>,
    metrics: Arc<RestoreMetrics>,
    /// To the committer: tasks that come, and those that go.
    tasks: Sender<(u16, Option<TaskRecord>)>,
}

impl Recovery {
    /// Brings the store level for an instance that owns everything, and checks that its offsets and its state belong together.
    pub fn start(
        spec: &Spec,
        inputs: &[TopicPartition],
        clock: &Arc<dyn Clock>,
        tasks: Sender<(u16, Option<TaskRecord>)>,
        metrics: &Arc<RestoreMetrics>,
    ) -> Result<Option<Recovery>, BrokerError> {
        let Some(home) = spec.state.clone() else { return Ok(None) };
        let mut recovery = Recovery {
            home,
            plan: Arc::clone(&spec.plan),
            broker: Arc::clone(&spec.broker),
            clock: Arc::clone(clock),
            locality: spec.locality,
            instance: Arc::new(None),
            metrics: Arc::clone(metrics),
            tasks,
        };
        if spec.locality == Locality::Instance {
            let partitions: Vec<u16> = spec.locality.cut().partitions_of(0).collect();
            let record = recovery.task(&partitions, inputs)?;
            recovery.instance = Arc::new(record);
        }
        Ok(Some(recovery))
    }

    /// Brings the store level for one task and gives its record, which goes to the committer too.
    fn task(&self, partitions: &[u16], inputs: &[TopicPartition]) -> Result<Option<TaskRecord>, BrokerError> {
        let Some(&first) = partitions.first() else { return Ok(None) };
        self.home.catch_up(&*self.broker, partitions, &*self.clock, &self.metrics)?;
        let record = self.home.record(first)?;
        let committed = self.broker.committed(inputs, ANSWER_WAIT)?;
        let committed: BTreeMap<TopicPartition, (i64, String)> =
            inputs.iter().cloned().zip(committed).filter_map(|(partition, at)| Some((partition, at?))).collect();
        StateHome::check(record.as_ref(), &committed, &self.home.changelog)?;
        if let Some(record) = &record {
            let (epoch, records, written_by) = (record.epoch, record.progress.records(), record.writer.as_str());
            tracing::info!(epoch, records, written_by, "state found; going on from it");
            // The committer takes it in before its first epoch.
            drop(self.tasks.send((first, Some(record.clone()))));
        }
        Ok(record)
    }

    /// Where the instance stood at its start.
    pub fn instance(&self) -> Option<&TaskRecord> {
        (*self.instance).as_ref()
    }

    /// The watermark of a task of the instance at its start.
    pub fn instance_watermark(&self) -> Timestamp {
        self.instance().and_then(|record| record.watermarks.get(&0)).copied().unwrap_or(Timestamp::MIN)
    }

    /// How a task goes on.
    pub fn resumed(&self, task: Task, record: &TaskRecord) -> Resumed {
        let new = |rule: &Rule| rule.backfill && !record.rules.contains(&rule.content_hash);
        let backfill = (0..).map(RuleIndex).zip(&self.plan.rules).filter(|(_, rule)| new(rule)).map(|(index, _)| index);
        let watermark = record.watermarks.get(&task).copied().unwrap_or(Timestamp::MIN);
        Resumed { task, watermark, backfill: backfill.collect() }
    }

    /// Where a partition stood that comes to us, and with it the watermark of its task if the task is new here.
    pub fn arriving(
        &self,
        partition: &TopicPartition,
        new: &mut BTreeMap<Task, TaskRecord>,
        live: impl Fn(Task) -> bool,
        inputs: &[TopicPartition],
    ) -> Result<Option<PartitionClockState>, BrokerError> {
        let clock_of = |record: &TaskRecord| record.partitions.get(partition).map(|record| record.clock);
        if self.locality == Locality::Instance {
            return Ok(self.instance().and_then(clock_of));
        }
        let task = partition.partition as Task;
        if live(task) {
            return Ok(None);
        }
        let record = match new.entry(task) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(vacant) => {
                let of_task: Vec<TopicPartition> =
                    inputs.iter().filter(|input| input.partition == partition.partition).cloned().collect();
                vacant.insert(self.task(&[task as u16], &of_task)?.unwrap_or_default())
            }
        };
        Ok(clock_of(record))
    }

    /// A task went to another instance.
    pub fn gone(&self, tasks: &[Task]) {
        for task in tasks {
            drop(self.tasks.send((*task as u16, None)));
        }
    }

    /// Where to start a partition whose committed offset has expired.
    pub fn offset(&self, partition: &TopicPartition) -> Result<Option<i64>, BrokerError> {
        let next = |record: &TaskRecord| record.partitions.get(partition).map(|record| record.next);
        if self.locality == Locality::Instance {
            return Ok(self.instance().and_then(next));
        }
        let number = partition.partition as u16;
        self.home.catch_up(&*self.broker, &[number], &*self.clock, &self.metrics)?;
        Ok(self.home.record(number)?.as_ref().and_then(next))
    }
}
