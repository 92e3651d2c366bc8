//! EQL's words: text to tokens, each with the bytes it came from. Total: any text gives tokens or one problem.
//!
//! A dotted field path is one token, so that a part of it may be a keyword or begin with a digit (`labels.in`, `args.0`).

use super::diagnostic::{Extent, Problem};
use super::plan::Literal;

/// A token and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub extent: Extent,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// A keyword, category, function name or field path. `quoted`: some part stood in backticks, so it is no keyword.
    /// `tilde`: a `~` follows immediately.
    Word { text: String, quoted: bool, tilde: bool },
    /// A string.
    Text(String),
    /// A number.
    Number(Literal),
    /// Digits with letters behind them: a duration.
    Duration(String),
    /// Anything else, as it is written.
    Symbol(&'static str),
    /// Behind the last token.
    End,
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: &[&str] = &[
    "==", "!=", "<=", ">=", "![", "<", ">", ":", "=", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",", "|", "?", ".",
];

/// Cuts a query into tokens; the last is [`TokenKind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let end = token.kind == TokenKind::End;
        tokens.push(token);
        if end {
            return Ok(tokens);
        }
    }
}

/// The tokens as canonical text: what is left of a query when layout, comments and ways of quoting are taken away.
pub(super) fn canonical(tokens: &[Token]) -> String {
    let mut out = String::new();
    for (at, token) in tokens.iter().enumerate() {
        let call = matches!(tokens.get(at + 1).map(|t| &t.kind), Some(TokenKind::Symbol("(")));
        match &token.kind {
            TokenKind::Word { text, quoted, tilde } => {
                let mark = if *quoted { "`" } else { "" };
                let text = if call { text.to_ascii_lowercase() } else { text.clone() };
                out.push_str(&format!("{mark}{text}{mark}{}", if *tilde { "~" } else { "" }));
            }
            TokenKind::Text(text) => out.push_str(&serde_json::Value::from(text.as_str()).to_string()),
            TokenKind::Number(Literal::Int(n)) => out.push_str(&n.to_string()),
            TokenKind::Number(Literal::Uint(n)) => out.push_str(&n.to_string()),
            TokenKind::Number(Literal::Float(n)) => out.push_str(&format!("{n:e}")),
            TokenKind::Number(_) | TokenKind::End => {}
            TokenKind::Duration(text) => out.push_str(text),
            TokenKind::Symbol(symbol) => out.push_str(symbol),
        }
        out.push(' ');
    }
    out
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

fn word_start(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '_' | '@' | '$')
}

