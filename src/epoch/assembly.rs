//! Which report belongs to which epoch, and when an epoch is whole.

use std::collections::{BTreeMap, VecDeque};

use crate::broker::OutRecord;
use crate::event::{Changes, Origin, ReadPosition, Task, Timestamp, TopicId};

use super::progress::Progress;
use crate::telemetry::otlp::Span;

/// Everything of one epoch so far.
#[derive(Debug, Default)]
pub(super) struct Epoch {
    /// Encoded outputs and dead letters, in the order of their reports.
    pub records: Vec<OutRecord>,
    /// Their bytes.
    pub bytes: usize,
    /// Totals.
    pub progress: Progress,
    /// Spans of correlations that end with the commit.
    pub spans: Vec<Span>,
    /// How many more there were than are kept.
    pub spans_given_up: u64,
    /// The last event of each correlation: where it came from, and its time.
    pub latest: Vec<(Origin, Timestamp)>,
    /// Where each input partition stands.
    pub positions: BTreeMap<(TopicId, i32), ReadPosition>,
    /// The least watermark of each task that a source announced.
    pub announced: BTreeMap<Task, Timestamp>,
    /// Changed parts of state, by shard.
    pub changes: Vec<Changes>,
    closed_by: usize,
}

/// The epochs that are open or wait for their commit.
#[derive(Debug)]
pub(super) struct Assembly {
    senders: usize,
    /// For each sender the epoch it is in.
    current: Vec<u64>,
    committed: u64,
    /// Epochs `committed + 1 ..`.
    open: VecDeque<Epoch>,
}

impl Assembly {
    pub fn new(senders: usize) -> Self {
        Assembly { senders, current: vec![1; senders], committed: 0, open: VecDeque::new() }
    }

    /// The epoch that a sender's reports go to now.
    pub fn of(&mut self, sender: usize) -> &mut Epoch {
        let at = (self.current[sender] - self.committed - 1) as usize;
        while self.open.len() <= at {
            self.open.push_back(Epoch::default());
        }
        &mut self.open[at]
    }

    /// A sender's barrier: it is in the next epoch from now on.
    pub fn close(&mut self, sender: usize, barrier: u64) {
        assert_eq!(barrier, self.current[sender], "INV-COMMIT: barriers of sender {sender} come one by one");
        self.of(sender).closed_by += 1;
        self.current[sender] += 1;
    }

    /// The oldest epoch, if all senders have closed it.
    pub fn take_whole(&mut self) -> Option<(u64, Epoch)> {
        if self.open.front()?.closed_by < self.senders {
            return None;
        }
        let epoch = self.open.pop_front()?;
        self.committed += 1;
        Some((self.committed, epoch))
    }

    /// Bytes of outputs that wait.
    pub fn bytes(&self) -> usize {
        self.open.iter().map(|epoch| epoch.bytes).sum()
    }

    pub fn add_position(epoch: &mut Epoch, position: ReadPosition) {
        epoch.positions.insert((position.next.topic, position.next.partition), position);
        epoch.progress.bytes += position.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_whole_when_every_sender_has_closed_it() {
        let mut assembly = Assembly::new(2);
        assembly.of(0).bytes += 1;
        assembly.close(0, 1);
        assembly.of(0).bytes += 10;
        assert!(assembly.take_whole().is_none());
        assembly.of(1).bytes += 100;
        assembly.close(1, 1);
        let (number, first) = assembly.take_whole().expect("whole");
        assert_eq!((number, first.bytes), (1, 101), "what came after the barrier is not in it");
        assert_eq!(assembly.bytes(), 10);
        assembly.close(1, 2);
        assembly.close(0, 2);
        assert_eq!(assembly.take_whole().expect("whole").1.bytes, 10);
    }
}
