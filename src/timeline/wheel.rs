//! A timing wheel over event time: what is to be done when the watermark has passed a time.
//!
//! Deadlines lie in buckets of 2^28 ns (about a quarter of a second) in a sorted map; only the bucket that is due next is
//! kept as a heap. A push costs one lookup among the buckets that exist (their number follows the span of time ahead, not
//! the number of deadlines), a pop the logarithm of one bucket. A ring of slots, the textbook form, would need a width and
//! a horizon fixed beforehand: event time may jump by years (a file) or stand still, and a map takes both.
//!
//! Entries leave by time, equal times in the order of their coming. Cancelling is lazy: whoever set a deadline looks, when
//! it comes, whether it still means something, and calls [`Wheel::retain`] when too many do not.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use crate::event::Timestamp;

/// Width of a bucket: 2^28 ns.
const BUCKET_SHIFT: u32 = 28;

#[derive(Debug)]
struct Entry<T> {
    time: Timestamp,
    number: u64,
    what: T,
}

/// Reversed: the heap's top is the earliest.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.time, other.number).cmp(&(self.time, self.number))
    }
}
impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl<T> Eq for Entry<T> {}

/// Deadlines of one task.
#[derive(Debug)]
pub struct Wheel<T> {
    /// Everything in buckets up to `reached`, and nothing else.
    current: BinaryHeap<Entry<T>>,
    reached: i64,
    buckets: BTreeMap<i64, Vec<Entry<T>>>,
    pushed: u64,
    len: usize,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Wheel { current: BinaryHeap::new(), reached: i64::MIN, buckets: BTreeMap::new(), pushed: 0, len: 0 }
    }
}

impl<T> Wheel<T> {
    /// Sets a deadline; it may lie before those already taken out (a late event), then it is simply next.
    pub fn push(&mut self, time: Timestamp, what: T) {
        let entry = Entry { time, number: self.pushed, what };
        self.pushed += 1;
        self.len += 1;
        let bucket = time.0 >> BUCKET_SHIFT;
        if bucket <= self.reached {
            self.current.push(entry);
        } else {
            self.buckets.entry(bucket).or_default().push(entry);
        }
    }

    /// The earliest deadline.
    #[inline]
    pub fn next_time(&mut self) -> Option<Timestamp> {
        if self.current.is_empty() && !self.buckets.is_empty() {
            self.turn();
        }
        self.current.peek().map(|entry| entry.time)
    }

    /// Makes the next bucket the current one.
    fn turn(&mut self) {
        if let Some((bucket, entries)) = self.buckets.pop_first() {
            self.reached = bucket;
            self.current = BinaryHeap::from(entries);
        }
    }

    /// Takes out the earliest deadline if it is exactly at `time`.
    pub fn pop_at(&mut self, time: Timestamp) -> Option<T> {
        if self.next_time()? != time {
            return None;
        }
        self.len -= 1;
        self.current.pop().map(|entry| entry.what)
    }

    /// Takes out the earliest deadline if the watermark has passed it.
    pub fn pop_before(&mut self, watermark: Timestamp) -> Option<(Timestamp, T)> {
        if self.next_time()? >= watermark {
            return None;
        }
        self.len -= 1;
        self.current.pop().map(|entry| (entry.time, entry.what))
    }

    /// Moves all deadlines of `other` here.
    pub fn absorb(&mut self, mut other: Wheel<T>) {
        while let Some(at) = other.next_time() {
            while let Some(what) = other.pop_at(at) {
                self.push(at, what);
            }
        }
    }

    /// Drops the deadlines that mean nothing any more. Looks at all of them: for when most are void.
    pub fn retain(&mut self, mut keep: impl FnMut(Timestamp, &T) -> bool) {
        let mut wanted = |entry: &Entry<T>| keep(entry.time, &entry.what);
        self.current.retain(&mut wanted);
        self.buckets.retain(|_, entries| {
            entries.retain(&mut wanted);
            if entries.len() * 4 < entries.capacity() {
                entries.shrink_to(entries.len() * 2);
            }
            !entries.is_empty()
        });
        self.len = self.current.len() + self.buckets.values().map(Vec::len).sum::<usize>();
    }

    /// Bytes on the heap, by what is in it.
    pub fn heap_bytes(&self) -> usize {
        // Lists grow by doubling: they are three quarters full on average.
        self.len * size_of::<Entry<T>>() * 4 / 3
    }

    /// Number of deadlines, cancelled ones included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_leave_by_time_then_in_the_order_of_their_coming() {
        let mut wheel = Wheel::default();
        let second = 1_000_000_000;
        let times = [5 * second, -3 * second, 5 * second, 0, i64::MAX, 1, 86_400 * second, 5 * second + 1];
        times.iter().enumerate().for_each(|(n, t)| wheel.push(Timestamp(*t), n));
        assert_eq!(wheel.len(), times.len());
        let mut left = Vec::new();
        while let Some(at) = wheel.next_time() {
            left.push((at.0, wheel.pop_at(at).expect("due")));
        }
        let mut expected: Vec<_> = times.iter().enumerate().map(|(n, t)| (*t, n)).collect();
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert!(wheel.is_empty());
    }

    #[test]
    fn void_deadlines_can_be_dropped() {
        let mut wheel = Wheel::default();
        (0..1_000).for_each(|n| wheel.push(Timestamp(n << (BUCKET_SHIFT - 2)), n));
        wheel.next_time();
        wheel.retain(|_, n| n % 100 == 0);
        assert_eq!(wheel.len(), 10);
        let left: Vec<_> = std::iter::from_fn(|| wheel.pop_before(Timestamp::MAX)).map(|(_, n)| n).collect();
        assert_eq!(left, (0..10).map(|n| n * 100).collect::<Vec<_>>());
    }

    #[test]
    fn a_deadline_in_the_past_is_next() {
        let mut wheel = Wheel::default();
        wheel.push(Timestamp(10 << BUCKET_SHIFT), 'b');
        wheel.push(Timestamp(20 << BUCKET_SHIFT), 'c');
        assert_eq!(wheel.next_time(), Some(Timestamp(10 << BUCKET_SHIFT)));
        wheel.push(Timestamp(1), 'a');
        assert_eq!(wheel.pop_before(Timestamp(2)), Some((Timestamp(1), 'a')));
        assert_eq!(wheel.pop_before(Timestamp(2)), None);
    }
}
