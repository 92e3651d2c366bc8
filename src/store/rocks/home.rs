//! The directory of one application's state, held by one process at a time.
//!
//! ```text
//! <directory>/<application_id>/
//!   LOCK               locked for as long as a store is open; says who holds it
//!   db/                RocksDB
//!   db/DAMAGED         there if damage was met while running: the next open sets `db` aside
//!   db.set-aside-<n>/  the newest contents that could not be used, for people to look at
//! ```
//!
//! `db` moves as a whole and only under the lock, so a crash at any moment leaves either the old contents, or none, or new
//! ones.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use super::failure::Failure;
use crate::store::StoreErrorKind;

const DATABASE: &str = "db";
const LOCK: &str = "LOCK";
const DAMAGED: &str = "DAMAGED";
const SET_ASIDE: &str = "db.set-aside-";

/// The directory, and the lock on it.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    /// Released when it is closed.
    _lock: File,
}

/// What is in `db`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Nothing.
    Nothing,
    /// A database, by the looks of it.
    Database,
    /// Something that is not to be opened, and why.
    Unusable(String),
}

/// Where an application's state lies.
pub(super) fn path_of(directory: &Path, application_id: &str) -> PathBuf {
    directory.join(application_id)
}

/// Notes in a database's directory that it is not to be used again. That this may fail does no harm: the damage is met again.
pub(super) fn mark_damaged(database: &Path, reason: &str) {
    drop(fs::write(database.join(DAMAGED), reason));
}

impl Home {
    /// Makes the directory, if need be, and locks it.
    pub(super) fn claim(directory: &Path, application_id: &str, instance: &str) -> Result<Home, Failure> {
        let mut parts = Path::new(application_id).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == application_id) {
            let detail = format!("the application id `{application_id}` is not a name that a directory can have");
            return Err(Failure::new(StoreErrorKind::Io, detail));
        }
        let path = path_of(directory, application_id);
        fs::create_dir_all(&path)?;
        let mut lock = File::options().read(true).write(true).create(true).truncate(false).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only a help to whoever reads the message.
                drop(lock.take(200).read_to_string(&mut holder));
                let detail = format!("another process holds it ({})", holder.trim_end());
                return Err(Failure::new(StoreErrorKind::Locked, detail));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // Who holds it is said for people only: on a full disk the lock holds all the same.
        drop(lock.set_len(0).and_then(|()| writeln!(lock, "instance {instance}, process {}", std::process::id())));
        Ok(Home { path, _lock: lock })
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database is.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Looks at `db` from outside.
    pub(super) fn contents(&self) -> Result<Contents, Failure> {
        let database = self.database();
        match fs::read_dir(&database) {
            Ok(mut entries) => {
                if entries.next().transpose()?.is_none() {
                    return Ok(Contents::Nothing);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::Nothing),
            Err(error) => return Err(error.into()),
        }
        match fs::read(database.join(DAMAGED)) {
            Ok(reason) => return Ok(Contents::Unusable(String::from_utf8_lossy(&reason).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        // Without it RocksDB would begin anew among the old files.
        if !database.join("CURRENT").try_exists()? {
            return Ok(Contents::Unusable("the file CURRENT is missing".to_string()));
        }
        Ok(Contents::Database)
    }

    /// Moves `db` out of the way and removes what was set aside before.
    pub(super) fn set_aside(&self) -> Result<PathBuf, Failure> {
        let older = self.aside()?;
        let number = older.iter().map(|(number, _)| number).max().map_or(1, |newest| newest.saturating_add(1));
        let target = self.path.join(format!("{SET_ASIDE}{number}"));
        fs::rename(self.database(), &target)?;
        for (_, path) in older {
            fs::remove_dir_all(path)?;
        }
        Ok(target)
    }

    /// What was set aside, with its numbers.
    fn aside(&self) -> Result<Vec<(u64, PathBuf)>, Failure> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(SET_ASIDE)).and_then(|n| n.parse().ok());
            found.extend(number.map(|number| (number, entry.path())));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_id_that_is_no_name_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        for id in ["", ".", "..", "a/b", "/a", "a/"] {
            let failure = Home::claim(directory.path(), id, "i").expect_err("refused");
            assert!(failure.detail.contains("is not a name"), "{id}: {}", failure.detail);
        }
        assert_eq!(fs::read_dir(directory.path()).expect("read").count(), 0, "nothing was made");
    }

    #[test]
    fn whoever_comes_second_learns_who_was_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Home::claim(directory.path(), "app", "alpha").expect("free");
        let failure = Home::claim(directory.path(), "app", "beta").expect_err("held");
        assert_eq!(failure.kind, StoreErrorKind::Locked);
        assert!(failure.detail.contains("instance alpha, process "), "{}", failure.detail);
        drop(first);
        Home::claim(directory.path(), "app", "beta").expect("free again");
    }

    #[test]
    fn the_newest_that_was_set_aside_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::claim(directory.path(), "app", "i").expect("free");
        for number in 1..=3 {
            assert_eq!(home.contents().expect("read"), Contents::Nothing);
            fs::create_dir(home.database()).expect("create");
            fs::write(home.database().join("x"), number.to_string()).expect("write");
            assert!(matches!(home.contents().expect("read"), Contents::Unusable(why) if why.contains("CURRENT")));
            let moved = home.set_aside().expect("moved");
            assert_eq!(fs::read_to_string(moved.join("x")).expect("read"), number.to_string());
            assert_eq!(home.aside().expect("list"), [(number, moved)]);
        }
    }

    #[test]
    fn damage_that_was_noted_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::claim(directory.path(), "app", "i").expect("free");
        fs::create_dir(home.database()).expect("create");
        fs::write(home.database().join("CURRENT"), "x").expect("write");
        assert_eq!(home.contents().expect("read"), Contents::Database);
        mark_damaged(&home.database(), "a bad block");
        assert_eq!(home.contents().expect("read"), Contents::Unusable("a bad block".to_string()));
    }
}
