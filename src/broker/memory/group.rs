//! The group coordinator's state: members, who owns what, who shall own what, committed offsets. No threads, no callbacks.
//!
//! A rebalance is cooperative: it only sets each member's target. A member gives up what it owns beyond its target on its
//! own thread, and takes what its target has beyond what it owns only once no other member owns it. So at no moment two
//! members own one partition, and what does not move is never interrupted. A group that assigns by range (equal partition
//! numbers of all topics together) rebalances eagerly, as Kafka's range assignor does: everyone gives up everything first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::patterns::TopicPatterns;
use crate::broker::{BrokerError, ErrorKind, Position, TopicPartition};

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to process.
    pub offset: i64,
    /// What was committed with it.
    pub metadata: String,
}

struct Member {
    instance: String,
    patterns: TopicPatterns,
    owned: BTreeSet<TopicPartition>,
    target: BTreeSet<TopicPartition>,
    /// Gives up all that it owns, also what it will get back.
    gives_up: bool,
    /// Dropped without leaving at this time.
    dead_since: Option<Instant>,
}

/// What a member has to do next.
pub(super) enum Step {
    /// Nothing.
    Idle,
    /// It is no member any more.
    Gone,
    /// Give these up.
    Revoke(Vec<TopicPartition>),
    /// These are now its own, with what is committed of them.
    Assign(Vec<(TopicPartition, Option<CommittedOffset>)>),
}

/// One group.
#[derive(Default)]
pub(super) struct GroupState {
    by_range: bool,
    members: BTreeMap<u64, Member>,
    offsets: BTreeMap<TopicPartition, CommittedOffset>,
}

impl GroupState {
    /// Adds a member. A member of the same instance name is fenced and its place taken, as with Kafka's static members:
    /// the others keep what they have.
    pub(super) fn join(&mut self, id: u64, instance: &str, patterns: TopicPatterns) {
        let target = self.remove_instance(instance);
        let (instance, owned) = (instance.to_owned(), BTreeSet::new());
        self.members.insert(id, Member { instance, patterns, owned, target, gives_up: false, dead_since: None });
    }

    /// From its next rebalance on it assigns by range.
    pub(super) fn assign_by_range(&mut self) {
        self.by_range = true;
    }

    /// Removes the member of an instance and returns what it was to own.
    pub(super) fn remove_instance(&mut self, instance: &str) -> BTreeSet<TopicPartition> {
        let known = self.members.iter().find(|(_, member)| member.instance == instance).map(|(id, _)| *id);
        known.and_then(|id| self.members.remove(&id)).map(|member| member.target).unwrap_or_default()
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.members.remove(&id);
    }

    pub(super) fn has_instance(&self, instance: &str) -> bool {
        self.members.values().any(|member| member.instance == instance)
    }

    pub(super) fn instances(&self) -> impl Iterator<Item = &str> {
        self.members.values().map(|member| member.instance.as_str())
    }

    pub(super) fn mark_dead(&mut self, id: u64, now: Instant) {
        if let Some(member) = self.members.get_mut(&id) {
            member.dead_since = Some(now);
        }
    }

    /// Removes members that have been dead for `session_timeout`. Returns whether there were any, and when the next one
    /// is due.
    pub(super) fn evict_dead(&mut self, session_timeout: Duration, now: Instant) -> (bool, Option<Duration>) {
        let before = self.members.len();
        let remaining = |since: Instant| session_timeout.saturating_sub(now.saturating_duration_since(since));
        self.members.retain(|_, member| member.dead_since.is_none_or(|since| !remaining(since).is_zero()));
        let next = self.members.values().filter_map(|member| member.dead_since).map(remaining).min();
        (self.members.len() < before, next)
    }

    pub(super) fn committed(&self, partition: &TopicPartition) -> Option<&CommittedOffset> {
        self.offsets.get(partition)
    }

    /// Forgets all offsets, as a broker does with those of a group that was away for too long.
    pub(super) fn expire_offsets(&mut self) {
        self.offsets.clear();
    }

    /// The instance that owns a partition now.
    pub(super) fn owner(&self, partition: &TopicPartition) -> Option<&str> {
        self.members.values().find(|member| member.owned.contains(partition)).map(|member| member.instance.as_str())
    }

