//! Hashes that are the same in every process and version: XXH3 (<https://xxhash.com>, format stable since 0.8.0).

/// A 128-bit hash: of an event's identity, or of a correlation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Hash128(pub u128);

impl Hash128 {
    /// The same hash with the upper 16 bits of a key's hash in place of its own: 112 bits tell ids apart, 16 say whose shard
    /// it belongs to (see [`super::shard_of`]).
    #[inline]
    pub fn of_key(self, key_hash: u64) -> Hash128 {
        Hash128(self.0 >> 16 | u128::from(key_hash >> 48) << 112)
    }

    /// Where the shard's bits are, as in a key's hash.
    #[inline]
    pub fn key_hash(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

impl std::fmt::Display for Hash128 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// 64-bit hash, stable across processes and versions; decides the shard of a key.
#[inline]
pub fn stable_hash64(seed: u64, bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed)
}

/// 128-bit hash, stable across processes and versions; identity of events and correlations.
#[inline]
pub fn stable_hash128(seed: u64, bytes: &[u8]) -> Hash128 {
    Hash128(xxhash_rust::xxh3::xxh3_128_with_seed(bytes, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_published_algorithm() {
        // Changing these changes the shard of every key and the id of every correlation.
        assert_eq!(stable_hash64(0, b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(stable_hash128(0, b"").to_string(), "99aa06d3014798d86001c324468d497f");
    }
}
