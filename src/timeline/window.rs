//! A window of one rule over a key's timeline: the positions of its events between two cursors, in total order.
//!
//! It holds what it contains (see [`Timeline`]) and copies no event. The front cursor only moves forward, so a slide costs
//! each event once.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Timeline;
use crate::event::{Evidence, StepId, Timestamp};

#[derive(Debug, Clone, Copy)]
struct Place {
    time: Timestamp,
    position: u64,
}

/// The events of a window.
#[derive(Debug, Default)]
pub struct Window {
    places: VecDeque<Place>,
}

impl Window {
    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        crate::event::allotted(self.places.capacity() * size_of::<Place>())
    }

    /// Takes the event at `position` in, in its place in the total order. Whether that is the end: false only for a late event.
    pub fn admit(&mut self, timeline: &mut Timeline, position: u64) -> bool {
        let Some((event, _)) = timeline.get(position) else { return true };
        let (time, order) = (event.time, (event.time, event.origin));
        let mut at = self.places.len();
        while let Some(before) = at.checked_sub(1).and_then(|n| self.places.get(n)) {
            let behind = before.time > time
                || before.time == time
                    && timeline.get(before.position).is_some_and(|(event, _)| (event.time, event.origin) > order);
            if !behind {
                break;
            }
            at -= 1;
        }
        timeline.hold(position);
        let last = at == self.places.len();
        self.places.insert(at, Place { time, position });
        last
    }

    /// Removes events older than `oldest`, telling `leave` of each.
    pub fn evict(
        &mut self,
        timeline: &mut Timeline,
        oldest: Timestamp,
        mut leave: impl FnMut(&Arc<Evidence>, &[StepId]),
    ) {
        while let Some(place) = self.places.front().copied().filter(|place| place.time < oldest) {
            self.places.pop_front();
            if let Some((event, steps)) = timeline.get(place.position) {
                leave(event, steps);
            }
            timeline.release(place.position);
        }
        if self.places.capacity() > 32 && self.places.len() * 4 < self.places.capacity() {
            self.places.shrink_to(self.places.len() * 2);
        }
    }

    /// Removes all events.
    pub fn clear(&mut self, timeline: &mut Timeline) {
        self.places.drain(..).for_each(|place| timeline.release(place.position));
        self.places.shrink_to(0);
    }

    /// The events with the steps they satisfy, in total order.
    pub fn iter<'a>(
        &'a self,
        timeline: &'a Timeline,
    ) -> impl Iterator<Item = (&'a Arc<Evidence>, &'a [StepId])> + Clone + 'a {
        self.places.iter().filter_map(|place| timeline.get(place.position))
    }

    /// Time of the first event.
    pub fn first_time(&self) -> Option<Timestamp> {
        self.places.front().map(|place| place.time)
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;

    use super::*;
    use crate::event::{FieldSet, Origin, TopicId};

    fn event(time: i64, offset: i64) -> Arc<Evidence> {
        let origin = Origin { topic: TopicId(0), partition: 0, offset };
        Arc::new(Evidence { time: Timestamp(time), origin, id: None, fields: FieldSet::default(), trace: None })
    }

    #[test]
    fn a_late_event_finds_its_place_and_evicted_events_are_let_go() {
        let (mut timeline, mut window) = (Timeline::default(), Window::default());
        let mut ends = Vec::new();
        for (time, offset) in [(1, 0), (5, 3), (5, 1), (3, 9), (7, 0)] {
            let at = timeline.append(event(time, offset), SmallVec::new());
            ends.push(window.admit(&mut timeline, at));
            timeline.release(at);
        }
        assert_eq!(ends, [true, true, false, false, true]);
        let held: Vec<_> = window.iter(&timeline).map(|(e, _)| (e.time.0, e.origin.offset)).collect();
        assert_eq!(held, [(1, 0), (3, 9), (5, 1), (5, 3), (7, 0)]);
        let mut left = Vec::new();
        window.evict(&mut timeline, Timestamp(5), |e, _| left.push(e.time.0));
        assert_eq!((left, window.len()), (vec![1, 3], 3));
        window.clear(&mut timeline);
        assert!(timeline.is_empty() && window.is_empty());
    }
}