fn word_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '@' | '$')
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or("")
    }

    fn next(&mut self) -> Result<Token, Problem> {
        let behind_last = self.at;
        self.skip_blank()?;
        let start = self.at;
        let kind = match self.peek() {
            // A query in a block scalar ends with a line break: the end is where the last token ended.
            None => return Ok(Token { kind: TokenKind::End, extent: Extent::new(behind_last, behind_last) }),
            Some('"') if self.rest().starts_with("\"\"\"") => self.raw_text()?,
            Some('"') => self.quoted_text()?,
            Some(c) if c.is_ascii_digit() => self.number()?,
            Some(c) if word_start(c) || c == '`' => self.word()?,
            Some(c) => self.symbol(c)?,
        };
        Ok(Token { kind, extent: Extent::new(start, self.at) })
    }

    fn skip_blank(&mut self) -> Result<(), Problem> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest().starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest().starts_with("/*") {
                match self.rest().get(2..).and_then(|body| body.find("*/")) {
                    Some(end) => self.at += end + 4,
                    None => {
                        let extent = Extent::new(self.at, self.at + 2);
                        return Err(Problem::new("E0202", extent, "this comment has no end").help("close it with `*/`"));
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    fn symbol(&mut self, c: char) -> Result<TokenKind, Problem> {
        let extent = Extent::new(self.at, self.at + c.len_utf8());
        let rest = self.rest();
        if rest.starts_with("?\"") || c == '\'' {
            return Err(Problem::new("E0201", extent, "this way of quoting text is no longer part of EQL")
                .help("write \"...\" with escapes, or \"\"\"...\"\"\" for raw text"));
        }
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            self.at += symbol.len();
            return Ok(TokenKind::Symbol(symbol));
        }
        let problem = Problem::new("E0201", extent, format!("`{}` is not part of EQL", c.escape_default()));
        Err(match c {
            '&' => problem.help("write `and`"),
            '!' => problem.help("write `not`; a missing event is `![...]` without a blank"),
            '~' => problem.help("`~` stands immediately behind `in`, `like`, `regex` or a function's name"),
            _ => problem,
        })
    }

    fn word(&mut self) -> Result<TokenKind, Problem> {
        let mut text = String::new();
        let mut quoted = false;
        loop {
            if self.peek() == Some('`') {
                quoted = true;
                self.backtick(&mut text)?;
            } else {
                text.push_str(self.take_while(word_part));
            }
            let mut ahead = self.rest().chars();
            if ahead.next() == Some('.') && ahead.next().is_some_and(|c| word_part(c) || c == '`') {
                self.at += 1;
                text.push('.');
            } else {
                break;
            }
        }
        let tilde = self.rest().starts_with('~');
        self.at += usize::from(tilde);
        Ok(TokenKind::Word { text, quoted, tilde })
    }

    /// A name in backticks; a doubled backtick stands for one.
    fn backtick(&mut self, text: &mut String) -> Result<(), Problem> {
        let start = self.at;
        let before = text.len();
        self.at += 1;
        loop {
            text.push_str(self.take_while(|c| c != '`' && c != '\n'));
            if self.rest().starts_with("``") {
                self.at += 2;
                text.push('`');
            } else if self.rest().starts_with('`') {
                self.at += 1;
                break;
            } else {
                let extent = Extent::new(start, self.at);
                return Err(Problem::new("E0202", extent, "this name has no end").help("close it with a backtick"));
            }
        }
        if text.len() == before {
            return Err(Problem::new("E0204", Extent::new(start, self.at), "an empty name"));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<TokenKind, Problem> {
        let start = self.at;
        self.take_while(|c| c.is_ascii_digit());
        let mut float = false;
        let mut ahead = self.rest().chars();
        if ahead.next() == Some('.') && ahead.next().is_some_and(|c| c.is_ascii_digit()) {
            float = true;
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        let exponent = self.rest().strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
        if let Some(digits) = exponent.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            float = true;
            self.at = self.text.len() - digits.len();
            self.take_while(|c| c.is_ascii_digit());
        }
        if self.peek().is_some_and(word_start) {
            self.take_while(word_part);
            return Ok(TokenKind::Duration(self.text.get(start..self.at).unwrap_or("").to_string()));
        }
        let text = self.text.get(start..self.at).unwrap_or("");
        number_literal(text, float).map(TokenKind::Number).ok_or_else(|| {
            Problem::new("E0206", Extent::new(start, self.at), format!("`{text}` is too large a number"))
        })
    }

    /// `"""..."""`: nothing is an escape; up to two further quotes at the end belong to the text.
    fn raw_text(&mut self) -> Result<TokenKind, Problem> {
        let start = self.at;
        let body = self.rest().get(3..).unwrap_or("");
        let line = body.split('\n').next().unwrap_or("");
        let Some(mut end) = line.find("\"\"\"") else {
            return Err(Problem::new("E0202", Extent::new(start, start + 3), "this raw string has no end")
                .help("close it with \"\"\" on the same line"));
        };
        for _ in 0..2 {
            end += usize::from(line.get(end + 3..).is_some_and(|rest| rest.starts_with('"')));
        }
        self.at += end + 6;
        Ok(TokenKind::Text(body.get(..end).unwrap_or("").to_string()))
    }

    fn quoted_text(&mut self) -> Result<TokenKind, Problem> {
        let start = self.at;
        let mut text = String::new();
        self.at += 1;
        loop {
            text.push_str(self.take_while(|c| !matches!(c, '"' | '\\' | '\n')));
            match self.peek() {
                Some('"') => {
                    self.at += 1;
                    return Ok(TokenKind::Text(text));
                }
                Some('\\') => text.push(self.escape()?),
                _ => {
                    return Err(Problem::new("E0202", Extent::new(start, start + 1), "this string has no end")
                        .help("close it with \" on the same line; \\n is a line break"));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Problem> {
        let start = self.at;
        self.at += 1;
        let letter = self.peek();
        self.at += letter.map_or(0, char::len_utf8);
        let plain = match letter {
            Some('b') => Some('\u{8}'),
            Some('t') => Some('\t'),
            Some('n') => Some('\n'),
            Some('f') => Some('\u{c}'),
            Some('r') => Some('\r'),
            Some(c @ ('"' | '\\')) => Some(c),
            Some('u') => self.unicode(),
            _ => None,
        };
        plain.ok_or_else(|| {
            Problem::new("E0203", Extent::new(start, self.at), "not an escape of EQL")
                .help("known are \\\\ \\\" \\b \\f \\n \\r \\t and \\u{1f600}; for a plain backslash write \\\\, or use \"\"\"raw text\"\"\"")
        })
    }

    /// `{hex}` with two to eight digits, behind `\u`.
    fn unicode(&mut self) -> Option<char> {
        let body = self.rest().strip_prefix('{')?;
        let digits = body.get(..body.find('}')?)?;
        if !(2..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.at += digits.len() + 2;
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    }
}

/// A number as the smallest literal that holds it exactly; beyond 64 bits a float, if finite.
pub(super) fn number_literal(text: &str, float: bool) -> Option<Literal> {
    if !float {
        if let Ok(n) = text.parse::<i64>() {
            return Some(Literal::Int(n));
        }
        if let Ok(n) = text.parse::<u64>() {
            return Some(Literal::Uint(n));
        }
    }
    text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Literal::Float)
}
