//! Rules: read the native envelope and EQL, check them, compile them to a [`plan::Plan`].
//!
//! Keeps no state and does no I/O beyond reading rule files ([`read_paths`]). The way of a rule: text → YAML nodes with
//! places (`yaml`, `reader`) → a draft (`native`, `correlation`) whose queries are parsed (`lexer`, `parser`,
//! `expression`) → conditions (`lower`) and rules (`assemble`) over shared tables (`intern`).
//!
//! Invariants: a rule set compiles as a whole or not at all, and then all its errors are reported; the plan does not
//! depend on the order of files; no text, however hostile, panics or overflows the stack.

mod assemble;
mod ast;
mod call;
mod content_hash;
mod correlation;
mod diagnostic;
mod expression;
mod fold;
mod function;
mod intern;
mod lexer;
mod lower;
mod native;
mod parser;
mod pattern;
pub mod plan;
mod reader;
mod source;
mod template;
mod temporal;
mod threshold;
mod version;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::Path;

pub use diagnostic::{Diagnostic, nearest};
pub use source::{RuleFile, read_paths};

use assemble::Assembler;
use native::{Body, Draft};
use source::{Place, Source, TextMap};
use yaml::{Data, Yaml};

use crate::event::RuleIndex;
use crate::limits;

/// A rule set that may run.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What the stages work from.
    pub plan: plan::Plan,
    /// What is allowed but perhaps not meant, in the order of files and lines.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles a rule set.
///
/// # Errors
/// All errors of the whole set, in the order of files and lines. Warnings are left out then.
pub fn compile(files: &[RuleFile]) -> Result<Compiled, Vec<Diagnostic>> {
    let mut out = Vec::new();
    let sources: Vec<Source<'_>> = files.iter().map(|file| Source::new(&file.path, &file.text)).collect();
    let parsed: Vec<Vec<Yaml>> = sources
        .iter()
        .zip(files)
        .map(|(source, file)| rules_of(yaml::documents(source, &file.text, &mut out)))
        .collect();
    let mut ids: HashMap<&str, (&Source<'_>, Place)> = HashMap::new();
    for (source, rules) in sources.iter().zip(&parsed) {
        for (id, place) in rules.iter().filter_map(|rule| native::id_of(rule, stem(source, rules))) {
            match ids.entry(id) {
                Entry::Vacant(vacant) => {
                    vacant.insert((source, place));
                }
                Entry::Occupied(first) => {
                    let (other, at) = first.get();
                    let help = format!("the other is at {}:{}", other.path, at.line);
                    out.push(source.diagnostic(place, "E0106", format!("the id `{id}` is used twice"), Some(help)));
                }
            }
        }
    }
    let ids: HashSet<&str> = ids.into_keys().collect();
    let mut drafts: Vec<Draft<'_>> = Vec::new();
    for (source, rules) in sources.iter().zip(&parsed) {
        for rule in rules {
            drafts.extend(native::read(source, rule, stem(source, rules), &ids, &mut out));
        }
    }
    drafts.sort_by(|a, b| a.id.cmp(&b.id));
    finish(&drafts, out, &sources)
}

/// Compiles one EQL query: a rule with id and name `search`.
///
/// # Errors
/// All errors of the query; the file is shown as `<query>`.
pub fn compile_query(text: &str) -> Result<Compiled, Vec<Diagnostic>> {
    let source = Source::new("<query>", text);
    let eql = reader::eql(&source, text, TextMap::identity(text))?;
    let place = Place { line: 1, column: 1, length: 1 };
    let draft = Draft {
        source: &source,
        place,
        id: "search".to_string(),
        name: "search".to_string(),
        severity: plan::Severity::default(),
        tags: Vec::new(),
        description: String::new(),
        body: Body::Query(eql),
        suppress: None,
        evidence: Vec::new(),
        summary: None,
        output_topic: None,
        output_key: None,
        backfill: None,
    };
    finish(&[draft], Vec::new(), std::slice::from_ref(&source))
}

/// The rules of a file: its documents, and the members of documents that are lists.
fn rules_of(documents: Vec<Yaml>) -> Vec<Yaml> {
    let mut rules = Vec::new();
    for document in documents {
        match document.data {
            Data::List(list) => rules.extend(list),
            _ => rules.push(document),
        }
    }
    rules
}

/// The id of a file's only rule, if it names none.
fn stem<'a>(source: &Source<'a>, rules: &[Yaml]) -> Option<&'a str> {
    if rules.len() > 1 {
        return None;
    }
    Path::new(source.path).file_stem().and_then(|stem| stem.to_str())
}

fn finish(drafts: &[Draft<'_>], mut out: Vec<Diagnostic>, sources: &[Source<'_>]) -> Result<Compiled, Vec<Diagnostic>> {
    let mut assembler = Assembler::new();
    for draft in drafts {
        assembler.add(draft, &mut out);
    }
    if assembler.interner.overflow {
        let message = format!("the rules name more than {} different fields", limits::RULE_FIELDS_MAX);
        if let Some(source) = sources.first() {
            out.push(source.diagnostic(Place::default(), "E0311", message, None));
        }
    }
    let order: HashMap<&str, usize> = sources.iter().enumerate().map(|(at, source)| (source.path, at)).collect();
    out.sort_by_cached_key(|d| (order.get(d.file.as_str()).copied(), d.line, d.column, d.code.clone()));
    if out.iter().any(|diagnostic| diagnostic.is_error) {
        out.retain(|diagnostic| diagnostic.is_error);
        return Err(out);
    }
    let Assembler { interner, steps, rules } = assembler;
    let mut plan = plan::Plan {
        fields: interner.fields,
        atoms: interner.atoms,
        conditions: interner.conditions,
        steps,
        dimensions: interner.dimensions,
        rules,
    };
    for at in 0..plan.rules.len() {
        plan.rules[at].content_hash = plan.content_hash(RuleIndex(at as u32));
    }
    Ok(Compiled { plan, warnings: out })
}
