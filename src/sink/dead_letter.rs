//! A dead letter as a record: the original key, value and headers byte for byte, then the reason in headers.
//!
//! Header names are those of KIP-1034 (Kafka Streams' dead-letter queue) and ours. The record is stamped by the broker with
//! the time of writing: a letter from 1970 would vanish by retention, one from 2099 would be refused.

use std::sync::Arc;

use crate::broker::OutRecord;
use crate::event::{DeadLetter, Timestamp, TopicTable};

/// The headers that are added, in their order.
pub const HEADERS: [&str; 10] = [
    "__streams.errors.exception",
    "__streams.errors.message",
    "__streams.errors.topic",
    "__streams.errors.partition",
    "__streams.errors.offset",
    "__throughline.errors.code",
    "__throughline.errors.stage",
    "__throughline.errors.time",
    "__throughline.errors.timestamp",
    "__throughline.errors.redrive_count",
];

/// Added when the value had to be left out because the dead-letter topic takes no record of its size: its length in bytes.
pub const TRUNCATED: &str = "__throughline.errors.value_bytes";

/// Encodes dead letters for one topic.
pub struct DeadLetterEncoder {
    topics: TopicTable,
    topic: Arc<str>,
}

impl DeadLetterEncoder {
    /// An encoder for this dead-letter topic.
    pub fn new(topics: TopicTable, topic: Arc<str>) -> Self {
        DeadLetterEncoder { topics, topic }
    }

    /// The record of a dead letter given up at `now`. A letter larger than `bytes_max` loses its value, with a header that
    /// says so: the reason and the place of the original are worth more than nothing.
    pub fn encode(&self, letter: DeadLetter, now: Timestamp, bytes_max: impl Fn(&str) -> usize) -> OutRecord {
        let record = letter.record;
        let redriven = record.headers.iter().rev().find(|(name, _)| name == HEADERS[9]);
        let redrive_count =
            redriven.and_then(|(_, v)| v.as_deref()).map_or("0".into(), String::from_utf8_lossy).into_owned();
        let values = [
            format!("throughline.{}", letter.code.name()),
            letter.message,
            self.topics.name(letter.origin.topic).to_string(),
            letter.origin.partition.to_string(),
            letter.origin.offset.to_string(),
            letter.code.name().to_owned(),
            letter.stage.name().to_owned(),
            now.to_string(),
            record.timestamp_ms.map_or(String::new(), |ms| ms.to_string()),
            redrive_count,
        ];
        let kept = record.headers.into_iter().filter(|(name, _)| !HEADERS.contains(&name.as_str()));
        let mut headers: Vec<_> = kept.map(|(name, value)| (name, value.map(<[u8]>::into_vec))).collect();
        headers.extend(HEADERS.iter().zip(values).map(|(name, value)| ((*name).to_owned(), Some(value.into_bytes()))));
        let mut out = OutRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: record.key.map(<[u8]>::into_vec),
            value: record.value.map(<[u8]>::into_vec),
            headers,
            order: None,
        };
        if out.bytes() > bytes_max(&self.topic) {
            let bytes = out.value.take().map_or(0, |value| value.len());
            out.headers.push((TRUNCATED.to_owned(), Some(bytes.to_string().into_bytes())));
        }
        if out.bytes() > bytes_max(&self.topic) {
            // What is left of the original, key and headers, is too large as well: the reason and the place remain.
            out.key = None;
            out.headers.retain(|(name, _)| HEADERS.contains(&name.as_str()) || name == TRUNCATED);
        }
        out
    }
}
