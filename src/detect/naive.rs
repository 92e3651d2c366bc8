//! Conditions evaluated as they are written: every atom, in Kleene's three-valued logic, without index or memory.
//!
//! This is what the index must agree with, and what an explanation shows. It compiles each atom anew, regular expressions
//! included, so it is for tests, explanations and single events.

use super::atom::CompiledAtom;
use crate::event::Projected;
use crate::rules::plan::{AtomId, Cond, Plan};

/// Whether a condition of a plan holds for an event: true, false or null. An atom that the plan lacks is null.
pub fn holds(plan: &Plan, condition: &Cond, event: &Projected) -> Option<bool> {
    match condition {
        Cond::Const(value) => *value,
        Cond::Atom(atom) => atom_holds(plan, *atom, event),
        Cond::And(parts) => parts.iter().map(|p| holds(plan, p, event)).fold(Some(true), and),
        Cond::Or(parts) => parts.iter().map(|p| holds(plan, p, event)).fold(Some(false), or),
        Cond::Not(inner) => holds(plan, inner, event).map(|truth| !truth),
    }
}

/// Whether one atom of a plan holds for an event.
pub fn atom_holds(plan: &Plan, atom: AtomId, event: &Projected) -> Option<bool> {
    let atom = plan.atoms.get(atom.0 as usize)?;
    CompiledAtom::new(atom, &mut Vec::new()).test(event, &mut String::new())
}

fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn or(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    and(a.map(|t| !t), b.map(|t| !t)).map(|t| !t)
}
