//! Sealed parts as they grow old: written to `warm`, as they are; packed into `cold` once they have lain there for `warm_ttl`.
//!
//! Most segments are dropped long before, and were then never packed. Whoever writes batches also moves what is old: now and
//! then it goes over the sealed parts of `warm` from the first to the last, a few at each batch, so that no batch takes long.
//! Time is the wall clock that positions bear: nothing that the service finds depends on where a part lies.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions};

use super::failure::Failure;
use super::layout::{self, Family};
use super::{ControlFlow, RocksStore, Visit};
use crate::store::Applied;

/// Parts that one batch looks at: half a millisecond.
const LOOKS_MAX: usize = 256;

/// Bytes that one batch moves, and at most one part more.
const MOVED_BYTES_MAX: usize = 256 << 10;

/// A round begins so many times within `warm_ttl`: a part is packed when it is older by an eighth at most, and the time of a round.
const ROUNDS: u32 = 8;

/// Which parts are old, and how far the round is.
pub(super) struct Ageing {
    warm_ttl: Duration,
    hand: Mutex<Hand>,
}

struct Hand {
    /// The newest time that positions bore.
    now_ms: i64,
    /// When a round begins.
    begins_ms: i64,
    /// Where a round goes on that has begun.
    at: Option<Vec<u8>>,
}

impl Ageing {
    pub(super) fn new(warm_ttl: Duration, now_ms: i64) -> Ageing {
        Ageing { warm_ttl, hand: Mutex::new(Hand { now_ms, begins_ms: now_ms, at: None }) }
    }

    fn is_old(&self, stamp: u32, now: u32) -> bool {
        u64::from(now.saturating_sub(stamp)) >= self.warm_ttl.as_secs().max(1)
    }

    fn between_rounds_ms(&self) -> i64 {
        i64::try_from((self.warm_ttl / ROUNDS).as_millis()).unwrap_or(i64::MAX)
    }

    /// Takes note of the time, and gives it as parts bear it.
    pub(super) fn stamp(&self, applied: &[(u16, Applied)]) -> u32 {
        let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        hand.now_ms = applied.iter().map(|(_, applied)| applied.written_ms).max().unwrap_or(hand.now_ms);
        layout::stamp(hand.now_ms)
    }
}

impl RocksStore {
    /// Goes on with the round, or begins one if it is time. Gives the time for what is written now.
    pub(super) fn age(&self, applied: &[(u16, Applied)]) -> Result<u32, Failure> {
        let now = self.ageing.stamp(applied);
        let mut hand = self.ageing.hand.lock().unwrap_or_else(PoisonError::into_inner);
        if hand.at.is_none() && hand.now_ms >= hand.begins_ms {
            hand.at = layout::next_sealed(&[0, 0]);
        }
        if let Some(at) = hand.at.take() {
            hand.at = self.pack(&at, now)?;
            if hand.at.is_none() {
                hand.begins_ms = hand.now_ms.saturating_add(self.ageing.between_rounds_ms());
            }
        }
        Ok(now)
    }

    /// Packs what is old among the next parts. Gives where to go on; `None` behind the last.
    fn pack(&self, at: &[u8], now: u32) -> Result<Option<Vec<u8>>, Failure> {
        let (warm, cold) = (self.family(Family::Warm)?, self.family(Family::Cold)?);
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.fill_cache(false);
        let mut entries = self.db.raw_iterator_cf_opt(warm, options);
        entries.seek(at);
        let (mut old, mut bytes, mut looks) = (Vec::new(), 0, 0);
        let goes_on = loop {
            let Some((key, value)) = entries.item() else { break None };
            let Some(next) = layout::next_sealed(key) else { break None };
            if looks == LOOKS_MAX || bytes >= MOVED_BYTES_MAX {
                break Some(next);
            }
            looks += 1;
            if next.as_slice() != key {
                entries.seek(next);
                continue;
            }
            let (stamp, part) = layout::unstamped(value)?;
            if self.ageing.is_old(stamp, now) {
                bytes += key.len() + part.len();
                old.push((next, part.to_vec()));
            }
            entries.next();
        };
        entries.status()?;
        if !old.is_empty() {
            self.commit(|writes| {
                for (key, part) in &old {
                    writes.put_cf(cold, key, part);
                    writes.delete_cf(warm, key);
                }
                Ok(())
            })?;
        }
        Ok(goes_on)
    }
}

type Entries<'a> = DBRawIteratorWithThreadMode<'a, DB>;

/// The sealed parts of both families as one.
pub(super) struct Sealed<'a> {
    warm: Entries<'a>,
    cold: Entries<'a>,
}

impl<'a> Sealed<'a> {
    /// With options of which each makes the same; they have a snapshot, because a part goes from one family to the other.
    pub(super) fn of(store: &'a RocksStore, options: impl Fn() -> ReadOptions) -> Result<Sealed<'a>, Failure> {
        let entries = |family| Ok::<_, Failure>(store.db.raw_iterator_cf_opt(store.family(family)?, options()));
        Ok(Sealed { warm: entries(Family::Warm)?, cold: entries(Family::Cold)? })
    }

    /// Gives the parts with `from <= key < to` in key order.
    pub(super) fn visit(&mut self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<ControlFlow<()>, Failure> {
        let Sealed { warm, cold } = self;
        warm.seek(from);
        cold.seek(from);
        loop {
            let (young, old) = (warm.key().filter(|key| *key < to), cold.key().filter(|key| *key < to));
            let is_young = match (young, old) {
                (None, None) => break,
                (Some(young), Some(old)) => young <= old,
                (young, _) => young.is_some(),
            };
            let is_old = !is_young || young == old;
            let item = if is_young { warm.item() } else { cold.item() };
            if let Some((key, value)) = item {
                let part = if is_young { layout::unstamped(value)?.1 } else { value };
                if visit(key, part).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if is_young {
                warm.next();
            }
            if is_old {
                cold.next();
            }
        }
        warm.status()?;
        cold.status()?;
        Ok(ControlFlow::Continue(()))
    }
}
