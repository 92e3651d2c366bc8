//! Aggregates (Sigma's correlations): measures over the events of a group.
//!
//! `gt`, `gte` and plain `temporal` slide and are looked at on each contributing event ([`sliding`]); what few events can
//! satisfy is decided when a tumbling window closes ([`tumbling`]). Both read the key's timeline through a window and keep
//! their measure up to date event by event ([`measure`]).

mod measure;
mod number;
mod ranks;
mod sliding;
mod sum;
mod tumbling;

use smallvec::SmallVec;

pub(super) use sliding::Sliding;
pub(super) use tumbling::{Tumbling, window_of};

use crate::event::{Evidence, StepId};
use crate::rules::plan::{Aggregate, Plan, Role};

/// An aggregate with what its steps need.
#[derive(Clone, Copy)]
pub(super) struct Rule<'a> {
    pub(super) plan: &'a Plan,
    pub(super) index: u32,
    pub(super) aggregate: &'a Aggregate,
}

impl Rule<'_> {
    /// Whether an event counts: for `value_*` it needs a usable value.
    pub(super) fn contributes(&self, event: &Evidence) -> bool {
        measure::usable(&self.aggregate.kind, event)
    }

    /// Whether an event of these steps (of any rules) is one of this rule's and counts.
    fn takes(&self, event: &Evidence, steps: &[StepId]) -> bool {
        let of_rule = |step: &StepId| self.plan.steps.get(step.0 as usize).is_some_and(|s| s.rule.0 == self.index);
        steps.iter().any(of_rule) && self.contributes(event)
    }

    /// The references that an event of these steps (of any rules) stands for, ascending.
    fn references(&self, steps: &[StepId]) -> SmallVec<[u16; 4]> {
        let of_rule = steps.iter().filter_map(|step| self.plan.steps.get(step.0 as usize));
        let mut references: SmallVec<[u16; 4]> = of_rule
            .filter(|step| step.rule.0 == self.index)
            .filter_map(|step| match step.role {
                Role::Reference(reference) => Some(reference),
                _ => None,
            })
            .collect();
        references.sort_unstable();
        references.dedup();
        references
    }

    /// The printed name of what an event of these steps stands for: its first step of this rule.
    pub(super) fn step_name(&self, steps: &[StepId]) -> u16 {
        let mut of_rule = steps.iter().filter_map(|step| self.plan.steps.get(step.0 as usize));
        of_rule.find(|step| step.rule.0 == self.index).map_or(0, |step| step.name)
    }
}
