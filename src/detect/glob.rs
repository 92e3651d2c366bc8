//! Wildcard patterns, matched in one pass: between two `*` the leftmost place is always right, so nothing is tried twice.

use memchr::memmem::Finder;

use super::compare::fold;
use crate::rules::plan::{WildcardPattern, WildcardPiece};

/// A pattern cut at its `*`: the first segment stands at the start, the last at the end, the others in between in order.
/// A pattern without `*` is one segment that is the whole.
#[derive(Debug)]
pub(super) struct Glob {
    segments: Vec<Segment>,
}

/// Pieces that stand side by side.
#[derive(Debug, Default)]
struct Segment {
    /// How many `?` come before the first text.
    leading: usize,
    /// The first text and what follows it.
    text: Option<Finder<'static>>,
    rest: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    One,
}

impl Glob {
    /// Compiles a pattern; with `ignore_case` it is to be matched against folded text.
    pub fn new(pattern: &WildcardPattern, ignore_case: bool) -> Glob {
        let cut = pattern.0.split(|piece| *piece == WildcardPiece::Any);
        Glob { segments: cut.map(|pieces| Segment::new(pieces, ignore_case)).collect() }
    }

    /// Whether the pattern matches the whole text.
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, others)) = self.segments.split_first() else { return text.is_empty() };
        let Some(mut rest) = first.strip_start(text) else { return false };
        let Some((last, between)) = others.split_last() else { return rest.is_empty() };
        for segment in between {
            match segment.find(rest) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        last.is_end_of(rest)
    }
}

/// Without its first `count` characters.
fn skip_chars(text: &str, count: usize) -> Option<&str> {
    if count == 0 {
        return Some(text);
    }
    let mut chars = text.chars();
    chars.nth(count - 1)?;
    Some(chars.as_str())
}

impl Segment {
    fn new(pieces: &[WildcardPiece], ignore_case: bool) -> Segment {
        let mut segment = Segment::default();
        for piece in pieces {
            match piece {
                WildcardPiece::Text(text) => {
                    let text = if ignore_case { fold(text) } else { text.clone() };
                    if segment.text.is_none() {
                        segment.text = Some(Finder::new(text.as_bytes()).into_owned());
                    } else {
                        segment.rest.push(Piece::Text(text));
                    }
                }
                WildcardPiece::One if segment.text.is_none() => segment.leading += 1,
                WildcardPiece::One => segment.rest.push(Piece::One),
                WildcardPiece::Any => {}
            }
        }
        segment
    }

    fn strip_rest<'t>(&self, mut text: &'t str) -> Option<&'t str> {
        for piece in &self.rest {
            text = match piece {
                Piece::Text(expected) => text.strip_prefix(expected.as_str())?,
                Piece::One => skip_chars(text, 1)?,
            };
        }
        Some(text)
    }

    /// The text behind this segment if it stands at the start.
    fn strip_start<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut text = skip_chars(text, self.leading)?;
        if let Some(first) = &self.text {
            if !text.as_bytes().starts_with(first.needle()) {
                return None;
            }
            text = text.get(first.needle().len()..)?;
        }
        self.strip_rest(text)
    }

    /// The text behind the leftmost place of this segment.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut text = skip_chars(text, self.leading)?;
        let Some(first) = &self.text else { return Some(text) };
        loop {
            let at = first.find(text.as_bytes())?;
            let found = text.get(at..)?;
            if let Some(after) = found.get(first.needle().len()..).and_then(|t| self.strip_rest(t)) {
                return Some(after);
            }
            text = skip_chars(found, 1)?;
        }
    }

    /// Whether the text ends with this segment.
    fn is_end_of(&self, mut text: &str) -> bool {
        let drop_last = |text: &str| text.char_indices().next_back().map(|(at, _)| at);
        for piece in self.rest.iter().rev() {
            let end = match piece {
                Piece::Text(expected) => text.strip_suffix(expected.as_str()).map(str::len),
                Piece::One => drop_last(text),
            };
            match end.and_then(|end| text.get(..end)) {
                Some(before) => text = before,
                None => return false,
            }
        }
        if let Some(first) = &self.text {
            if !text.as_bytes().ends_with(first.needle()) {
                return false;
            }
            text = text.get(..text.len() - first.needle().len()).unwrap_or_default();
        }
        skip_chars(text, self.leading).is_some()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A pattern as it is written, without escapes.
    pub(in crate::detect) fn pattern(text: &str) -> WildcardPattern {
        let mut pieces: Vec<WildcardPiece> = Vec::new();
        for c in text.chars() {
            match (c, pieces.last_mut()) {
                ('*', Some(WildcardPiece::Any)) => {}
                ('*', _) => pieces.push(WildcardPiece::Any),
                ('?', _) => pieces.push(WildcardPiece::One),
                (c, Some(WildcardPiece::Text(text))) => text.push(c),
                (c, _) => pieces.push(WildcardPiece::Text(c.into())),
            }
        }
        WildcardPattern(pieces)
    }

    fn plain(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some(('*', p)), t) => plain(p, text) || t.is_some_and(|(_, t)| plain(pattern, t)),
            (Some(('?', p)), Some((_, t))) => plain(p, t),
            (Some((c, p)), Some((d, t))) => c == d && plain(p, t),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn globs_match_what_the_plain_definition_matches(p in "[aä*?b]{0,8}", t in "[aäb]{0,10}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::new(&pattern(&p), false).matches(&t), plain(&chars(&p), &chars(&t)), "{} {}", p, t);
        }
    }

    #[test]
    fn a_hostile_pattern_stays_linear() {
        let hostile = format!("{}b", "a*".repeat(50));
        assert!(!Glob::new(&pattern(&hostile), false).matches(&"a".repeat(100_000)));
    }
}
