//! The timeline of one key in one dimension: its signals, appended once as they are released, read by all rules.
//!
//! A signal is named by its position, which never changes. It stays as long as someone holds it (a window of some rule):
//! events are dropped at once when the last holder leaves, their places when they reach the front. A late event is
//! appended like any other; windows sort it in.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::event::{Blank, Evidence, StepId, allotted, evidence_bytes};

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
    /// What of it was cut into segments; a timeline that is never stored has none.
    segments: VecDeque<Segment>,
    /// Of the events that are held.
    evidence_bytes: usize,
}

impl Blank for Timeline {
    const BLANK: &'static Self =
        &Timeline { base: 0, entries: VecDeque::new(), segments: VecDeque::new(), evidence_bytes: 0 };
}

/// A run of positions that is stored as one part, named by its first.
#[derive(Debug, Clone, Copy)]
struct Segment {
    first: u64,
    end: u64,
    /// Takes no more: what is appended begins the next one.
    sealed: bool,
}

/// Bytes of evidence at which a segment is sealed: below, it is written again with the next event, so this bounds what one
/// more event costs.
const SEALED_AT: usize = 512;

/// Bytes of evidence at which a segment is cut while much is appended at once.
const CUT_AT: usize = 4096;

/// What [`Timeline::cut`] says of a segment.
pub enum Cut<'a> {
    /// The segment that begins at this position holds these events now: offset from the first, event, steps.
    Write(u64, &'a mut dyn Iterator<Item = (u64, &'a Arc<Evidence>, &'a [StepId])>),
    /// Nothing of the segment that began at this position is left.
    Drop(u64),
}

