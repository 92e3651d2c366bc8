//! Atoms, compiled.

use super::expr::Node;
use super::matcher::Matcher;
use crate::event::{FieldId, Projected};
use crate::rules::plan::Atom;

/// A compiled [`Atom`].
#[derive(Debug)]
pub(super) enum CompiledAtom {
    Field { field: FieldId, optional: bool, matcher: Matcher },
    Expr(Node),
}

impl CompiledAtom {
    /// Compiles an atom; see [`Matcher::new`] for `problems`.
    pub fn new(atom: &Atom, problems: &mut Vec<String>) -> CompiledAtom {
        match atom {
            Atom::Field { field, optional, predicate } => {
                CompiledAtom::Field { field: *field, optional: *optional, matcher: Matcher::new(predicate, problems) }
            }
            Atom::Expr(expr) => CompiledAtom::Expr(Node::new(expr, problems)),
        }
    }

    /// Three-valued.
    #[inline]
    pub fn test(&self, event: &Projected, scratch: &mut String) -> Option<bool> {
        match self {
            CompiledAtom::Field { field, optional, matcher } => {
                matcher.test(event.get(*field), scratch).or(optional.then_some(false))
            }
            CompiledAtom::Expr(node) => node.truth(event),
        }
    }

    /// A guess at the cost of one test.
    pub fn effort(&self) -> u32 {
        match self {
            CompiledAtom::Field { matcher, .. } => matcher.effort(),
            CompiledAtom::Expr(_) => 300,
        }
    }
}
