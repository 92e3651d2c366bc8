//! A partition for the length of one assignment: what the group holds of it and what the source thread reads from.
//!
//! Both sides share a [`Lease`]. The group closes it when the assignment ends; from then on the source's queue gives
//! nothing, whatever librdkafka may still hold, and a later assignment of the same partition has a lease of its own.
//!
//! The lease also knows the next offset. librdkafka's own idea of it is not safe over a pause: transaction markers that
//! were prefetched before the pause move it although the records in front of them were thrown away, and a record given
//! while the pause comes is not counted. So after every pause, ours ([`Group::pause`](crate::broker::Group::pause)) and
//! librdkafka's own in a cooperative rebalance, [`seek`] goes to our offset, and a record below it is not given again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::classify;
use super::native::{Item, RawQueue};
use super::rebalance::{Client, GroupContext, REQUEST_TIMEOUT};
use crate::broker::{BrokerError, Delivery, ErrorKind, Flow, PartitionQueue, TopicPartition};
use crate::limits::LOG_REPEAT_AFTER;
use crate::ring::Bell;
use crate::telemetry::RateLimit;

/// An outage is met by each partition, with each fetch.
static TRIED_AGAIN: RateLimit = RateLimit::new(LOG_REPEAT_AFTER);

pub(super) struct Lease {
    partition: TopicPartition,
    state: Mutex<State>,
}

struct State {
    /// Gone once the lease is closed.
    queue: Option<RawQueue<GroupContext>>,
    /// Next offset to give; `None`: the earliest there is.
    next: Option<i64>,
    /// Something was given.
    begun: bool,
    /// A seek went to `next`: what is below it was given before and comes no more.
    rewound: bool,
    /// A seek is under way: what is in the queue comes again after it.
    held: bool,
}

impl Lease {
    pub(super) fn new(partition: TopicPartition, queue: RawQueue<GroupContext>, committed: Option<i64>) -> Arc<Lease> {
        let state = State { queue: Some(queue), next: committed, begun: false, rewound: false, held: false };
        Arc::new(Lease { partition, state: Mutex::new(state) })
    }

    /// Held for a whole drain: a lease is never closed, or rewound, in the middle of one.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it. Waits for a drain that is under way.
    pub(super) fn close(&self) {
        self.state().queue = None;
    }

    /// Empties the queue, gives nothing until [`Lease::release`], and tells where reading goes on.
    fn hold(&self) -> Offset {
        let mut state = self.state();
        if let Some(queue) = &mut state.queue {
            queue.consume(&mut |_| Flow::Continue);
        }
        (state.held, state.rewound) = (true, true);
        start(state.next)
    }

    fn release(&self) {
        let mut state = self.state();
        state.held = false;
        if let Some(queue) = &state.queue {
            // What came meanwhile rang for nobody.
            queue.wake();
        }
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

/// Puts paused partitions back to where their sources are. Nothing is given of them while this lasts.
pub(super) fn seek(consumer: &Client, leases: &[Arc<Lease>]) -> Result<(), BrokerError> {
    if leases.is_empty() {
        return Ok(());
    }
    let sought = seek_held(consumer, leases);
    leases.iter().for_each(|lease| lease.release());
    sought.map_err(|error| classify::by_error("seeking after a pause", &error))
}

fn seek_held(consumer: &Client, leases: &[Arc<Lease>]) -> KafkaResult<()> {
    let mut starts = TopicPartitionList::with_capacity(leases.len());
    for lease in leases {
        let TopicPartition { topic, partition } = &lease.partition;
        starts.add_partition_offset(topic, *partition, lease.hold())?;
    }
    let sought = consumer.seek_partitions(starts, REQUEST_TIMEOUT)?;
    sought.elements().iter().zip(leases).try_for_each(|(partition, lease)| match partition.error() {
        // librdkafka has not started it yet, so it will begin where it was told to at its assignment.
        Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::State) && !lease.state().begun => Ok(()),
        sought => sought,
    })
}

struct Reader(Arc<Lease>);

impl PartitionQueue for Reader {
    fn drain(&mut self, visit: &mut dyn FnMut(Delivery<'_>) -> Flow) -> usize {
        let mut state = self.0.state();
        let State { queue: Some(queue), next, begun, rewound, held: false } = &mut *state else { return 0 };
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
                        if let Some(held) = TRIED_AGAIN.permit() {
                            tracing::warn!(held, "{what}: {reason}; it is tried again");
                        }
                        return Flow::Continue;
                    }
                    Delivery::Failed(classify::error(kind, &what, &reason))
                }
            };
            given += 1;
            // Noted before the visit: what it took counts as taken, also if it panics.
            (*next, *begun) = (Some(expected), true);
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
