//! The index of one field: which triggers its value sets off. Built once a plan; a lookup allocates nothing.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::compare::{Number, fold_into, satisfies};
use super::matcher::{address_bits, network};
use super::trigger::Fact;
use crate::event::{FieldId, Val};
use crate::rules::plan::CompareOp;

type Map<K> = HashMap<K, u32, ahash::RandomState>;

/// Up to so many bytes of literals an automaton is a full table (the fastest, some 100 bytes a state); beyond, a compact one.
const DFA_LITERAL_BYTES_MAX: usize = 32 << 10;

/// Triggers set off by one event, each once.
#[derive(Debug, Default)]
pub(super) struct Fired {
    pub triggers: Vec<u32>,
    /// Per trigger: the event that set it off last.
    stamps: Vec<u32>,
    event: u32,
    folded: String,
}

impl Fired {
    pub fn new(triggers: usize) -> Fired {
        Fired { stamps: vec![0; triggers], triggers: Vec::with_capacity(triggers.min(1024)), ..Fired::default() }
    }

    /// Starts the next event.
    pub fn clear(&mut self) {
        self.triggers.clear();
        self.event = self.event.wrapping_add(1);
        if self.event == 0 {
            self.stamps.fill(0);
            self.event = 1;
        }
    }

    #[inline]
    fn fire(&mut self, trigger: u32) {
        if let Some(stamp) = self.stamps.get_mut(trigger as usize)
            && *stamp != self.event
        {
            *stamp = self.event;
            self.triggers.push(trigger);
        }
    }
}

/// Texts to be found by equality, with their lengths, so that most misses cost no hash.
#[derive(Debug, Default)]
struct Texts {
    triggers: Map<Box<str>>,
    /// Bit `min(length, 63)` of each.
    lengths: u64,
}

impl Texts {
    fn insert(&mut self, text: &str, trigger: u32) {
        self.lengths |= 1 << text.len().min(63);
        self.triggers.insert(text.into(), trigger);
    }

    #[inline]
    fn get(&self, text: &str) -> Option<u32> {
        if self.lengths & 1 << text.len().min(63) == 0 {
            return None;
        }
        self.triggers.get(text).copied()
    }
}

/// Texts to be found anywhere in a value.
#[derive(Debug, Default)]
struct Literals {
    texts: Vec<String>,
    triggers: Vec<u32>,
    automaton: Option<AhoCorasick>,
}

impl Literals {
    fn insert(&mut self, text: &str, trigger: u32) {
        self.texts.push(text.to_owned());
        self.triggers.push(trigger);
    }

    fn build(&mut self) {
        let bytes: usize = self.texts.iter().map(String::len).sum();
        let kind = if bytes <= DFA_LITERAL_BYTES_MAX { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        // Standard semantics: the only ones that report overlapping matches.
        let built = AhoCorasick::builder().match_kind(MatchKind::Standard).kind(Some(kind)).build(&self.texts);
        self.automaton = built.ok();
        self.texts = Vec::new();
    }

    #[inline]
    fn search(&self, text: &str, fired: &mut Fired) {
        match &self.automaton {
            Some(automaton) => {
                for found in automaton.find_overlapping_iter(text) {
                    if let Some(trigger) = self.triggers.get(found.pattern().as_usize()) {
                        fired.fire(*trigger);
                    }
                }
            }
            // An automaton that cannot be built (billions of states): every text is a candidate.
            None => self.triggers.iter().for_each(|trigger| fired.fire(*trigger)),
        }
    }
}

/// Bounds on one side, the most easily satisfied first, so that those a value satisfies are a prefix.
#[derive(Debug)]
struct Bounds<T> {
    bounds: Vec<(CompareOp, T, u32)>,
}

impl<T: Clone> Bounds<T> {
    fn new(mut bounds: Vec<(CompareOp, T, u32)>, compare: impl Fn(&T, &T) -> std::cmp::Ordering) -> Self {
        bounds.sort_by(|a, b| {
            let order = compare(&a.1, &b.1);
            let falling = matches!(a.0, CompareOp::Lt | CompareOp::Le);
            let strict = |op: CompareOp| matches!(op, CompareOp::Lt | CompareOp::Gt);
            (if falling { order.reverse() } else { order }).then(strict(a.0).cmp(&strict(b.0)))
        });
        Bounds { bounds }
    }

    #[inline]
    fn fire(&self, satisfied: impl Fn(CompareOp, &T) -> bool, fired: &mut Fired) {
        for (_, _, trigger) in self.bounds.iter().take_while(|(op, bound, _)| satisfied(*op, bound)) {
            fired.fire(*trigger);
        }
    }
}

/// Address blocks of one family, by prefix length.
#[derive(Debug, Default)]
struct Blocks {
    by_prefix: Vec<(u8, Map<u128>)>,
}

impl Blocks {
    fn insert(&mut self, network: u128, prefix: u8, trigger: u32) {
        let at = self.by_prefix.iter().position(|(p, _)| *p == prefix).unwrap_or_else(|| {
            self.by_prefix.push((prefix, Map::default()));
            self.by_prefix.len() - 1
        });
        self.by_prefix[at].1.insert(network, trigger);
    }

