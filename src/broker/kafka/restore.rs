//! Reading a changelog up to an offset, as fast as the broker gives it: the way back from a lost disk.
//!
//! When is a partition read to its end? A record at or beyond the end says so. But the log may end in markers, aborted or
//! compacted records, which are never given; then librdkafka tells that it has reached the stable end, not which offset
//! that is. So at such an end the leader is asked for the stable end: if it lies below ours, a transaction is open and is
//! waited for; if not, the partition is read on from where it stands, and the next such message is known to come from
//! beyond our end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::classify;
use super::context::ClientLog;
use super::lookup::{Bound, Lookup};
use super::rebalance::REQUEST_TIMEOUT;
use super::settings::{self, KafkaSettings};
use crate::broker::{BrokerError, ErrorKind, Flow, LogRecord, TopicPartition};

/// How long `poll` waits before the ends are looked at.
const POLL: Duration = Duration::from_millis(50);

/// A transaction is ended by its coordinator after its own timeout, of which the coordinator takes notice every 10 s.
const COORDINATOR_LOOKS_EVERY: Duration = Duration::from_secs(15);

/// Where reading of one partition stands.
struct Range {
    /// Next offset to give.
    next: i64,
    to: i64,
    /// Since when it stands at the stable end, as far as we were told.
    at_end: Option<Instant>,
    /// The leader says that the stable end is not below `to`, and what comes now was asked for after that.
    confirmed: bool,
}

/// What became of a record.
enum Taken {
    Given,
    /// It lies at or beyond the end of its partition's range.
    Beyond(i32),
    /// The visitor wants no more.
    Stop,
}

struct LogReader<'l> {
    consumer: BaseConsumer<ClientLog>,
    lookup: &'l Lookup,
    topic: &'l str,
    /// Not yet read to their end.
    ranges: BTreeMap<i32, Range>,
    patience: Duration,
    /// Something came since the last look.
    moved: bool,
    /// The last look that found something come.
    progress: Instant,
}

