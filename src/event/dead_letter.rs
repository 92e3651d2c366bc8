//! Dead letters: records that could not be processed, byte for byte, with the reason.

use super::signal::Origin;
use super::time::Timestamp;

/// Why a record is a dead letter. The names are an interface: header `__throughline.errors.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeadCode {
    /// A value of zero bytes or only white space.
    EmptyValue,
    /// Not JSON.
    InvalidJson,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// JSON, but not an object.
    NotAnObject,
    /// Nested deeper than `limits::JSON_DEPTH_MAX`.
    TooDeep,
    /// Larger than `limits::PAYLOAD_BYTES_MAX`, or with a correlation key larger than `limits::KEY_BYTES_MAX`.
    TooLarge,
    /// The stream's time field is absent or null.
    MissingTime,
    /// The stream's time field cannot be read as a time.
    InvalidTime,
    /// Further ahead than `max_future`.
    FutureTimestamp,
    /// Behind the watermark, policy `dlq`.
    Late,
}

impl DeadCode {
    /// All codes.
    pub const ALL: [DeadCode; 10] = [
        DeadCode::EmptyValue,
        DeadCode::InvalidJson,
        DeadCode::InvalidUtf8,
        DeadCode::NotAnObject,
        DeadCode::TooDeep,
        DeadCode::TooLarge,
        DeadCode::MissingTime,
        DeadCode::InvalidTime,
        DeadCode::FutureTimestamp,
        DeadCode::Late,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            DeadCode::EmptyValue => "empty_value",
            DeadCode::InvalidJson => "invalid_json",
            DeadCode::InvalidUtf8 => "invalid_utf8",
            DeadCode::NotAnObject => "not_an_object",
            DeadCode::TooDeep => "too_deep",
            DeadCode::TooLarge => "too_large",
            DeadCode::MissingTime => "missing_time",
            DeadCode::InvalidTime => "invalid_time",
            DeadCode::FutureTimestamp => "future_timestamp",
            DeadCode::Late => "late",
        }
    }
}

/// The stage that gave up: header `__throughline.errors.stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Bytes to event.
    Decode,
    /// Event to keys.
    Route,
    /// Event time against the watermark.
    Order,
}

impl Stage {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Route => "route",
            Stage::Order => "order",
        }
    }
}

/// A record as it was consumed, copied because it outlives the consumer's buffer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawRecord {
    /// The record key.
    pub key: Option<Box<[u8]>>,
    /// The record value.
    pub value: Option<Box<[u8]>>,
    /// Headers in their order; a header's value may be null.
    pub headers: Vec<(String, Option<Box<[u8]>>)>,
    /// The record's Kafka timestamp in milliseconds since the epoch, if it has one.
    pub timestamp_ms: Option<i64>,
}

impl RawRecord {
    /// Bytes of key, value and headers.
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, |v| v.len()));
        self.key.as_ref().map_or(0, |k| k.len()) + self.value.as_ref().map_or(0, |v| v.len()) + headers.sum::<usize>()
    }
}

/// One dead letter, before encoding.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Why.
    pub code: DeadCode,
    /// Where in the pipeline.
    pub stage: Stage,
    /// For a person: what is wrong, and at which byte or field.
    pub message: String,
    /// Which record.
    pub origin: Origin,
    /// Its event time, if it got as far.
    pub event_time: Option<Timestamp>,
    /// The record.
    pub record: RawRecord,
}
