//! Sigma's extended temporal condition: names of events joined by `and`, `or`, `not`, with `1 of x*` and `all of them`.

use super::diagnostic::{Extent, Problem, nearest};
use super::plan::TemporalCond;
use crate::limits;

/// Parses a condition over these names.
pub(super) fn parse(text: &str, names: &[String]) -> Result<TemporalCond, Problem> {
    let tokens = words(text);
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0, names, end: text.trim_end().len() };
    let condition = parser.any()?;
    match parser.tokens.get(parser.at) {
        None => Ok(condition),
        Some((word, extent)) => Err(Problem::new(
            "E0405",
            *extent,
            format!("expected `and`, `or` or the end of the condition, found `{word}`"),
        )),
    }
}

/// The names in a condition in their order, for a correlation that does not list them.
pub(super) fn names(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (word, _) in words(text) {
        let keyword = matches!(word, "(" | ")" | "and" | "or" | "not" | "of" | "them" | "all" | "any" | "1");
        if !keyword && !word.contains('*') && !found.iter().any(|name| name == word) {
            found.push(word.to_string());
        }
    }
    found
}

/// Whether an event less could make the condition true: it holds a `not`.
pub(super) fn has_not(condition: &TemporalCond) -> bool {
    match condition {
        TemporalCond::Reference(_) => false,
        TemporalCond::And(parts) | TemporalCond::Or(parts) => parts.iter().any(has_not),
        TemporalCond::Not(_) => true,
    }
}

fn words(text: &str) -> Vec<(&str, Extent)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if c.is_whitespace() || matches!(c, '(' | ')') {
            if let Some(from) = start.take() {
                words.push((text.get(from..at).unwrap_or(""), Extent::new(from, at)));
            }
            if !c.is_whitespace() {
                words.push((text.get(at..at + 1).unwrap_or(""), Extent::new(at, at + 1)));
            }
        } else if start.is_none() {
            start = Some(at);
        }
    }
    words
}

struct Parser<'a> {
    tokens: &'a [(&'a str, Extent)],
    at: usize,
    depth: usize,
    names: &'a [String],
    end: usize,
}

impl Parser<'_> {
    fn eat(&mut self, word: &str) -> bool {
        let there = self.tokens.get(self.at).is_some_and(|(found, _)| *found == word);
        self.at += usize::from(there);
        there
    }

    fn any(&mut self) -> Result<TemporalCond, Problem> {
        let mut parts = vec![self.all()?];
        while self.eat("or") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, TemporalCond::Or))
    }

    fn all(&mut self) -> Result<TemporalCond, Problem> {
        let mut parts = vec![self.unary()?];
        while self.eat("and") {
            parts.push(self.unary()?);
        }
        Ok(one_or(parts, TemporalCond::And))
    }

    fn unary(&mut self) -> Result<TemporalCond, Problem> {
        let here = Extent::new(self.end, self.end);
        let Some(&(word, extent)) = self.tokens.get(self.at) else {
            return Err(Problem::new("E0405", here, "expected the name of an event, found the end of the condition"));
        };
        self.at += 1;
        self.depth += 1;
        if self.depth > limits::EXPRESSION_DEPTH_MAX {
            return Err(Problem::new("E0205", extent, "the condition is nested too deep"));
        }
        let condition = match word {
            "not" => TemporalCond::Not(Box::new(self.unary()?)),
            "(" => {
                let inner = self.any()?;
                if !self.eat(")") {
                    return Err(Problem::new("E0405", extent, "this parenthesis is not closed"));
                }
                inner
            }
            "1" | "any" | "all" if self.eat("of") => self.several(word == "all", extent)?,
            ")" | "and" | "or" => {
                return Err(Problem::new("E0405", extent, format!("expected the name of an event, found `{word}`")));
            }
            name => match self.names.iter().position(|known| known == name) {
                Some(at) => TemporalCond::Reference(at as u16),
                None => {
                    let problem =
                        Problem::new("E0401", extent, format!("`{name}` is not among the correlation's `rules`"));
                    return Err(match nearest(name, self.names.iter().map(String::as_str)) {
                        Some(near) => problem.help(format!("did you mean `{near}`?")),
                        None => problem.help(format!("known are: {}", self.names.join(", "))),
                    });
                }
            },
        };
        self.depth -= 1;
        Ok(condition)
    }

    /// `1 of x*`, `all of them`.
    fn several(&mut self, all: bool, start: Extent) -> Result<TemporalCond, Problem> {
        let Some(&(pattern, extent)) = self.tokens.get(self.at) else {
            return Err(Problem::new("E0405", start, "`of` what? write `of them` or `of prefix*`"));
        };
        self.at += 1;
        let prefix = if pattern == "them" { Some("") } else { pattern.strip_suffix('*') };
        let parts: Vec<TemporalCond> = self
            .names
            .iter()
            .enumerate()
            .filter(|(_, name)| prefix.map_or(*name == pattern, |prefix| name.starts_with(prefix)))
            .map(|(at, _)| TemporalCond::Reference(at as u16))
            .collect();
        if parts.is_empty() {
            return Err(Problem::new("E0401", extent, format!("`{pattern}` is none of the correlation's `rules`")));
        }
        Ok(one_or(parts, if all { TemporalCond::And } else { TemporalCond::Or }))
    }
}

fn one_or(mut parts: Vec<TemporalCond>, several: impl Fn(Vec<TemporalCond>) -> TemporalCond) -> TemporalCond {
    if parts.len() == 1 { parts.swap_remove(0) } else { several(parts) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TemporalCond::{And, Not, Or, Reference};

    fn read(text: &str) -> Result<TemporalCond, Problem> {
        parse(text, &["a".to_string(), "b".to_string(), "b2".to_string()])
    }

    #[test]
    fn precedence_and_quantifiers() {
        assert_eq!(
            read("a or b and not b2"),
            Ok(Or(vec![Reference(0), And(vec![Reference(1), Not(Box::new(Reference(2)))])]))
        );
        assert_eq!(read("1 of b*"), Ok(Or(vec![Reference(1), Reference(2)])));
        assert_eq!(read("all of them"), Ok(And(vec![Reference(0), Reference(1), Reference(2)])));
        assert_eq!(read("(a)"), Ok(Reference(0)));
        assert_eq!(names("(x or y) and not x"), ["x", "y"]);
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, start) in [("a and", 5), ("a b", 2), ("c", 0), ("(a", 0), ("1 of c*", 5), ("", 0), ("a and )", 6)] {
            assert_eq!(read(text).expect_err(text).extent.start, start, "{text}");
        }
        assert!(read(&"not ".repeat(100_000)).is_err());
        assert!(read(&"(".repeat(100_000)).is_err());
    }
}
