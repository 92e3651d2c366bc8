//! librdkafka's log and errors, turned into ours: said once in a while, not once per reconnect attempt.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::limits::LOG_REPEAT_AFTER;

/// What a client told last about itself, and which lines were written when.
#[derive(Default)]
pub(super) struct ClientLog {
    /// Per facility: when a line was last written, and how many were not since. Facilities are a fixed, small set.
    written: Mutex<HashMap<String, (Instant, u64)>>,
    last_error: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl ClientLog {
    /// Whether a line of this facility is due now; if so, how many were held back before it.
    fn due(&self, facility: &str) -> Option<u64> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match written.get_mut(facility) {
            Some((at, held)) if now.duration_since(*at) < LOG_REPEAT_AFTER => {
                *held += 1;
                None
            }
            Some(entry) => Some(std::mem::replace(entry, (now, 0)).1),
            None => {
                written.insert(facility.to_owned(), (now, 0));
                Some(0)
            }
        }
    }

    /// The last error that the client reported by itself, e.g. why it cannot connect. It says each only once in a while.
    pub(super) fn last_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same, and forgets it.
    pub(super) fn take_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // That a property of consumers does nothing in a producer is no news: users give one list for both.
        if facility == "CONFWARN" || matches!(level, RDKafkaLogLevel::Debug) {
            tracing::debug!(target: "librdkafka", facility, "{line}");
            return;
        }
        let Some(held) = self.due(facility) else { return };
        match level {
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::info!(target: "librdkafka", facility, held, "{line}");
            }
            _ => tracing::warn!(target: "librdkafka", facility, held, "{line}"),
        }
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" follows the reason why and would hide it.
        if code != RDKafkaErrorCode::AllBrokersDown || last.is_none() {
            *last = Some((code, reason.to_owned()));
        }
        drop(last);
        if let Some(held) = self.due(&format!("{code:?}")) {
            tracing::warn!(target: "librdkafka", held, "{code}: {reason}");
        }
    }
}

impl ConsumerContext for ClientLog {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_repeats_is_written_once() {
        let log = ClientLog::default();
        assert_eq!(log.due("FAIL"), Some(0));
        assert_eq!(log.due("FAIL"), None);
        assert_eq!(log.due("SESSTMOUT"), Some(0));
    }

    #[test]
    fn the_reason_is_not_hidden_by_all_brokers_being_down() {
        let log = ClientLog::default();
        log.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "Connection refused");
        log.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert!(log.take_error().is_some_and(|(_, reason)| reason.contains("refused")));
    }
}