impl Timeline {
    /// Appends an event with the steps it satisfies, held once: by the caller, who releases it when all rules have looked.
    pub fn append(&mut self, event: Arc<Evidence>, steps: SmallVec<[StepId; 4]>) -> u64 {
        self.evidence_bytes += evidence_bytes(&event);
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
        let bytes = entry.event.take().map_or(0, |event| evidence_bytes(&event));
        self.evidence_bytes -= bytes;
        while self.entries.front().is_some_and(|entry| entry.holders == 0) {
            self.entries.pop_front();
            self.base += 1;
        }
        if self.entries.capacity() > 32 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// The position that the next event gets.
    pub fn end(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// Says what changed since the last call, segment by segment: those that are gone, and those that are new or longer.
    pub fn cut(&mut self, mut tell: impl FnMut(Cut<'_>)) {
        let Timeline { base, entries, segments, .. } = self;
        let end = *base + entries.len() as u64;
        while let Some(segment) = segments.front().filter(|segment| segment.end <= *base).copied() {
            segments.pop_front();
            tell(Cut::Drop(segment.first));
        }
        let mut start = segments.back().map_or(*base, |segment| segment.end.max(*base));
        if start >= end {
            return;
        }
        if let Some(open) = segments.pop_back_if(|segment| !segment.sealed) {
            start = open.first;
        }
        while start < end {
            let from = start.max(*base);
            let mut bytes = 0;
            let mut upto = from;
            for entry in entries.range((from - *base) as usize..) {
                if bytes >= CUT_AT {
                    break;
                }
                bytes += entry.event.as_ref().map_or(0, |event| 48 + event.fields.heap_bytes());
                upto += 1;
            }
            let held = entries.range((from - *base) as usize..(upto - *base) as usize);
            let mut held = held
                .enumerate()
                .filter_map(|(at, entry)| Some((from - start + at as u64, entry.event.as_ref()?, &*entry.steps)));
            tell(Cut::Write(start, &mut held));
            segments.push_back(Segment { first: start, end: upto, sealed: bytes >= SEALED_AT });
            start = upto;
        }
    }

    /// Says which segments are stored: for a timeline that is about to be forgotten.
    pub fn stored(&self) -> impl Iterator<Item = u64> + '_ {
        self.segments.iter().map(|segment| segment.first)
    }

    /// Puts back an event of the segment that begins at `first`, `offset` behind it; segments and events in ascending order. It is held
    /// once, by the caller.
    pub fn restore(&mut self, first: u64, offset: u64, event: Arc<Evidence>, steps: SmallVec<[StepId; 4]>) {
        let position = first.saturating_add(offset);
        if self.entries.is_empty() {
            self.base = self.base.max(position);
        }
        let Some(gap) = position.checked_sub(self.end()) else { return };
        if gap > RESTORED_GAP_MAX {
            return;
        }
        self.entries.extend((0..gap).map(|_| Entry { event: None, steps: SmallVec::new(), holders: 0 }));
        self.evidence_bytes += evidence_bytes(&event);
        self.entries.push_back(Entry { event: Some(event), steps, holders: 1 });
    }

    /// Ends the restored segment that begins at `first`; nothing is appended to it.
    pub fn restored(&mut self, first: u64) {
        // Also of a segment in which nobody held anything any more: what is appended must lie behind it, or it is never stored.
        let end = self.end().max(first.saturating_add(1));
        self.skip_to(end);
        self.segments.push_back(Segment { first, end, sealed: true });
    }

    /// Later events get positions from `position` on.
    pub fn skip_to(&mut self, position: u64) {
        if self.entries.is_empty() {
            self.base = self.base.max(position);
        } else if let Some(gap) = position.checked_sub(self.end()).filter(|gap| *gap <= RESTORED_GAP_MAX) {
            self.entries.extend((0..gap).map(|_| Entry { event: None, steps: SmallVec::new(), holders: 0 }));
        }
    }

    /// The restorer lets a place go: [`Timeline::release`] of its hold, if there is an event.
    pub fn release_restored(&mut self, position: u64) {
        if self.get(position).is_some() {
            self.release(position);
        }
    }

    /// Positions of all places.
    pub fn positions(&self) -> std::ops::Range<u64> {
        self.base..self.end()
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

    /// Bytes on the heap, those of events that others share included.
    pub fn heap_bytes(&self) -> usize {
        allotted(self.entries.capacity() * size_of::<Entry>())
            + allotted(self.segments.capacity() * size_of::<Segment>())
            + self.evidence_bytes
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

/// Longest run of places without an event that is put back: what a damaged part could ask for must not fill memory.
const RESTORED_GAP_MAX: u64 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{FieldSet, Origin, Timestamp, TopicId};

    fn event(time: i64) -> Arc<Evidence> {
        let origin = Origin { topic: TopicId(0), partition: 0, offset: time };
        Arc::new(Evidence { time: Timestamp(time), origin, id: None, fields: FieldSet::default(), trace: None })
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

    fn cut(timeline: &mut Timeline) -> Vec<(u64, Option<Vec<u64>>)> {
        let mut told = Vec::new();
        timeline.cut(|cut| match cut {
            Cut::Write(first, events) => told.push((first, Some(events.map(|(offset, ..)| offset).collect()))),
            Cut::Drop(first) => told.push((first, None)),
        });
        told
    }

    #[test]
    fn one_more_event_writes_a_small_segment_again_and_seals_it_when_it_has_grown() {
        let mut timeline = Timeline::default();
        assert!(cut(&mut timeline).is_empty());
        let mut longest = 0;
        for time in 0..1000 {
            timeline.append(event(time), SmallVec::new());
            let told = cut(&mut timeline);
            assert_eq!(told.len(), 1);
            longest = longest.max(told[0].1.as_ref().expect("written").len());
        }
        assert!(longest <= SEALED_AT.div_ceil(48), "{longest}");
        assert!(cut(&mut timeline).is_empty(), "nothing changed");
        (0..1000).for_each(|at| timeline.release(at));
        let gone = cut(&mut timeline);
        assert!(gone.iter().all(|(_, events)| events.is_none()) && gone.len() == 1000_usize.div_ceil(longest));
    }

    #[test]
    fn a_timeline_comes_back_from_its_segments_with_its_positions() {
        let mut timeline = Timeline::default();
        for time in 0..300 {
            timeline.append(event(time), SmallVec::new());
        }
        (0..7).for_each(|at| timeline.release(at));
        timeline.release(9);
        let mut parts = Vec::new();
        timeline.cut(|cut| {
            if let Cut::Write(first, events) = cut {
                let events: Vec<_> = events.map(|(offset, event, _)| (offset, Arc::clone(event))).collect();
                parts.push((first, events));
            }
        });
        let mut back = Timeline::default();
        for (first, events) in parts {
            events.into_iter().for_each(|(offset, event)| back.restore(first, offset, event, SmallVec::new()));
            back.restored(first);
        }
        assert_eq!((back.positions(), back.get(9)), (7..300, None));
        for at in back.positions() {
            assert_eq!(back.get(at).map(|(e, _)| e.time), timeline.get(at).map(|(e, _)| e.time));
        }
        assert!(cut(&mut back).is_empty());
        assert_eq!(back.append(event(7), SmallVec::new()), 300);
        assert_eq!(cut(&mut back), [(300, Some(vec![0]))]);
    }

    #[test]
    fn what_is_appended_lies_behind_a_restored_segment_without_events() {
        let mut timeline = Timeline::default();
        timeline.restored(5);
        assert_eq!(timeline.append(event(1), SmallVec::new()), 6);
        assert_eq!(cut(&mut timeline), [(5, None), (6, Some(vec![0]))]);
    }
}
