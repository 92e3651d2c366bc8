//! The timeline of one key in one dimension: its signals, appended once as they are released, read by all rules.
//!
//! A signal is named by its position, which never changes. It stays as long as someone holds it (a window of some rule):
//! events are dropped at once when the last holder leaves, their places when they reach the front. A late event is
//! appended like any other; windows sort it in.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::event::{Evidence, StepId};

#[derive(Debug)]
struct Entry {
    /// `None` once nobody holds it.
    event: Option<Arc<Evidence>>,
    steps: SmallVec<[StepId; 4]>,
    holders: u32,
}

/// Signals of one key in one dimension.
#[derive(Debug, Default)]
pub struct Timeline {
    /// Position of the first entry.
    base: u64,
    entries: VecDeque<Entry>,
}

impl Timeline {
    /// Appends an event with the steps it satisfies, held once: by the caller, who releases it when all rules have looked.
    pub fn append(&mut self, event: Arc<Evidence>, steps: SmallVec<[StepId; 4]>) -> u64 {
        self.entries.push_back(Entry { event: Some(event), steps, holders: 1 });
        self.base + self.entries.len() as u64 - 1
    }

    /// One holder more.
    pub fn hold(&mut self, position: u64) {
        if let Some(entry) = self.entry(position) {
            entry.holders += 1;
        }
    }

    /// One holder less.
    pub fn release(&mut self, position: u64) {
        let Some(entry) = self.entry(position) else { return };
        debug_assert!(entry.holders > 0, "released more often than held");
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders > 0 {
            return;
        }
        entry.event = None;
        while self.entries.front().is_some_and(|entry| entry.holders == 0) {
            self.entries.pop_front();
            self.base += 1;
        }
        if self.entries.capacity() > 32 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    fn entry(&mut self, position: u64) -> Option<&mut Entry> {
        let at = position.checked_sub(self.base)?;
        self.entries.get_mut(usize::try_from(at).ok()?)
    }

    /// The event at a position that is held, and the steps it satisfies.
    #[inline]
    pub fn get(&self, position: u64) -> Option<(&Arc<Evidence>, &[StepId])> {
        let at = usize::try_from(position.checked_sub(self.base)?).ok()?;
        let entry = self.entries.get(at)?;
        Some((entry.event.as_ref()?, &entry.steps))
    }

    /// Number of places, also of events that nobody holds any more but that lie between held ones.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{FieldSet, Origin, Timestamp, TopicId};

    fn event(time: i64) -> Arc<Evidence> {
        let origin = Origin { topic: TopicId(0), partition: 0, offset: time };
        Arc::new(Evidence { time: Timestamp(time), origin, id: None, fields: FieldSet::default() })
    }

    #[test]
    fn an_event_is_dropped_with_its_last_holder() {
        let mut timeline = Timeline::default();
        let events: Vec<_> = (0..3).map(event).collect();
        let at: Vec<u64> = events.iter().map(|e| timeline.append(e.clone(), SmallVec::new())).collect();
        timeline.hold(at[1]);
        timeline.release(at[1]);
        timeline.release(at[2]);
        assert_eq!(Arc::strong_count(&events[2]), 1);
        assert_eq!(timeline.get(at[1]).map(|(e, _)| e.time), Some(Timestamp(1)));
        timeline.release(at[0]);
        assert_eq!(timeline.len(), 2);
        timeline.release(at[1]);
        assert!(timeline.is_empty());
        let next = timeline.append(event(9), SmallVec::new());
        assert_eq!((next, timeline.get(at[0])), (3, None));
    }
}
