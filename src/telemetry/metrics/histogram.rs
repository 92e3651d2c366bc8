//! Durations in logarithmic buckets that are divided evenly: fixed memory, the same relative error everywhere.
//!
//! 1 µs to an hour, exact below 32 µs and within 1/32 (3 %) above. Written by one thread, merged when read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cell::Counter;

/// Each power of two is divided into 2^this buckets.
const DIVISION_BITS: u32 = 5;
const DIVISION: u64 = 1 << DIVISION_BITS;

/// Longer durations count as this, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;

const BUCKETS: usize = bucket_of(LONGEST_US) + 1;

/// Where a duration in microseconds is counted.
const fn bucket_of(us: u64) -> usize {
    if us < DIVISION {
        return us as usize;
    }
    let octave = us.ilog2() - DIVISION_BITS;
    (octave as usize + 1) * DIVISION as usize + ((us >> octave) - DIVISION) as usize
}

/// The longest duration of a bucket, in microseconds.
const fn upper_us(bucket: usize) -> u64 {
    let (octave, place) = (bucket as u64 / DIVISION, bucket as u64 % DIVISION);
    if octave == 0 { place } else { ((DIVISION + place + 1) << (octave - 1)) - 1 }
}

/// Counts durations. Written by one thread.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum_us: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), sum_us: Counter::default() }
    }
}

impl Histogram {
    /// Counts `n` times the same duration, as the outputs of one batch have it.
    pub fn record(&self, duration: Duration, n: u64) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(LONGEST_US);
        let bucket = &self.buckets[bucket_of(us)];
        bucket.store(bucket.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        self.sum_us.add(us * n);
    }

    /// What was counted so far.
    pub fn read(&self) -> Distribution {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        Distribution { buckets, sum_us: self.sum_us.get() }
    }
}

/// What a [`Histogram`] has counted; of several threads together, or between two readings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Empty: nothing was counted.
    buckets: Vec<u64>,
    sum_us: u64,
}

impl Distribution {
    /// Adds another's.
    pub fn merge(&mut self, other: &Distribution) {
        self.buckets.resize(self.buckets.len().max(other.buckets.len()), 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        self.sum_us += other.sum_us;
    }

    /// What came since an earlier reading of the same.
    pub fn since(&self, earlier: &Distribution) -> Distribution {
        let mut since = self.clone();
        since.buckets.iter_mut().zip(&earlier.buckets).for_each(|(now, then)| *now = now.saturating_sub(*then));
        since.sum_us = since.sum_us.saturating_sub(earlier.sum_us);
        since
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// The duration that a share `q` (0 to 1) of all does not exceed, up to the bucket's width; `None`: there is none.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        // At least one: the quantile 0 is the shortest.
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let reaches = |n: &u64| {
            seen += n;
            seen >= rank
        };
        self.buckets.iter().position(reaches).map(|bucket| Duration::from_micros(upper_us(bucket)))
    }

    /// The longest, up to the bucket's width.
    pub fn max(&self) -> Option<Duration> {
        self.buckets.iter().rposition(|n| *n > 0).map(|bucket| Duration::from_micros(upper_us(bucket)))
    }

    /// How many did not exceed `bound`, up to the width of the bucket that it falls into.
    pub fn up_to(&self, bound: Duration) -> u64 {
        let us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).min(LONGEST_US);
        self.buckets.iter().take(bucket_of(us) + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other_without_gap_and_stay_narrow() {
        for bucket in 0..BUCKETS {
            let upper = upper_us(bucket);
            assert_eq!(bucket_of(upper), bucket, "{upper}");
            assert_eq!(bucket_of(upper + 1), bucket + 1, "{upper}");
        }
        assert!(upper_us(BUCKETS - 1) >= LONGEST_US);
        const { assert!(BUCKETS * 8 < 8 << 10, "some KB for each thread") };
    }

    #[test]
    fn nothing_counted_has_no_quantile() {
        let none = Histogram::default().read();
        assert_eq!((none.quantile(0.5), none.max(), none.count()), (None, None, 0));
        assert_eq!(Distribution::default().quantile(0.5), None);
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX, 2);
        histogram.record(Duration::ZERO, 1);
        let read = histogram.read();
        assert_eq!(read.count(), 3);
        assert!(read.max().is_some_and(|max| max.as_micros() as u64 >= LONGEST_US));
        assert_eq!(read.quantile(0.0), Some(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn a_quantile_is_that_of_the_sorted_list_within_a_thirtysecond(
            mut all in prop::collection::vec(0..LONGEST_US, 1..200), q in 0.0..=1.0_f64, split in any::<prop::sample::Index>(),
        ) {
            let (one, two) = (Histogram::default(), Histogram::default());
            let at = split.index(all.len());
            all[..at].iter().for_each(|us| one.record(Duration::from_micros(*us), 1));
            all[at..].iter().for_each(|us| two.record(Duration::from_micros(*us), 1));
            let mut read = one.read();
            read.merge(&two.read());
            prop_assert_eq!(read.sum(), Duration::from_micros(all.iter().sum()));
            prop_assert_eq!(&read.since(&one.read()), &two.read());
            all.sort_unstable();
            let rank = ((q * all.len() as f64).ceil() as usize).max(1);
            let (exact, got) = (all[rank - 1], read.quantile(q).expect("some").as_micros() as u64);
            prop_assert!(got >= exact && got - exact <= exact / DIVISION, "{} for {}", got, exact);
            prop_assert_eq!(read.up_to(Duration::from_micros(got)), all.iter().filter(|us| **us <= got).count() as u64);
        }
    }
}
