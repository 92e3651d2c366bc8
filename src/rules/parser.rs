//! EQL's sentences: event queries and sequences out of tokens, by recursive descent. Expressions are in
//! `expression`.
//!
//! Total: any text gives a query or problems. A mistake inside the brackets of one step does not hide those of the next.

use super::ast::{ByField, EventQuery, Node, NodeKind, Query, SequenceQuery, SequenceStep};
use super::diagnostic::{Extent, Problem};
use super::lexer::{Token, TokenKind};
use super::plan::Literal;
use crate::event::Span;
use crate::limits;

pub(super) struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    /// How deep the descent is.
    pub(super) depth: usize,
    /// Problems of steps that were skipped.
    problems: Vec<Problem>,
}

/// Words that stand for themselves; as a field name they need backticks.
pub(super) const KEYWORDS: &[&str] = &[
    "and", "any", "by", "false", "in", "join", "like", "maxspan", "not", "null", "of", "or", "regex", "sample",
    "sequence", "true", "until", "where", "with",
];

/// Parses a query whose last token is [`TokenKind::End`].
pub(super) fn parse(tokens: &[Token]) -> Result<Query, Vec<Problem>> {
    let mut parser = Parser { tokens, at: 0, depth: 0, problems: Vec::new() };
    let query = match parser.query() {
        Ok(query) => Some(query),
        Err(problem) => {
            parser.problems.push(problem);
            None
        }
    };
    match query {
        Some(query) if parser.problems.is_empty() => Ok(query),
        _ => Err(parser.problems),
    }
}

