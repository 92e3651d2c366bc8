//! Streams: the inputs as configured, each a set of topics whose events are read the same way.

use crate::event::{LatePolicy, Span};

/// One input: how its events are dated, identified, and what its clocks tolerate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Topic names, or regular expressions starting with `^`.
    pub topics: Vec<String>,
    /// Path of the event time; `None`: the record's timestamp.
    pub time: Option<String>,
    /// Paths of the dedup id; empty: topic, partition, offset.
    pub id: Vec<String>,
    /// Path of the event category.
    pub category: String,
    /// How far behind the newest event of its partition an event may be without being late.
    pub out_of_orderness: Span,
    /// After how long without a record a partition stops holding others back; `None`: never.
    pub idle_timeout: Option<Span>,
    /// What to do with late events.
    pub late: LatePolicy,
    /// How far a partition may run ahead of its task's watermark before it is not read further.
    pub max_skew: Span,
    /// How far ahead of the record's timestamp an event time may lie; `Span::MAX`: any.
    pub max_future: Span,
}

impl Stream {
    /// What makes the stream's ids its own: the same id in another stream is another event.
    pub fn identity(&self) -> String {
        self.topics.join(",")
    }

    /// Whether a topic belongs to this stream. A pattern that is no regular expression matches nothing (the configuration
    /// was checked before).
    pub fn has_topic(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| {
            pattern == topic
                || pattern.starts_with('^') && regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(topic))
        })
    }
}
