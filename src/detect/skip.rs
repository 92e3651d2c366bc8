//! Tells that none of many texts occurs in a value, without looking at most of its bytes (Wu, Manber: A Fast Algorithm for
//! Multi-Pattern Searching, 1994).
//!
//! Each text stands for its last bytes, as many as the shortest text has: its window. A table says for each few bytes, the
//! block, how far its last place in any window is from the window's end. A block that is in no window lets the search go on
//! behind it. Blocks share places of the table, and letters count without their case: both only make a value a candidate.

/// Bytes of a block.
const BLOCK: usize = 3;

/// The shortest text that it works for: below, hardly anything is skipped.
const SHORTEST: usize = 4;

/// Windows are no longer than this: their blocks fill the table, and few values let more be skipped at once.
const WINDOW_MAX: usize = 16;

/// Places of the table, as a power of two: few enough for the fastest cache, and enough that most stay empty.
const BITS_MIN: u32 = 12;
const BITS_MAX: u32 = 17;

/// See the module.
#[derive(Debug)]
pub(super) struct Skip {
    window: usize,
    bits: u32,
    /// How far to go on from a block; 0: here may one of the texts end.
    shifts: Box<[u8]>,
}

#[inline(always)]
fn place(block: [u8; BLOCK], bits: u32) -> usize {
    // The bit that tells small letters from capitals is set in all.
    let block = u32::from_le_bytes([block[0], block[1], block[2], 0]) | 0x20_2020;
    (block.wrapping_mul(0x9e37_79b1) >> (u32::BITS - bits)) as usize
}

impl Skip {
    /// Of these texts; `None`: it is of no use.
    pub fn new<'a>(texts: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Skip> {
        let window = texts.clone().map(<[u8]>::len).min().filter(|shortest| *shortest >= SHORTEST)?.min(WINDOW_MAX);
        let blocks = texts.clone().count() * (window - BLOCK + 1);
        let bits = (blocks * 8).max(1).ilog2().clamp(BITS_MIN, BITS_MAX);
        let furthest = window - BLOCK + 1;
        let mut shifts = vec![furthest as u8; 1 << bits].into_boxed_slice();
        for text in texts {
            let (_, window) = text.split_at(text.len() - window);
            let (blocks, last) = (window.windows(BLOCK), window.len() - BLOCK);
            for (at, block) in blocks.filter_map(<[u8]>::first_chunk).enumerate() {
                let shift = &mut shifts[place(*block, bits)];
                *shift = (*shift).min((last - at) as u8);
            }
        }
        Some(Skip { window, bits, shifts })
    }

    /// Whether none of the texts occurs, in any case of ASCII letters; `false`: perhaps one does.
    #[inline]
    pub fn holds_none(&self, value: &[u8]) -> bool {
        let mut at = self.window - BLOCK;
        while let Some(block) = value.get(at..).and_then(<[u8]>::first_chunk) {
            match self.shifts.get(place(*block, self.bits)) {
                Some(shift @ 1..) => at += usize::from(*shift),
                _ => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_of_another_kind_hold_none() {
        let texts: Vec<String> = (0..10_000).map(|n| format!("/srv/vault-{n}/")).collect();
        let skip = Skip::new(texts.iter().map(String::as_bytes)).expect("long enough");
        for value in
            ["", "/", "/usr/bin/python3", "/usr/lib/x86_64-linux-gnu/libssl.so.3", "C:\\Windows\\System32\\cmd.exe"]
        {
            assert!(skip.holds_none(value.as_bytes()), "{value}");
        }
        assert!(!skip.holds_none(b"in /SRV/Vault-9999/ it is"));
        assert!(Skip::new([&b"abc"[..], b"abcdefgh"].into_iter()).is_none());
        assert!(Skip::new(std::iter::empty()).is_none());
    }

    proptest! {
        #[test]
        fn what_occurs_is_never_skipped(
            texts in prop::collection::vec("[a-c/\\-ä]{4,20}", 1..40), before in "[a-dA-C/]{0,20}", after in "[a-d]{0,20}", upper: bool,
        ) {
            let skip = Skip::new(texts.iter().map(String::as_bytes)).expect("long enough");
            for text in &texts {
                let text = if upper { text.to_ascii_uppercase() } else { text.clone() };
                let value = [&before, &text, &after].map(String::as_str).concat();
                prop_assert!(!skip.holds_none(value.as_bytes()));
            }
        }
    }
}
