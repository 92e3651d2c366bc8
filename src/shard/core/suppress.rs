//! Suppression: after one reported correlation of a rule, key and `by` values, those within the rule's window of event
//! time are only counted, and the next one reported carries the count.
//!
//! A count that was never reported is kept until `retention` has passed, then forgotten: without that a key that never
//! comes back would be remembered for ever. Both ends are decided by the times of the correlations, not by when memory was
//! cleaned.

use ahash::AHashMap;

use crate::event::{Hash128, Span, Timestamp};
use crate::timeline::Wheel;

#[derive(Debug)]
struct Remembered {
    reported: Timestamp,
    /// Time of the newest one, reported or not.
    last: Timestamp,
    count: u64,
    window: Span,
    /// The store has it.
    stored: bool,
}

impl Remembered {
    /// The last time at which it matters.
    fn needed_until(&self, retention: Span) -> Timestamp {
        let reported = self.reported + self.window;
        if self.count > 0 { reported.max(self.last + retention) } else { reported }
    }
}

/// The suppression state of one task.
#[derive(Debug, Default)]
pub(super) struct Suppressed {
    by_repeat: AHashMap<Hash128, Remembered>,
    expiry: Wheel<Hash128>,
    /// Changed since the last [`Suppressed::take_changes`]; `None`: nobody asks.
    changed: Option<Vec<Hash128>>,
    /// Forgotten since then, and in the store.
    gone: Vec<Hash128>,
}

/// What is remembered of one repeat, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) reported: Timestamp,
    pub(super) last: Timestamp,
    pub(super) count: u64,
    pub(super) window: Span,
}

impl Suppressed {
    /// A state that remembers what changed since [`Suppressed::take_changes`].
    pub(super) fn remembering() -> Suppressed {
        Suppressed { changed: Some(Vec::new()), ..Suppressed::default() }
    }

    /// Tells what changed since the last call: the new value, or `None` for what is gone.
    pub(super) fn take_changes(&mut self, mut tell: impl FnMut(Hash128, Option<Kept>)) {
        self.gone.drain(..).for_each(|repeat| tell(repeat, None));
        for repeat in self.changed.iter_mut().flat_map(|changed| changed.drain(..)) {
            // Told once: the second time it is stored already, and its last value was told.
            if let Some(held) = self.by_repeat.get_mut(&repeat) {
                held.stored = true;
                let Remembered { reported, last, count, window, .. } = *held;
                tell(repeat, Some(Kept { reported, last, count, window }));
            }
        }
    }

    /// Puts back what was stored.
    pub(super) fn restore(&mut self, repeat: Hash128, kept: Kept, retention: Span) {
        let Kept { reported, last, count, window } = kept;
        let held = Remembered { reported, last, count, window, stored: true };
        self.arm(repeat, held.needed_until(retention));
        self.by_repeat.insert(repeat, held);
    }

    /// Whether a correlation of time `at` is reported: then with how many folded in before it, `folded` of its own
    /// included. Else it is counted.
    pub(super) fn admit(
        &mut self,
        repeat: Hash128,
        at: Timestamp,
        folded: u64,
        window: Span,
        retention: Span,
    ) -> Option<u64> {
        if let Some(changed) = &mut self.changed
            && changed.last() != Some(&repeat)
        {
            changed.push(repeat);
        }
        let held = self.by_repeat.get_mut(&repeat);
        let stored = held.as_ref().is_some_and(|held| held.stored);
        let fresh = Remembered { reported: at, last: at, count: 0, window, stored };
        let Some(held) = held else {
            self.by_repeat.insert(repeat, fresh);
            self.arm(repeat, at + window);
            return Some(folded);
        };
        if at - held.reported <= held.window {
            held.count += 1 + folded;
            held.last = held.last.max(at);
            return None;
        }
        let counted = if at - held.last <= retention { held.count } else { 0 };
        *held = fresh;
        Some(counted + folded)
    }

    fn arm(&mut self, repeat: Hash128, at: Timestamp) {
        if at != Timestamp::MAX {
            self.expiry.push(at, repeat);
        }
    }

    /// Forgets what no later correlation can meet.
    pub(super) fn advance(&mut self, watermark: Timestamp, retention: Span) {
        while let Some((_, repeat)) = self.expiry.pop_before(watermark) {
            let Some(held) = self.by_repeat.get(&repeat) else { continue };
            let until = held.needed_until(retention);
            if until < watermark {
                if held.stored {
                    self.gone.push(repeat);
                }
                self.by_repeat.remove(&repeat);
            } else {
                self.arm(repeat, until);
            }
        }
    }

    /// Number of (rule, key, values) remembered.
    pub(super) fn len(&self) -> usize {
        self.by_repeat.len()
    }
}
