//! Verification of candidate conditions: each atom is evaluated at most once an event, cheap ones first.

use super::atom::CompiledAtom;
use crate::event::Projected;
use crate::rules::plan::{Cond, ConditionId, Plan};

/// A condition with the parts of each junction in the order of their cost.
#[derive(Debug)]
enum Check {
    Const(Option<bool>),
    Atom(u32),
    And(Box<[Check]>),
    Or(Box<[Check]>),
    Not(Box<Check>),
}

const TRUE: u32 = 1;
const FALSE: u32 = 2;
const NULL: u32 = 3;
const STATES: u32 = 4;

/// All conditions and atoms of a plan, and what is known of the atoms for the current event.
#[derive(Debug)]
pub(super) struct Verifier {
    checks: Vec<Check>,
    atoms: Vec<CompiledAtom>,
    /// Per atom: `event * STATES + state`, so that a new event forgets all without touching any.
    known: Vec<u32>,
    /// Per condition: the event it was looked at for.
    looked_at: Vec<u32>,
    event: u32,
    scratch: String,
}

impl Verifier {
    /// Compiles all atoms and conditions; what cannot be compiled never holds and is named in `problems`.
    pub fn new(plan: &Plan, problems: &mut Vec<String>) -> Verifier {
        let atoms: Vec<_> = plan.atoms.iter().map(|atom| CompiledAtom::new(atom, problems)).collect();
        Verifier {
            checks: plan.conditions.iter().map(|c| Check::new(c, &atoms)).collect(),
            known: vec![0; atoms.len()],
            looked_at: vec![0; plan.conditions.len()],
            atoms,
            event: 0,
            scratch: String::new(),
        }
    }

    /// Starts the next event.
    #[inline]
    pub fn next_event(&mut self) {
        self.event += 1;
        if self.event >= u32::MAX / STATES {
            self.known.fill(0);
            self.looked_at.fill(0);
            self.event = 1;
        }
    }

    /// Goes to a later event at once.
    #[cfg(test)]
    pub fn set_event(&mut self, event: u32) {
        self.event = event;
    }

    /// Whether the condition holds and was not asked for before in this event.
    #[inline]
    pub fn holds_first(&mut self, condition: ConditionId, event: &Projected) -> bool {
        let Some(looked_at) = self.looked_at.get_mut(condition.0 as usize) else { return false };
        if std::mem::replace(looked_at, self.event) == self.event {
            return false;
        }
        let Verifier { checks, atoms, known, event: now, scratch, .. } = self;
        let mut facts = Facts { atoms, known, now: *now, scratch, event };
        checks.get(condition.0 as usize).is_some_and(|check| check.is(TRUE, &mut facts))
    }
}

/// The atoms' truth for one event, found out when asked for.
struct Facts<'a> {
    atoms: &'a [CompiledAtom],
    known: &'a mut [u32],
    now: u32,
    scratch: &'a mut String,
    event: &'a Projected,
}

impl Facts<'_> {
    #[inline]
    fn state(&mut self, atom: u32) -> u32 {
        let (Some(known), Some(compiled)) = (self.known.get_mut(atom as usize), self.atoms.get(atom as usize)) else {
            return NULL;
        };
        if *known / STATES == self.now {
            return *known % STATES;
        }
        let state = match compiled.test(self.event, self.scratch) {
            Some(true) => TRUE,
            Some(false) => FALSE,
            None => NULL,
        };
        *known = self.now * STATES + state;
        state
    }
}

impl Check {
    fn new(condition: &Cond, atoms: &[CompiledAtom]) -> Check {
        let sorted = |parts: &[Cond]| {
            let mut checks: Vec<_> = parts.iter().map(|part| Check::new(part, atoms)).collect();
            checks.sort_by_cached_key(|check| check.effort(atoms));
            checks.into_boxed_slice()
        };
        match condition {
            Cond::Const(value) => Check::Const(*value),
            Cond::Atom(atom) => Check::Atom(atom.0),
            Cond::And(parts) => Check::And(sorted(parts)),
            Cond::Or(parts) => Check::Or(sorted(parts)),
            Cond::Not(inner) => Check::Not(Box::new(Check::new(inner, atoms))),
        }
    }

    fn effort(&self, atoms: &[CompiledAtom]) -> u32 {
        match self {
            Check::Const(_) => 0,
            Check::Atom(atom) => atoms.get(*atom as usize).map_or(0, CompiledAtom::effort),
            Check::And(parts) | Check::Or(parts) => {
                parts.iter().fold(1, |sum, part| part.effort(atoms).saturating_add(sum))
            }
            Check::Not(inner) => inner.effort(atoms),
        }
    }

    /// Whether the condition is `wanted` (`TRUE` or `FALSE`). Null is neither, so Kleene's tables need no third case here:
    /// a conjunction is true if all are true and false if any is false.
    fn is(&self, wanted: u32, facts: &mut Facts<'_>) -> bool {
        match self {
            Check::Const(value) => *value == Some(wanted == TRUE),
            Check::Atom(atom) => facts.state(*atom) == wanted,
            Check::Not(inner) => inner.is(if wanted == TRUE { FALSE } else { TRUE }, facts),
            Check::And(parts) if wanted == TRUE => parts.iter().all(|part| part.is(wanted, facts)),
            Check::Or(parts) if wanted == FALSE => parts.iter().all(|part| part.is(wanted, facts)),
            Check::And(parts) | Check::Or(parts) => parts.iter().any(|part| part.is(wanted, facts)),
        }
    }
}
