//! What the scheduler looks at between steps: how far everything is, and the invariants that must hold at any moment.

use std::collections::BTreeMap;
use std::time::Duration;

use throughline::epoch::TaskRecord;
use throughline::event::Timestamp;
use throughline::store::Store;

use super::{Snapshot, World};
use crate::check::task_records;
use crate::input::{Act, Payload, Place};
use crate::instance::Instance;
use crate::scenario::TOPICS;
use crate::setup::{APPLICATION, CHANGELOG, OUTPUTS, changelog_partitions};

/// Lulls after which all must be asleep: minutes of the world's time.
const LULLS_MAX: u64 = 3_000;

/// Every so many lulls the watermark gets something to commit with.
const LULLS_OF_A_NUDGE: u64 = 20;

impl World {
    /// Where everything stands, for a message.
    pub(super) fn standing(&self) -> String {
        let lives: Vec<_> = self.instances.iter().map(|instance| instance.life.get()).collect();
        format!(
            "{} of {} inputs written, committed {:?} of {:?}, processes {lives:?}",
            self.written.get(),
            self.scenario.inputs.len(),
            self.committed.borrow(),
            self.ends(),
        )
    }

    /// Committed offsets never go back (INV-OWNER: who no longer owns a partition changes nothing of it).
    pub(super) fn see_committed(&self) {
        let mut seen = self.committed.borrow_mut();
        for (seen, (topic, partition)) in seen.iter_mut().zip(&self.places) {
            let offset = self.committed_offset((*topic, *partition));
            if offset != *seen {
                self.say(|| format!("committed {}/{partition}: {offset}", TOPICS[*topic]));
            }
            if offset < *seen {
                self.fail(format!(
                    "INV-OWNER: the committed offset of {}/{partition} went back from {seen} to {offset}",
                    TOPICS[*topic]
                ));
            }
            *seen = offset;
        }
    }

    /// INV-BEHIND: nothing on a disk that is not committed in the changelog.
    pub(super) fn see_disk(&self, instance: &Instance) {
        let disk = instance.disk.borrow();
        for partition in 0..changelog_partitions(&self.scenario.setup) {
            let applied = disk.applied(partition).ok().flatten().map_or(0, |applied| applied.position);
            let committed = self.broker.committed_end(CHANGELOG, partition.into());
            if applied > committed {
                self.fail(format!(
                    "INV-BEHIND: the disk of {} stands at {applied} of changelog partition {partition}, which is committed up \
                     to {committed}",
                    instance.name
                ));
            }
        }
    }

    fn committed_offset(&self, (topic, partition): Place) -> i64 {
        self.broker.committed(APPLICATION, TOPICS[topic], partition).map_or(0, |committed| committed.offset)
    }

    /// Remembers what is committed and visible now.
    pub fn snapshot(&self) {
        let committed = self.places.iter().map(|place| self.committed_offset(*place)).collect();
        let dead_letters = self.broker.records(OUTPUTS[1], true).len();
        self.snapshots.borrow_mut().push(Snapshot { committed, dead_letters });
    }

    /// The group's offsets expire: nobody was there for too long.
    pub fn expire_offsets(&self) {
        self.broker.expire_offsets(APPLICATION);
        self.committed.borrow_mut().fill(0);
        self.happened.borrow_mut().insert("OffsetsExpired".to_owned());
    }

    /// The end of each partition, markers and open transactions included.
    pub(super) fn ends(&self) -> Vec<i64> {
        self.places.iter().map(|(topic, partition)| self.broker.end(TOPICS[*topic], *partition)).collect()
    }

    /// Whether all that was written is committed downstream.
    pub fn is_level(&self) -> bool {
        let level = |place: &Place| {
            let last = self.broker.last_visible(TOPICS[place.0], place.1);
            last.is_none_or(|last| self.committed_offset(*place) > last)
        };
        self.places.iter().all(level)
    }

    /// Whether every partition is committed as idle, and every task's watermark has reached this.
    pub(super) fn is_asleep(&self, watermark_ms: i64) -> bool {
        let records = task_records(&self.broker).unwrap_or_default();
        let reached = |at: &Timestamp| at.as_millis() >= watermark_ms;
        idle(&records) == self.places.len()
            && records.values().all(|record| record.watermarks.values().all(reached) && !record.watermarks.is_empty())
    }

    /// Time passes until all have fallen asleep. Their watermark commits only with something else: then a tombstone, which has
    /// no time and wakes nobody.
    pub(super) fn lull(&self) {
        self.clock.advance(Duration::from_millis(100));
        self.lulls.set(self.lulls.get() + 1);
        if self.lulls.get() > LULLS_MAX {
            self.fail(format!("INV-LIVE: idle partitions let no watermark pass: {}", self.standing()));
        }
        if self.lulls.get().is_multiple_of(LULLS_OF_A_NUDGE)
            && idle(&task_records(&self.broker).unwrap_or_default()) == self.places.len()
            && self.is_level()
        {
            for place in self.places.iter().copied() {
                let tombstone = Act::Write { place, producer: None, payload: Payload::Tombstone };
                if let Err(error) = self.writer.borrow_mut().act(&tombstone) {
                    self.fail(format!("the producers failed: {error}"));
                }
            }
        }
    }
}

/// Partitions that are recorded as idle.
fn idle(records: &BTreeMap<i32, TaskRecord>) -> usize {
    records.values().flat_map(|record| record.partitions.values()).filter(|at| at.clock.idle).count()
}