impl<'a> Parser<'a> {
    pub(super) fn token(&self) -> &'a Token {
        const END: &Token = &Token { kind: TokenKind::End, extent: Extent { start: 0, end: 0 } };
        self.tokens.get(self.at).or_else(|| self.tokens.last()).unwrap_or(END)
    }

    pub(super) fn ahead(&self, by: usize) -> Option<&'a TokenKind> {
        self.tokens.get(self.at + by).map(|token| &token.kind)
    }

    pub(super) fn extent(&self) -> Extent {
        self.token().extent
    }

    /// The extent of what was read last.
    pub(super) fn previous(&self) -> Extent {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(Extent::default(), |token| token.extent)
    }

    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    pub(super) fn at_symbol(&self, symbol: &str) -> bool {
        matches!(self.token().kind, TokenKind::Symbol(s) if s == symbol)
    }

    pub(super) fn at_keyword(&self, keyword: &str) -> bool {
        matches!(&self.token().kind, TokenKind::Word { text, quoted: false, .. } if text == keyword)
    }

    pub(super) fn eat_symbol(&mut self, symbol: &str) -> bool {
        let there = self.at_symbol(symbol);
        self.at += usize::from(there);
        there
    }

    pub(super) fn eat_keyword(&mut self, keyword: &str) -> bool {
        let there = self.at_keyword(keyword);
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect_symbol(&mut self, symbol: &str) -> Result<(), Problem> {
        if self.eat_symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    /// The problem that something else stands where `wanted` should.
    pub(super) fn unexpected(&self, wanted: &str) -> Problem {
        let problem = Problem::new("E0204", self.extent(), format!("expected {wanted}, found {}", self.found()));
        match &self.token().kind {
            TokenKind::Word { text, quoted: false, .. } => {
                let lower = text.to_lowercase();
                if lower != *text && KEYWORDS.contains(&lower.as_str()) {
                    problem.help(format!("EQL's keywords are lower case: `{lower}`"))
                } else if KEYWORDS.contains(&text.as_str()) {
                    problem.help(format!("`{text}` is a keyword; as a field name write it in backticks: `{text}`"))
                } else {
                    problem
                }
            }
            TokenKind::Symbol("=") => problem.help("equality is `==`"),
            TokenKind::Symbol("![") => problem.help("a missing event `![...]` is a step of a `sequence`"),
            _ => problem,
        }
    }

    fn found(&self) -> String {
        match &self.token().kind {
            TokenKind::Word { text, .. } => format!("`{text}`"),
            TokenKind::Text(_) => "a string".to_string(),
            TokenKind::Number(_) => "a number".to_string(),
            TokenKind::Duration(text) => format!("`{text}`"),
            TokenKind::Symbol(symbol) => format!("`{symbol}`"),
            TokenKind::End => "the end of the query".to_string(),
        }
    }

    fn query(&mut self) -> Result<Query, Problem> {
        if self.token().kind == TokenKind::End {
            return Err(Problem::new("E0204", self.extent(), "the query is empty")
                .help("write `category where condition`, or `sequence by field [...] [...]`"));
        }
        // `sequence where ...` would be the category `sequence`, which must be quoted.
        let query = if self.at_keyword("sequence") {
            Query::Sequence(self.sequence()?)
        } else if self.at_keyword("sample") || self.at_keyword("join") {
            let word = if self.at_keyword("join") { "join" } else { "sample" };
            return Err(Problem::new("E0207", self.extent(), format!("`{word}` is not supported yet")).help(
                "where the order of events does not matter, use `events` with a correlation of type `temporal`",
            ));
        } else {
            Query::Event(self.event()?)
        };
        if self.at_symbol("|") {
            let name = match self.ahead(1) {
                Some(TokenKind::Word { text, .. }) => format!("pipe `{text}`"),
                _ => "pipes".to_string(),
            };
            return Err(Problem::new("E0208", self.extent(), format!("{name}: pipes are not supported yet"))
                .help("a rule reports every match; for a file search use `--limit`"));
        }
        match self.token().kind {
            TokenKind::End => Ok(query),
            _ => Err(self.unexpected("an operator or the end of the query")),
        }
    }

    fn event(&mut self) -> Result<EventQuery, Problem> {
        let category = match &self.token().kind {
            TokenKind::Word { text, quoted: false, tilde: false } if text == "any" => None,
            TokenKind::Word { text, quoted, tilde: false } if *quoted || !KEYWORDS.contains(&text.as_str()) => {
                Some(text.clone())
            }
            TokenKind::Text(text) => Some(text.clone()),
            _ => return Err(self.unexpected("an event category or `any`")),
        };
        self.advance();
        if !self.eat_keyword("where") {
            return Err(match self.token().kind {
                TokenKind::Word { .. } => self.unexpected("`where`"),
                _ => self
                    .unexpected("`where`")
                    .help("an event query is `category where condition`; `any where condition` takes every category"),
            });
        }
        Ok(EventQuery { category, condition: self.condition()? })
    }

    fn sequence(&mut self) -> Result<SequenceQuery, Problem> {
        let extent = self.extent();
        self.advance();
        let (mut by, mut maxspan) = (Vec::new(), None);
        loop {
            if by.is_empty() && self.at_keyword("by") {
                by = self.by_fields()?;
            } else if maxspan.is_none() && self.at_keyword("with") {
                maxspan = Some(self.maxspan()?);
            } else {
                break;
            }
        }
        let mut steps = Vec::new();
        while self.at_symbol("[") || self.at_symbol("![") {
            steps.push(self.step()?);
        }
        if steps.is_empty() {
            return Err(self.unexpected("`by`, `with maxspan=...` or the first step `[category where condition]`"));
        }
        let mut until = None;
        if self.at_keyword("until") {
            self.advance();
            if !self.at_symbol("[") {
                return Err(self.unexpected("`[` after `until`"));
            }
            let step = self.step()?;
            if step.runs != 1 {
                self.problems.push(Problem::new("E0304", step.extent, "`until` takes no `with runs`"));
            }
            until = Some(step);
        }
        Ok(SequenceQuery { by, maxspan, steps, until, extent })
    }

    fn maxspan(&mut self) -> Result<Span, Problem> {
        self.advance();
        if !self.eat_keyword("maxspan") {
            let problem = self.unexpected("`maxspan`");
            return Err(match &self.token().kind {
                TokenKind::Word { text, .. } if text == "runs" => problem.help("`with runs=n` stands behind a step"),
                _ => problem.help("write `with maxspan=10m`"),
            });
        }
        self.expect_symbol("=")?;
        let extent = self.extent();
        let text = match &self.token().kind {
            TokenKind::Duration(text) => text.clone(),
            TokenKind::Number(Literal::Int(n)) => n.to_string(),
            _ => return Err(self.unexpected("a duration such as `10m`")),
        };
        self.advance();
        let span = Span::parse(&text).map_err(|why| Problem::new("E0110", extent, why.to_string()))?;
        if span == Span::ZERO {
            return Err(Problem::new("E0110", extent, "a maxspan of 0 lets only events of one instant match")
                .help("write a positive duration, e.g. `maxspan=10m`"));
        }
        Ok(span)
    }

    /// One step; after a mistake inside its brackets, reading goes on behind them.
    fn step(&mut self) -> Result<SequenceStep, Problem> {
        let start = self.extent();
        let missing = self.at_symbol("![");
        self.advance();
        let inside = self.event().and_then(|query| {
            if self.eat_symbol("]") { Ok(query) } else { Err(self.unexpected("an operator or `]`")) }
        });
        let query = match inside {
            Ok(query) => query,
            Err(problem) => {
                self.skip_step(problem)?;
                let truth = NodeKind::Literal(Literal::Bool(true));
                EventQuery { category: None, condition: Node { kind: truth, extent: start, height: 1 } }
            }
        };
        let extent = start.to(self.previous());
        let (mut by, mut runs) = (Vec::new(), None);
        loop {
            if by.is_empty() && self.at_keyword("by") {
                by = self.by_fields()?;
            } else if runs.is_none() && self.at_keyword("with") {
                runs = Some(self.runs()?);
            } else {
                break;
            }
        }
        Ok(SequenceStep { missing, query, by, runs: runs.unwrap_or(1), extent })
    }

    /// Keeps the problem and moves behind the step's closing bracket; gives it back if there is none.
    fn skip_step(&mut self, problem: Problem) -> Result<(), Problem> {
        while self.token().kind != TokenKind::End {
            if self.eat_symbol("]") {
                self.depth = 0;
                self.problems.push(problem);
                return Ok(());
            }
            self.advance();
        }
        Err(problem)
    }

    fn runs(&mut self) -> Result<u16, Problem> {
        self.advance();
        match &self.token().kind {
            TokenKind::Word { text, quoted: false, .. } if text == "runs" => self.advance(),
            TokenKind::Word { text, .. } if text == "maxspan" => {
                return Err(self.unexpected("`runs`").help("`with maxspan` stands before the first step"));
            }
            _ => return Err(self.unexpected("`runs`").help("write `with runs=3`")),
        }
        self.expect_symbol("=")?;
        let extent = self.extent();
        let TokenKind::Number(number) = &self.token().kind else {
            return Err(self.unexpected("how often, e.g. `runs=3`"));
        };
        self.advance();
        match number {
            Literal::Int(n) if (1..=limits::SEQUENCE_STATES_MAX as i64).contains(n) => Ok(*n as u16),
            Literal::Int(0) => Err(Problem::new("E0304", extent, "`runs=0`: a step must happen at least once")
                .help("for an event that must not happen write `![...]`")),
            _ => Err(Problem::new(
                "E0304",
                extent,
                format!("`runs` is a whole number from 1 to {}", limits::SEQUENCE_STATES_MAX),
            )),
        }
    }

    fn by_fields(&mut self) -> Result<Vec<ByField>, Problem> {
        self.advance();
        let mut fields = Vec::new();
        loop {
            let start = self.extent();
            let optional = self.eat_symbol("?");
            let path = match &self.token().kind {
                TokenKind::Word { text, quoted, tilde: false } if *quoted || !KEYWORDS.contains(&text.as_str()) => text,
                _ => return Err(self.unexpected("a field")),
            };
            self.advance();
            if self.at_symbol("(") {
                return Err(Problem::new("E0204", start.to(self.extent()), "`by` takes fields, not functions"));
            }
            fields.push(ByField { path: path.clone(), optional, extent: start.to(self.previous()) });
            if !self.eat_symbol(",") {
                return Ok(fields);
            }
        }
    }
}
