//! Records on their way in (borrowed from the consumer's buffer) and out (owned).

use std::sync::Arc;

use super::BrokerError;
use crate::event::{Origin, RawRecord, Timestamp};

/// Called for each header: name and value.
pub type HeaderVisitor<'v> = dyn FnMut(&str, Option<&[u8]>) + 'v;

/// A record's headers; looked at only when they are needed.
pub trait Headers {
    /// Calls `visit` for each header in order.
    fn visit(&self, visit: &mut HeaderVisitor<'_>);
}

/// No headers.
#[derive(Debug, Clone, Copy)]
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn visit(&self, _: &mut HeaderVisitor<'_>) {}
}

/// A consumed record: valid only during the visit.
pub struct Record<'a> {
    /// Its offset.
    pub offset: i64,
    /// Kafka timestamp in milliseconds since the epoch, if it has one.
    pub timestamp_ms: Option<i64>,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: &'a dyn Headers,
}

impl Record<'_> {
    /// A copy that outlives the visit.
    pub fn to_raw(&self) -> RawRecord {
        let mut headers = Vec::new();
        self.headers.visit(&mut |name, value| headers.push((name.to_owned(), value.map(Into::into))));
        RawRecord {
            key: self.key.map(Into::into),
            value: self.value.map(Into::into),
            headers,
            timestamp_ms: self.timestamp_ms,
        }
    }
}

/// A record of a changelog: valid only during the visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Key; empty if it has none.
    pub key: &'a [u8],
    /// Value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// What a partition queue gives.
pub enum Delivery<'a> {
    /// A record.
    Record(&'a Record<'a>),
    /// The end of the partition was reached: every record below `position` was delivered (transaction markers, aborted
    /// and compacted records are skipped over).
    End {
        /// The offset at which the next record will come.
        position: i64,
    },
    /// The partition cannot be read further.
    Failed(BrokerError),
}

/// The visitor's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Enough for now.
    Stop,
}

/// A record to send. The broker stamps it with the time of writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutRecord {
    /// Target topic.
    pub topic: Arc<str>,
    /// Target partition; `None`: by key.
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// For a correlation: window end, then (time, origin) of its first event. Not sent; outlets that print in order sort by it.
    pub order: Option<(Timestamp, (Timestamp, Origin))>,
}

impl OutRecord {
    /// Bytes of key, value and headers.
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers.sum::<usize>()
    }
}
