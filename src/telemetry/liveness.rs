//! Whether threads still live: each beats once a step, and who watches sees which has stopped.
//!
//! A thread that must go on (`group`, sources, shards, `committer`, `transactor`, `fetcher`) has a [`Pulse`] and beats at every turn of its loop, also
//! when there is nothing to do: all sleeps are far shorter than the limit. A call into the broker or onto the disk has limits
//! of its own; for as long as it lasts the thread says so ([`Pulse::during`]) and is not taken for dead, only for waiting.
//!
//! Looks are counted, not seconds: a process that was stopped whole (SIGSTOP, a suspended machine) has not looked either, and
//! must not take its own sleep for a stall.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What a thread is doing, as far as it matters to who watches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Its own work: it must go on.
    Work,
    /// Waits for the broker.
    Broker,
    /// Waits for the disk.
    Disk,
}

impl Doing {
    fn of(number: u8) -> Doing {
        match number {
            1 => Doing::Broker,
            2 => Doing::Disk,
            _ => Doing::Work,
        }
    }

    /// For people: what is waited for.
    pub fn name(self) -> &'static str {
        match self {
            Doing::Work => "itself",
            Doing::Broker => "the broker",
            Doing::Disk => "the disk",
        }
    }
}

/// On a cache line of its own: threads that beat must not slow each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Heart {
    beats: AtomicU64,
    doing: AtomicU8,
}

/// A thread's pulse. Clones are of the same thread; when the last is dropped, the thread is no longer watched.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Heart>);

impl Pulse {
    /// One step is done.
    #[inline]
    pub fn beat(&self) {
        // Relaxed: it orders nothing; whoever watches need only see some change within seconds. One thread alone writes.
        self.0.beats.store(self.0.beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Does something that may take longer than a step; may be nested.
    pub fn during<T>(&self, doing: Doing, work: impl FnOnce() -> T) -> T {
        let before = self.0.doing.swap(doing as u8, Ordering::Relaxed);
        self.beat();
        let done = work();
        self.0.doing.store(before, Ordering::Relaxed);
        self.beat();
        done
    }
}

/// A thread that is watched.
#[derive(Debug)]
struct Watched {
    name: String,
    heart: Weak<Heart>,
    /// Beats at the last look, and the number of looks since they changed.
    beats: u64,
    still: u32,
}

#[derive(Debug, Default)]
struct Watch {
    threads: Vec<Watched>,
    stalled: Option<String>,
}

/// What a look found to have stood still for too long: threads by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// At its own work: it will not come back by itself.
    pub stalled: Option<String>,
    /// In a call that lasts; each call is named once.
    pub waiting: Vec<(String, Doing)>,
}

/// All pulses of a process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Liveness(Arc<Mutex<Watch>>);

impl Liveness {
    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches one more thread from now on.
    pub fn pulse(&self, name: impl Into<String>) -> Pulse {
        let pulse = Pulse::default();
        let watched = Watched { name: name.into(), heart: Arc::downgrade(&pulse.0), beats: 0, still: 0 };
        self.watch().threads.push(watched);
        pulse
    }

    /// Watches nobody any more. Threads that were left behind beat for themselves.
    pub fn clear(&self) {
        *self.watch() = Watch::default();
    }

    /// Looks at every thread. Called at a steady pace; `most` looks in a row without a beat are too many.
    pub fn look(&self, most: u32) -> Look {
        let mut watch = self.watch();
        let mut look = Look::default();
        watch.threads.retain_mut(|thread| {
            let Some(heart) = thread.heart.upgrade() else { return false };
            let beats = heart.beats.load(Ordering::Relaxed);
            thread.still = if beats == thread.beats { thread.still.saturating_add(1) } else { 0 };
            thread.beats = beats;
            match Doing::of(heart.doing.load(Ordering::Relaxed)) {
                Doing::Work if thread.still >= most => look.stalled = look.stalled.take().or(Some(thread.name.clone())),
                Doing::Work => {}
                doing if thread.still == most => look.waiting.push((thread.name.clone(), doing)),
                _ => {}
            }
            true
        });
        watch.stalled.clone_from(&look.stalled);
        look
    }

    /// The thread that stood still for too long at the last look: the process is unhealthy.
    pub fn stalled(&self) -> Option<String> {
        self.watch().stalled.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 3;

    fn looks(liveness: &Liveness, count: u32) -> Look {
        (1..count).for_each(|_| drop(liveness.look(MOST)));
        liveness.look(MOST)
    }

    #[test]
    fn who_beats_between_two_looks_lives_and_who_stops_is_named() {
        let liveness = Liveness::default();
        let (one, two) = (liveness.pulse("one"), liveness.pulse("two"));
        for _ in 0..10 {
            one.beat();
            two.beat();
            assert_eq!(liveness.look(MOST), Look::default());
        }
        for look in 1..MOST {
            one.beat();
            assert_eq!(liveness.look(MOST).stalled, None, "after {look} looks");
        }
        one.beat();
        assert_eq!(liveness.look(MOST).stalled.as_deref(), Some("two"));
        assert_eq!(liveness.stalled().as_deref(), Some("two"));
        two.beat();
        liveness.look(MOST);
        assert_eq!(liveness.stalled(), None, "it came back");
    }

    #[test]
    fn who_never_began_is_named_too() {
        let liveness = Liveness::default();
        let _pulse = liveness.pulse("one");
        assert_eq!(looks(&liveness, MOST).stalled.as_deref(), Some("one"));
    }

    #[test]
    fn who_waits_is_said_to_wait_once_and_is_not_dead() {
        let liveness = Liveness::default();
        let pulse = liveness.pulse("one");
        pulse.during(Doing::Broker, || {
            liveness.look(MOST);
            assert_eq!(looks(&liveness, MOST).waiting, [("one".to_owned(), Doing::Broker)]);
            assert_eq!(looks(&liveness, MOST), Look::default());
            pulse.during(Doing::Work, || {
                liveness.look(MOST);
                assert_eq!(looks(&liveness, MOST).stalled.as_deref(), Some("one"), "work inside of a call is work");
            });
            liveness.look(MOST);
            assert_eq!(looks(&liveness, MOST).stalled, None, "the call goes on");
        });
        liveness.look(MOST);
        assert_eq!(looks(&liveness, MOST).stalled.as_deref(), Some("one"), "after the call it is at work");
    }

    #[test]
    fn who_ended_or_was_left_behind_is_not_watched() {
        let liveness = Liveness::default();
        drop(liveness.pulse("ended"));
        let _left = liveness.pulse("left behind");
        liveness.clear();
        assert_eq!(looks(&liveness, MOST + 1), Look::default());
    }
}
