//! What went wrong, from RocksDB's and the system's words to one of our kinds, and then told to people.

use std::fmt::Display;
use std::io;
use std::path::Path;

use crate::store::{StoreError, StoreErrorKind};

/// A failure of which is not yet said where and in doing what.
#[derive(Debug)]
pub(super) struct Failure {
    pub kind: StoreErrorKind,
    pub detail: String,
}

/// Whose words are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    /// RocksDB, of files that are its own.
    Database,
    /// The system, of the directory around them.
    System,
}

impl Failure {
    pub(super) fn new(kind: StoreErrorKind, detail: impl Into<String>) -> Self {
        Failure { kind, detail: detail.into() }
    }

    /// The error for people: what was tried, where, why it failed, what to do.
    pub(super) fn told(self, doing: impl Display, path: &Path) -> StoreError {
        let advice = match self.kind {
            StoreErrorKind::Locked => "stop the other process, or give this one a state directory of its own",
            StoreErrorKind::Foreign => {
                "start the program that wrote it, or name another state directory; removing this one is safe too: state is \
                 rebuilt from the changelog"
            }
            StoreErrorKind::Corrupt => "restart: the contents are set aside, and state is rebuilt from the changelog",
            StoreErrorKind::Full => "free some space there, or make it writable; nothing that was committed is lost",
            StoreErrorKind::Io => "look at the disk, and at the directory's owner and permissions",
        };
        let message = format!("cannot {doing} in the state directory {}: {}; {advice}", path.display(), self.detail);
        StoreError::new(self.kind, message)
    }
}

impl From<rocksdb::Error> for Failure {
    fn from(error: rocksdb::Error) -> Self {
        let detail = error.into_string();
        Failure { kind: kind_of(Speaker::Database, &detail), detail }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let detail = error.to_string();
        Failure { kind: kind_of(Speaker::System, &detail), detail }
    }
}

/// What an error means. RocksDB hands out text only, which ends in the system's own words for a failed call.
fn kind_of(speaker: Speaker, text: &str) -> StoreErrorKind {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["lock hold by current process", "While lock file"]) {
        StoreErrorKind::Locked
    } else if has(&["No space left on device", "quota exceeded", "File too large", "Read-only file system"]) {
        StoreErrorKind::Full
    } else if speaker == Speaker::System {
        StoreErrorKind::Io
    } else if has(&["Unknown Footer version", "Unsupported BlockBasedTable format_version"])
        || text.starts_with("Not implemented")
    {
        // Files of a RocksDB that is newer than ours.
        StoreErrorKind::Foreign
    } else if text.starts_with("Corruption") || has(&["No such file or directory"]) {
        StoreErrorKind::Corrupt
    } else {
        StoreErrorKind::Io
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StoreErrorKind::{Corrupt, Foreign, Full, Io, Locked};

    #[test]
    fn what_rocksdb_says_is_classified() {
        for (text, kind) in [
            ("IO error: While lock file: /s/db/LOCK: Resource temporarily unavailable", Locked),
            (
                "IO error: lock hold by current process, acquire time 1 acquiring thread 2: /s/LOCK: No locks available",
                Locked,
            ),
            (
                "Corruption: block checksum mismatch: stored = 1, computed = 2 in /s/db/000008.sst offset 0 size 9",
                Corrupt,
            ),
            ("IO error: No such file or directory: While open a file for random read: /s/db/000008.sst", Corrupt),
            ("Corruption: Unknown Footer version. Maybe this file was created with newer version of RocksDB?", Foreign),
            ("IO error: No space left on device: While appending to file: /s/db/000009.log", Full),
            ("IO error: Input/output error: While pread offset 0 len 4: /s/db/000008.sst", Io),
            ("Resource busy: ", Io),
        ] {
            assert_eq!(kind_of(Speaker::Database, text), kind, "{text}");
        }
    }

    #[test]
    fn what_the_system_says_is_classified_as_it_says_it() {
        // The numbers are Linux's: EIO, ENOSPC, EFBIG, EROFS, EDQUOT, ENOENT, EACCES.
        for (code, kind) in [(5, Io), (28, Full), (27, Full), (30, Full), (122, Full), (2, Io), (13, Io)] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(Failure::from(error).kind, kind, "{code}");
        }
    }

    #[test]
    fn an_error_says_what_and_where_and_what_to_do() {
        let error = Failure::from(io::Error::from_raw_os_error(28)).told("write", Path::new("/s/app"));
        assert_eq!(
            error.to_string(),
            "cannot write in the state directory /s/app: No space left on device (os error 28); free some space there, or \
             make it writable; nothing that was committed is lost"
        );
    }
}
