//! Numbers that one thread writes and any thread reads. A write is a plain load and a plain store: nothing is locked, no
//! cache line is fought for. All orderings are relaxed; a reader sees each number, not all numbers of one moment.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

/// Only grows. Written by one thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. By the one thread that writes it: two that added at once could lose one of the two.
    #[inline]
    pub fn add(&self, n: u64) {
        if n > 0 {
            self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        }
    }

    /// What was counted.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down. Written by one thread.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// What it shows from now on.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// [`Gauge::set`] for a size.
    #[inline]
    pub fn set_size(&self, size: usize) {
        self.set(i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// What it shows.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Set in [`Busy::word`] while the thread is awake.
const AWAKE: u64 = 1 << 63;

/// How long a thread was awake. It costs two looks at the clock each time the thread sleeps, and nothing while it works.
#[derive(Debug)]
pub struct Busy {
    anchor: Instant,
    /// Nanoseconds. Asleep: how long it was awake in all. Awake, with [`AWAKE`]: the time after `anchor` at which it would have
    /// begun, had it never slept. One word, so that no reader sees the half of a change and a total that goes back.
    word: AtomicU64,
}

impl Default for Busy {
    fn default() -> Self {
        Busy { anchor: Instant::now(), word: AtomicU64::new(0) }
    }
}

impl Busy {
    fn now(&self) -> u64 {
        u64::try_from(self.anchor.elapsed().as_nanos()).unwrap_or(u64::MAX) & !AWAKE
    }

    fn wake(&self) {
        let total = self.word.load(Ordering::Relaxed) & !AWAKE;
        // A thread cannot have been awake for longer than this exists, but for a predecessor that was left behind.
        self.word.store(self.now().saturating_sub(total) | AWAKE, Ordering::Relaxed);
    }

    fn sleep(&self) {
        self.word.store(self.nanos(), Ordering::Relaxed);
    }

    /// The thread works until the guard goes, but for what it spends in [`Busy::rest`].
    pub fn work(&self) -> Working<'_> {
        self.sleep();
        self.wake();
        Working(self)
    }

    /// Sleeps in `sleep`.
    pub fn rest(&self, sleep: impl FnOnce()) {
        self.sleep();
        sleep();
        self.wake();
    }

    /// Nanoseconds awake.
    pub fn nanos(&self) -> u64 {
        match self.word.load(Ordering::Relaxed) {
            awake if awake & AWAKE != 0 => self.now().saturating_sub(awake & !AWAKE),
            total => total,
        }
    }
}

/// See [`Busy::work`].
#[must_use]
pub struct Working<'a>(&'a Busy);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.sleep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_counter_only_grows_and_a_gauge_shows_the_last() {
        let (counter, gauge) = (Counter::default(), Gauge::default());
        counter.add(2);
        counter.add(0);
        counter.add(3);
        gauge.set(7);
        gauge.set(-1);
        assert_eq!((counter.get(), gauge.get()), (5, -1));
    }

    #[test]
    fn sleep_does_not_count_as_work() {
        let busy = Busy::default();
        assert_eq!(busy.nanos(), 0, "nobody works yet");
        let working = busy.work();
        let before = Instant::now();
        busy.rest(|| std::thread::sleep(Duration::from_millis(40)));
        let slept = before.elapsed().as_nanos() as u64;
        let all = busy.anchor.elapsed().as_nanos() as u64;
        assert!(
            busy.nanos() > 0 && busy.nanos() <= busy.now() - 40_000_000,
            "{} of {all}, asleep {slept}",
            busy.nanos()
        );
        drop(working);
        let total = busy.nanos();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(busy.nanos(), total, "after its end a thread works no more");
        let _again = busy.work();
        assert!(busy.nanos() >= total, "what it had counted stays");
    }
}
