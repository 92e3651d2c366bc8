//! What can go wrong with a store, classified once.

/// What an error means to the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// Another process holds the directory.
    Locked,
    /// The directory belongs to another application, or its format is newer than this program.
    Foreign,
    /// The contents are damaged (a checksum, a missing file): set it aside and rebuild.
    Corrupt,
    /// No space left, or read-only.
    Full,
    /// Any other failure to read or write.
    Io,
}

/// An error of a store: what, where (in the message), and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What it means.
    pub kind: StoreErrorKind,
    /// For people.
    pub message: String,
}

impl StoreError {
    /// An error of a kind.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        StoreError { kind, message: message.into() }
    }
}
