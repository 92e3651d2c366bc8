//! Suppression: after one reported correlation of a rule, key and `by` values, those within the rule's window of event
//! time are only counted, and the next one reported carries the count.
//!
//! What is remembered belongs to the key and goes where the key goes: into the store with it, out of memory with it. A count that
//! was never reported is kept until `retention` has passed, then forgotten: without that a key that never comes back would be
//! remembered for ever. Both ends are decided by the times of the correlations, not by when memory was cleaned.

use std::collections::BTreeMap;

use ahash::AHashMap;

use crate::event::{Blank, Hash128, Span, Timestamp};
use crate::timeline::Wheel;

/// What is remembered of one repeat, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) reported: Timestamp,
    /// Time of the newest one, reported or not.
    pub(super) last: Timestamp,
    pub(super) count: u64,
    pub(super) window: Span,
}

impl Kept {
    /// The last time at which it matters.
    fn needed_until(&self, retention: Span) -> Timestamp {
        let reported = self.reported + self.window;
        if self.count > 0 { reported.max(self.last + retention) } else { reported }
    }
}

#[derive(Debug)]
struct Remembered {
    kept: Kept,
    /// Since it was last stored.
    changed: bool,
    /// The store has it.
    stored: bool,
}

/// The repeats of one key. One without any is blank.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    by_repeat: BTreeMap<Hash128, Remembered>,
}

impl Blank for Repeats {
    const BLANK: &'static Self = &Repeats { by_repeat: BTreeMap::new() };
}

/// What became of a correlation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Reported, with how many folded in before it; `None`: only counted.
    pub(super) reported: Option<u64>,
    /// What is remembered of it does not matter after this.
    pub(super) until: Timestamp,
}

/// A key with more repeats than this is not looked through at each one's end: looking costs their number.
const LOOKED_THROUGH_AT_ONCE: usize = 64;

impl Repeats {
    /// Whether a correlation of time `at` is reported. `folded` were folded in by the rule itself; `before` is what is remembered of
    /// the repeat elsewhere.
    pub(super) fn admit(
        &mut self,
        repeat: Hash128,
        before: Option<Kept>,
        (at, folded, window): (Timestamp, u64, Span),
        retention: Span,
    ) -> Verdict {
        let fresh = Kept { reported: at, last: at, count: 0, window };
        let place = |kept| Remembered { kept, changed: true, stored: false };
        if let Some(kept) = before {
            self.by_repeat.entry(repeat).or_insert_with(|| place(kept));
        }
        let Some(held) = self.by_repeat.get_mut(&repeat) else {
            self.by_repeat.insert(repeat, place(fresh));
            return Verdict { reported: Some(folded), until: fresh.needed_until(retention) };
        };
        held.changed = true;
        let kept = &mut held.kept;
        let reported = if at - kept.reported <= kept.window {
            kept.count += 1 + folded;
            kept.last = kept.last.max(at);
            None
        } else {
            let counted = if at - kept.last <= retention { kept.count } else { 0 };
            *kept = fresh;
            Some(counted + folded)
        };
        Verdict { reported, until: held.kept.needed_until(retention) }
    }

    /// The watermark has passed `at`: forgets what no later correlation can meet; tells of what is in the store.
    pub(super) fn clean(&mut self, at: Timestamp, retention: Span, mut gone: impl FnMut(Hash128)) {
        self.by_repeat.retain(|repeat, held| {
            let stays = held.kept.needed_until(retention) > at;
            if !stays && held.stored {
                gone(*repeat);
            }
            stays
        });
    }

    /// When to look again, having looked at `at`, for what may be forgotten; [`Timestamp::MAX`]: never.
    pub(super) fn expires(&self, at: Timestamp, retention: Span) -> Timestamp {
        let first = self.by_repeat.values().map(|held| held.kept.needed_until(retention)).min();
        let first = first.unwrap_or(Timestamp::MAX);
        if self.by_repeat.len() <= LOOKED_THROUGH_AT_ONCE || first == Timestamp::MAX {
            return first;
        }
        let window = self.by_repeat.values().map(|held| held.kept.window).min().unwrap_or(Span::ZERO);
        first.max(at + Span(window.0 / 8))
    }

    /// Gives what changed since the last call.
    pub(super) fn take_changes(&mut self, mut tell: impl FnMut(Hash128, Kept)) {
        for (repeat, held) in self.by_repeat.iter_mut().filter(|(_, held)| held.changed) {
            (held.changed, held.stored) = (false, true);
            tell(*repeat, held.kept);
        }
    }

    /// Puts back what was stored.
    pub(super) fn restore(&mut self, repeat: Hash128, kept: Kept) {
        self.by_repeat.insert(repeat, Remembered { kept, changed: false, stored: true });
    }

    /// Number of repeats remembered.
    pub(super) fn len(&self) -> usize {
        self.by_repeat.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_repeat.is_empty()
    }

    /// Bytes on the heap: nodes of a B-tree are two thirds full.
    pub(super) fn heap_bytes(&self) -> usize {
        self.by_repeat.len() * size_of::<(Hash128, Remembered)>() * 3 / 2
    }
}

/// Repeats as an earlier layout stored them: it did not say which key they belong to. Each moves to its key with the first
/// correlation that meets it.
#[derive(Debug, Default)]
pub(super) struct Unplaced {
    by_repeat: AHashMap<Hash128, Kept>,
    expiry: Wheel<Hash128>,
    /// Moved or forgotten, and still in the store.
    gone: Vec<Hash128>,
}

impl Unplaced {
    /// Puts back what was stored.
    pub(super) fn restore(&mut self, repeat: Hash128, kept: Kept, retention: Span) {
        self.expiry.push(kept.needed_until(retention), repeat);
        self.by_repeat.insert(repeat, kept);
    }

    /// Its key has been found.
    pub(super) fn take(&mut self, repeat: Hash128) -> Option<Kept> {
        if self.by_repeat.is_empty() {
            return None;
        }
        let kept = self.by_repeat.remove(&repeat)?;
        self.gone.push(repeat);
        Some(kept)
    }

    /// Forgets what no later correlation can meet.
    pub(super) fn advance(&mut self, watermark: Timestamp) {
        while let Some((_, repeat)) = self.expiry.pop_before(watermark) {
            self.take(repeat);
        }
    }

    /// Gives what is to be removed from the store.
    pub(super) fn take_gone(&mut self) -> Vec<Hash128> {
        std::mem::take(&mut self.gone)
    }

    /// Number of repeats.
    pub(super) fn len(&self) -> usize {
        self.by_repeat.len()
    }
}
