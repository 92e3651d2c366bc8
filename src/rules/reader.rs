//! Typed access to YAML nodes, reporting what is wrong with each: the vocabulary of the envelope's readers.

use std::collections::HashMap;

use super::ast::Query;
use super::diagnostic::{Diagnostic, nearest};
use super::lexer;
use super::parser;
use super::plan::Literal;
use super::source::{Place, Source, TextMap};
use super::yaml::{COLON_HELP, Data, Yaml};
use crate::event::Span;

/// An EQL query as it stands in a file.
#[derive(Debug, Clone)]
pub(super) struct Eql {
    pub text: String,
    pub map: TextMap,
    pub query: Query,
    /// Its tokens without layout, for the rule's version.
    pub canonical: String,
}

/// Reads and parses a query; problems come placed in the file.
pub(super) fn eql(source: &Source<'_>, text: &str, map: TextMap) -> Result<Eql, Vec<Diagnostic>> {
    let tokens = lexer::tokens(text).map_err(|problem| vec![source.place(problem, text, &map)])?;
    match parser::parse(&tokens) {
        Ok(query) => Ok(Eql { text: text.to_string(), map, query, canonical: lexer::canonical(&tokens) }),
        Err(problems) => Err(problems.into_iter().map(|problem| source.place(problem, text, &map)).collect()),
    }
}

/// Reads the nodes of one file.
pub(super) struct Reader<'s, 'o> {
    pub source: &'s Source<'s>,
    pub out: &'o mut Vec<Diagnostic>,
}

/// A mapping's entries by key.
pub(super) type Entries<'y> = HashMap<&'y str, &'y Yaml>;

impl Reader<'_, '_> {
    pub(super) fn error(&mut self, place: Place, code: &str, message: impl Into<String>, help: Option<&str>) {
        let diagnostic = self.source.diagnostic(place, code, message.into(), help.map(str::to_string));
        self.out.push(diagnostic);
    }

    /// The entries of a mapping; unknown keys are reported. `None` (reported) if it is none.
    pub(super) fn entries<'y>(&mut self, node: &'y Yaml, what: &str, known: &[&str]) -> Option<Entries<'y>> {
        let Data::Map(map) = &node.data else {
            let keys = known.join(", ");
            self.error(
                node.place,
                "E0104",
                format!("{what} must be a mapping, this is {}", node.describe()),
                Some(&format!("its keys are: {keys}")),
            );
            return None;
        };
        let mut entries = HashMap::new();
        for (key, value) in map {
            match key.text() {
                Some(name) if known.contains(&name) => {
                    entries.insert(name, value);
                }
                Some(name) => self.unknown_key(key.place, name, what, known),
                None => self.error(key.place, "E0103", format!("a key of {what} must be text"), None),
            }
        }
        Some(entries)
    }

    fn unknown_key(&mut self, place: Place, name: &str, what: &str, known: &[&str]) {
        let help = if name.contains(" where ") {
            COLON_HELP.to_string()
        } else {
            match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are: {}", known.join(", ")),
            }
        };
        let code = if name.contains(" where ") { "E0109" } else { "E0103" };
        self.error(place, code, format!("unknown key `{name}` in {what}"), Some(&help));
    }

    /// A single value as text.
    pub(super) fn text<'y>(&mut self, node: &'y Yaml, what: &str) -> Option<&'y str> {
        match node.text() {
            Some(text) => Some(text),
            None => {
                let colon = matches!(&node.data, Data::Map(map)
                    if map.iter().any(|(key, _)| key.text().is_some_and(|text| text.contains(" where "))));
                let (code, help) = if colon { ("E0109", Some(COLON_HELP)) } else { ("E0104", None) };
                self.error(node.place, code, format!("`{what}` must be text, this is {}", node.describe()), help);
                None
            }
        }
    }

    /// Text that is not blank.
    pub(super) fn name(&mut self, node: &Yaml, what: &str) -> Option<String> {
        let text = self.text(node, what)?.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            self.error(node.place, "E0104", format!("`{what}` must not be empty or hold control characters"), None);
            return None;
        }
        Some(text.to_string())
    }

    /// A list of names with their places; a single one stands for a list of one.
    pub(super) fn names(&mut self, node: &Yaml, what: &str) -> Vec<(String, Place)> {
        match &node.data {
            Data::List(list) => list.iter().filter_map(|item| Some((self.name(item, what)?, item.place))).collect(),
            Data::Scalar { .. } if !node.is_null() => {
                self.name(node, what).map(|name| (name, node.place)).into_iter().collect()
            }
            _ => {
                self.error(node.place, "E0104", format!("`{what}` must be a list, this is {}", node.describe()), None);
                Vec::new()
            }
        }
    }

    /// A positive duration.
    pub(super) fn duration(&mut self, node: &Yaml, what: &str) -> Option<Span> {
        let text = self.text(node, what)?;
        match Span::parse(text) {
            Ok(span) if span > Span::ZERO => Some(span),
            Ok(_) => {
                self.error(node.place, "E0110", format!("`{what}` must be longer than 0"), None);
                None
            }
            Err(why) => {
                self.error(node.place, "E0110", format!("`{what}`: {why}"), None);
                None
            }
        }
    }

    /// A number.
    pub(super) fn number(&mut self, node: &Yaml, what: &str) -> Option<Literal> {
        let text = self.text(node, what)?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        let float = digits.contains(['.', 'e', 'E']);
        let shaped = digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
        let number = if shaped { lexer::number_literal(text, float) } else { None };
        if number.is_none() {
            self.error(node.place, "E0104", format!("`{what}` must be a number, this is `{text}`"), None);
        }
        number
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, node: &Yaml, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = match nearest(text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? known are: {}", known.join(", ")),
            None => format!("known are: {}", known.join(", ")),
        };
        self.error(node.place, "E0111", format!("`{text}` is no `{what}`"), Some(&help));
        None
    }

    /// A query.
    pub(super) fn query(&mut self, node: &Yaml, what: &str) -> Option<Eql> {
        let text = self.text(node, what)?;
        match eql(self.source, text, node.text_map(self.source)) {
            Ok(eql) => Some(eql),
            Err(diagnostics) => {
                self.out.extend(diagnostics);
                None
            }
        }
    }

    /// Reports a required key that is not there.
    pub(super) fn missing(&mut self, place: Place, key: &str, what: &str, help: &str) {
        self.error(place, "E0105", format!("{what} has no `{key}`"), Some(help));
    }
}
