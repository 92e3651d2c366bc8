//! Texts to be found anywhere in a value, all of them in one pass. A value that holds none of them, as most do, is told by a
//! [filter](super::skip) that looks at a few of its bytes.

use aho_corasick::automaton::Automaton;
use aho_corasick::{Anchored, dfa, nfa};

use super::skip::Skip;

/// Up to so many bytes of literals an automaton is a full table (the fastest, some 100 bytes a state); beyond, a compact one.
const TABLE_LITERAL_BYTES_MAX: usize = 32 << 10;

/// Texts to be found, and what each stands for.
#[derive(Debug, Default)]
pub(super) struct Literals {
    meanings: Vec<u32>,
    shortest: usize,
    /// `None`: a text is too short for it.
    skip: Option<Skip>,
    machine: Machine,
}

#[derive(Debug, Default)]
enum Machine {
    Table(dfa::DFA),
    Compact(nfa::contiguous::NFA),
    /// There is nothing to find, or so much (billions of states) that every text is a candidate.
    #[default]
    None,
}

impl Literals {
    /// From texts, none of them empty. `folded`: they are, and what is searched in may have capital letters of ASCII.
    pub fn new(texts: &[(&str, u32)], folded: bool) -> Literals {
        if texts.is_empty() {
            return Literals::default();
        }
        let patterns = || texts.iter().map(|(text, _)| text);
        let machine = if patterns().map(|text| text.len()).sum::<usize>() <= TABLE_LITERAL_BYTES_MAX {
            // Without anchored searches, which nobody asks for, it is half as large.
            let mut builder = dfa::DFA::builder();
            builder.prefilter(false).start_kind(aho_corasick::StartKind::Unanchored).ascii_case_insensitive(folded);
            builder.build(patterns()).map(Machine::Table).ok()
        } else {
            let mut builder = nfa::contiguous::NFA::builder();
            builder.prefilter(false).ascii_case_insensitive(folded).build(patterns()).map(Machine::Compact).ok()
        };
        Literals {
            meanings: texts.iter().map(|(_, meaning)| *meaning).collect(),
            shortest: patterns().map(|text| text.len()).min().unwrap_or(0),
            skip: Skip::new(patterns().map(|text| text.as_bytes())),
            machine: machine.unwrap_or_default(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.meanings.is_empty()
    }

    /// Gives what each text stands for that occurs in `text`, maybe several times.
    #[inline]
    pub fn search(&self, text: &str, found: impl FnMut(u32)) {
        if text.len() < self.shortest || self.skip.as_ref().is_some_and(|skip| skip.holds_none(text.as_bytes())) {
            return;
        }
        match &self.machine {
            Machine::Table(table) => self.run(table, text, found),
            Machine::Compact(compact) => self.run(compact, text, found),
            Machine::None => self.meanings.iter().copied().for_each(found),
        }
    }

    fn run(&self, machine: &impl Automaton, text: &str, mut found: impl FnMut(u32)) {
        let Ok(mut state) = machine.start_state(Anchored::No) else {
            return self.meanings.iter().copied().for_each(found);
        };
        for byte in text.bytes() {
            state = machine.next_state(Anchored::No, state, byte);
            if machine.is_special(state) && machine.is_match(state) {
                // With standard semantics these are all that end here, overlapping ones too.
                for at in 0..machine.match_len(state) {
                    let pattern = machine.match_pattern(state, at);
                    self.meanings.get(pattern.as_usize()).copied().into_iter().for_each(&mut found);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_occurs_is_found_in_both_machines() {
        let mut texts: Vec<String> = ["a", "ab", "bab", "b", "ära", "xyz"].map(str::to_owned).into();
        assert!(Literals::new(&[("ab", 0), ("/opt/tools", 1)], true).skip.is_none());
        for fill in [0, TABLE_LITERAL_BYTES_MAX] {
            texts.extend((0..fill / 8).map(|n| format!("{n:08}-never")));
            let numbered: Vec<(&str, u32)> = texts.iter().map(String::as_str).zip(10..).collect();
            let literals = Literals::new(&numbered, true);
            assert_eq!(matches!(literals.machine, Machine::Compact(_)), fill > 0);
            for text in ["", "a", "abab", "BAB", "xy", "XYZxyz", "äRa", "ÄRA", "no"] {
                let mut found = Vec::new();
                literals.search(text, |meaning| found.push(meaning));
                found.sort_unstable();
                found.dedup();
                let lower = text.to_ascii_lowercase();
                let expected: Vec<u32> =
                    numbered.iter().filter(|(literal, _)| lower.contains(literal)).map(|(_, number)| *number).collect();
                assert_eq!(found, expected, "{text}");
            }
        }
        Literals::new(&[], false).search("a", |_| panic!("nothing is searched for"));
    }
}
