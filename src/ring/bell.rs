//! A bell wakes one sleeping thread. Ringing one that was rung already costs one load; nothing rung is ever missed, also
//! by a waiter that is awake when it is rung and goes to sleep after.

use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// The waiter runs, and nothing was rung since it last looked.
const AWAKE: u8 = 0;
/// The waiter is about to park, or parked.
const ASLEEP: u8 = 1;
/// Rung: the waiter must look again before it sleeps.
const RUNG: u8 = 2;

#[derive(Default)]
struct Inner {
    state: AtomicU8,
    waiter: Mutex<Option<Thread>>,
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
        if self.0.state.load(Ordering::Relaxed) != RUNG && self.0.state.swap(RUNG, Ordering::SeqCst) == ASLEEP {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        let waiter = self.0.waiter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*waiter {
            thread.unpark();
        }
    }

    /// Sleeps until rung or until `timeout`; not at all if it was rung since the last wait, or if `ready` is already true.
    /// May wake early; look again. Only one thread may wait on a bell.
    pub fn wait(&self, ready: impl Fn() -> bool, timeout: Option<Duration>) {
        *self.0.waiter.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        if self.0.state.swap(ASLEEP, Ordering::SeqCst) != RUNG {
            // Pairs with the fence in `ring`.
            fence(Ordering::SeqCst);
            if !ready() {
                match timeout {
                    Some(timeout) => std::thread::park_timeout(timeout),
                    None => std::thread::park(),
                }
            }
        }
        self.0.state.swap(AWAKE, Ordering::SeqCst);
        // Pairs with the fence in `ring`: what was written before a ring that this wait consumed is seen by the next look.
        fence(Ordering::SeqCst);
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
}
