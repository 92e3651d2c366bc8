//! What an error of librdkafka means, decided once: [`classify`]. Messages say what failed, on what, and what to do.
//!
//! A code alone does not decide. The same lost connection costs a question nothing, an open transaction its transaction,
//! and leaves the outcome open once the commit was asked for; so the stage counts too.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::broker::{BrokerError, ErrorKind};

/// What was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// No transaction: a question, the membership, a producer's start, records of `at_least_once`.
    Outside,
    /// A transaction is open, and nobody has asked for its commit yet.
    Open,
    /// The commit was asked for: the request may have arrived whatever came back.
    Commit,
}

/// What librdkafka says of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    code: Code,
    /// This client is finished.
    fatal: bool,
    /// The transaction must be aborted; the client can go on.
    abort: bool,
}

impl Failure {
    /// A failure of which only the code is known.
    pub(super) fn code(code: Code) -> Failure {
        Failure { code, fatal: false, abort: false }
    }

    fn of(failed: &KafkaError) -> Failure {
        match failed {
            KafkaError::Transaction(native) => {
                Failure { code: native.code(), fatal: native.is_fatal(), abort: native.txn_requires_abort() }
            }
            other => Failure::code(other.rdkafka_error_code().unwrap_or(Code::Unknown)),
        }
    }
}

/// The meaning of a failure.
pub(super) fn classify(stage: Stage, Failure { code, fatal, abort }: Failure) -> ErrorKind {
    let alone = by_code_alone(code);
    match (stage, alone) {
        // Refused by name: that is certain, and what to do about it is all that counts.
        (_, ErrorKind::Authorization | ErrorKind::Authentication | ErrorKind::TooLarge | ErrorKind::Fenced) => alone,
        (Stage::Commit, _) => ErrorKind::Uncertain,
        _ if fatal => ErrorKind::Fatal,
        // Whatever may pass costs the transaction and no more.
        (Stage::Open, ErrorKind::Transient | ErrorKind::Unreachable) => ErrorKind::Abortable,
        _ if abort => ErrorKind::Abortable,
        _ => alone,
    }
}

/// The meaning of a code where nothing else is known.
fn by_code_alone(code: Code) -> ErrorKind {
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::NetworkException
        | Code::UnknownBroker
        | Code::BrokerNotAvailable => ErrorKind::Unreachable,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::IllegalSASLState
        | Code::SSL
        | Code::UnsupportedSASLMechanism => ErrorKind::Authentication,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ErrorKind::Authorization,
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic => {
            ErrorKind::TopicMissing
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => ErrorKind::TooLarge,
        Code::Fenced | Code::FencedInstanceId | Code::ProducerFenced | Code::InvalidProducerEpoch => ErrorKind::Fenced,
        Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidSessionTimeout
        | Code::InvalidTransactionTimeout
        | Code::InvalidReplicationFactor
        | Code::InvalidPartitions
        | Code::PolicyViolation
        | Code::UnsupportedFeature => ErrorKind::Setting,
        _ if passes_by_itself(code) => ErrorKind::Transient,
        // The membership that read the records is not the one the broker knows, or the broker has lost track of what this
        // producer wrote: the work must be given up, and can be done again.
        Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::AssignmentLost
        | Code::UnknownProducerId
        | Code::InvalidProducerIdMapping
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::InvalidTransactionalState => ErrorKind::Abortable,
        _ => ErrorKind::Fatal,
    }
}

/// The cluster is busy with itself, or slow.
fn passes_by_itself(code: Code) -> bool {
    let coordinator = matches!(
        code,
        Code::WaitingForCoordinator
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::TransactionCoordinatorFenced
            | Code::ConcurrentTransactions
            | Code::RebalanceInProgress
            | Code::UnstableOffsetCommit
    );
    let leader = matches!(
        code,
        Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::ReplicaNotAvailable
            | Code::OffsetNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::UnknownTopicId
            | Code::NotController
            | Code::KafkaStorageError
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
    );
    let slow = matches!(
        code,
        Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::MessageTimedOut
            | Code::InProgress
            | Code::PreviousInProgress
            | Code::Retry
            | Code::QueueFull
            | Code::PollExceeded
            | Code::ThrottlingQuotaExceeded
    );
    coordinator || leader || slow
}

/// What a person can do about it.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unreachable => "check that Kafka is running and that `kafka.brokers` names it",
        ErrorKind::Authentication => "check user, password and certificates in `kafka.properties`",
        ErrorKind::Authorization => {
            "grant it: Read on the input topics and the group, Write on the output topics, Write and Describe on the \
             transactional id; Create, DescribeConfigs, Read and Write on the changelog"
        }
        ErrorKind::TopicMissing => "create the topic, or correct its name in the configuration",
        ErrorKind::TooLarge => "raise the topic's `max.message.bytes`",
        ErrorKind::Fenced => {
            "another process runs under the same `application_id` and `instance` (stop one of them or rename it), or a \
             transaction took longer than `transaction.timeout.ms`"
        }
        ErrorKind::Setting => "correct `kafka.properties`",
        ErrorKind::Abortable => "nothing was committed; the work is done again",
        ErrorKind::Uncertain => "the committed offsets will decide",
        ErrorKind::Transient => "it may pass by itself",
        ErrorKind::State | ErrorKind::File | ErrorKind::Fatal => "the client is replaced",
    }
}