    /// Sets every member's target: all partitions that someone wants, as even as subscriptions allow, and as close to the
    /// targets before as that allows.
    pub(super) fn rebalance(&mut self, topics: &BTreeMap<Arc<str>, i32>) {
        let partition_of = |topic: &Arc<str>, partition| TopicPartition { topic: Arc::clone(topic), partition };
        for member in self.members.values_mut() {
            let exists = |p: &TopicPartition| topics.get(&p.topic).is_some_and(|count| p.partition < *count);
            let patterns = &member.patterns;
            member.target.retain(|p| !self.by_range && exists(p) && patterns.matches(&p.topic));
            member.gives_up = self.by_range && !member.owned.is_empty();
        }
        if self.by_range {
            return self.range(topics);
        }
        let all = topics.iter().flat_map(|(topic, count)| (0..*count).map(move |number| partition_of(topic, number)));
        for partition in all.collect::<Vec<_>>() {
            if self.members.values().any(|member| member.target.contains(&partition)) {
                continue;
            }
            let wants = self.members.values_mut().filter(|member| member.patterns.matches(&partition.topic));
            if let Some(least) = wants.min_by_key(|member| member.target.len()) {
                least.target.insert(partition);
            }
        }
        // Each move brings two members closer together, so this ends.
        while let Some((from, to, partition)) = self.uneven() {
            self.members.get_mut(&from).map(|member| member.target.remove(&partition));
            self.members.get_mut(&to).map(|member| member.target.insert(partition));
        }
    }

    /// Of each topic, its members get runs of partitions, in the order of their names.
    fn range(&mut self, topics: &BTreeMap<Arc<str>, i32>) {
        for (topic, &count) in topics {
            let wants = self.members.values_mut().filter(|member| member.patterns.matches(topic));
            let mut members: Vec<&mut Member> = wants.collect();
            members.sort_by(|a, b| a.instance.cmp(&b.instance));
            let sharers = members.len().max(1) as i32;
            for (at, member) in members.into_iter().enumerate() {
                let (at, least, more) = (at as i32, count / sharers, count % sharers);
                let first = at * least + at.min(more);
                let run = first..first + least + i32::from(at < more);
                member.target.extend(run.map(|partition| TopicPartition { topic: Arc::clone(topic), partition }));
            }
        }
    }

    /// A partition whose move from one member to another would even them out.
    fn uneven(&self) -> Option<(u64, u64, TopicPartition)> {
        for (from, rich) in &self.members {
            for (to, poor) in &self.members {
                if rich.target.len() > poor.target.len() + 1 {
                    let movable = rich.target.iter().rev().find(|p| poor.patterns.matches(&p.topic));
                    if let Some(partition) = movable {
                        return Some((*from, *to, partition.clone()));
                    }
                }
            }
        }
        None
    }

    /// What member `id` has to do next. Partitions in [`Step::Assign`] are its own from here on; those in
    /// [`Step::Revoke`] stay its own until [`GroupState::released`].
    pub(super) fn step(&mut self, id: u64) -> Step {
        let taken: BTreeSet<TopicPartition> =
            self.members.iter().filter(|(other, _)| **other != id).flat_map(|(_, m)| m.owned.iter().cloned()).collect();
        let Some(member) = self.members.get_mut(&id) else { return Step::Gone };
        let revoke: Vec<_> =
            member.owned.iter().filter(|p| member.gives_up || !member.target.contains(p)).cloned().collect();
        if !revoke.is_empty() {
            return Step::Revoke(revoke);
        }
        let assign: Vec<_> =
            member.target.iter().filter(|p| !member.owned.contains(p) && !taken.contains(p)).cloned().collect();
        if assign.is_empty() {
            return Step::Idle;
        }
        member.owned.extend(assign.iter().cloned());
        let committed = |p: TopicPartition| {
            let known = self.offsets.get(&p).cloned();
            (p, known)
        };
        Step::Assign(assign.into_iter().map(committed).collect())
    }

    /// Member `id` has given these up.
    pub(super) fn released(&mut self, id: u64, partitions: &[TopicPartition]) {
        if let Some(member) = self.members.get_mut(&id) {
            partitions.iter().for_each(|partition| {
                member.owned.remove(partition);
            });
            member.gives_up &= !member.owned.is_empty();
        }
    }

    /// Whether member `id` may commit these: it is a member and owns every one of them. An empty list is always taken and
    /// fences nobody, as in Kafka.
    pub(super) fn check(&self, id: u64, positions: &[Position]) -> Result<(), BrokerError> {
        let Some(first) = positions.first() else { return Ok(()) };
        let Some(member) = self.members.get(&id) else {
            let TopicPartition { topic, partition } = &first.partition;
            return Err(BrokerError::new(
                ErrorKind::Fenced,
                format!("offset of topic `{topic}` partition {partition} refused: no longer a member of the group"),
            ));
        };
        for Position { partition: at, .. } in positions {
            if !member.owned.contains(at) {
                return Err(BrokerError::new(
                    ErrorKind::Fenced,
                    format!(
                        "offset of topic `{}` partition {} refused: not owned by `{}`",
                        at.topic, at.partition, member.instance
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Takes offsets that were checked.
    pub(super) fn commit(&mut self, positions: &[Position]) {
        for Position { partition, offset, metadata } in positions {
            let committed = CommittedOffset { offset: *offset, metadata: metadata.clone() };
            self.offsets.insert(partition.clone(), committed);
        }
    }
}
