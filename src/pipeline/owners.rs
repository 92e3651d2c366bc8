//! A watch for partitions that nobody owns, with `locality: partition`.
//!
//! A static member that joins again is given its old share without a rebalance. Killed and restarted at the moment at which it had
//! given a partition up for somebody else, it leaves that partition with nobody, and the group is content: records wait, no
//! lag of anybody's shows it, until the next rebalance. So members look, and one of them brings a rebalance about: it
//! stays away until its session has ended, as after a commit that met a rebalance (`pipeline::run`).

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::broker::{Broker, BrokerError, ErrorKind, TopicPartition};
use crate::epoch::Notice;

/// Looks in a row that must find the same group short of an owner. A rebalance that is under way is none.
const LOOKS: u32 = 3;

/// Further looks for each member that is to act before us: a session's end and a rebalance lie within them.
const LOOKS_FOR_EACH_BEFORE: u32 = 4;

/// How long the coordinator may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Owners {
    /// Every input partition.
    inputs: Arc<Vec<TopicPartition>>,
    instance: String,
    notices: Sender<Notice>,
    /// Looks in a row that found one without an owner.
    found: u32,
}

impl Owners {
    pub(super) fn new(inputs: Arc<Vec<TopicPartition>>, instance: &str, notices: Sender<Notice>) -> Owners {
        Owners { inputs, instance: instance.to_owned(), notices, found: 0 }
    }

    /// One look. The incarnation ends when it is ours to act.
    pub(super) fn look(&mut self, broker: &dyn Broker) {
        let left = match broker.owned(ANSWER_WAIT) {
            Ok(Some(owned)) => self.inputs.iter().filter(|partition| !owned.contains(partition)).collect(),
            Ok(None) => Vec::new(),
            Err(error) => return tracing::debug!(%error, "no answer who owns which partition"),
        };
        self.found = if left.is_empty() { 0 } else { self.found + 1 };
        let Some(&first) = left.first().filter(|_| self.found >= LOOKS) else { return };
        let Ok(others) = broker.other_members(ANSWER_WAIT) else { return };
        let before = others.iter().filter(|other| **other < self.instance).count() as u32;
        if self.found >= LOOKS + before * LOOKS_FOR_EACH_BEFORE {
            let message = format!(
                "{} of {} input partitions, {}/{} among them, have no owner in the group; staying away until it has given our place \
                 away, so that it shares them out anew",
                left.len(),
                self.inputs.len(),
                first.topic,
                first.partition
            );
            self.found = 0;
            drop(self.notices.send(Notice::Failed(BrokerError::new(ErrorKind::Abortable, message))));
        }
    }
}
