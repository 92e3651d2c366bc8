//! What is wrong with the configuration, where, and what to do about it.

use std::fmt;

use serde::{Serialize, Serializer};

use super::tree::Place;

/// What kind of mistake it is. The names are an interface (`code` in the JSON and SARIF of `validate`) and continue those of
/// the rules' diagnostics: `E06..` is the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemCode {
    /// The file cannot be read.
    Unreadable,
    /// It is not YAML.
    Syntax,
    /// A key that does not exist.
    UnknownKey,
    /// A value of the wrong type or form.
    BadValue,
    /// Each value is good, but they contradict one another.
    Conflict,
    /// A client property that may not be set.
    RefusedProperty,
    /// Part of the interface, but not built yet.
    NotAvailable,
}

impl ProblemCode {
    /// All codes, for tables of them.
    pub const ALL: [ProblemCode; 7] = [
        ProblemCode::Unreadable,
        ProblemCode::Syntax,
        ProblemCode::UnknownKey,
        ProblemCode::BadValue,
        ProblemCode::Conflict,
        ProblemCode::RefusedProperty,
        ProblemCode::NotAvailable,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            ProblemCode::Unreadable => "E0601",
            ProblemCode::Syntax => "E0602",
            ProblemCode::UnknownKey => "E0603",
            ProblemCode::BadValue => "E0604",
            ProblemCode::Conflict => "E0605",
            ProblemCode::RefusedProperty => "E0606",
            ProblemCode::NotAvailable => "E0607",
        }
    }

    /// One sentence on what it means.
    pub fn meaning(self) -> &'static str {
        match self {
            ProblemCode::Unreadable => "A configuration file cannot be read.",
            ProblemCode::Syntax => "A configuration file is not valid YAML.",
            ProblemCode::UnknownKey => "A configuration key does not exist.",
            ProblemCode::BadValue => "A configuration value has the wrong type or form.",
            ProblemCode::Conflict => "Configuration values contradict one another.",
            ProblemCode::RefusedProperty => "A Kafka client property may not be set.",
            ProblemCode::NotAvailable => "A configuration value is not available in this version.",
        }
    }
}

impl Serialize for ProblemCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file as it was named; for other layers `environment THROUGHLINE_...` or `--set KEY`.
    pub file: String,
    /// Line from 1; 0 where there is none (environment, `--set`, a missing key).
    pub line: usize,
    /// Column from 1, in characters; 0 where there is none.
    pub column: usize,
    /// Kind of mistake.
    pub code: ProblemCode,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// A mistake at a place.
    pub(super) fn at(place: &Place, code: ProblemCode, message: impl Into<String>, help: Option<String>) -> Self {
        Problem {
            file: place.file.to_string(),
            line: place.line,
            column: place.column,
            code,
            message: message.into(),
            help,
        }
    }

    /// A mistake of a whole file.
    pub(super) fn of_file(file: &str, code: ProblemCode, message: String, help: Option<String>) -> Self {
        Problem { file: file.to_owned(), line: 0, column: 0, code, message, help }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message)?,
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message)?,
        }
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// The candidate that `word` was most likely meant to be, if any is near enough to be worth saying.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` or `c`.
pub(super) fn alternatives<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