    fn fire(&self, address: u128, bits: u32, fired: &mut Fired) {
        for (prefix, triggers) in &self.by_prefix {
            if let Some(trigger) = triggers.get(&network(address, bits, *prefix)) {
                fired.fire(*trigger);
            }
        }
    }
}

/// All triggers of one field.
#[derive(Debug)]
pub(super) struct FieldIndex {
    pub field: FieldId,
    texts: Texts,
    folded: Texts,
    contains: Literals,
    contains_folded: Literals,
    numbers: Map<Number>,
    bools: [Option<u32>; 2],
    /// Lower bounds, upper bounds.
    number_bounds: [Bounds<Number>; 2],
    text_bounds: [Bounds<String>; 2],
    v4: Blocks,
    v6: Blocks,
    non_null: Option<u32>,
    present: Option<u32>,
    null: Option<u32>,
}

impl FieldIndex {
    /// From the field's facts and the numbers of their triggers.
    pub fn new<'a>(field: FieldId, facts: impl Iterator<Item = (&'a Fact, u32)>) -> FieldIndex {
        let mut numbers = [Vec::new(), Vec::new()];
        let mut texts = [Vec::new(), Vec::new()];
        let upper = |op: CompareOp| usize::from(matches!(op, CompareOp::Lt | CompareOp::Le));
        let none = || [Bounds { bounds: Vec::new() }, Bounds { bounds: Vec::new() }];
        let mut index = FieldIndex {
            field,
            texts: Texts::default(),
            folded: Texts::default(),
            contains: Literals::default(),
            contains_folded: Literals::default(),
            numbers: Map::default(),
            bools: [None; 2],
            number_bounds: none(),
            text_bounds: [Bounds { bounds: Vec::new() }, Bounds { bounds: Vec::new() }],
            v4: Blocks::default(),
            v6: Blocks::default(),
            non_null: None,
            present: None,
            null: None,
        };
        for (fact, trigger) in facts {
            match fact {
                Fact::Text(text) => index.texts.insert(text, trigger),
                Fact::Folded(text) => index.folded.insert(text, trigger),
                Fact::Contains(text) => index.contains.insert(text, trigger),
                Fact::ContainsFolded(text) => index.contains_folded.insert(text, trigger),
                Fact::Number(number) => drop(index.numbers.insert(*number, trigger)),
                Fact::Bool(b) => index.bools[usize::from(*b)] = Some(trigger),
                // No value stands in any order to NaN.
                Fact::NumberBound(_, Number::Float(f)) if f.is_nan() => {}
                Fact::NumberBound(op, number) => numbers[upper(*op)].push((*op, *number, trigger)),
                Fact::TextBound(op, text) => texts[upper(*op)].push((*op, text.clone(), trigger)),
                Fact::Block(32, network, prefix) => index.v4.insert(*network, *prefix, trigger),
                Fact::Block(_, network, prefix) => index.v6.insert(*network, *prefix, trigger),
                Fact::NonNull => index.non_null = Some(trigger),
                Fact::Present => index.present = Some(trigger),
                Fact::Null => index.null = Some(trigger),
            }
        }
        index.contains.build();
        index.contains_folded.build();
        let by_number = |a: &Number, b: &Number| a.compare(*b).unwrap_or(std::cmp::Ordering::Equal);
        index.number_bounds = numbers.map(|bounds| Bounds::new(bounds, by_number));
        index.text_bounds = texts.map(|bounds| Bounds::new(bounds, String::cmp));
        index
    }

    /// Sets off the triggers that this value of the field satisfies.
    #[inline]
    pub fn fire(&self, value: Val<'_>, fired: &mut Fired) {
        if value.is_null() {
            self.null.into_iter().for_each(|t| fired.fire(t));
            if matches!(value, Val::Null) {
                self.present.into_iter().for_each(|t| fired.fire(t));
            }
            return;
        }
        self.non_null.into_iter().chain(self.present).for_each(|t| fired.fire(t));
        match value {
            Val::Array(elements) => elements.iter().for_each(|element| self.fire_one(element, fired)),
            scalar => self.fire_one(scalar, fired),
        }
    }

    #[inline]
    fn fire_one(&self, value: Val<'_>, fired: &mut Fired) {
        match value {
            Val::Str(text) => self.fire_text(text, fired),
            Val::Bool(b) => self.bools[usize::from(b)].into_iter().for_each(|t| fired.fire(t)),
            value => {
                if let Some(number) = Number::of(value) {
                    self.fire_number(number, fired);
                }
            }
        }
    }

    fn fire_number(&self, number: Number, fired: &mut Fired) {
        if !self.numbers.is_empty()
            && let Some(trigger) = self.numbers.get(&number)
        {
            fired.fire(*trigger);
        }
        for bounds in &self.number_bounds {
            bounds.fire(|op, bound| number.compare(*bound).is_some_and(|order| satisfies(op, order)), fired);
        }
    }

    fn fire_text(&self, text: &str, fired: &mut Fired) {
        self.texts.get(text).into_iter().for_each(|t| fired.fire(t));
        if !self.contains.triggers.is_empty() {
            self.contains.search(text, fired);
        }
        if self.folded.lengths != 0 || !self.contains_folded.triggers.is_empty() {
            let mut folded = std::mem::take(&mut fired.folded);
            folded.clear();
            fold_into(text, &mut folded);
            self.folded.get(&folded).into_iter().for_each(|t| fired.fire(t));
            if !self.contains_folded.triggers.is_empty() {
                self.contains_folded.search(&folded, fired);
            }
            fired.folded = folded;
        }
        for bounds in &self.text_bounds {
            bounds.fire(|op, bound| satisfies(op, text.cmp(bound.as_str())), fired);
        }
        if !(self.v4.by_prefix.is_empty() && self.v6.by_prefix.is_empty())
            && let Ok(address) = text.parse()
        {
            let (address, bits) = address_bits(address);
            if bits == 32 { &self.v4 } else { &self.v6 }.fire(address, bits, fired);
        }
    }
}
