//! Texts to be found by equality, among few or very many: what most rules ask for, and what most values are not.
//!
//! A value that is none of the texts is told by its length or by one byte of its place, without a look at any text.

use crate::event::stable_hash64;

/// Texts up to so many bytes are compared as numbers.
const PACKED_BYTES_MAX: usize = 16;

/// A text as numbers: itself up to [`PACKED_BYTES_MAX`] bytes, beyond its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    first: u64,
    last: u64,
    len: u32,
}

/// Open addressing, at most half full.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Bit `min(length, 63)` of each.
    lengths: u64,
    /// Per place: 0 if it is empty, else some bits of the hash.
    marks: Vec<u8>,
    places: Vec<(Packed, u32)>,
    /// The text of each place that is too long to be packed.
    long: Vec<Box<str>>,
}

#[inline(always)]
fn pack(text: &[u8]) -> Packed {
    let len = text.len();
    let (first, last) = if len > PACKED_BYTES_MAX {
        (stable_hash64(0, text), 0)
    } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
    } else {
        let byte = |at: usize| u64::from(text.get(at).copied().unwrap_or(0));
        (byte(0) | byte(1) << 8 | byte(2) << 16, 0)
    };
    Packed { first, last, len: len as u32 }
}

impl Packed {
    /// The place to look first, and the mark.
    #[inline(always)]
    fn hash(self, places: usize) -> (usize, u8) {
        let first = u128::from(self.first ^ u64::from(self.len) << 56 ^ 0x9e37_79b9_7f4a_7c15);
        let mixed = first * u128::from(self.last ^ 0xd1b5_4a32_d192_ed03);
        let hash = (mixed as u64) ^ (mixed >> 64) as u64;
        (hash as usize & (places - 1), (hash >> 56) as u8 | 1)
    }
}

impl Texts {
    /// From texts, each once, and what they stand for.
    pub fn new(texts: &[(&str, u32)]) -> Texts {
        if texts.is_empty() {
            return Texts::default();
        }
        let places = (texts.len() * 2).next_power_of_two();
        let nothing = Packed { first: 0, last: 0, len: 0 };
        let mut built = Texts {
            lengths: 0,
            marks: vec![0; places],
            places: vec![(nothing, 0); places],
            long: vec![Box::default(); if texts.iter().any(|t| t.0.len() > PACKED_BYTES_MAX) { places } else { 0 }],
        };
        for (text, meaning) in texts {
            built.lengths |= 1 << text.len().min(63);
            let packed = pack(text.as_bytes());
            let (mut place, mark) = packed.hash(places);
            while built.marks[place] != 0 {
                place = (place + 1) & (places - 1);
            }
            (built.marks[place], built.places[place]) = (mark, (packed, *meaning));
            if text.len() > PACKED_BYTES_MAX {
                built.long[place] = (*text).into();
            }
        }
        built
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// What a text stands for.
    #[inline]
    pub fn get(&self, text: &str) -> Option<u32> {
        if self.lengths & 1 << text.len().min(63) == 0 {
            return None;
        }
        let packed = pack(text.as_bytes());
        let (mut place, mark) = packed.hash(self.marks.len());
        loop {
            let found = *self.marks.get(place)?;
            if found == 0 {
                return None;
            }
            if found == mark
                && let Some((known, meaning)) = self.places.get(place)
                && *known == packed
                && (text.len() <= PACKED_BYTES_MAX || self.long.get(place).is_some_and(|known| **known == *text))
            {
                return Some(*meaning);
            }
            place = (place + 1) & (self.marks.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_are_told_apart() {
        let texts: Vec<String> = (0..40).flat_map(|n| ["a", "b", "ab"].map(|c| c.repeat(n))).collect();
        let mut known: Vec<&str> = texts.iter().map(String::as_str).collect();
        known.sort_unstable();
        known.dedup();
        let numbered: Vec<(&str, u32)> = known.iter().copied().zip(0..).collect();
        let built = Texts::new(&numbered);
        for (text, number) in &numbered {
            assert_eq!(built.get(text), Some(*number), "{text}");
            for other in [format!("{text}c"), format!("c{text}"), text.replacen(['a', 'b'], "c", 1)] {
                let expected = numbered.iter().find(|(text, _)| **text == other).map(|(_, number)| *number);
                assert_eq!(built.get(&other), expected, "{other}");
            }
        }
        assert_eq!(built.get(&format!("{}x{}", "a".repeat(9), "a".repeat(10))), None);
        assert!(Texts::new(&[]).is_empty());
        assert_eq!(Texts::new(&[]).get(""), None);
    }

    #[test]
    fn many_texts_that_begin_and_end_alike_do_not_crowd() {
        let texts: Vec<String> = (0..10_000).map(|n| format!("/usr/lib/tools-{n:05}/main.exe")).collect();
        let numbered: Vec<(&str, u32)> = texts.iter().map(String::as_str).zip(0..).collect();
        let built = Texts::new(&numbered);
        let longest = built.marks.split(|mark| *mark == 0).map(<[u8]>::len).max().unwrap_or(0);
        assert!(longest < 100, "{longest} places in a row are taken");
        assert!(numbered.iter().all(|(text, number)| built.get(text) == Some(*number)));
    }
}
