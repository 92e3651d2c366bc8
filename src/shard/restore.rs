//! A shard takes up the state of a task from the store: the parts of the hashes that it owns.
//!
//! First what is not keyed ([`restore`]), then the keys, a piece at a time ([`sweep`]). A shard that may hold keys in the store
//! alone goes to work between the two: a key that a signal asks for before its piece has come is read as one that left memory.

use std::ops::ControlFlow;

use super::core::{Core, Output, Piece, Request, kind};
use crate::event::{Resumed, Task};
use crate::store::{Store, StoreError};

/// Segments of dedup ids, of a thousand ids at most, that are taken up before those that do not fit are let go.
const SEGMENTS_AT_ONCE: usize = 256;

/// How much is scanned at once.
#[derive(Debug, Clone, Copy)]
enum Most {
    All,
    Parts(usize),
    /// Of each hash all parts.
    Hashes(usize),
}

/// Carries out what a core wants of scratch space, or hands it to whoever does.
pub type Carry<'a> = dyn FnMut(Request) -> Result<(), StoreError> + 'a;

/// Takes up what `partitions` hold of a task, but its keys. What does not fit in memory goes to `carry`, in order.
pub fn restore(
    core: &mut Core,
    (store, carry): (&dyn Store, &mut Carry<'_>),
    resumed: &Resumed,
    partitions: impl IntoIterator<Item = u16>,
) -> Result<(), StoreError> {
    let task = resumed.task;
    core.restore(resumed);
    let mut scan = Scan { core: &mut *core, store, task, begun: 0 };
    for partition in partitions {
        scan.look_for_unknown(partition)?;
        let mut next = Some(vec![kind::DEDUP]);
        while let Some(from) = next {
            next = scan.take(partition, &from, &[kind::DEDUP + 1], Most::Parts(SEGMENTS_AT_ONCE))?;
            scan.core.restored_ids(task).into_iter().try_for_each(&mut *carry)?;
        }
        for kind in [kind::SUPPRESSION, kind::ORDER] {
            scan.take(partition, &[kind], &[kind + 1], Most::All)?;
        }
    }
    core.restored(task);
    Ok(())
}

/// Takes up the next piece of a task's keys. `out` takes what they decide, as their time may have come meanwhile, and what rules
/// find that are run over the past. The store has the epochs up to `written`. Returns the number of hashes that it found.
pub fn sweep(
    core: &mut Core,
    (store, carry): (&dyn Store, &mut Carry<'_>),
    (task, piece): (Task, Piece),
    written: u64,
    out: &mut Output,
) -> Result<usize, StoreError> {
    let Piece { partition, from, end, most } = piece;
    let mut scan = Scan { core: &mut *core, store, task, begun: 0 };
    let (first, behind) = (bound(kind::KEY, Some(from)), bound(kind::KEY, end));
    let next = scan.take(partition, &first, &behind, Most::Hashes(most))?;
    let found = scan.begun;
    let until = next.as_deref().and_then(hash_of).or(end);
    // Also segments of keys that have no rule's state any more.
    let (first, behind) = (bound(kind::TIMELINE, Some(from)), bound(kind::TIMELINE, until));
    scan.take(partition, &first, &behind, Most::All)?;
    core.swept(task, until, written, out);
    core.take_requests().into_iter().try_for_each(carry)?;
    Ok(found)
}

/// Takes up all keys that are left of a task.
pub fn sweep_all(
    core: &mut Core,
    (store, carry): (&dyn Store, &mut Carry<'_>),
    task: Task,
    written: u64,
    out: &mut Output,
) -> Result<(), StoreError> {
    while let Some(piece) = core.unswept(task) {
        sweep(core, (store, carry), (task, piece), written, out)?;
    }
    Ok(())
}

/// Where the parts of a kind begin that have this hash or a higher one; `None`: behind all of them.
fn bound(kind: u8, hash: Option<u64>) -> Vec<u8> {
    hash.map_or_else(|| vec![kind + 1], |hash| [&[kind], &hash.to_be_bytes()[..]].concat())
}

/// The hash in the key of a part of a key.
fn hash_of(part: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*part.get(1..)?.first_chunk()?))
}

struct Scan<'a> {
    core: &'a mut Core,
    store: &'a dyn Store,
    task: Task,
    /// Parts or hashes that were begun in this scan, if they were counted.
    begun: usize,
}

impl Scan<'_> {
    /// A kind of part that this program does not know is of a newer one: what it would mean must not be left out.
    fn look_for_unknown(&mut self, partition: u16) -> Result<(), StoreError> {
        let mut from = kind::RANGE.start;
        for known in kind::ALL.into_iter().chain([kind::RANGE.end]) {
            if from < known {
                self.take(partition, &[from], &[known], Most::All)?;
            }
            from = known + 1;
        }
        Ok(())
    }

    /// Takes up a range of parts; gives the first that is left, if there is one.
    fn take(&mut self, partition: u16, from: &[u8], to: &[u8], most: Most) -> Result<Option<Vec<u8>>, StoreError> {
        let Scan { core, store, task, begun } = self;
        let (mut failed, mut behind, mut hash) = (None, None, None);
        *begun = 0;
        store.scan(partition, from, to, &mut |key, value| {
            let (begins, most) = match most {
                Most::All => (false, usize::MAX),
                Most::Parts(most) => (true, most),
                Most::Hashes(most) => (hash != hash_of(key), most),
            };
            if begins {
                if *begun == most {
                    behind = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                *begun += 1;
                hash = hash_of(key);
            }
            match core.restore_part(*task, partition, key, value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(damage) => {
                    let message = format!("part {key:02x?} of partition {partition} cannot be read: {damage}");
                    failed = Some(StoreError::new(damage.kind(), message));
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(behind), Err)
    }
}
