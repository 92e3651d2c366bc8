//! From a query as written to the plan's expressions and conditions: kinds are checked, constants folded, and whatever
//! looks at one field against constants becomes a [`Predicate`], so that the predicate index can use it.
//!
//! Recursion is bounded by the height that the parser limits.

use std::collections::BTreeSet;

use super::ast::{EventQuery, MatchKind, Node, NodeKind};
use super::diagnostic::{Extent, Problem};
use super::fold;
use super::function::{self, Kind};
use super::intern::Interner;
use super::pattern;
use super::plan::{Atom, CompareOp, Cond, ConditionId, Expr, Literal, Predicate};
use crate::event::FieldId;

/// Lowers the queries of one rule.
pub(super) struct Lowering<'a> {
    pub interner: &'a mut Interner,
    /// Every field named so far.
    pub fields: BTreeSet<FieldId>,
    pub problems: Vec<Problem>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(interner: &'a mut Interner) -> Self {
        Lowering { interner, fields: BTreeSet::new(), problems: Vec::new() }
    }

    /// A field of the rule.
    pub(super) fn field(&mut self, path: &str) -> FieldId {
        let id = self.interner.field(path);
        self.fields.insert(id);
        id
    }

    /// The condition of one event query, its category included.
    pub(super) fn event(&mut self, query: &EventQuery) -> ConditionId {
        let condition = self.boolean(&query.condition);
        let written_true = matches!(query.condition.kind, NodeKind::Literal(Literal::Bool(true)));
        if let (Expr::Literal(literal), false) = (&condition, written_true) {
            let always = if *literal == Literal::Bool(true) { "always" } else { "never" };
            self.problems.push(
                Problem::new("W0503", query.condition.extent, format!("this condition {always} holds"))
                    .help("it compares constants only; is a field name quoted as text?"),
            );
        }
        let category = query.category.as_ref().map(|name| Expr::Test {
            value: Box::new(Expr::Field { field: FieldId::CATEGORY, optional: false }),
            predicate: Predicate::Equals { values: vec![Literal::Str(name.clone())], ignore_case: false },
        });
        let whole = fold::junction(category.into_iter().chain([condition]).collect(), true);
        let condition = self.condition(whole);
        self.interner.condition(condition)
    }

    fn condition(&mut self, expr: Expr) -> Cond {
        match expr {
            Expr::Literal(Literal::Bool(value)) => Cond::Const(Some(value)),
            Expr::Literal(_) => Cond::Const(None),
            Expr::And(parts) => Cond::And(parts.into_iter().map(|part| self.condition(part)).collect()),
            Expr::Or(parts) => Cond::Or(parts.into_iter().map(|part| self.condition(part)).collect()),
            Expr::Not(inner) => Cond::Not(Box::new(self.condition(*inner))),
            Expr::Field { field, optional } => self.atom(Atom::Field { field, optional, predicate: Predicate::IsTrue }),
            Expr::Test { value, predicate } => match *value {
                Expr::Field { field, optional } => self.atom(Atom::Field { field, optional, predicate }),
                value => self.atom(Atom::Expr(Expr::Test { value: Box::new(value), predicate })),
            },
            other => self.atom(Atom::Expr(other)),
        }
    }

    fn atom(&mut self, atom: Atom) -> Cond {
        Cond::Atom(self.interner.atom(atom))
    }

    fn wrong_kind(&mut self, extent: Extent, message: String, help: &str) {
        self.problems.push(Problem::new("E0309", extent, message).help(help));
    }

    /// A node that must be a condition.
    fn boolean(&mut self, node: &Node) -> Expr {
        let expr = self.value(node);
        let kind = kind(&expr);
        if !kind.fits(Kind::Bool) {
            let message = format!("a condition is needed here, this is {}", kind.name());
            self.wrong_kind(node.extent, message, "compare it with something, e.g. `== ...`");
        }
        expr
    }

    pub(super) fn value(&mut self, node: &Node) -> Expr {
        match &node.kind {
            NodeKind::Literal(literal) => Expr::Literal(literal.clone()),
            NodeKind::Field { path, optional } => Expr::Field { field: self.field(path), optional: *optional },
            NodeKind::Negative(inner) => {
                let inner = self.number(inner);
                match &inner {
                    Expr::Literal(literal) => fold::negative(literal).map(Expr::Literal),
                    _ => None,
                }
                .unwrap_or_else(|| Expr::Neg(Box::new(inner)))
            }
            NodeKind::Arithmetic { op, left, right } => {
                let (left, right) = (self.number(left), self.number(right));
                match (&left, &right) {
                    (Expr::Literal(a), Expr::Literal(b)) => fold::arithmetic(*op, a, b).map(Expr::Literal),
                    _ => None,
                }
                .unwrap_or_else(|| Expr::Arithmetic {
                    op: *op,
                    left: Box::new(left),
                    right: Box::new(right),
                })
            }
            NodeKind::Equals { left, right, negated } => {
                let (left, right) = (self.value(left), self.value(right));
                let equal = self.equals(left, right, node.extent);
                if *negated { fold::not(equal) } else { equal }
            }
            NodeKind::Compare { op, left, right } => {
                let (left, right) = (self.value(left), self.value(right));
                self.compare(*op, left, right, node.extent)
            }
            NodeKind::In { value, list, ignore_case, negated } => {
                let member = self.member(value, list, *ignore_case);
                if *negated { fold::not(member) } else { member }
            }
            NodeKind::Match { kind, value, patterns, ignore_case } => {
                self.matched(*kind, value, patterns, *ignore_case)
            }
            NodeKind::Call { name, name_extent, arguments, ignore_case } => {
                self.call(name, *name_extent, arguments, *ignore_case, node.extent)
            }
            NodeKind::And(parts) => fold::junction(parts.iter().map(|part| self.boolean(part)).collect(), true),
            NodeKind::Or(parts) => fold::junction(parts.iter().map(|part| self.boolean(part)).collect(), false),
            NodeKind::Not(inner) => fold::not(self.boolean(inner)),
        }
    }

    /// A node that must be a number.
    fn number(&mut self, node: &Node) -> Expr {
        let expr = self.value(node);
        let kind = kind(&expr);
        if !kind.fits(Kind::Number) {
            let help =
                if kind == Kind::Text { "text is joined with `concat(...)`" } else { "arithmetic takes numbers" };
            self.wrong_kind(node.extent, format!("a number is needed here, this is {}", kind.name()), help);
        }
        expr
    }

    fn equals(&mut self, left: Expr, right: Expr, extent: Extent) -> Expr {
        let (a, b) = (kind(&left), kind(&right));
        if !a.fits(b) && !b.fits(a) {
            let message = format!("{} never equals {}", a.name(), b.name());
            self.problems
                .push(Problem::new("W0503", extent, message).help("a string never equals a number; drop the quotes?"));
        }
        let (value, literal) = match (left, right) {
            (Expr::Literal(a), Expr::Literal(b)) => match fold::equals(&a, &b, false) {
                Some(equal) => return fold::truth(Some(equal)),
                None => (Expr::Literal(a), b),
            },
            (value, Expr::Literal(literal)) | (Expr::Literal(literal), value) => (value, literal),
            (left, right) => return Expr::Equals { left: Box::new(left), right: Box::new(right), ignore_case: false },
        };
        match literal {
            Literal::Null => is_null(value),
            literal => test(value, Predicate::Equals { values: vec![literal], ignore_case: false }),
        }
    }

    fn compare(&mut self, op: CompareOp, left: Expr, right: Expr, extent: Extent) -> Expr {
        for side in [kind(&left), kind(&right)] {
            if side == Kind::Bool {
                self.wrong_kind(extent, "booleans have no order".to_string(), "compare with `==` or `!=`");
                return fold::truth(None);
            }
        }
        match (left, right) {
            (Expr::Literal(a), Expr::Literal(b)) => match fold::compare(op, &a, &b) {
                Some(holds) => fold::truth(holds),
                None => test(Expr::Literal(a), Predicate::Compare { op, value: b }),
            },
            (_, Expr::Literal(Literal::Null)) | (Expr::Literal(Literal::Null), _) => fold::truth(None),
            (value, Expr::Literal(literal)) => test(value, Predicate::Compare { op, value: literal }),
            (Expr::Literal(literal), value) => {
                test(value, Predicate::Compare { op: fold::flipped(op), value: literal })
            }
            (left, right) => Expr::Compare { op, left: Box::new(left), right: Box::new(right) },
        }
    }

    /// `value in (list)`: constants in one predicate, null and computed elements beside it.
    fn member(&mut self, value: &Node, list: &[Node], ignore_case: bool) -> Expr {
        let value = self.value(value);
        let (mut values, mut parts): (Vec<Literal>, Vec<Expr>) = (Vec::new(), Vec::new());
        for element in list {
            match self.value(element) {
                Expr::Literal(Literal::Null) => parts.push(is_null(value.clone())),
                Expr::Literal(literal) => values.push(literal),
                computed => {
                    parts.push(Expr::Equals { left: Box::new(value.clone()), right: Box::new(computed), ignore_case })
                }
            }
        }
        if !values.is_empty() {
            let decided = match &value {
                Expr::Literal(own) => {
                    let each: Vec<_> = values.iter().map(|other| fold::equals(own, other, ignore_case)).collect();
                    if each.contains(&Some(true)) {
                        Some(true)
                    } else {
                        each.iter().all(|equal| *equal == Some(false)).then_some(false)
                    }
                }
                _ => None,
            };
            parts.insert(
                0,
                match decided {
                    Some(value) => fold::truth(Some(value)),
                    None => test(value, Predicate::Equals { values, ignore_case }),
                },
            );
        }
        fold::junction(parts, false)
    }

    /// `:`, `like` and `regex`.
    fn matched(&mut self, how: MatchKind, value: &Node, patterns: &[Node], ignore_case: bool) -> Expr {
        let value_extent = value.extent;
        let value = self.value(value);
        if how != MatchKind::Colon && !kind(&value).fits(Kind::Text) {
            let message = format!("patterns match text, this is {}", kind(&value).name());
            self.wrong_kind(value_extent, message, "turn it into text with `string(...)`");
        }
        let mut texts = Vec::new();
        let mut parts = Vec::new();
        for node in patterns {
            match self.value(node) {
                Expr::Literal(Literal::Str(text)) => texts.push((text, node.extent)),
                Expr::Literal(
                    literal @ (Literal::Int(_) | Literal::Uint(_) | Literal::Float(_) | Literal::Bool(_)),
                ) if how == MatchKind::Colon => {
                    parts.push(test(value.clone(), Predicate::Equals { values: vec![literal], ignore_case: false }));
                }
                Expr::Literal(Literal::Null) => {
                    let message = "null is no pattern".to_string();
                    self.wrong_kind(node.extent, message, "compare with `== null` or `!= null`");
                }
                other => {
                    let message = format!("a pattern is constant text, this is {}", describe(&other));
                    let help = match &node.kind {
                        NodeKind::Field { path, .. } => {
                            format!("compare fields with `==`; text stands in quotes: \"{path}\"")
                        }
                        _ => "write the pattern in quotes".to_string(),
                    };
                    self.wrong_kind(node.extent, message, &help);
                }
            }
        }
        if !texts.is_empty() {
            let predicate = match how {
                MatchKind::Regex => self.regexes(&texts, ignore_case),
                _ => wildcards(texts.into_iter().map(|(text, _)| text), ignore_case),
            };
            parts.push(test(value, predicate));
        }
        fold::junction(parts, false)
    }

    fn regexes(&mut self, texts: &[(String, Extent)], ignore_case: bool) -> Predicate {
        let mut patterns = Vec::new();
        for (text, extent) in texts {
            match pattern::regex(text, ignore_case) {
                Ok(pattern) => patterns.push(pattern),
                Err(why) => self.problems.push(
                    Problem::new("E0307", *extent, format!("not a valid regular expression: {why}"))
                        .help("the syntax is that of Rust's regex crate; raw text in \"\"\"...\"\"\" needs no double backslashes"),
                ),
            }
        }
        Predicate::Regex { patterns, ignore_case }
    }
}

