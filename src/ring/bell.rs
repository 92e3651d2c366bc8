//! A bell wakes one sleeping thread. Ringing one that was rung already costs one load; nothing rung is ever missed, also
//! by a waiter that is awake when it is rung and goes to sleep after.
//!
//! It tells when it was rung: from then on someone waited, also while the scheduler let the waiter sleep on.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// The waiter runs, and nothing was rung since it last looked.
const AWAKE: u8 = 0;
/// The waiter is about to park, or parked.
const ASLEEP: u8 = 1;
/// Rung: the waiter must look again before it sleeps.
const RUNG: u8 = 2;

struct Inner {
    state: AtomicU8,
    waiter: Mutex<Option<Thread>>,
    made: Instant,
    /// Nanoseconds after `made` at which it was rung last, while it had not been rung.
    rung: AtomicU64,
}

impl Default for Inner {
    fn default() -> Self {
        Inner { state: AtomicU8::new(AWAKE), waiter: Mutex::default(), made: Instant::now(), rung: AtomicU64::new(0) }
    }
}

/// Wakes the one thread that waits on it. Clones ring the same bell.
#[derive(Clone, Default)]
pub struct Bell(Arc<Inner>);

impl Bell {
    /// Wakes the waiter if it sleeps; if it does not, its next wait returns at once. Whatever was written before is visible
    /// to the waiter's next look.
    #[inline]
    pub fn ring(&self) {
        // Pairs with the fences in `wait`: either this load sees the waiter's last change of state, or the waiter's look
        // sees what was written before.
        fence(Ordering::SeqCst);
        if self.0.state.load(Ordering::Relaxed) != RUNG {
            let now = u64::try_from(self.0.made.elapsed().as_nanos()).unwrap_or(u64::MAX);
            // Relaxed: the swap publishes it. Of two that ring at once either's time will do.
            self.0.rung.store(now, Ordering::Relaxed);
            if self.0.state.swap(RUNG, Ordering::SeqCst) == ASLEEP {
                self.wake();
            }
        }
    }

    /// Takes note of all rings so far, for a waiter that now looks at everything: when the first of them was, if there was one.
    /// A wait after this does not return for them.
    pub fn heard(&self) -> Option<Instant> {
        if self.0.state.load(Ordering::Relaxed) != RUNG {
            return None;
        }
        let heard = self.0.state.swap(AWAKE, Ordering::SeqCst) == RUNG;
        // Pairs with the fence in `ring`, as in `wait`.
        fence(Ordering::SeqCst);
        heard.then(|| self.rung())
    }

    fn rung(&self) -> Instant {
        self.0.made + Duration::from_nanos(self.0.rung.load(Ordering::Relaxed))
    }

    #[cold]
    fn wake(&self) {
        let waiter = self.0.waiter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*waiter {
            thread.unpark();
        }
    }

    /// Sleeps until rung or until `timeout`; not at all if it was rung since the last wait, or if `ready` is already true.
    /// May wake early; look again. Only one thread may wait on a bell. Returns when it was rung, if it was.
    pub fn wait(&self, ready: impl Fn() -> bool, timeout: Option<Duration>) -> Option<Instant> {
        *self.0.waiter.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        let mut rung = self.0.state.swap(ASLEEP, Ordering::SeqCst) == RUNG;
        if !rung {
            // Pairs with the fence in `ring`.
            fence(Ordering::SeqCst);
            if !ready() {
                match timeout {
                    Some(timeout) => std::thread::park_timeout(timeout),
                    None => std::thread::park(),
                }
            }
        }
        rung |= self.0.state.swap(AWAKE, Ordering::SeqCst) == RUNG;
        // Pairs with the fence in `ring`: what was written before a ring that this wait consumed is seen by the next look.
        fence(Ordering::SeqCst);
        rung.then(|| self.rung())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn nothing_rung_is_missed() {
        let bell = Bell::default();
        let count = Arc::new(AtomicU64::new(0));
        let (ringer, counter) = (bell.clone(), Arc::clone(&count));
        let thread = std::thread::spawn(move || {
            for _ in 0..100_000 {
                counter.fetch_add(1, Ordering::Relaxed);
                ringer.ring();
            }
        });
        while count.load(Ordering::Relaxed) < 100_000 {
            let seen = count.load(Ordering::Relaxed);
            // Without a timeout: a missed ring would hang here.
            if seen < 100_000 {
                bell.wait(|| count.load(Ordering::Relaxed) != seen, None);
            }
        }
        thread.join().expect("ringer");
    }

    #[test]
    fn it_tells_when_it_was_rung_first_and_only_once() {
        let bell = Bell::default();
        assert_eq!(bell.heard(), None);
        let before = Instant::now();
        bell.ring();
        let after = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        bell.ring();
        let heard = bell.heard().expect("rung");
        assert!(before <= heard && heard <= after, "{before:?} {heard:?} {after:?}");
        assert_eq!(bell.heard(), None);
        // What was heard wakes nobody; what rings while one sleeps does, and says when.
        assert_eq!(bell.wait(|| false, Some(Duration::from_millis(1))), None);
        let (ringer, asleep) = (bell.clone(), Instant::now());
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            ringer.ring();
        });
        let rung = bell.wait(|| false, None).expect("rung");
        assert!(rung - asleep >= Duration::from_millis(5) && rung <= Instant::now());
        thread.join().expect("ringer");
    }
}
