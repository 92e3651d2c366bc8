//! What does not fit in memory: keys that were not touched for long, and dedup ids, lie in the store until they are needed.
//!
//! The core asks ([`Request`]) and is answered ([`Reply`]); who reads the disk, and on which thread, is not its business. A signal
//! of a key that may lie in the store is parked until the key is there, in order, and no other key waits for it. Keys are
//! independent of each other, so nothing but the end of the epoch waits for an answer: at a barrier nothing is parked, and
//! so nothing parked is ever state.
//!
//! What leaves memory is in the store already, as parts of the epochs that Kafka has committed. Scratch space holds what only
//! this process needs: the deadlines of evicted keys and the runs of dedup ids.

mod filter;
mod ids;
mod keys;

use filter::Filter;
pub(super) use ids::{Lookup, Runs};
pub(super) use keys::{Evicted, NextDeadline, Parked};

use crate::event::{Task, Timestamp};

/// A key in the store: changelog partition, and what follows the kind in the keys of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stem {
    /// In which changelog partition its parts lie.
    pub partition: u16,
    /// Hash, dimension, key, as in a part's key.
    pub bytes: Box<[u8]>,
}

/// An entry of the store.
pub type Entry = (Vec<u8>, Vec<u8>);

/// What a core asks of the store. Requests are carried out in their order.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Put these into scratch space.
    Put(Vec<Entry>),
    /// Remove a range from scratch space.
    Remove(Vec<u8>, Vec<u8>),
    /// All parts of these keys.
    Keys(Life, Vec<Stem>),
    /// Scratch entries from .. to, at most [`DUE_AT_ONCE`], and the first behind them.
    Due {
        /// Who asks.
        life: Life,
        /// Deadlines that decide something, or those of cleaning.
        decide: bool,
        /// First.
        from: Vec<u8>,
        /// The end of what is asked for.
        to: Vec<u8>,
        /// The end of what may be there.
        end: Vec<u8>,
    },
    /// These scratch entries.
    Blocks(Life, Vec<Vec<u8>>),
}

/// Names a task's state from its beginning to its end in this core: an answer that comes after the end, or for an earlier
/// life, is void.
pub type Life = u64;

/// The answer to a request that asks for something, in the order of the requests.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// The parts of each key, in key order.
    Keys(Life, Vec<(Stem, Vec<Entry>)>),
    /// Scratch keys of deadlines that are due, and the first that is not, or that did not fit.
    Due {
        /// Who asked.
        life: Life,
        /// Which were asked for.
        decide: bool,
        /// Due.
        due: Vec<Vec<u8>>,
        /// The next.
        next: Option<Vec<u8>>,
    },
    /// Values.
    Blocks(Life, Vec<Option<Vec<u8>>>),
}

/// Most deadlines in one answer: bounds what comes into memory at once.
pub const DUE_AT_ONCE: usize = 1024;

/// Kinds of scratch entries, behind the shard's number.
mod scratch {
    /// The first deadline of an evicted key that has something to decide.
    pub(super) const DECIDE: u8 = 1;
    /// A block of a run of dedup ids.
    pub(super) const IDS: u8 = 2;
    /// The first deadline of an evicted key that has nothing to decide.
    pub(super) const CLEAN: u8 = 3;
}

/// Bytes in front of every scratch entry's own: shard, kind, task, life.
const SCRATCH_HEAD: usize = 15;

/// Where the scratch entries of a kind begin that a life has.
fn scratch_of(shard: u16, kind: u8, task: Task, life: Life) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.extend_from_slice(&shard.to_be_bytes());
    key.push(kind);
    key.extend_from_slice(&task.to_be_bytes());
    key.extend_from_slice(&life.to_be_bytes());
    debug_assert_eq!(key.len(), SCRATCH_HEAD);
    key
}

/// What earlier lives of the task left in scratch space is removed.
fn remove_all(shard: u16, kind: u8, task: Task) -> Request {
    Request::Remove(scratch_of(shard, kind, task, 0), scratch_of(shard, kind, task, Life::MAX))
}

const SIGN: u64 = 1 << 63;

/// A time as bytes that sort as times do.
fn sortable(time: Timestamp) -> [u8; 8] {
    (time.0 as u64 ^ SIGN).to_be_bytes()
}
