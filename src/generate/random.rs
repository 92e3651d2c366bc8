//! Random numbers that are the same everywhere: a seed must give the same bytes on every machine and in every release,
//! which no general crate promises across versions.

/// Weyl increment of splitmix64 (2^64 divided by the golden ratio, made odd).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of splitmix64 (Sebastiano Vigna, public domain, <https://prng.di.unimi.it/splitmix64.c>). It is a
/// bijection, so different inputs give different outputs: that is what makes event ids unique.
pub(super) const fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The `n`-th output of a splitmix64 that starts at `seed`.
pub(super) const fn nth(seed: u64, n: u64) -> u64 {
    mix(seed.wrapping_add(n.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// xoshiro256++ (David Blackman and Sebastiano Vigna, public domain, <https://prng.di.unimi.it/xoshiro256plusplus.c>),
/// seeded by splitmix64 as its authors advise.
#[derive(Debug, Clone)]
pub(super) struct Random([u64; 4]);

impl Random {
    /// A generator for this seed.
    pub(super) const fn new(seed: u64) -> Self {
        Random([nth(seed, 0), nth(seed, 1), nth(seed, 2), nth(seed, 3)])
    }

    /// 64 random bits.
    #[inline]
    pub(super) fn bits(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..bound`; 0 if `bound` is 0. By multiplication (Daniel Lemire), without rejection: the bias is below
    /// `bound` / 2^64, and no draw ever takes a second step.
    #[inline]
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_gives_its_published_sequence() {
        // First outputs for seed 1234567, as in the reference implementations.
        let first: Vec<u64> = (0..3).map(|n| nth(1_234_567, n)).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut random = Random::new(7);
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[random.below(10) as usize] = true;
        }
        assert_eq!(seen, [true; 10]);
        assert_eq!(random.below(0), 0);
    }
}
