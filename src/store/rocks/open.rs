//! Opening: what is found in the directory, whether it may be used, and what happens to it if not.
//!
//! | found | what follows |
//! |---|---|
//! | nothing | [`Opened::Fresh`] |
//! | ours, whole, of this changelog, young enough | [`Opened::Level`] |
//! | damaged, of another changelog, too old, in a format too old, or not finished | set aside; [`Opened::SetAside`] |
//! | held by another process | refused, `Locked` |
//! | of another application, or in a newer format | refused, `Foreign`: nothing of it is touched |
//! | not to be read or written for other reasons | refused, `Full` or `Io`: a disk that fails now may work later |

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rocksdb::{DB, DEFAULT_COLUMN_FAMILY_NAME, IteratorMode, WriteBatch};

use super::failure::Failure;
use super::home::{Contents, Home};
use super::layout::{self, APPLICATION_KEY, CHANGELOG_KEY, FORMAT, FORMAT_KEY, FORMAT_OLDEST, Family};
use super::tuning::Tuning;
use crate::store::StoreErrorKind;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state directory; each application has its own below it.
    pub directory: PathBuf,
    /// Whose state it is.
    pub application_id: String,
    /// Who opens it; named to another process that tries to.
    pub instance: String,
    /// The id of the changelog topic that the state follows. A topic that was deleted and made again has another.
    pub changelog_id: String,
    /// Memory for blocks, indexes and filters.
    pub cache_bytes: usize,
    /// Memory for what is not on disk yet.
    pub write_buffer_bytes: usize,
    /// How long a copy may stand still and still be caught up; `None`: without limit.
    pub max_age: Option<Duration>,
    /// How long sealed parts lie on disk as they are; then they are packed.
    pub warm_ttl: Duration,
    /// Partitions of the changelog.
    pub partitions: u16,
    /// Now, milliseconds since the epoch by the wall clock.
    pub now_ms: i64,
}

/// What an open found. Its text is for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: all is to be restored.
    Fresh,
    /// A store as it was left; the changelog goes on from its positions.
    Level {
        /// Partitions that were cleared because their own copy was too old, though the store is not.
        stale: Vec<u16>,
    },
    /// Something that cannot be used. It was moved, and the store is empty.
    SetAside {
        /// Why.
        reason: String,
        /// Where to.
        moved_to: PathBuf,
    },
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Opened::Fresh => f.write_str("no state was found on disk"),
            Opened::Level { stale } if stale.is_empty() => f.write_str("the state on disk is usable"),
            Opened::Level { stale } => {
                write!(f, "the state on disk is usable, without partitions that are too old: {stale:?}")
            }
            Opened::SetAside { reason, moved_to } => {
                write!(f, "the state on disk is not usable and was moved to {}: {reason}", moved_to.display())
            }
        }
    }
}

/// A database that is open.
pub(super) struct Open {
    pub db: DB,
    pub home: Home,
    pub tuning: Tuning,
    pub opened: Opened,
    /// Number of the last batch.
    pub batches: u64,
}

/// What is in the directory.
enum Found {
    Nothing,
    Usable { db: DB, stale: Vec<u16>, batches: u64 },
    Unusable(String),
}

/// Opens what is there, or begins anew.
pub(super) fn open(options: &Options) -> Result<Open, Failure> {
    let home = Home::claim(&options.directory, &options.application_id, &options.instance)?;
    let tuning = Tuning::new(options.cache_bytes, options.write_buffer_bytes)?;
    let opened = match find(&home, &tuning, options)? {
        Found::Usable { db, stale, batches } => {
            return Ok(Open { db, home, tuning, opened: Opened::Level { stale }, batches });
        }
        Found::Nothing => Opened::Fresh,
        Found::Unusable(reason) => Opened::SetAside { reason, moved_to: home.set_aside()? },
    };
    let db = create(&home.database(), &tuning, options)?;
    Ok(Open { db, home, tuning, opened, batches: 0 })
}

fn find(home: &Home, tuning: &Tuning, options: &Options) -> Result<Found, Failure> {
    match home.contents()? {
        Contents::Nothing => Ok(Found::Nothing),
        Contents::Unusable(reason) => Ok(Found::Unusable(reason)),
        Contents::Database => match existing(&home.database(), tuning, options) {
            Err(failure) if failure.kind == StoreErrorKind::Corrupt => Ok(Found::Unusable(failure.detail)),
            found => found,
        },
    }
}

fn create(path: &Path, tuning: &Tuning, options: &Options) -> Result<DB, Failure> {
    let mut database = tuning.database()?;
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    let db = DB::open_cf_descriptors(&database, path, tuning.families())?;
    let mut identity = WriteBatch::default();
    let meta = family(&db, Family::Meta)?;
    identity.put_cf(meta, APPLICATION_KEY, &options.application_id);
    identity.put_cf(meta, CHANGELOG_KEY, &options.changelog_id);
    identity.put_cf(meta, FORMAT_KEY, FORMAT.to_be_bytes());
    db.write(identity)?;
    Ok(db)
}

