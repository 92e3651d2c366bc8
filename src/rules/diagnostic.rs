//! What is wrong with a rule, where, and what to do: the one form in which this room reports anything.
//!
//! A diagnostic is complete by itself (it carries its source line), so it outlives the files it speaks of. Codes are
//! stable: `explain CODE` and people's notes refer to them. `E01..` are about files and YAML, `E02..` about EQL's syntax,
//! `E03..` about what a query means, `E04..` about correlations, `W05..` are warnings.

use std::fmt;

use serde::Serialize;

/// One mistake (or doubt) in a rule set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file as it was named, or `<query>`.
    pub file: String,
    /// Line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 where the whole file is meant.
    pub column: usize,
    /// Stable code, e.g. `E0103`.
    pub code: String,
    /// An error, else a warning.
    #[serde(skip)]
    pub is_error: bool,
    /// What is wrong.
    pub message: String,
    /// What to do, where that is known.
    pub help: Option<String>,
    /// The line of the file, without its end; empty if it is longer than is useful to print.
    #[serde(skip)]
    pub source_line: String,
    /// How many characters are meant, at least 1.
    #[serde(skip)]
    pub length: usize,
}

/// Characters of a long source line that are printed on either side of the place.
const CONTEXT_CHARS: usize = 100;

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_error { "error" } else { "warning" };
        write!(f, "{kind}[{}]: {}", self.code, self.message)?;
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        if self.line == 0 {
            write!(f, "\n{margin}--> {}", self.file)?;
        } else {
            write!(f, "\n{margin}--> {}:{}:{}", self.file, self.line, self.column)?;
            if !self.source_line.is_empty() {
                let (shown, before) = self.shown();
                let carets = "^".repeat(self.length.clamp(1, shown.chars().count().saturating_sub(before).max(1)));
                write!(f, "\n{margin} |\n{number} | {shown}\n{margin} | {}{carets}", " ".repeat(before))?;
            }
        }
        match &self.help {
            Some(help) => write!(f, "\n{margin} = help: {help}"),
            None => Ok(()),
        }
    }
}

impl Diagnostic {
    /// An error that is about a whole file, or about what is none.
    pub fn of_whole(file: impl Into<String>, code: &str, message: impl Into<String>, help: Option<&str>) -> Self {
        Diagnostic {
            file: file.into(),
            line: 0,
            column: 0,
            code: code.to_owned(),
            is_error: true,
            message: message.into(),
            help: help.map(str::to_owned),
            source_line: String::new(),
            length: 1,
        }
    }

    /// The source line as printed (a window of a long one, control characters as blanks) and the place's offset in it.
    fn shown(&self) -> (String, usize) {
        let before = self.column.saturating_sub(1);
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let total = self.source_line.chars().count();
        if total <= 2 * CONTEXT_CHARS {
            return (self.source_line.chars().map(clean).collect::<String>().trim_end().to_string(), before);
        }
        let start = before.saturating_sub(CONTEXT_CHARS);
        let window: String = self.source_line.chars().skip(start).take(2 * CONTEXT_CHARS).map(clean).collect();
        let head = if start > 0 { "…" } else { "" };
        let tail = if start + 2 * CONTEXT_CHARS < total { "…" } else { "" };
        (format!("{head}{window}{tail}"), before - start + usize::from(start > 0))
    }
}

/// A mistake in a piece of text, before its place in a file is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub code: &'static str,
    pub extent: Extent,
    pub message: String,
    pub help: Option<String>,
}

/// A range of bytes in a query's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    pub start: usize,
    pub end: usize,
}

impl Extent {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Extent { start, end }
    }

    pub(super) fn to(self, other: Extent) -> Extent {
        Extent { start: self.start, end: other.end.max(self.end) }
    }
}

impl Problem {
    pub(super) fn new(code: &'static str, extent: Extent, message: impl Into<String>) -> Self {
        Problem { code, extent, message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The known name nearest to a mistyped one, if any is near enough to be what was meant.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = typed.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&folded, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.chars().count().min(typed.chars().count()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