/// The meaning of a code outside any transaction.
pub(super) fn kind(code: Code) -> ErrorKind {
    classify(Stage::Outside, Failure::code(code))
}

/// An error of a kind: `what` failed, librdkafka's `reason`, and the advice for the kind.
pub(super) fn error(kind: ErrorKind, what: &str, reason: &str) -> BrokerError {
    BrokerError::new(kind, format!("{what}: {reason}; {}", advice(kind)))
}

/// An error by its code, outside any transaction.
pub(super) fn by_code(what: &str, code: Code) -> BrokerError {
    error(kind(code), what, &code.to_string())
}

/// An error of a call outside any transaction.
pub(super) fn by_error(what: &str, failed: &KafkaError) -> BrokerError {
    at(Stage::Outside, what, failed)
}

/// An error of a call at a stage.
pub(super) fn at(stage: Stage, what: &str, failed: &KafkaError) -> BrokerError {
    let reason = match failed {
        KafkaError::Transaction(native) => native.string(),
        other => other.rdkafka_error_code().map_or_else(|| other.to_string(), |code| code.to_string()),
    };
    error(classify(stage, Failure::of(failed)), what, &reason)
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
    use super::Stage::{Commit, Open, Outside};
    use super::*;

    /// What the pipeline does about it: the table of crashes and faults, in short.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Reaction {
        /// "The transaction aborts; memory is lost; the task restarts from the committed offsets."
        AbortAndRestart,
        /// "The producer is destroyed and re-initialised; the committed offsets decide."
        NewProducerAsksOffsets,
        /// "Abort, drop the task, commit nothing": the place is another's, or was.
        DropAll,
        /// Nothing was at stake: asked again, or begun anew with a pause.
        TryAgain,
        /// Only a person can help: the process ends and says how.
        End,
    }

    use Reaction::*;

    fn reaction(stage: Stage, kind: ErrorKind) -> Reaction {
        match kind {
            ErrorKind::Uncertain => NewProducerAsksOffsets,
            ErrorKind::Fenced => DropAll,
            ErrorKind::Abortable => AbortAndRestart,
            // The client is replaced; what was open is aborted by its successor.
            ErrorKind::Fatal if stage != Outside => AbortAndRestart,
            ErrorKind::Unreachable | ErrorKind::Transient | ErrorKind::Fatal => TryAgain,
            ErrorKind::Authentication
            | ErrorKind::Authorization
            | ErrorKind::TopicMissing
            | ErrorKind::TooLarge
            | ErrorKind::Setting
            | ErrorKind::State
            | ErrorKind::File => End,
        }
    }

    const PLAIN: (bool, bool) = (false, false);
    const FATAL: (bool, bool) = (true, false);
    const ABORT: (bool, bool) = (false, true);

    /// What happened, at which stage, the code, librdkafka's (fatal, requires abort), the reaction.
    type Case = (&'static str, Stage, Code, (bool, bool), Reaction);

    const TABLE: &[Case] = &[
        ("fenced by a newer producer while writing", Open, Code::InvalidProducerEpoch, FATAL, DropAll),
        (
            "fenced by a newer producer while writing, as a report says it",
            Open,
            Code::InvalidProducerEpoch,
            PLAIN,
            DropAll,
        ),
        ("fenced by a newer producer at the commit", Commit, Code::ProducerFenced, FATAL, DropAll),
        ("fenced, as librdkafka itself says it", Commit, Code::Fenced, FATAL, DropAll),
        ("another member took our name", Outside, Code::FencedInstanceId, PLAIN, DropAll),
        ("another member took our name, told with the offsets", Open, Code::FencedInstanceId, ABORT, DropAll),
        ("records not acknowledged in time", Open, Code::MessageTimedOut, ABORT, AbortAndRestart),
        ("the flush before the commit timed out", Open, Code::OperationTimedOut, PLAIN, AbortAndRestart),
        ("a question timed out", Outside, Code::OperationTimedOut, PLAIN, TryAgain),
        ("no answer to the commit", Commit, Code::OperationTimedOut, PLAIN, NewProducerAsksOffsets),
        (
            "no answer to the commit, and librdkafka would abort",
            Commit,
            Code::OperationTimedOut,
            ABORT,
            NewProducerAsksOffsets,
        ),
        ("the connection broke during the commit", Commit, Code::BrokerTransportFailure, PLAIN, NewProducerAsksOffsets),
        ("the coordinator moved while offsets were sent", Open, Code::NotCoordinator, PLAIN, AbortAndRestart),
        ("the coordinator moved during the commit", Commit, Code::NotCoordinator, PLAIN, NewProducerAsksOffsets),
        ("the coordinator loads at the start", Outside, Code::CoordinatorLoadInProgress, PLAIN, TryAgain),
        ("the coordinator loads while offsets are sent", Open, Code::CoordinatorLoadInProgress, PLAIN, AbortAndRestart),
        ("the broker restarts while we write", Open, Code::BrokerTransportFailure, PLAIN, AbortAndRestart),
        ("the broker restarts between transactions", Outside, Code::AllBrokersDown, PLAIN, TryAgain),
        ("the leader moved", Open, Code::NotLeaderForPartition, ABORT, AbortAndRestart),
        ("too few replicas", Open, Code::NotEnoughReplicas, ABORT, AbortAndRestart),
        ("the right to write was taken away", Open, Code::TopicAuthorizationFailed, ABORT, End),
        (
            "the right to the transactional id was taken away",
            Commit,
            Code::TransactionalIdAuthorizationFailed,
            FATAL,
            End,
        ),
        ("the right to the group was taken away", Open, Code::GroupAuthorizationFailed, ABORT, End),
        ("a record is too large for its topic", Open, Code::MessageSizeTooLarge, ABORT, End),
        ("the output topic is gone", Open, Code::UnknownTopicOrPartition, PLAIN, End),
        ("the transaction before is not ended yet", Outside, Code::ConcurrentTransactions, PLAIN, TryAgain),
        (
            "the transaction before is not ended yet, and we write",
            Open,
            Code::ConcurrentTransactions,
            PLAIN,
            AbortAndRestart,
        ),
        (
            "the commit meets another end of a transaction",
            Commit,
            Code::ConcurrentTransactions,
            PLAIN,
            NewProducerAsksOffsets,
        ),
        ("the broker forgot the producer", Open, Code::UnknownProducerId, ABORT, AbortAndRestart),
        ("the broker forgot the producer, as a report says it", Open, Code::UnknownProducerId, PLAIN, AbortAndRestart),
        (
            "the broker forgot the producer, told at the commit",
            Commit,
            Code::UnknownProducerId,
            ABORT,
            NewProducerAsksOffsets,
        ),
        ("a batch is missing before this one", Open, Code::OutOfOrderSequenceNumber, PLAIN, AbortAndRestart),
        (
            "a batch is missing, and the client is finished",
            Open,
            Code::OutOfOrderSequenceNumber,
            FATAL,
            AbortAndRestart,
        ),
        ("the transaction had timed out", Open, Code::InvalidTransactionalState, PLAIN, AbortAndRestart),
        (
            "the transaction had timed out, told at the commit",
            Commit,
            Code::InvalidTransactionalState,
            FATAL,
            NewProducerAsksOffsets,
        ),
        ("partitions were taken away before the offsets came", Open, Code::IllegalGeneration, ABORT, AbortAndRestart),
        ("the session timed out before the offsets came", Open, Code::UnknownMemberId, ABORT, AbortAndRestart),
        ("offsets of an open transaction are asked for", Outside, Code::UnstableOffsetCommit, PLAIN, TryAgain),
        ("the cluster takes no transaction that long", Outside, Code::InvalidTransactionTimeout, PLAIN, End),
        ("the password is wrong", Outside, Code::SaslAuthenticationFailed, PLAIN, End),
        ("what nobody has heard of, while we write", Open, Code::InvalidMessage, PLAIN, AbortAndRestart),
        ("what nobody has heard of, at the commit", Commit, Code::Unknown, PLAIN, NewProducerAsksOffsets),
    ];

    #[test]
    fn every_failure_has_the_reaction_that_the_protocol_asks_for() {
        let wrong: Vec<_> = TABLE
            .iter()
            .map(|(what, stage, code, (fatal, abort), expected)| {
                let kind = classify(*stage, Failure { code: *code, fatal: *fatal, abort: *abort });
                (what, kind, reaction(*stage, kind), *expected)
            })
            .filter(|(_, _, actual, expected)| actual != expected)
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn once_the_commit_was_asked_for_nothing_passes_for_undone() {
        for (_, _, code, _, _) in TABLE {
            for (fatal, abort) in [PLAIN, FATAL, ABORT] {
                let kind = classify(Commit, Failure { code: *code, fatal, abort });
                assert!(!matches!(kind, ErrorKind::Abortable | ErrorKind::Transient), "{code:?}: {kind:?}");
            }
        }
    }

    #[test]
    fn a_message_says_what_where_and_what_to_do() {
        let error = by_code("topic orders", Code::TopicAuthorizationFailed);
        assert_eq!(error.kind, ErrorKind::Authorization);
        assert!(error.message.starts_with("topic orders: ") && error.message.contains("grant it"), "{}", error.message);
        assert!(by_code("commit", Code::FencedInstanceId).message.contains("another process"));
    }
}
