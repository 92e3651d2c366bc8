//! A shard takes up the state of a task from the store: the parts of the hashes that it owns.

use std::ops::ControlFlow;

use super::core::{Core, kind};
use crate::event::{Task, Timestamp};
use crate::store::{Store, StoreError, StoreErrorKind};

/// Kinds in the order in which a task needs them; whether the hash comes first in their keys.
const KINDS: [(u8, bool); 5] =
    [(kind::DEDUP, false), (kind::SUPPRESSION, true), (kind::ORDER, false), (kind::KEY, true), (kind::TIMELINE, true)];

/// What was taken up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Parts read.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Takes up what `partitions` hold of `task`, which stood at `watermark`.
pub fn restore(
    core: &mut Core,
    store: &dyn Store,
    task: Task,
    watermark: Timestamp,
    partitions: impl IntoIterator<Item = u16>,
) -> Result<Restored, StoreError> {
    core.restore(task, watermark);
    let range = core.range();
    let mut restored = Restored::default();
    for partition in partitions {
        for (kind, by_hash) in KINDS {
            let mut from = vec![kind];
            let mut to = vec![kind + 1];
            if by_hash {
                from.extend(range.first.to_be_bytes());
                if let Some(behind) = range.last.checked_add(1) {
                    to = vec![kind];
                    to.extend(behind.to_be_bytes());
                }
            }
            let mut damaged = None;
            store.scan(partition, &from, &to, &mut |key, value| {
                restored.parts += 1;
                restored.bytes += (key.len() + value.len()) as u64;
                match core.restore_part(task, partition, key, value) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(damage) => {
                        damaged = Some(format!("part {key:02x?} of partition {partition} cannot be read: {damage}"));
                        ControlFlow::Break(())
                    }
                }
            })?;
            if let Some(message) = damaged {
                return Err(StoreError::new(StoreErrorKind::Corrupt, message));
            }
        }
    }
    core.restored(task);
    Ok(restored)
}
