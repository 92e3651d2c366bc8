//! The room as a whole: rule files to plans and to diagnostics. Golden files are under `tests/golden/rules`.

use std::path::{Path, PathBuf};

use super::plan::*;
use super::*;
use crate::event::{FieldId, Span};

mod aggregates;
mod content_hashes;
mod eql;
mod mistakes;
mod plans;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rules").join(path)
}

fn file(text: &str) -> Vec<RuleFile> {
    vec![RuleFile { path: "rules/test-rule.yaml".to_string(), text: text.to_string() }]
}

/// Compiles a rule file that must be right.
fn compiled(text: &str) -> Compiled {
    compile(&file(text)).unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

/// Compiles a query that must be right.
fn query(text: &str) -> Plan {
    compile_query(text).unwrap_or_else(|errors| panic!("{text}\n{}", shown(&errors))).plan
}

/// The codes and places of what is wrong with a rule file.
fn errors(text: &str) -> Vec<String> {
    places(compile(&file(text)).expect_err("this rule file has a mistake"))
}

/// The codes and places of what is wrong with a query.
fn query_errors(text: &str) -> Vec<String> {
    places(compile_query(text).map(|c| c.plan).expect_err(text))
}

fn places(diagnostics: Vec<Diagnostic>) -> Vec<String> {
    diagnostics.iter().map(|d| format!("{} {}:{}+{}", d.code, d.line, d.column, d.length)).collect()
}

fn shown(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|d| format!("{d}\n\n")).collect()
}

fn path(plan: &Plan, field: FieldId) -> &str {
    &plan.fields[field.index()].0
}

/// A condition as text, fields by path: what tests compare.
fn condition(plan: &Plan, step: usize) -> String {
    show(plan, &plan.conditions[plan.steps[step].condition.0 as usize])
}

fn show(plan: &Plan, cond: &Cond) -> String {
    let join = |parts: &[Cond], by: &str| parts.iter().map(|part| show(plan, part)).collect::<Vec<_>>().join(by);
    match cond {
        Cond::Const(value) => format!("{value:?}"),
        Cond::And(parts) => format!("({})", join(parts, " & ")),
        Cond::Or(parts) => format!("({})", join(parts, " | ")),
        Cond::Not(inner) => format!("!{}", show(plan, inner)),
        Cond::Atom(atom) => match &plan.atoms[atom.0 as usize] {
            Atom::Field { field, optional, predicate } => {
                format!("{}{} {}", if *optional { "?" } else { "" }, path(plan, *field), show_predicate(predicate))
            }
            Atom::Expr(expr) => format!("{{{}}}", show_expr(plan, expr)),
        },
    }
}

fn show_predicate(predicate: &Predicate) -> String {
    let tilde = |ignore_case: &bool| if *ignore_case { "~" } else { "" };
    match predicate {
        Predicate::Equals { values, ignore_case } => {
            format!("=={} {}", tilde(ignore_case), values.iter().map(show_literal).collect::<Vec<_>>().join(","))
        }
        Predicate::Wildcard { patterns, ignore_case } => {
            let texts = patterns.iter().map(|pattern| {
                pattern.0.iter().fold(String::new(), |text, piece| match piece {
                    WildcardPiece::Text(plain) => text + plain,
                    WildcardPiece::One => text + "?",
                    WildcardPiece::Any => text + "*",
                })
            });
            format!("like{} {}", tilde(ignore_case), texts.collect::<Vec<_>>().join(","))
        }
        Predicate::Regex { patterns, ignore_case } => format!("regex{} {}", tilde(ignore_case), patterns.join(",")),
        Predicate::Compare { op, value } => format!("{op:?} {}", show_literal(value)),
        Predicate::Cidr { blocks } => {
            let blocks: Vec<String> = blocks.iter().map(|b| format!("{}/{}", b.address, b.prefix)).collect();
            format!("cidr {}", blocks.join(","))
        }
        Predicate::IsNull => "null".to_string(),
        Predicate::Exists => "exists".to_string(),
        Predicate::IsTrue => "true".to_string(),
    }
}

fn show_literal(literal: &Literal) -> String {
    match literal {
        Literal::Null => "null".to_string(),
        Literal::Bool(b) => b.to_string(),
        Literal::Int(n) => n.to_string(),
        Literal::Uint(n) => format!("{n}u"),
        Literal::Float(n) => format!("{n:?}"),
        Literal::Str(text) => format!("{text:?}"),
    }
}

fn show_expr(plan: &Plan, expr: &Expr) -> String {
    let list = |parts: &[Expr]| parts.iter().map(|part| show_expr(plan, part)).collect::<Vec<_>>().join(", ");
    match expr {
        Expr::Literal(literal) => show_literal(literal),
        Expr::Field { field, optional } => format!("{}{}", if *optional { "?" } else { "" }, path(plan, *field)),
        Expr::Neg(inner) => format!("-{}", show_expr(plan, inner)),
        Expr::Arithmetic { op, left, right } => {
            format!("({} {op:?} {})", show_expr(plan, left), show_expr(plan, right))
        }
        Expr::Equals { left, right, ignore_case } => {
            let tilde = if *ignore_case { "~" } else { "" };
            format!("{} =={tilde} {}", show_expr(plan, left), show_expr(plan, right))
        }
        Expr::Compare { op, left, right } => format!("{} {op:?} {}", show_expr(plan, left), show_expr(plan, right)),
        Expr::Test { value, predicate } => format!("{} {}", show_expr(plan, value), show_predicate(predicate)),
        Expr::Call { function, arguments, ignore_case } => {
            format!("{function:?}{}({})", if *ignore_case { "~" } else { "" }, list(arguments))
        }
        Expr::And(parts) => format!("and({})", list(parts)),
        Expr::Or(parts) => format!("or({})", list(parts)),
        Expr::Not(inner) => format!("not({})", show_expr(plan, inner)),
    }
}
