//! The result of a check of configuration and rules, and its forms.

use std::io::{self, Write};

use serde::Serialize;

use super::args::CheckFormat;
use super::paint::Paint;
use super::sarif;
use crate::config::Problem;
use crate::rules::Diagnostic;

/// What a check found. The JSON form is an interface.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Rules that compiled; 0 if any of them is wrong, because a rule set is taken whole or not at all.
    pub(super) rules: usize,
    /// What is wrong.
    pub(super) errors: Vec<Diagnostic>,
    /// What is doubtful.
    pub(super) warnings: Vec<Diagnostic>,
}

impl Report {
    /// Adds diagnostics, each to where it belongs.
    pub(super) fn add(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        for diagnostic in diagnostics {
            let kind = if diagnostic.is_error { &mut self.errors } else { &mut self.warnings };
            kind.push(diagnostic);
        }
    }

    /// Writes it.
    pub(super) fn write(&self, format: CheckFormat, out: &mut dyn Write) -> io::Result<()> {
        match format {
            CheckFormat::Text => self.write_text(Paint::of_stdout(), out),
            CheckFormat::Json => writeln!(out, "{}", serde_json::to_string(self)?),
            CheckFormat::Sarif => writeln!(out, "{:#}", sarif::of_report(self)),
        }
    }

    fn write_text(&self, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
        for diagnostic in self.errors.iter().chain(&self.warnings) {
            let text = diagnostic.to_string();
            let (head, rest) = text.split_once(": ").unwrap_or((&text, ""));
            let head = if diagnostic.is_error { paint.red(head) } else { paint.yellow(head) };
            writeln!(out, "{head}: {rest}\n")?;
        }
        let counts = [count(self.errors.len(), "error"), count(self.warnings.len(), "warning")];
        match self.errors.len() {
            0 => writeln!(out, "{}, {}", count(self.rules, "rule"), counts.join(", ")),
            _ => writeln!(out, "{}", counts.join(", ")),
        }
    }
}

/// `1 rule`, `2 rules`.
pub(super) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A mistake in the configuration in the form of a rule's, with the line it speaks of.
pub(super) fn diagnostic_of(problem: &Problem) -> Diagnostic {
    let source_line = line_of(&problem.file, problem.line).unwrap_or_default();
    let length = extent(&source_line, problem.column);
    Diagnostic {
        file: problem.file.clone(),
        line: problem.line,
        column: problem.column,
        code: problem.code.name().to_owned(),
        is_error: true,
        message: problem.message.clone(),
        help: problem.help.clone(),
        source_line,
        length,
    }
}

/// How many characters the key or value at `column` (from 1) of a line of YAML takes, at least 1.
fn extent(line: &str, column: usize) -> usize {
    let rest: Vec<char> = line.chars().skip(column.saturating_sub(1)).collect();
    let blank_after = |at: usize| rest.get(at + 1).is_none_or(|c| c.is_whitespace());
    let end = match rest.first() {
        Some(&quote @ ('"' | '\'')) => rest.iter().skip(1).position(|c| *c == quote).map(|at| at + 2),
        // A plain scalar or key ends at a flow indicator, at `: ` and before a comment.
        _ => rest.iter().enumerate().position(|(at, c)| match c {
            ',' | ']' | '}' => true,
            ':' => blank_after(at),
            _ => c.is_whitespace() && rest.get(at + 1) == Some(&'#'),
        }),
    };
    let text: String = rest.iter().take(end.unwrap_or(rest.len())).collect();
    text.trim_end().chars().count().max(1)
}

fn line_of(file: &str, line: usize) -> Option<String> {
    // Read once more: the file is small, and this is the way of an error. If it is gone by now, the line is not shown.
    let text = line.checked_sub(1).and_then(|_| std::fs::read_to_string(file).ok())?;
    text.lines().nth(line - 1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_spans_the_key_or_the_value() {
        let meant = |line: &str, column: usize| line[column - 1..column - 1 + extent(line, column)].to_owned();
        assert_eq!(meant("late: 2 seconds  # why", 7), "2 seconds");
        assert_eq!(meant("late: x", 1), "late");
        assert_eq!(meant("{a: [b c, 'd, e']}", 6), "b c");
        assert_eq!(meant("{a: [b c, 'd, e']}", 11), "'d, e'");
        assert_eq!(meant("brokers: host:90:x", 10), "host:90:x");
        assert_eq!(extent("", 9), 1);
    }

    #[test]
    fn errors_come_before_warnings_and_are_counted() {
        let diagnostic = |is_error: bool, code: &str| Diagnostic {
            file: "a.yaml".into(),
            line: 0,
            column: 0,
            code: code.into(),
            is_error,
            message: "odd: very".into(),
            help: None,
            source_line: String::new(),
            length: 1,
        };
        let mut report = Report::default();
        report.add([diagnostic(false, "W0501"), diagnostic(true, "E0101")]);
        let mut out = Vec::new();
        report.write_text(Paint::off(), &mut out).expect("written");
        let text = String::from_utf8(out).expect("text");
        let (error, warning) = (text.find("error[E0101]: odd: very"), text.find("warning[W0501]: odd: very"));
        assert!(error < warning && error.is_some(), "{text}");
        assert!(text.ends_with("1 error, 1 warning\n"), "{text}");
    }
}
