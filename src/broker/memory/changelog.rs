//! Changelogs: made compacted, and read up to an offset as a restore does.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::log::Partition;
use super::{Shared, topic_missing};
use crate::broker::{BrokerError, ErrorKind, Flow, LOG_DELETE_RETENTION, LogInfo, LogRecord, log_not_compacted};
use crate::limits::SOURCE_TURN_RECORDS;
use crate::ring::Bell;

/// Creates the topic, or looks at the one that is there.
pub(super) fn prepare(shared: &Shared, name: &str, partitions: i32) -> Result<LogInfo, BrokerError> {
    let exists = shared.topics.read().unwrap_or_else(PoisonError::into_inner).contains_key(name);
    let created = !exists && shared.create_topic(name, partitions, true);
    let topics = shared.topics.read().unwrap_or_else(PoisonError::into_inner);
    let topic = topics.get(name).ok_or_else(|| topic_missing(name))?;
    if !topic.compacted {
        return Err(log_not_compacted(name, "delete"));
    }
    Ok(LogInfo {
        partitions: topic.partitions.len() as i32,
        id: topic.id.to_string(),
        delete_retention: LOG_DELETE_RETENTION,
        record_bytes_max: topic.message_bytes_max,
        created,
    })
}

struct Reading {
    partition: Arc<Partition>,
    next: i64,
    to: i64,
}

/// See [`Broker::read_log`](crate::broker::Broker::read_log).
pub(super) fn read(
    shared: &Shared,
    topic: &str,
    ranges: &[(i32, i64, i64)],
    visit: &mut dyn FnMut(LogRecord<'_>) -> Flow,
) -> Result<(), BrokerError> {
    let (id, patience) = {
        let mut coordinator = shared.lock();
        (coordinator.next_id(), coordinator.log_patience)
    };
    let open = |&(number, from, to): &(i32, i64, i64)| {
        Ok(Reading { partition: shared.partition(topic, number)?, next: from, to })
    };
    let mut readings = ranges.iter().map(open).collect::<Result<Vec<_>, BrokerError>>()?;
    let bell = Bell::default();
    readings.iter().for_each(|reading| reading.partition.listen(id, bell.clone()));
    let all: Vec<_> = readings.iter().map(|reading| Arc::clone(&reading.partition)).collect();
    let mut progress = Instant::now();
    let result = loop {
        let (moved, flow) = turn(&mut readings, visit);
        readings.retain(|reading| reading.next < reading.to);
        let Some(waiting) = readings.first() else { break Ok(()) };
        if flow == Flow::Stop {
            break Ok(());
        }
        if moved {
            progress = Instant::now();
            continue;
        }
        let left = patience.saturating_sub(progress.elapsed());
        if left.is_zero() {
            break Err(stalled(topic, waiting));
        }
        bell.wait(|| false, Some(left));
    };
    all.iter().for_each(|partition| partition.unlisten(id));
    result
}

/// Reads on in each partition. Whether any went on, and what the visitor said.
fn turn(readings: &mut [Reading], visit: &mut dyn FnMut(LogRecord<'_>) -> Flow) -> (bool, Flow) {
    let mut moved = false;
    let mut fetched = VecDeque::new();
    for reading in readings {
        let at = reading.partition.fetch(reading.next, SOURCE_TURN_RECORDS, true, &mut fetched).position;
        moved |= at > reading.next;
        reading.next = reading.next.max(at);
        for (offset, record) in fetched.drain(..).filter(|(offset, _)| *offset < reading.to) {
            let (partition, key) = (reading.partition.number(), record.key.as_deref().unwrap_or_default());
            if visit(LogRecord { partition, offset, key, value: record.value.as_deref() }) == Flow::Stop {
                return (true, Flow::Stop);
            }
        }
    }
    (moved, Flow::Continue)
}

fn stalled(topic: &str, Reading { partition, next, to }: &Reading) -> BrokerError {
    let number = partition.number();
    let message = format!(
        "reading {topic}/{number} up to {to} stands still at {next}: a transaction is open there; it may pass by itself"
    );
    BrokerError::new(ErrorKind::Transient, message)
}
