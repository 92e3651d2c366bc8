//! A partition for the length of one assignment: what the group holds of it and what the source thread reads from.
//!
//! Both sides share a [`Lease`]. The group closes it when the assignment ends; from then on the source's queue gives
//! nothing, whatever librdkafka may still hold, and a later assignment of the same partition has a lease of its own.
//!
//! The lease also knows the next offset. librdkafka's own idea of it is not safe over a pause: transaction markers that
//! were prefetched before the pause move it although the records in front of them were thrown away. So a resume seeks to
//! our offset, and a record below it is not given again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::Offset;

use super::classify;
use super::native::{Item, RawQueue};
use super::rebalance::GroupContext;
use crate::broker::{Delivery, ErrorKind, Flow, PartitionQueue, TopicPartition};
use crate::ring::Bell;

pub(super) struct Lease {
    partition: TopicPartition,
    state: Mutex<State>,
}

struct State {
    /// Gone once the lease is closed.
    queue: Option<RawQueue<GroupContext>>,
    /// Next offset to give; `None`: the earliest there is.
    next: Option<i64>,
    /// A seek is under way: what is below `next` was given before and comes no more.
    rewound: bool,
}

impl Lease {
    pub(super) fn new(partition: TopicPartition, queue: RawQueue<GroupContext>, committed: Option<i64>) -> Arc<Lease> {
        Arc::new(Lease { partition, state: Mutex::new(State { queue: Some(queue), next: committed, rewound: false }) })
    }

    /// Held for a whole drain: a lease is never closed, or rewound, in the middle of one.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it. Waits for a drain that is under way.
    pub(super) fn close(&self) {
        self.state().queue = None;
    }

    /// Empties the queue of what was fetched before a pause and tells where reading goes on. Only while paused, when
    /// nothing new comes.
    pub(super) fn rewind(&self) -> Offset {
        let mut state = self.state();
        if let Some(queue) = &mut state.queue {
            // All of it is outdated by the pause, or comes again after the seek.
            queue.consume(&mut |_| Flow::Continue);
        }
        state.rewound = true;
        start(state.next)
    }

    /// The source's end of it.
    pub(super) fn reader(self: &Arc<Lease>) -> Box<dyn PartitionQueue> {
        Box::new(Reader(Arc::clone(self)))
    }
}

/// Where librdkafka is told to begin.
pub(super) fn start(next: Option<i64>) -> Offset {
    next.map_or(Offset::Beginning, Offset::Offset)
}

struct Reader(Arc<Lease>);

impl PartitionQueue for Reader {
    fn drain(&mut self, visit: &mut dyn FnMut(Delivery<'_>) -> Flow) -> usize {
        let mut state = self.0.state();
        let State { queue: Some(queue), next, rewound } = &mut *state else { return 0 };
        let partition = &self.0.partition;
        let mut given = 0;
        let mut expected = next.unwrap_or(0);
        let mut deliver = |item: Item<'_>| {
            let delivery = match item {
                Item::Record(record) if record.offset >= expected || !*rewound => {
                    if record.offset < expected {
                        // librdkafka reset the offset by itself: what was committed lies beyond the log.
                        let (topic, partition) = (&partition.topic, partition.partition);
                        tracing::warn!(
                            "{topic}/{partition} goes on at offset {} instead of {expected}: the topic was made anew or cut; \
                             all that it holds is read",
                            record.offset
                        );
                    }
                    *rewound = false;
                    expected = record.offset + 1;
                    Delivery::Record(record)
                }
                Item::End { position } if position >= expected => {
                    expected = position;
                    Delivery::End { position }
                }
                // From before a seek.
                Item::Record(_) | Item::End { .. } => return Flow::Continue,
                Item::Error { code, reason } => {
                    let what = format!("reading {}/{}", partition.topic, partition.partition);
                    let kind = classify::kind(code);
                    if matches!(kind, ErrorKind::Transient | ErrorKind::Unreachable) {
                        tracing::warn!("{what}: {reason}; it is tried again");
                        return Flow::Continue;
                    }
                    Delivery::Failed(classify::error(kind, &what, &reason))
                }
            };
            given += 1;
            // Noted before the visit: what it took counts as taken, also if it panics.
            *next = Some(expected);
            visit(delivery)
        };
        queue.consume(&mut deliver);
        given
    }

    fn ring_on_data(&mut self, bell: Bell) {
        if let Some(queue) = &mut self.0.state().queue {
            queue.ring(Some(bell.clone()));
        }
        // What came before the bell was hung up.
        bell.ring();
    }
}
