//! What an error of librdkafka means, decided once. Messages say what failed, on what, and what to do.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::broker::{BrokerError, ErrorKind};

/// The meaning of a code, where the code alone decides.
pub(super) fn kind(code: Code) -> ErrorKind {
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::NetworkException
        | Code::UnknownBroker
        | Code::BrokerNotAvailable => ErrorKind::Unreachable,
        Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL | Code::UnsupportedSASLMechanism => {
            ErrorKind::Authentication
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ErrorKind::Authorization,
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => ErrorKind::TopicMissing,
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => ErrorKind::TooLarge,
        Code::Fenced | Code::FencedInstanceId | Code::ProducerFenced | Code::InvalidProducerEpoch => ErrorKind::Fenced,
        Code::InvalidArgument | Code::InvalidConfig | Code::InvalidSessionTimeout | Code::UnsupportedFeature => {
            ErrorKind::Setting
        }
        Code::RequestTimedOut
        | Code::WaitingForCoordinator
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::RebalanceInProgress
        | Code::ConcurrentTransactions
        | Code::UnstableOffsetCommit
        | Code::InProgress
        | Code::PreviousInProgress
        | Code::Retry
        | Code::MessageTimedOut
        | Code::QueueFull
        | Code::PollExceeded
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch => ErrorKind::Transient,
        // The membership that read the records is not the one the broker knows: what was read must be given up.
        Code::UnknownMemberId | Code::IllegalGeneration | Code::AssignmentLost => ErrorKind::Abortable,
        _ => ErrorKind::Fatal,
    }
}

/// What a person can do about it.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unreachable => "check that Kafka is running and that `kafka.brokers` names it",
        ErrorKind::Authentication => "check user, password and certificates in `kafka.properties`",
        ErrorKind::Authorization => {
            "grant it: Read on the input topics and the group, Write on the output topics, Write and Describe on the \
             transactional id"
        }
        ErrorKind::TopicMissing => "create the topic, or correct its name in the configuration",
        ErrorKind::TooLarge => "raise the topic's `max.message.bytes`",
        ErrorKind::Fenced => {
            "another process runs under the same `application_id` and `instance`; stop one of them or rename it"
        }
        ErrorKind::Setting => "correct `kafka.properties`",
        ErrorKind::Abortable => "nothing was committed; the work is done again",
        ErrorKind::Uncertain => "the committed offsets will decide",
        ErrorKind::Transient => "it may pass by itself",
        ErrorKind::File | ErrorKind::Fatal => "the client is replaced",
    }
}

/// An error of a kind: `what` failed, librdkafka's `reason`, and the advice for the kind.
pub(super) fn error(kind: ErrorKind, what: &str, reason: &str) -> BrokerError {
    BrokerError::new(kind, format!("{what}: {reason}; {}", advice(kind)))
}

/// An error by its code.
pub(super) fn by_code(what: &str, code: Code) -> BrokerError {
    error(kind(code), what, &code.to_string())
}

/// An error of a call that is no transaction call.
pub(super) fn by_error(what: &str, failed: &KafkaError) -> BrokerError {
    match failed.rdkafka_error_code() {
        Some(code) => by_code(what, code),
        None => error(ErrorKind::Fatal, what, &failed.to_string()),
    }
}

/// An error of a transaction call, for which librdkafka itself knows whether the producer can go on.
pub(super) fn transaction(what: &str, failed: &KafkaError) -> BrokerError {
    let KafkaError::Transaction(native) = failed else { return by_error(what, failed) };
    let by_code = kind(native.code());
    let kind = match by_code {
        // What to tell people is known better by the code than by what the producer may still do.
        ErrorKind::Fenced | ErrorKind::Authorization | ErrorKind::Authentication | ErrorKind::TooLarge => by_code,
        _ if native.is_fatal() => ErrorKind::Fatal,
        _ if native.txn_requires_abort() => ErrorKind::Abortable,
        _ if native.is_retriable() && by_code == ErrorKind::Fatal => ErrorKind::Transient,
        other => other,
    };
    error(kind, what, &native.string())
}

/// Whether a transaction call may simply be made again.
pub(super) fn is_retriable(failed: &KafkaError) -> bool {
    match failed {
        KafkaError::Transaction(native) => native.is_retriable() && !native.is_fatal() && !native.txn_requires_abort(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_where_and_what_to_do() {
        let error = by_code("topic orders", Code::TopicAuthorizationFailed);
        assert_eq!(error.kind, ErrorKind::Authorization);
        assert!(error.message.starts_with("topic orders: ") && error.message.contains("grant it"), "{}", error.message);
    }

    #[test]
    fn an_unknown_code_is_fatal_and_a_fenced_one_says_who_is_to_blame() {
        assert_eq!(kind(Code::InvalidTransactionalState), ErrorKind::Fatal);
        assert!(by_code("commit", Code::FencedInstanceId).message.contains("another process"));
    }
}
