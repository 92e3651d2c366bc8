//! An EQL query as written: what the parser makes and the lowering reads. Every node knows the text it came from.

use super::diagnostic::Extent;
use super::plan::{ArithmeticOp, CompareOp, Literal};
use crate::event::Span;

/// A query.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Query {
    Event(EventQuery),
    Sequence(SequenceQuery),
}

/// `category where condition`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EventQuery {
    /// `None` for `any`.
    pub category: Option<String>,
    pub condition: Node,
}

/// `sequence ...`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SequenceQuery {
    pub by: Vec<ByField>,
    pub maxspan: Option<Span>,
    pub steps: Vec<SequenceStep>,
    pub until: Option<SequenceStep>,
    /// The word `sequence`.
    pub extent: Extent,
}

/// `[...]` or `![...]`, with what follows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SequenceStep {
    pub missing: bool,
    pub query: EventQuery,
    pub by: Vec<ByField>,
    /// 1 where nothing is said.
    pub runs: u16,
    pub extent: Extent,
}

/// A field after `by`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ByField {
    pub path: String,
    pub optional: bool,
    pub extent: Extent,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub kind: NodeKind,
    pub extent: Extent,
    /// Height of the tree below, this node included: bounds every recursion over it.
    pub height: usize,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NodeKind {
    Literal(Literal),
    Field { path: String, optional: bool },
    Negative(Box<Node>),
    Arithmetic { op: ArithmeticOp, left: Box<Node>, right: Box<Node> },
    Equals { left: Box<Node>, right: Box<Node>, negated: bool },
    Compare { op: CompareOp, left: Box<Node>, right: Box<Node> },
    In { value: Box<Node>, list: Vec<Node>, ignore_case: bool, negated: bool },
    Match { kind: MatchKind, value: Box<Node>, patterns: Vec<Node>, ignore_case: bool },
    Call { name: String, name_extent: Extent, arguments: Vec<Node>, ignore_case: bool },
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
}

/// How a value is held against patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MatchKind {
    /// `:`
    Colon,
    /// `like`
    Like,
    /// `regex`
    Regex,
}
