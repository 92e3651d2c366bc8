//! A membership: runs what the coordinator asks of it, on the thread that polls.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use super::group::{CommittedOffset, Step};
use super::queue::{MemoryQueue, QueueControl};
use crate::broker::patterns::TopicPatterns;
use crate::broker::{Assigned, BrokerError, ErrorKind, Group, GroupEvents, GroupHandle, Position, TopicPartition};

/// For the committer's thread: knows the member's number, also after it joined again.
pub(super) struct MemoryGroupHandle {
    shared: Arc<Shared>,
    pub(super) application_id: String,
    /// Of one membership: a member that was lost comes back under another number and gives out other handles.
    member: u64,
}

impl MemoryGroupHandle {
    pub(super) fn member(&self) -> u64 {
        self.member
    }
}

impl GroupHandle for MemoryGroupHandle {
    fn commit(&self, positions: &[Position]) -> Result<(), BrokerError> {
        let mut coordinator = self.shared.lock();
        let group = coordinator.groups.entry(self.application_id.clone()).or_default();
        group.check(self.member(), positions)?;
        group.commit(positions);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// See the module.
pub(super) struct MemoryGroup {
    shared: Arc<Shared>,
    instance: String,
    patterns: TopicPatterns,
    read_committed: bool,
    events: Box<dyn GroupEvents>,
    handle: Arc<MemoryGroupHandle>,
    /// What was given to [`GroupEvents`] and not yet taken back.
    assigned: BTreeMap<TopicPartition, Arc<QueueControl>>,
    left: bool,
}

impl MemoryGroup {
    pub(super) fn join(
        shared: Arc<Shared>,
        application_id: &str,
        instance: &str,
        patterns: TopicPatterns,
        read_committed: bool,
        events: Box<dyn GroupEvents>,
    ) -> Self {
        let application_id = application_id.to_owned();
        let handle = MemoryGroupHandle { shared: Arc::clone(&shared), application_id, member: 0 };
        let mut group = MemoryGroup {
            shared,
            instance: instance.to_owned(),
            patterns,
            read_committed,
            events,
            handle: Arc::new(handle),
            assigned: BTreeMap::new(),
            left: false,
        };
        group.enter();
        group
    }

    /// Becomes a member under a new number.
    fn enter(&mut self) {
        let mut coordinator = self.shared.lock();
        let id = coordinator.next_id();
        let counts = self.shared.partition_counts();
        let group = coordinator.groups.entry(self.handle.application_id.clone()).or_default();
        group.join(id, &self.instance, self.patterns.clone());
        group.rebalance(&counts);
        let (shared, application_id) = (Arc::clone(&self.shared), self.handle.application_id.clone());
        self.handle = Arc::new(MemoryGroupHandle { shared, application_id, member: id });
        self.shared.changed.notify_all();
    }

    /// What to do next; waits for it until `deadline` (`None`: does not wait).
    fn next_step(&self, deadline: Option<Instant>) -> Step {
        let mut coordinator = self.shared.lock();
        loop {
            let session_timeout = coordinator.session_timeout;
            let counts = self.shared.partition_counts();
            let group = coordinator.groups.entry(self.handle.application_id.clone()).or_default();
            let (evicted, next_eviction) = group.evict_dead(session_timeout, self.shared.clock.instant());
            if evicted {
                group.rebalance(&counts);
                self.shared.changed.notify_all();
            }
            let step = group.step(self.handle.member());
            let left = deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            if !matches!(step, Step::Idle) || left.is_zero() {
                return step;
            }
            let wait = left.min(next_eviction.unwrap_or(left));
            coordinator = self.shared.changed.wait_timeout(coordinator, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn assign(&mut self, partitions: Vec<(TopicPartition, Option<CommittedOffset>)>) -> Result<(), BrokerError> {
        let mut assigned = Vec::with_capacity(partitions.len());
        for (partition, committed) in partitions {
            let log = self.shared.partition(&partition.topic, partition.partition)?;
            let control = Arc::new(QueueControl::default());
            let id = self.shared.lock().next_id();
            let (committed, metadata) = committed.map(|c| (c.offset, c.metadata)).unzip();
            let start = committed.or_else(|| self.events.fallback(&partition));
            let queue = MemoryQueue::new(id, log, Arc::clone(&control), self.read_committed, start);
            self.assigned.insert(partition.clone(), control);
            assigned.push(Assigned { partition, committed, metadata, queue: Box::new(queue) });
        }
        self.events.assigned(assigned);
        Ok(())
    }

    fn revoke(&mut self, partitions: &[TopicPartition]) {
        // They are ours until this returns, so that what was read of them can be committed in it.
        self.events.revoked(partitions);
        self.close(partitions);
        let mut coordinator = self.shared.lock();
        if let Some(group) = coordinator.groups.get_mut(&self.handle.application_id) {
            group.released(self.handle.member(), partitions);
        }
        self.shared.changed.notify_all();
    }

    fn close(&mut self, partitions: &[TopicPartition]) {
        for control in partitions.iter().filter_map(|partition| self.assigned.remove(partition)) {
            control.close();
        }
    }

    /// No member any more: everything is lost. Joins again, unless another has taken the instance's place.
    fn rejoin(&mut self) -> Result<(), BrokerError> {
        let lost: Vec<_> = self.assigned.keys().cloned().collect();
        self.close(&lost);
        if !lost.is_empty() {
            self.events.lost(&lost);
        }
        let replaced = {
            let coordinator = self.shared.lock();
            coordinator.groups.get(&self.handle.application_id).is_some_and(|g| g.has_instance(&self.instance))
        };
        if replaced {
            self.left = true;
            let (instance, group) = (&self.instance, &self.handle.application_id);
            return Err(BrokerError::new(
                ErrorKind::Fenced,
                format!(
                    "another process joined group `{group}` as instance `{instance}`; give each process its own name"
                ),
            ));
        }
        self.enter();
        Ok(())
    }

    fn controls<'a>(&'a self, partitions: &'a [TopicPartition]) -> impl Iterator<Item = &'a Arc<QueueControl>> {
        partitions.iter().filter_map(|partition| self.assigned.get(partition))
    }
}

impl Group for MemoryGroup {
    fn poll(&mut self, timeout: Duration) -> Result<(), BrokerError> {
        if self.left {
            return Err(BrokerError::new(ErrorKind::Fatal, "this membership has ended; join again"));
        }
        // An hour stands for "as long as it takes": a timeout beyond what the clock can hold must not fail.
        let now = Instant::now();
        let mut deadline = Some(now.checked_add(timeout).unwrap_or(now + Duration::from_secs(3600)));
        loop {
            match self.next_step(deadline) {
                Step::Idle => return Ok(()),
                Step::Gone => self.rejoin()?,
                Step::Revoke(partitions) => self.revoke(&partitions),
                Step::Assign(partitions) => self.assign(partitions)?,
            }
            // Something was done: take what else is due, but do not wait for more.
            deadline = None;
        }
    }

    /// Partitions that are not assigned are passed over: they may just have been revoked.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
        self.controls(partitions).for_each(|control| control.pause());
        Ok(())
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
        self.controls(partitions).for_each(|control| control.resume());
        Ok(())
    }

    fn end_offsets(&mut self, partitions: &[TopicPartition], _: Duration) -> Result<Vec<i64>, BrokerError> {
        let end = |p: &TopicPartition| Ok(self.shared.partition(&p.topic, p.partition)?.bounds().1);
        partitions.iter().map(end).collect()
    }

    fn handle(&self) -> Arc<dyn GroupHandle> {
        Arc::<MemoryGroupHandle>::clone(&self.handle)
    }

    fn leave(&mut self) -> Result<(), BrokerError> {
        if self.left {
            return Ok(());
        }
        // A member that was evicted meanwhile has lost its partitions, not given them up.
        let member = matches!(self.next_step(None), Step::Idle | Step::Revoke(_) | Step::Assign(_));
        let all: Vec<_> = self.assigned.keys().cloned().collect();
        match (member, all.is_empty()) {
            (true, false) => self.revoke(&all),
            (false, false) => {
                self.close(&all);
                self.events.lost(&all);
            }
            (_, true) => {}
        }
        self.left = true;
        let mut coordinator = self.shared.lock();
        let counts = self.shared.partition_counts();
        if let Some(group) = coordinator.groups.get_mut(&self.handle.application_id) {
            group.remove(self.handle.member());
            group.rebalance(&counts);
        }
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Not a goodbye: partitions stay owned until the session times out, as when a process is killed.
        self.assigned.values().for_each(|control| control.close());
        if !self.left {
            let mut coordinator = self.shared.lock();
            if let Some(group) = coordinator.groups.get_mut(&self.handle.application_id) {
                group.mark_dead(self.handle.member(), self.shared.clock.instant());
            }
            self.shared.changed.notify_all();
        }
    }
}
