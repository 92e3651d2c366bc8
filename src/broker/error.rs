//! What can go wrong with a broker, classified once, here and in the brokers; everyone else matches on [`ErrorKind`].

/// What an error means to the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No broker answers.
    Unreachable,
    /// Credentials or certificates refused.
    Authentication,
    /// Not allowed: topic, group or transactional id.
    Authorization,
    /// The topic does not exist.
    TopicMissing,
    /// A record is larger than the topic takes.
    TooLarge,
    /// Another producer or member took our place. What it found of ours is for the committed offsets to say.
    Fenced,
    /// Nothing was committed: the transaction must be aborted, and the work can be done again.
    Abortable,
    /// The outcome of a commit is unknown.
    Uncertain,
    /// May go away by itself.
    Transient,
    /// Bad setting: a property that does not exist or may not be used.
    Setting,
    /// Reading or writing a file failed.
    File,
    /// State on disk could not be read: it is set aside and rebuilt from the changelog.
    State,
    /// None of these; the client cannot go on.
    Fatal,
}

/// An error of a broker: what, where (in the message), and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BrokerError {
    /// What it means.
    pub kind: ErrorKind,
    /// For people: what failed, on which topic, partition or address, and what to do.
    pub message: String,
}

impl BrokerError {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        BrokerError { kind, message: message.into() }
    }
}
