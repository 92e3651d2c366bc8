//! The index of one field: which triggers its value sets off. Built once a plan; a lookup allocates nothing.

use std::collections::HashMap;

use super::compare::{Number, fold_into, satisfies};
use super::literals::Literals;
use super::matcher::{address_bits, address_of, network};
use super::texts::Texts;
use super::trigger::Fact;
use crate::event::{FieldId, Val};
use crate::rules::plan::CompareOp;

type Map<K> = HashMap<K, u32, ahash::RandomState>;

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
    /// Of a text nothing is asked but whether it is one of `texts`.
    only_texts: bool,
}

impl FieldIndex {
    /// From the field's facts and the numbers of their triggers.
    pub fn new<'a>(field: FieldId, facts: impl Iterator<Item = (&'a Fact, u32)>) -> FieldIndex {
        let mut bounds = [Vec::new(), Vec::new()];
        let mut text_bounds = [Vec::new(), Vec::new()];
        let [mut texts, mut folded, mut contains, mut contains_folded] = [const { Vec::new() }; 4];
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
            only_texts: false,
        };
        for (fact, trigger) in facts {
            match fact {
                Fact::Text(text) => texts.push((text.as_str(), trigger)),
                Fact::Folded(text) => folded.push((text.as_str(), trigger)),
                Fact::Contains(text) => contains.push((text.as_str(), trigger)),
                Fact::ContainsFolded(text) => contains_folded.push((text.as_str(), trigger)),
                Fact::Number(number) => drop(index.numbers.insert(*number, trigger)),
                Fact::Bool(b) => index.bools[usize::from(*b)] = Some(trigger),
                // No value stands in any order to NaN.
                Fact::NumberBound(_, Number::Float(f)) if f.is_nan() => {}
                Fact::NumberBound(op, number) => bounds[upper(*op)].push((*op, *number, trigger)),
                Fact::TextBound(op, text) => text_bounds[upper(*op)].push((*op, text.clone(), trigger)),
                Fact::Block(32, network, prefix) => index.v4.insert(*network, *prefix, trigger),
                Fact::Block(_, network, prefix) => index.v6.insert(*network, *prefix, trigger),
                Fact::NonNull => index.non_null = Some(trigger),
                Fact::Present => index.present = Some(trigger),
                Fact::Null => index.null = Some(trigger),
            }
        }
        let other = !(contains.is_empty() && folded.is_empty() && contains_folded.is_empty())
            || text_bounds.iter().any(|bounds| !bounds.is_empty())
            || !(index.v4.by_prefix.is_empty() && index.v6.by_prefix.is_empty());
        index.only_texts = !other;
        index.texts = Texts::new(&texts);
        index.folded = Texts::new(&folded);
        index.contains = Literals::new(&contains, false);
        index.contains_folded = Literals::new(&contains_folded, true);
        let by_number = |a: &Number, b: &Number| a.compare(*b).unwrap_or(std::cmp::Ordering::Equal);
        index.number_bounds = bounds.map(|bounds| Bounds::new(bounds, by_number));
        index.text_bounds = text_bounds.map(|bounds| Bounds::new(bounds, String::cmp));
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

    #[inline]
    fn fire_text(&self, text: &str, fired: &mut Fired) {
        self.texts.get(text).into_iter().for_each(|t| fired.fire(t));
        if !self.only_texts {
            self.fire_parts(text, fired);
        }
    }

    fn fire_parts(&self, text: &str, fired: &mut Fired) {
        if !self.contains.is_empty() {
            self.contains.search(text, |t| fired.fire(t));
        }
        if !self.contains_folded.is_empty() && text.is_ascii() {
            self.contains_folded.search(text, |t| fired.fire(t));
        }
        if !self.folded.is_empty() || !(self.contains_folded.is_empty() || text.is_ascii()) {
            let mut folded = std::mem::take(&mut fired.folded);
            folded.clear();
            fold_into(text, &mut folded);
            self.folded.get(&folded).into_iter().for_each(|t| fired.fire(t));
            if !text.is_ascii() {
                self.contains_folded.search(&folded, |t| fired.fire(t));
            }
            fired.folded = folded;
        }
        for bounds in &self.text_bounds {
            bounds.fire(|op, bound| satisfies(op, text.cmp(bound.as_str())), fired);
        }
        if !(self.v4.by_prefix.is_empty() && self.v6.by_prefix.is_empty())
            && let Some(address) = address_of(text)
        {
            let (address, bits) = address_bits(address);
            if bits == 32 { &self.v4 } else { &self.v6 }.fire(address, bits, fired);
        }
    }
}
