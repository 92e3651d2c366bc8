//! Which text must stand in every match of a regular expression, so that an automaton over such texts can say which
//! expressions are worth running.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::compare::{fold, fold_char};

/// Alternatives beyond this are no longer a narrow gate.
const ALTERNATIVES_MAX: usize = 64;
/// Classes of more characters than this do not fold to one (a letter has at most four forms).
const CLASS_MAX: usize = 8;

/// What a match must contain, with its case folded.
enum Need {
    /// It is exactly this (empty: anything goes).
    Exact(String),
    /// One of these occurs in it; none is empty.
    OneOf(Vec<String>),
    Nothing,
}

/// Folded texts of which one occurs in (the folded form of) every text that the pattern matches; `None`: nothing is known.
pub(super) fn required(pattern: &str, ignore_case: bool) -> Option<Vec<String>> {
    let hir = ParserBuilder::new().case_insensitive(ignore_case).build().parse(pattern).ok()?;
    alternatives(need(&hir))
}

fn alternatives(need: Need) -> Option<Vec<String>> {
    match need {
        Need::Exact(text) if !text.is_empty() => Some(vec![text]),
        Need::OneOf(texts) => Some(texts),
        Need::Exact(_) | Need::Nothing => None,
    }
}

fn need(hir: &Hir) -> Need {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Need::Exact(String::new()),
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => Need::Exact(fold(text)),
            Err(_) => Need::Nothing,
        },
        HirKind::Class(class) => one_letter(class).map_or(Need::Nothing, |c| Need::Exact(c.into())),
        HirKind::Capture(capture) => need(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min == 0 => Need::Nothing,
        HirKind::Repetition(repetition) => alternatives(need(&repetition.sub)).map_or(Need::Nothing, Need::OneOf),
        HirKind::Concat(parts) => concat(parts),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                match alternatives(need(branch)) {
                    Some(texts) => all.extend(texts),
                    None => return Need::Nothing,
                }
            }
            if all.len() <= ALTERNATIVES_MAX { Need::OneOf(all) } else { Need::Nothing }
        }
    }
}

/// The character that all of a class fold to: `[Kk\u{212a}]` is a `k` whose case is ignored.
fn one_letter(class: &Class) -> Option<char> {
    let Class::Unicode(class) = class else { return None };
    let mut chars = class.iter().flat_map(|range| range.start()..=range.end()).take(CLASS_MAX + 1);
    let first = fold_char(chars.next()?);
    let mut count = 1;
    chars
        .all(|c| {
            count += 1;
            fold_char(c) == first && count <= CLASS_MAX
        })
        .then_some(first)
}

/// The narrowest of what the parts need; neighbours that are exact grow together.
fn concat(parts: &[Hir]) -> Need {
    let mut run = String::new();
    let mut best: Option<Vec<String>> = None;
    let mut exact = true;
    let mut offer = |texts: Vec<String>| {
        let shortest = |texts: &[String]| texts.iter().map(String::len).min().unwrap_or(0);
        if best.as_ref().is_none_or(|b| shortest(&texts) > shortest(b)) {
            best = Some(texts);
        }
    };
    for part in parts {
        match need(part) {
            Need::Exact(text) => run.push_str(&text),
            other => {
                exact = false;
                if !run.is_empty() {
                    offer(vec![std::mem::take(&mut run)]);
                }
                if let Need::OneOf(texts) = other {
                    offer(texts);
                }
            }
        }
    }
    if exact {
        return Need::Exact(run);
    }
    if !run.is_empty() {
        offer(vec![run]);
    }
    best.map_or(Need::Nothing, Need::OneOf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_text_that_must_be_there_is_found() {
        let cases: [(&str, bool, Option<&[&str]>); 12] = [
            (r"^(?:.*mimikatz.*)$", false, Some(&["mimikatz"])),
            (r"^(?:.*MimiKatz.*)$", true, Some(&["mimikatz"])),
            (r"^(?:cmd\.exe /c .+ && del)$", false, Some(&["cmd.exe /c "])),
            (r"^(?:(foo|barbar)\d+x)$", false, Some(&["foo", "barbar"])),
            (r"^(?:ab?c+)$", false, Some(&["a"])),
            (r"^(?:(?i)power(shell)?)$", false, Some(&["power"])),
            (r"^(?:[kK]ey)$", false, Some(&["key"])),
            (r"^(?:(foo|.*))$", false, None),
            (r"^(?:[a-z]+)$", false, None),
            (r"^(?:.*)$", true, None),
            (r"^(?:)$", true, None),
            (r"(", false, None),
        ];
        for (pattern, ignore_case, expected) in cases {
            let got = required(pattern, ignore_case);
            let expected = expected.map(|texts| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
            assert_eq!(got, expected, "{pattern}");
        }
    }
}
