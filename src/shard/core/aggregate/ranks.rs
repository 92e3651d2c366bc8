//! The values of a window in order, for median and percentiles: sorted chunks, so that a value comes or goes in the square
//! root of their number and any rank is found by counting chunks.

/// Values in a chunk before it is split.
const CHUNK_MAX: usize = 256;

/// A sorted multiset of numbers.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    /// None is empty.
    chunks: Vec<Vec<f64>>,
    len: usize,
}

impl Ranks {
    /// Bytes on the heap; chunks are three quarters full on average.
    pub(super) fn heap_bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Vec<f64>>() + self.len * size_of::<f64>() * 4 / 3
    }

    /// The chunk that `value` belongs to: the first whose last value is not below it.
    fn chunk_of(&self, value: f64) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|last| last.total_cmp(&value).is_lt()))
    }

    pub(super) fn insert(&mut self, value: f64) {
        self.len += 1;
        let at = self.chunk_of(value).min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![value]);
            return;
        };
        let within = chunk.partition_point(|held| held.total_cmp(&value).is_lt());
        chunk.insert(within, value);
        if chunk.len() > CHUNK_MAX {
            let upper = chunk.split_off(CHUNK_MAX / 2);
            self.chunks.insert(at + 1, upper);
        }
    }

    pub(super) fn remove(&mut self, value: f64) {
        let at = self.chunk_of(value);
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let within = chunk.partition_point(|held| held.total_cmp(&value).is_lt());
        if chunk.get(within).is_none_or(|held| held.total_cmp(&value).is_ne()) {
            debug_assert!(false, "removes only what was inserted");
            return;
        }
        chunk.remove(within);
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
    }

    fn nth(&self, mut rank: usize) -> Option<f64> {
        for chunk in &self.chunks {
            match chunk.get(rank) {
                Some(value) => return Some(*value),
                None => rank -= chunk.len(),
            }
        }
        None
    }

    /// The percentile, linear between the closest ranks; `None` of nothing.
    pub(super) fn percentile(&self, percent: u8) -> Option<f64> {
        let hundredths = self.len.checked_sub(1)? * usize::from(percent.min(100));
        let lower = self.nth(hundredths / 100)?;
        let Some(upper) = self.nth(hundredths / 100 + 1) else { return Some(lower) };
        let part = (hundredths % 100) as f64 / 100.0;
        Some(if part == 0.0 { lower } else { lower + (upper - lower) * part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate_between_closest_ranks() {
        let mut ranks = Ranks::default();
        assert_eq!(ranks.percentile(50), None);
        [4.0, 1.0, 3.0, 2.0].into_iter().for_each(|v| ranks.insert(v));
        assert_eq!(ranks.percentile(50), Some(2.5));
        assert_eq!(ranks.percentile(25), Some(1.75));
        assert_eq!(ranks.percentile(99), Some(3.0 + 0.97));
        ranks.remove(4.0);
        assert_eq!(ranks.percentile(50), Some(2.0));
    }

    #[test]
    fn many_values_in_any_order_keep_their_ranks() {
        let mut ranks = Ranks::default();
        let mut plain = Vec::new();
        let mut seed = 1u64;
        for step in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = ((seed >> 40) % 500) as f64 - 250.0;
            ranks.insert(value);
            plain.push(value);
            if step % 3 == 0 {
                let gone = plain.swap_remove((seed >> 33) as usize % plain.len());
                ranks.remove(gone);
            }
        }
        plain.sort_unstable_by(f64::total_cmp);
        assert_eq!(ranks.len, plain.len());
        for rank in (0..plain.len()).step_by(97) {
            assert_eq!(ranks.nth(rank), Some(plain[rank]));
        }
    }
}