/// Opens a database that is there.
fn existing(path: &Path, tuning: &Tuning, options: &Options) -> Result<Found, Failure> {
    let mut database = tuning.database()?;
    let present = DB::list_cf(&database, path)?;
    let known = |name: &str| name == DEFAULT_COLUMN_FAMILY_NAME || Family::ALL.iter().any(|own| own.name() == name);
    if let Some(strange) = present.iter().find(|name| !known(name)) {
        // Opened as it is, it would be refused without a version. Only `meta` is read, and nothing written.
        let db = DB::open_cf_for_read_only(&database, path, [Family::Meta.name()], false)?;
        let format = format_of(&db)?.unwrap_or_default();
        return Err(newer(&format!("in format {format}, with the unknown column family `{strange}`")));
    }
    database.create_missing_column_families(true);
    let mut db = DB::open_cf_descriptors(&database, path, tuning.families())?;
    if let Some(reason) = unusable(&db, options)? {
        return Ok(Found::Unusable(reason));
    }
    let Some(batches) = last_batch(&db)? else {
        return Ok(Found::Unusable("its column families are of different moments: a file lost its end".to_string()));
    };
    let positions = positions(&db)?;
    if let Some((partition, _)) = positions.iter().find(|(partition, _)| *partition >= options.partitions) {
        let reason = format!("it holds partition {partition}, the changelog has only {}", options.partitions);
        return Ok(Found::Unusable(reason));
    }
    let oldest_ms = options
        .max_age
        .map_or(i64::MIN, |age| options.now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
    let newest_ms = positions.iter().map(|(_, written_ms)| *written_ms).max();
    if let Some(newest_ms) = newest_ms.filter(|newest| *newest < oldest_ms) {
        let idle = Duration::from_millis(options.now_ms.saturating_sub(newest_ms).unsigned_abs());
        let most = options.max_age.unwrap_or_default();
        return Ok(Found::Unusable(format!("it was last written {idle:.0?} ago, at most {most:.0?} can be caught up")));
    }
    let stale = positions.iter().filter(|(_, written_ms)| *written_ms < oldest_ms).map(|(partition, _)| *partition);
    let stale = stale.collect();
    // From now on it is written as this version writes it.
    db.put_cf(family(&db, Family::Meta)?, FORMAT_KEY, FORMAT.to_be_bytes())?;
    db.drop_cf(Family::Scratch.name())?;
    db.create_cf(Family::Scratch.name(), &tuning.family(Family::Scratch))?;
    Ok(Found::Usable { db, stale, batches })
}

/// Why a database is not ours to use, if so: an error if it must be left alone, a reason if it may be set aside.
fn unusable(db: &DB, options: &Options) -> Result<Option<String>, Failure> {
    match format_of(db)? {
        None => return Ok(Some("its creation was not finished".to_string())),
        Some(format) if format > FORMAT => return Err(newer(&format!("in format {format}"))),
        Some(format) if format < FORMAT_OLDEST => {
            let reason =
                format!("it is in format {format}, this version reads formats from {FORMAT_OLDEST} to {FORMAT}");
            return Ok(Some(reason));
        }
        Some(_) => {}
    }
    let application = text(db, APPLICATION_KEY)?;
    if application != options.application_id {
        let detail = format!("it belongs to the application `{application}`, not to `{}`", options.application_id);
        return Err(Failure::new(StoreErrorKind::Foreign, detail));
    }
    let changelog = text(db, CHANGELOG_KEY)?;
    Ok((changelog != options.changelog_id).then(|| {
        format!(
            "it follows the changelog topic with the id `{changelog}`, the topic now has the id `{}`",
            options.changelog_id
        )
    }))
}

fn newer(what: &str) -> Failure {
    let detail = format!(
        "it is {what}, written by a newer version of this program; this version reads formats from {FORMAT_OLDEST} to {FORMAT}"
    );
    Failure::new(StoreErrorKind::Foreign, detail)
}

fn format_of(db: &DB) -> Result<Option<u32>, Failure> {
    let Some(bytes) = db.get_cf(family(db, Family::Meta)?, FORMAT_KEY)? else { return Ok(None) };
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(format) => Ok(Some(u32::from_be_bytes(format))),
        Err(_) => Err(Failure::new(StoreErrorKind::Corrupt, "the record of its format is no number")),
    }
}

fn text(db: &DB, key: &[u8]) -> Result<String, Failure> {
    let value = db.get_cf(family(db, Family::Meta)?, key)?.and_then(|bytes| String::from_utf8(bytes).ok());
    value.ok_or_else(|| {
        let detail = format!("the record `{}` is missing or no text", String::from_utf8_lossy(key));
        Failure::new(StoreErrorKind::Corrupt, detail)
    })
}

/// The number of the last batch, 0 before the first; `None`: families disagree.
fn last_batch(db: &DB) -> Result<Option<u64>, Failure> {
    let mut found = Vec::new();
    for (of, key) in layout::BATCH_KEYS {
        found.push(db.get_cf(family(db, of)?, key)?);
    }
    found.dedup();
    match found.as_slice() {
        [None] => Ok(Some(0)),
        [Some(bytes)] => match <[u8; 8]>::try_from(bytes.as_slice()) {
            Ok(number) => Ok(Some(u64::from_be_bytes(number))),
            Err(_) => Err(Failure::new(StoreErrorKind::Corrupt, "the number of the last batch is no number")),
        },
        _ => Ok(None),
    }
}

/// For each partition that has a position, when that was written.
fn positions(db: &DB) -> Result<Vec<(u16, i64)>, Failure> {
    let mut found = Vec::new();
    for entry in db.iterator_cf(family(db, Family::Meta)?, IteratorMode::Start) {
        let (key, value) = entry?;
        if let Some(partition) = layout::applied_partition(&key) {
            found.push((partition, layout::decode_applied(&value)?.written_ms));
        }
    }
    Ok(found)
}

/// The handle of a family.
pub(super) fn family(db: &DB, family: Family) -> Result<&rocksdb::ColumnFamily, Failure> {
    let missing = || Failure::new(StoreErrorKind::Corrupt, format!("the column family `{}` is missing", family.name()));
    db.cf_handle(family.name()).ok_or_else(missing)
}