/// See [`Broker::read_log`](crate::broker::Broker::read_log).
pub(super) fn read(
    settings: &KafkaSettings,
    lookup: &Lookup,
    topic: &str,
    ranges: &[(i32, i64, i64)],
    visit: &mut dyn FnMut(LogRecord<'_>) -> Flow,
) -> Result<(), BrokerError> {
    let start = |&(partition, from, to): &(i32, i64, i64)| {
        (partition, Range { next: from, to, at_end: None, confirmed: false })
    };
    let ranges: BTreeMap<i32, Range> = ranges.iter().filter(|(_, from, to)| from < to).map(start).collect();
    if ranges.is_empty() {
        return Ok(());
    }
    // Of a topic that is missing librdkafka says nothing; it waits for it.
    if lookup.describe(topic, REQUEST_TIMEOUT)?.is_none() {
        return Err(classify::by_code(&format!("reading changelog {topic}"), RDKafkaErrorCode::UnknownTopic));
    }
    let config = settings.log_reader(ranges.len());
    let consumer = config.create_with_context(ClientLog::default()).map_err(|e| settings::setting(&e))?;
    let patience = settings.transaction_timeout() + COORDINATOR_LOOKS_EVERY;
    LogReader { consumer, lookup, topic, ranges, patience, moved: false, progress: Instant::now() }.run(visit)
}

impl LogReader<'_> {
    fn run(mut self, visit: &mut dyn FnMut(LogRecord<'_>) -> Flow) -> Result<(), BrokerError> {
        let starts = self.list(self.ranges.keys().copied())?;
        self.consumer.assign(&starts).map_err(|e| self.failed(&e))?;
        while !self.ranges.is_empty() {
            let ranges = &mut self.ranges;
            match self.consumer.poll(POLL).map(|polled| polled.map(|message| take(ranges, &message, visit))) {
                Some(Ok(Taken::Given)) => self.moved = true,
                Some(Ok(Taken::Beyond(partition))) => self.finish(partition)?,
                Some(Ok(Taken::Stop)) => return Ok(()),
                Some(Err(KafkaError::PartitionEOF(partition))) => self.reach_end(partition)?,
                Some(Err(failed)) => self.judge(&failed)?,
                None => self.look()?,
            }
        }
        Ok(())
    }

    /// These partitions, each where reading of it goes on.
    fn list(&self, partitions: impl Iterator<Item = i32>) -> Result<TopicPartitionList, BrokerError> {
        let mut list = TopicPartitionList::with_capacity(self.ranges.len());
        for partition in partitions {
            let next = self.ranges.get(&partition).map_or(Offset::Beginning, |range| Offset::Offset(range.next));
            list.add_partition_offset(self.topic, partition, next).map_err(|e| self.failed(&e))?;
        }
        Ok(list)
    }

    /// A partition is read; what it still has is not fetched.
    fn finish(&mut self, partition: i32) -> Result<(), BrokerError> {
        self.moved = true;
        if self.ranges.remove(&partition).is_none() {
            return Ok(());
        }
        let list = self.list(std::iter::once(partition))?;
        self.consumer.pause(&list).map_err(|e| self.failed(&e))
    }

    /// Everything of a partition was given up to its stable end, wherever that was when the leader answered.
    fn reach_end(&mut self, partition: i32) -> Result<(), BrokerError> {
        let position = self.consumer.position().map_err(|e| self.failed(&e))?;
        let position = position.find_partition(self.topic, partition).map(|p| p.offset());
        let Some(range) = self.ranges.get_mut(&partition) else { return Ok(()) };
        // Markers move librdkafka's position although they are not given.
        if let Some(Offset::Offset(position)) = position {
            range.next = range.next.max(position);
        }
        if range.next >= range.to || range.confirmed {
            return self.finish(partition);
        }
        range.at_end = Some(Instant::now());
        self.look()
    }

    /// Looks after partitions that give nothing at the moment.
    fn look(&mut self) -> Result<(), BrokerError> {
        if std::mem::take(&mut self.moved) {
            self.progress = Instant::now();
        }
        match self.confirm() {
            Err(error) if !matches!(error.kind, ErrorKind::Transient | ErrorKind::Unreachable) => return Err(error),
            // Asked again at the next look.
            _ => {}
        }
        let stalled = |range: &Range| range.at_end.unwrap_or(self.progress).elapsed() > self.patience;
        let Some((partition, range)) = self.ranges.iter().find(|(_, range)| stalled(range)) else { return Ok(()) };
        let why = match range.at_end {
            Some(_) if !range.confirmed => "a transaction is open there",
            _ => "its leader gives nothing",
        };
        let what = format!("reading {}/{partition} up to {}", self.topic, range.to);
        let reason = format!("it stands still at {} for {} s: {why}", range.next, self.patience.as_secs());
        Err(classify::error(ErrorKind::Transient, &what, &reason))
    }

    /// Asks the leaders about partitions that stand at their end, and reads those on whose range lies below it.
    fn confirm(&mut self) -> Result<(), BrokerError> {
        let doubtful = |(partition, range): (&i32, &Range)| {
            let name = TopicPartition { topic: self.topic.into(), partition: *partition };
            (range.at_end.is_some() && !range.confirmed).then_some(name)
        };
        let doubtful: Vec<_> = self.ranges.iter().filter_map(doubtful).collect();
        let ends = self.lookup.offsets(&doubtful, Bound::StableEnd, REQUEST_TIMEOUT)?;
        for (TopicPartition { partition, .. }, end) in doubtful.iter().zip(ends) {
            if self.ranges.get(partition).is_some_and(|range| end >= range.to) {
                let again = self.list(std::iter::once(*partition))?;
                let sought = self.consumer.seek_partitions(again, REQUEST_TIMEOUT);
                let sought = sought.and_then(|list| list.elements().iter().try_for_each(|p| p.error()));
                sought.map_err(|e| self.failed(&e))?;
                if let Some(range) = self.ranges.get_mut(partition) {
                    range.confirmed = true;
                }
            }
        }
        Ok(())
    }

    /// An error on the way: what passes by itself is waited for, as long as anything comes.
    fn judge(&mut self, failed: &KafkaError) -> Result<(), BrokerError> {
        let error = self.failed(failed);
        match error.kind {
            // Written to the log by the context.
            ErrorKind::Transient | ErrorKind::Unreachable => self.look(),
            _ => Err(error),
        }
    }

    fn failed(&self, failed: &KafkaError) -> BrokerError {
        classify::by_error(&format!("reading changelog {}", self.topic), failed)
    }
}

/// Gives a record to the visitor if it lies in its range.
fn take(
    ranges: &mut BTreeMap<i32, Range>,
    message: &BorrowedMessage<'_>,
    visit: &mut dyn FnMut(LogRecord<'_>) -> Flow,
) -> Taken {
    let (partition, offset) = (message.partition(), message.offset());
    // Fetched before it was paused.
    let Some(range) = ranges.get_mut(&partition) else { return Taken::Given };
    if offset >= range.to {
        return Taken::Beyond(partition);
    }
    range.at_end = None;
    if offset < range.next {
        return Taken::Given;
    }
    range.next = offset + 1;
    let record = LogRecord { partition, offset, key: message.key().unwrap_or_default(), value: message.payload() };
    match visit(record) {
        Flow::Stop => Taken::Stop,
        Flow::Continue if range.next >= range.to => Taken::Beyond(partition),
        Flow::Continue => Taken::Given,
    }
}