pub(super) fn test(value: Expr, predicate: Predicate) -> Expr {
    Expr::Test { value: Box::new(value), predicate }
}

/// `value == null`. Whether the field was written `?field` makes no difference, so it is dropped and the atom shared.
fn is_null(value: Expr) -> Expr {
    match value {
        Expr::Literal(literal) => fold::truth(Some(literal == Literal::Null)),
        Expr::Field { field, .. } => test(Expr::Field { field, optional: false }, Predicate::IsNull),
        value => test(value, Predicate::IsNull),
    }
}

/// Patterns without any wildcard are equality, which the index answers by hash.
pub(super) fn wildcards(texts: impl Iterator<Item = String>, ignore_case: bool) -> Predicate {
    let texts: Vec<String> = texts.collect();
    if texts.iter().any(|text| pattern::has_wildcard(text)) {
        Predicate::Wildcard { patterns: texts.iter().map(|text| pattern::wildcard(text)).collect(), ignore_case }
    } else {
        Predicate::Equals { values: texts.into_iter().map(Literal::Str).collect(), ignore_case }
    }
}

fn describe(expr: &Expr) -> &'static str {
    match expr {
        Expr::Field { .. } => "a field",
        other => kind(other).name(),
    }
}

/// The kind of an expression's value.
pub(super) fn kind(expr: &Expr) -> Kind {
    match expr {
        Expr::Literal(Literal::Null) => Kind::Null,
        Expr::Literal(Literal::Bool(_)) => Kind::Bool,
        Expr::Literal(Literal::Str(_)) => Kind::Text,
        Expr::Literal(_) | Expr::Neg(_) | Expr::Arithmetic { .. } => Kind::Number,
        Expr::Field { .. } => Kind::Any,
        Expr::Call { function, .. } => function::of(*function).map_or(Kind::Any, |signature| signature.result),
        Expr::Equals { .. } | Expr::Compare { .. } | Expr::Test { .. } => Kind::Bool,
        Expr::And(_) | Expr::Or(_) | Expr::Not(_) => Kind::Bool,
    }
}
