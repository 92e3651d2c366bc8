//! What has been committed so far, for people and for INV-COUNT.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{OutcomeCounts, Timestamp};

/// Totals over committed epochs. An aborted epoch leaves no trace here, as it leaves none in Kafka.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Outcomes by topic.
    pub counts: BTreeMap<Arc<str>, OutcomeCounts>,
    /// Correlations by rule id.
    pub correlations: BTreeMap<String, u64>,
    /// Dead letters by code.
    pub dead_letters: BTreeMap<Cow<'static, str>, u64>,
    /// Bytes of values read.
    pub bytes: u64,
    /// Epochs committed with a change.
    pub epochs: u64,
    /// When the last one was.
    pub last_commit: Option<Timestamp>,
}

impl Progress {
    /// Records read.
    pub fn records(&self) -> u64 {
        self.counts.values().map(OutcomeCounts::total).sum()
    }

    /// Correlations reported.
    pub fn correlations_total(&self) -> u64 {
        self.correlations.values().sum()
    }

    /// Dead letters written.
    pub fn dead_letters_total(&self) -> u64 {
        self.dead_letters.values().sum()
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Progress) {
        for (topic, counts) in other.counts {
            self.counts.entry(topic).or_default().merge(&counts);
        }
        for (rule, n) in other.correlations {
            *self.correlations.entry(rule).or_default() += n;
        }
        for (code, n) in other.dead_letters {
            *self.dead_letters.entry(code).or_default() += n;
        }
        self.bytes += other.bytes;
        self.epochs += other.epochs;
        self.last_commit = other.last_commit.or(self.last_commit);
    }
}
