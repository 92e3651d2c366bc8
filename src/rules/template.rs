//! The `summary` template: text with `{{ name }}` in it.

use super::lexer::{self, TokenKind};
use crate::event::Measure;

/// A piece of a template, fields still by path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Field(String),
    Measure(Measure),
    RuleName,
}

/// What is wrong, and the bytes of the template that are meant.
#[derive(Debug, PartialEq)]
pub(super) struct TemplateError {
    pub start: usize,
    pub end: usize,
    pub message: String,
}

const MEASURES: [Measure; 6] =
    [Measure::Count, Measure::Distinct, Measure::Sum, Measure::Avg, Measure::Median, Measure::Percentile];

/// Cuts a template into pieces. `measured` is what the rule measures besides `count`.
pub(super) fn parse(text: &str, measured: Option<Measure>) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(open) = text.get(at..).and_then(|rest| rest.find("{{")).map(|found| at + found) {
        if open > at {
            pieces.push(Piece::Text(text.get(at..open).unwrap_or("").to_string()));
        }
        let fail = |end: usize, message: String| TemplateError { start: open, end, message };
        let Some(close) = text.get(open..).and_then(|rest| rest.find("}}")).map(|found| open + found) else {
            return Err(fail(open + 2, "`{{` without `}}`".to_string()));
        };
        let name = text.get(open + 2..close).unwrap_or("").trim();
        pieces.push(placeholder(name, measured).map_err(|message| fail(close + 2, message))?);
        at = close + 2;
    }
    if at < text.len() {
        pieces.push(Piece::Text(text.get(at..).unwrap_or("").to_string()));
    }
    Ok(pieces)
}

fn placeholder(name: &str, measured: Option<Measure>) -> Result<Piece, String> {
    if name == "rule" {
        return Ok(Piece::RuleName);
    }
    if let Some(measure) = MEASURES.into_iter().find(|measure| measure.name() == name) {
        if measure == Measure::Count || measured == Some(measure) {
            return Ok(Piece::Measure(measure));
        }
        return Err(format!("this rule does not measure `{name}`; a field of that name is written in backticks"));
    }
    // A field path is what EQL takes for one.
    match lexer::tokens(name).as_deref().map(|tokens| tokens.iter().map(|token| &token.kind).collect::<Vec<_>>()) {
        Ok(kinds) => match kinds.as_slice() {
            [TokenKind::Word { text, tilde: false, .. }, TokenKind::End] => Ok(Piece::Field(text.clone())),
            [TokenKind::End] => Err("nothing between `{{` and `}}`".to_string()),
            _ => {
                Err(format!("`{name}` is not a field; between `{{{{` and `}}}}` stands one field, a measure or `rule`"))
            }
        },
        Err(_) => Err(format!("`{name}` is not a field; names with other characters stand in backticks")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_in_their_order() {
        let pieces = parse("{{ user.name }}: {{count}} times {{rule}} }}", None).expect("template");
        assert_eq!(
            pieces,
            [
                Piece::Field("user.name".into()),
                Piece::Text(": ".into()),
                Piece::Measure(Measure::Count),
                Piece::Text(" times ".into()),
                Piece::RuleName,
                Piece::Text(" }}".into()),
            ]
        );
        assert_eq!(parse("{{ sum }}", Some(Measure::Sum)), Ok(vec![Piece::Measure(Measure::Sum)]));
        assert_eq!(parse("{{ `a-b` }}", None), Ok(vec![Piece::Field("a-b".into())]));
    }

    #[test]
    fn a_wrong_placeholder_is_an_error_with_its_place() {
        for (text, start, end) in
            [("ab {{ x", 3, 5), ("{{}}", 0, 4), ("{{ a b }}", 0, 9), ("{{ sum }}", 0, 9), ("{{ a-b }}", 0, 9)]
        {
            let error = parse(text, None).expect_err(text);
            assert_eq!((error.start, error.end), (start, end), "{text}");
        }
    }
}
