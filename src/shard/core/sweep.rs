//! Keys that lie in the store since before the restart are taken up a piece at a time, by their hashes, while the shard works.
//!
//! A key that is in memory, on its way there, or forgotten is newer here than its parts in the store: the sweep passes it by.

use super::task::TaskState;
use super::{Core, Output, task_state};
use crate::event::{Key, Task};

/// Keys of one piece: their deadlines and the memory that they take are looked at together. A millisecond or two of work.
const KEYS_AT_ONCE: usize = 512;

/// Bytes of a shard's budget for each key of a piece: all of them together stay far below it.
const BYTES_FOR_KEY: usize = 1 << 17;

/// The next keys to be taken up: part keys `from <= hash < end` of a changelog partition, as far as `most` hashes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where they lie.
    pub partition: u16,
    /// The lowest hash.
    pub from: u64,
    /// Behind the highest hash; `None`: that of all is the highest.
    pub end: Option<u64>,
    /// How many hashes.
    pub most: usize,
}

impl Core {
    /// What is to be taken up next of a task's keys; `None`: all were.
    pub fn unswept(&self, task: Task) -> Option<Piece> {
        let durable = self.shared.settings.durable?;
        let (_, state) = self.tasks.iter().find(|(held, _)| *held == task)?;
        let from = state.unswept?;
        let partition = durable.cut.partition(task, from);
        let ends = [durable.cut.end(partition), durable.range.end_hash()];
        let most = durable.budget.map_or(KEYS_AT_ONCE, |budget| (budget / BYTES_FOR_KEY).clamp(1, KEYS_AT_ONCE));
        Some(Piece { partition, from, end: ends.into_iter().flatten().min(), most })
    }

    /// A task with keys that are not taken up yet.
    pub fn sweeps(&self) -> Option<Task> {
        self.tasks.iter().find(|(_, state)| state.unswept.is_some()).map(|(task, _)| *task)
    }

    /// Whether a task may go to work before all its keys are taken up: what is asked for is read from the store then. Rules that
    /// are to be run over the past want all of it first.
    pub fn sweeps_later(&self, task: Task) -> bool {
        let state = self.tasks.iter().find(|(held, _)| *held == task);
        state.is_some_and(|(_, state)| state.tier.is_some() && state.backfill.is_none())
    }

    /// A piece was taken up, as far as `next`, the lowest hash that is left; `None`: all keys were. What decides already is decided,
    /// and what does not fit into memory leaves it.
    pub fn swept(&mut self, task: Task, next: Option<u64>, written: u64, out: &mut Output) {
        let durable = self.shared.settings.durable;
        let end = durable.and_then(|durable| durable.range.end_hash());
        let next = next.filter(|next| end.is_none_or(|end| *next < end));
        let state = task_state(&mut self.tasks, task, durable, self.epoch);
        let ids = state.unrevived.clone();
        state.unswept = next;
        state.revive_all(&mut self.shared, out);
        let until = state.until_now();
        state.run(until, &mut self.shared, out);
        if next.is_none() {
            state.end_backfill();
        }
        let Some(budget) = durable.and_then(|durable| durable.budget) else { return };
        if self.stats().bytes > budget {
            let state = task_state(&mut self.tasks, task, durable, self.epoch);
            self.evictions += state.evict_all(&ids, written, &self.shared) as u64;
        }
    }
}

impl TaskState {
    /// Whether a key lies in what is to be taken up yet.
    #[inline]
    pub(super) fn is_unswept(&self, key: &Key) -> bool {
        self.unswept.is_some_and(|from| key.hash() >= from)
    }
}
