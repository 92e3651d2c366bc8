//! A blocked Bloom filter: says "definitely not" or "perhaps". Each item sets and tests bits of one 64-byte block, so a look-up
//! costs one cache line (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007).

const WORDS: usize = 8;

/// Bits set for an item.
const PROBES: u32 = 6;

/// See the module. Items are hashes already.
#[derive(Debug, Clone)]
pub(in super::super) struct Filter {
    blocks: Box<[[u64; WORDS]]>,
    items: usize,
}

impl Filter {
    /// A filter of about `bytes`, a whole number of blocks.
    pub(in super::super) fn of_bytes(bytes: usize) -> Filter {
        Filter { blocks: vec![[0; WORDS]; (bytes / 64).max(1)].into(), items: 0 }
    }

    /// A filter for so many items, 16 bits each: about 2 in 1,000 others are "perhaps".
    pub(in super::super) fn of_items(items: usize) -> Filter {
        Filter::of_bytes(items * 2 + 64)
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        let block = ((u128::from(hash) * self.blocks.len() as u128) >> 64) as usize;
        // The block was chosen by the upper bits; the bits within it follow from all of them, mixed.
        (block, hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash >> 29)
    }

    /// Adds an item.
    pub(in super::super) fn insert(&mut self, hash: u64) {
        let (block, mut bits) = self.place(hash);
        for _ in 0..PROBES {
            self.blocks[block][(bits >> 6) as usize % WORDS] |= 1 << (bits & 63);
            bits = bits.rotate_right(9);
        }
        self.items += 1;
    }

    /// Whether the item may have been added; `false` is certain.
    #[inline]
    pub(in super::super) fn perhaps(&self, hash: u64) -> bool {
        let (block, mut bits) = self.place(hash);
        let block = &self.blocks[block];
        (0..PROBES).all(|_| {
            let set = block[(bits >> 6) as usize % WORDS] & 1 << (bits & 63) != 0;
            bits = bits.rotate_right(9);
            set
        })
    }

    /// Forgets all.
    pub(in super::super) fn clear(&mut self) {
        if self.items > 0 {
            self.blocks.fill([0; WORDS]);
            self.items = 0;
        }
    }

    /// Bytes held.
    pub(in super::super) fn bytes(&self) -> usize {
        self.blocks.len() * WORDS * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::stable_hash64;

    fn hash(n: u64) -> u64 {
        stable_hash64(7, &n.to_le_bytes())
    }

    #[test]
    fn what_was_added_is_perhaps_there_and_of_others_few_are() {
        let mut filter = Filter::of_items(100_000);
        (0..100_000).for_each(|n| filter.insert(hash(n)));
        assert!((0..100_000).all(|n| filter.perhaps(hash(n))));
        let wrong = (100_000..200_000).filter(|n| filter.perhaps(hash(*n))).count();
        assert!(wrong < 500, "{wrong} of 100,000");
        filter.clear();
        assert!((0..1000).all(|n| !filter.perhaps(hash(n))));
    }
}
