//! The sink's encoders as the committer wants them.

use crate::broker::OutRecord;
use crate::epoch::{Encode, TopicLimits};
use crate::event::{Correlation, DeadLetter, Timestamp};
use crate::sink::{CorrelationEncoder, DeadLetterEncoder};

/// Both encoders.
pub(super) struct Encoders {
    pub correlations: CorrelationEncoder,
    pub dead_letters: DeadLetterEncoder,
}

impl Encode for Encoders {
    fn correlation(&mut self, found: &Correlation, limits: &TopicLimits) -> (OutRecord, bool) {
        let encoded = self.correlations.encode(found, |topic| limits.of(topic));
        (encoded.record, encoded.trimmed)
    }

    fn dead_letter(&mut self, letter: DeadLetter, now: Timestamp, limits: &TopicLimits) -> OutRecord {
        self.dead_letters.encode(letter, now, |topic| limits.of(topic))
    }
}
