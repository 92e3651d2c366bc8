//! The predicate index: which conditions of a plan an event satisfies, without looking at every rule.
//!
//! Each condition is filed under a *witness*: a few triggers (an equality, a text that occurs, a bound, an address block) of
//! which one must hold for the condition to hold, chosen to be rare. An event's values set off triggers by hash lookup,
//! Aho–Corasick, sorted bounds and prefix tables, one index per field; only conditions under a trigger that was set off
//! are verified, atom by atom, each atom at most once an event. So the cost of an event follows its candidates, not the
//! number of rules. A condition without a witness (only negations of things that may be absent) is verified every time.
//!
//! Owns nothing but the compiled index and scratch memory; holds no state between events; does not allocate per event,
//! except in expressions that build text. Promise: [`Detector::detect`] equals [`naive::holds`] for every condition.
//!
//! Values: null propagates, an array satisfies a predicate if any element does (null elements satisfy nothing), numbers
//! compare exactly whatever their form, case folds by simple folding, one character to one.

mod atom;
mod compare;
mod expr;
mod function;
mod glob;
mod index;
mod keys;
mod literal;
mod literals;
mod matcher;
pub mod naive;
mod skip;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod tests;
mod texts;
mod trigger;
mod verify;

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::{FieldId, Projected};
use crate::rules::plan::{ConditionId, Plan};
use index::{FieldIndex, Fired};
pub use keys::{fields_of, keys_of};
use trigger::{Fact, Trigger};
use verify::Verifier;

/// Finds the conditions of one plan that events satisfy. One per source thread.
#[derive(Debug)]
pub struct Detector {
    fields: Vec<FieldIndex>,
    /// Per trigger: where its conditions start in `filed`; one more at the end.
    starts: Vec<u32>,
    filed: Vec<ConditionId>,
    /// Conditions without a witness.
    always: Vec<ConditionId>,
    fired: Fired,
    verifier: Verifier,
    problems: Vec<String>,
}

impl Detector {
    /// Compiles the index of a plan.
    pub fn new(plan: Arc<Plan>) -> Detector {
        let mut problems = Vec::new();
        let verifier = Verifier::new(&plan, &mut problems);
        let mut always = Vec::new();
        let mut numbers: HashMap<Trigger, u32> = HashMap::new();
        let mut filed: Vec<Vec<ConditionId>> = Vec::new();
        for (condition, witness) in trigger::witnesses(&plan).into_iter().enumerate() {
            let condition = ConditionId(condition as u32);
            let Some(triggers) = witness else {
                always.push(condition);
                continue;
            };
            for trigger in triggers {
                let number = *numbers.entry(trigger).or_insert_with(|| {
                    filed.push(Vec::new());
                    filed.len() as u32 - 1
                });
                let conditions = &mut filed[number as usize];
                if conditions.last() != Some(&condition) {
                    conditions.push(condition);
                }
            }
        }
        let mut starts = vec![0];
        starts.extend(filed.iter().scan(0, |end, conditions| {
            *end += conditions.len() as u32;
            Some(*end)
        }));
        Detector {
            fields: by_field(&numbers),
            fired: Fired::new(filed.len()),
            filed: filed.concat(),
            starts,
            always,
            verifier,
            problems,
        }
    }

    /// Replaces `hits` by the conditions that the event satisfies: ascending, each once.
    pub fn detect(&mut self, event: &Projected, hits: &mut Vec<ConditionId>) {
        hits.clear();
        self.fired.clear();
        self.verifier.next_event();
        for index in &self.fields {
            index.fire(event.get(index.field), &mut self.fired);
        }
        for &trigger in &self.fired.triggers {
            let at = trigger as usize;
            let range = self.starts[at] as usize..self.starts[at + 1] as usize;
            for &condition in &self.filed[range] {
                if self.verifier.holds_first(condition, event) {
                    hits.push(condition);
                }
            }
        }
        for &condition in &self.always {
            if self.verifier.holds_first(condition, event) {
                hits.push(condition);
            }
        }
        hits.sort_unstable();
    }

    /// What could not be compiled and therefore never holds. Empty for a plan that the rules compiler made.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// How many conditions have no witness and are verified for every event.
    pub fn without_witness(&self) -> usize {
        self.always.len()
    }
}

/// One index for each field that has a trigger.
fn by_field(numbers: &HashMap<Trigger, u32>) -> Vec<FieldIndex> {
    let mut fields: HashMap<FieldId, Vec<(&Fact, u32)>> = HashMap::new();
    for (trigger, number) in numbers {
        fields.entry(trigger.field).or_default().push((&trigger.fact, *number));
    }
    let mut indexes: Vec<_> =
        fields.into_iter().map(|(field, facts)| FieldIndex::new(field, facts.into_iter())).collect();
    indexes.sort_by_key(|index| index.field);
    indexes
}
