//! A shard takes up the state of a task from the store: the parts of the hashes that it owns.

use std::ops::ControlFlow;

use super::core::{Core, Output, Request, kind};
use crate::event::{Resumed, Task};
use crate::store::codec::Reader;
use crate::store::{Store, StoreError};

/// Keys that are taken up before those that do not fit are let go: bounds memory while restoring.
const KEYS_AT_ONCE: usize = 4096;

/// The same of segments of dedup ids, of a thousand ids at most.
const SEGMENTS_AT_ONCE: usize = 256;

/// How much is scanned at once.
#[derive(Debug, Clone, Copy)]
enum Most {
    All,
    Parts(usize),
    /// With all their parts.
    Keys(usize),
}

/// What was taken up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Parts read.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Carries out what a core wants of scratch space, or hands it to whoever does.
pub type Carry<'a> = dyn FnMut(Request) -> Result<(), StoreError> + 'a;

/// Takes up what `partitions` hold of a task; `out` takes what rules find that are run over it. What does not fit in memory goes to
/// `carry`, in order.
pub fn restore(
    core: &mut Core,
    (store, carry): (&dyn Store, &mut Carry<'_>),
    resumed: &Resumed,
    partitions: impl IntoIterator<Item = u16>,
    out: &mut Output,
) -> Result<Restored, StoreError> {
    let task = resumed.task;
    core.restore(resumed);
    let range = core.range();
    let mut restoring = Restoring { core, store, carry, task, out, restored: Restored::default() };
    for partition in partitions {
        restoring.look_for_unknown(partition)?;
        let mut next = Some(vec![kind::DEDUP]);
        while let Some(from) = next {
            next = restoring.scan(partition, &from, &[kind::DEDUP + 1], Most::Parts(SEGMENTS_AT_ONCE))?;
            restoring.settle()?;
        }
        for kind in [kind::SUPPRESSION, kind::ORDER] {
            restoring.scan(partition, &[kind], &[kind + 1], Most::All)?;
        }
        let mut from = range.first.to_be_bytes().to_vec();
        let to = range.last.checked_add(1).map(|behind| behind.to_be_bytes().to_vec());
        loop {
            let (first, behind) = (name(kind::KEY, &from), end(kind::KEY, to.as_deref()));
            let next = restoring.scan(partition, &first, &behind, Most::Keys(KEYS_AT_ONCE))?;
            let last = next.map(|next| stem_of(&next).unwrap_or(&next)[1..].to_vec());
            // Up to and with the last key, or all that is left; also segments of keys that have no rule's state any more.
            let until =
                last.as_ref().map_or_else(|| end(kind::TIMELINE, to.as_deref()), |last| name(kind::TIMELINE, last));
            restoring.scan(partition, &name(kind::TIMELINE, &from), &until, Most::All)?;
            restoring.settle()?;
            match last {
                Some(last) => from = last,
                None => break,
            }
        }
    }
    let Restoring { core, out, restored, .. } = restoring;
    core.restored(task, out);
    Ok(restored)
}

fn name(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind], rest].concat()
}

fn end(kind: u8, rest: Option<&[u8]>) -> Vec<u8> {
    rest.map_or_else(|| vec![kind + 1], |rest| name(kind, rest))
}

struct Restoring<'a, 'c> {
    core: &'a mut Core,
    store: &'a dyn Store,
    carry: &'a mut Carry<'c>,
    task: Task,
    out: &'a mut Output,
    restored: Restored,
}

impl Restoring<'_, '_> {
    /// A kind of part that this program does not know is of a newer one: what it would mean must not be left out.
    fn look_for_unknown(&mut self, partition: u16) -> Result<(), StoreError> {
        let mut from = kind::RANGE.start;
        for known in kind::ALL.into_iter().chain([kind::RANGE.end]) {
            if from < known {
                self.scan(partition, &[from], &[known], Most::All)?;
            }
            from = known + 1;
        }
        Ok(())
    }

    /// Takes up a range of parts; gives the first that is left, if there is one.
    fn scan(&mut self, partition: u16, from: &[u8], to: &[u8], most: Most) -> Result<Option<Vec<u8>>, StoreError> {
        let mut failed = None;
        let (mut stem, mut taken, mut behind) = (Vec::new(), 0, None);
        self.store.scan(partition, from, to, &mut |key, value| {
            let (begins, most) = match most {
                Most::All => (false, usize::MAX),
                Most::Parts(most) => (true, most),
                Most::Keys(most) => (stem.is_empty() || !key.starts_with(&stem), most),
            };
            if begins {
                if taken == most {
                    behind = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                taken += 1;
                stem = stem_of(key).unwrap_or(key).to_vec();
            }
            self.restored.parts += 1;
            self.restored.bytes += (key.len() + value.len()) as u64;
            match self.core.restore_part(self.task, partition, key, value) {
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

    /// Lets go what does not fit.
    fn settle(&mut self) -> Result<(), StoreError> {
        self.core.restored_keys(self.task, self.out).into_iter().try_for_each(&mut *self.carry)
    }
}

/// The kind and the correlation key of a part's key, without what tells its parts apart.
fn stem_of(key: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(key.get(17..)?);
    reader.blob().ok()?;
    key.get(..key.len() - reader.rest().len())
}
