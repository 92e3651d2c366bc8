//! Signals that wait for the watermark, released in the total order of events: (time, topic, partition, offset).
//!
//! The heap holds small places, not signals: a signal is moved once in and once out, whatever the depth of the heap.
//! Signals of one event (several keys) have the same place and leave in the order in which they came.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::event::{Origin, Signal, Timestamp};

/// A signal's place in the total order, and where the signal lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    time: Timestamp,
    origin: Origin,
    arrival: u64,
    slot: u32,
}

/// The order heap of one task.
#[derive(Debug, Default)]
pub struct Order {
    heap: BinaryHeap<Reverse<Place>>,
    slots: Vec<Option<Waiting>>,
    free: Vec<u32>,
    arrivals: u64,
    /// Slots filled since the last [`Order::take_fresh`]; `None`: nobody asks.
    fresh: Option<Vec<u32>>,
    /// Arrivals below this were given by [`Order::take_fresh`].
    given: u64,
}

#[derive(Debug)]
struct Waiting {
    arrival: u64,
    signal: Signal,
}

impl Order {
    /// A heap that remembers what came since [`Order::take_fresh`].
    pub fn remembering() -> Order {
        Order { fresh: Some(Vec::new()), ..Order::default() }
    }

    /// The signals that came since the last call and still wait, in the order of their coming.
    pub fn take_fresh(&mut self) -> impl Iterator<Item = &Signal> {
        let given = std::mem::replace(&mut self.given, self.arrivals);
        let slots = &self.slots;
        let waiting = |slot: &u32| slots.get(*slot as usize)?.as_ref().filter(|waiting| waiting.arrival >= given);
        let mut fresh: Vec<&Waiting> = self.fresh.iter().flatten().filter_map(waiting).collect();
        // A slot that was freed and filled again is there twice.
        fresh.sort_unstable_by_key(|waiting| waiting.arrival);
        fresh.dedup_by_key(|waiting| waiting.arrival);
        let fresh: Vec<&Signal> = fresh.into_iter().map(|waiting| &waiting.signal).collect();
        if let Some(slots) = &mut self.fresh {
            slots.clear();
        }
        fresh.into_iter()
    }

    /// Takes a signal in.
    pub fn push(&mut self, signal: Signal) {
        let (time, origin) = signal.order();
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                // 2^32 waiting signals do not fit in any memory budget.
                (self.slots.len() - 1) as u32
            }
        };
        self.slots[slot as usize] = Some(Waiting { arrival: self.arrivals, signal });
        if let Some(fresh) = &mut self.fresh {
            fresh.push(slot);
        }
        self.heap.push(Reverse(Place { time, origin, arrival: self.arrivals, slot }));
        self.arrivals += 1;
    }

    /// Event time of the first signal in order.
    #[inline]
    pub fn next_time(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse(place)| place.time)
    }

    /// Takes the first signal out. Gives memory back once a backlog has gone.
    pub fn pop(&mut self) -> Option<Signal> {
        let Reverse(place) = self.heap.pop()?;
        let signal = self.slots.get_mut(place.slot as usize).and_then(Option::take);
        self.free.push(place.slot);
        if self.slots.len() > KEPT_SLOTS && self.heap.len() * 4 < self.slots.len() {
            self.compact();
        }
        signal.map(|waiting| waiting.signal)
    }

    /// Moves what is left to the front, so that a backlog that has gone holds no memory. Costs what is left, after three
    /// times as much has gone.
    fn compact(&mut self) {
        let mut places = std::mem::take(&mut self.heap).into_vec();
        let mut slots = Vec::with_capacity(places.len() * 2);
        for Reverse(place) in &mut places {
            let signal = self.slots.get_mut(place.slot as usize).and_then(Option::take);
            place.slot = slots.len() as u32;
            slots.push(signal);
        }
        if let Some(fresh) = &mut self.fresh {
            fresh.clear();
            fresh.extend(places.iter().filter(|place| place.0.arrival >= self.given).map(|place| place.0.slot));
        }
        self.slots = slots;
        self.free = Vec::new();
        self.heap = BinaryHeap::from(places);
    }

    /// The newest event time that waits. Looks at all.
    pub fn newest(&self) -> Option<Timestamp> {
        self.heap.iter().map(|Reverse(place)| place.time).max()
    }

    /// Number of waiting signals.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

/// Slots that are always kept; above that the memory of a backlog is given back. A few MB a task.
const KEPT_SLOTS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{DimensionId, Evidence, FieldSet, Hash128, KeyBuilder, TopicId};

    fn signal(time: i64, topic: u32, partition: i32, offset: i64) -> Signal {
        let origin = Origin { topic: TopicId(topic), partition, offset };
        Signal {
            event: Arc::new(Evidence {
                time: Timestamp(time),
                origin,
                id: None,
                fields: FieldSet::default(),
                trace: None,
            }),
            identity: Hash128(0),
            dimension: DimensionId(0),
            key: KeyBuilder::default().build(0),
            task: 0,
            steps: smallvec::smallvec![],
            counts: true,
            late: None,
        }
    }

    #[test]
    fn signals_leave_by_time_topic_partition_offset() {
        let mut order = Order::default();
        let mut places = Vec::new();
        for time in [3, 1, 2] {
            for topic in [1, 0] {
                for partition in [1, 0] {
                    for offset in [9, 10, 2] {
                        order.push(signal(time, topic, partition, offset));
                        places.push((time, topic, partition, offset));
                    }
                }
            }
        }
        places.sort_unstable();
        assert_eq!(order.len(), places.len());
        let mut left = Vec::new();
        while let Some(signal) = order.pop() {
            let (time, origin) = signal.order();
            left.push((time.0, origin.topic.0, origin.partition, origin.offset));
        }
        assert_eq!(left, places);
    }

    #[test]
    fn what_came_since_the_last_asking_and_still_waits_is_told_once() {
        let mut order = Order::remembering();
        let told = |order: &mut Order| order.take_fresh().map(|signal| signal.event.time.0).collect::<Vec<_>>();
        [5, 1, 3].into_iter().for_each(|time| order.push(signal(time, 0, 0, time)));
        order.pop();
        order.push(signal(2, 0, 0, 2));
        assert_eq!(told(&mut order), [5, 3, 2]);
        order.pop();
        order.push(signal(9, 0, 0, 9));
        assert_eq!(told(&mut order), [9]);
        let many = 4 * KEPT_SLOTS as i64;
        (0..many).for_each(|n| order.push(signal(100 + n, 0, 0, n)));
        (0..many - 10).for_each(|_| drop(order.pop()));
        let left = told(&mut order);
        assert_eq!((left.len(), order.len()), (13, 13), "moving what is left forgets nothing");
        assert!(told(&mut order).is_empty());
    }

    #[test]
    fn a_backlog_gives_its_memory_back_while_others_still_wait() {
        let mut order = Order::default();
        let backlog = 8 * KEPT_SLOTS as i64;
        (0..backlog).for_each(|n| order.push(signal(n * 7 % backlog, 0, 0, n)));
        for time in 0..backlog - 100 {
            assert_eq!(order.pop().map(|signal| signal.event.time), Some(Timestamp(time)));
        }
        assert!(order.slots.capacity() <= KEPT_SLOTS && order.len() == 100);
        order.push(signal(0, 0, 0, 0));
        assert_eq!(order.pop().map(|signal| signal.event.time), Some(Timestamp(0)));
        assert_eq!(order.pop().map(|signal| signal.event.time), Some(Timestamp(backlog - 100)));
    }
}
