//! Rule files as text: reading them, and finding the line and column that a piece of a query came from.
//!
//! The only part of the room that does I/O, and only to read. Order is sorted, so that messages and tie-breaks do not
//! depend on the file system.

use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Extent, Problem};
use crate::limits;

/// One file of rules as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFile {
    /// The path as it was named, for messages.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Reads rule files: files as named, directories recursively (`*.yaml`, `*.yml`, `*.json`; hidden ones left out), sorted.
///
/// # Errors
/// A diagnostic for each path that is missing, not readable, not UTF-8 or too large.
pub fn read_paths(paths: &[PathBuf]) -> Result<Vec<RuleFile>, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut found = Vec::new();
    for path in paths {
        collect(path, true, 0, &mut found, &mut errors);
    }
    found.sort();
    found.dedup();
    let mut files = Vec::with_capacity(found.len());
    for path in found {
        match read_one(&path) {
            Ok(text) => files.push(RuleFile { path: path.display().to_string(), text }),
            Err(why) => errors.push(whole_file(&path, format!("cannot read the rule file: {why}"))),
        }
    }
    if errors.is_empty() { Ok(files) } else { Err(errors) }
}

/// Deepest nesting of directories: ends loops of symbolic links.
const DIRECTORY_DEPTH_MAX: usize = 32;

fn collect(path: &Path, named: bool, depth: usize, found: &mut Vec<PathBuf>, errors: &mut Vec<Diagnostic>) {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(why) => return errors.push(whole_file(path, format!("cannot read the rule path: {why}"))),
    };
    if !metadata.is_dir() {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if named || matches!(extension, "yaml" | "yml" | "json") {
            found.push(path.to_path_buf());
        }
        return;
    }
    if depth == DIRECTORY_DEPTH_MAX {
        return errors.push(whole_file(path, "directories are nested too deep (a loop of links?)".to_string()));
    }
    match std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => {
            for entry in entries {
                if !entry.file_name().to_string_lossy().starts_with('.') {
                    collect(&entry.path(), false, depth + 1, found, errors);
                }
            }
        }
        Err(why) => errors.push(whole_file(path, format!("cannot list the rule directory: {why}"))),
    }
}

fn read_one(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > limits::RULE_FILE_BYTES_MAX as u64 {
        return Err(format!("{size} bytes are more than the limit of {} bytes", limits::RULE_FILE_BYTES_MAX));
    }
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let text = String::from_utf8(bytes).map_err(|e| format!("not UTF-8 from byte {}", e.utf8_error().valid_up_to()))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

fn whole_file(path: &Path, message: String) -> Diagnostic {
    let help = "check `rules.paths` in the configuration, or the path on the command line";
    Diagnostic::of_whole(path.display().to_string(), "E0101", message, Some(help))
}

/// A place in a file: line and column (in characters) from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

/// Longest line that a diagnostic carries: a whole rule set on one line must not be copied for each of its mistakes.
const SOURCE_LINE_BYTES_MAX: usize = 8192;

/// A file's text, cut into lines.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub path: &'a str,
    pub lines: Vec<&'a str>,
}

impl<'a> Source<'a> {
    pub(super) fn new(path: &'a str, text: &'a str) -> Self {
        Source { path, lines: text.lines().collect() }
    }

    /// A line by its number from 1; empty beyond the end.
    pub(super) fn line(&self, number: usize) -> &'a str {
        number.checked_sub(1).and_then(|at| self.lines.get(at)).copied().unwrap_or("")
    }

    /// A diagnostic at a place. Its code says whether it is an error (`E…`) or a warning (`W…`).
    pub(super) fn diagnostic(&self, place: Place, code: &str, message: String, help: Option<String>) -> Diagnostic {
        Diagnostic {
            file: self.path.to_string(),
            line: place.line,
            column: place.column,
            code: code.to_string(),
            is_error: code.starts_with('E'),
            message,
            help,
            source_line: Some(self.line(place.line))
                .filter(|l| l.len() <= SOURCE_LINE_BYTES_MAX)
                .unwrap_or("")
                .to_string(),
            length: place.length.max(1),
        }
    }

    /// A problem in a query's text, placed in the file.
    pub(super) fn place(&self, problem: Problem, text: &str, map: &TextMap) -> Diagnostic {
        let place = map.locate(text, problem.extent);
        self.diagnostic(place, problem.code, problem.message, problem.help)
    }
}

/// Where the lines of a query's text stand in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TextMap {
    /// Line by line: (line, column) of the first character of each.
    Lines(Vec<(usize, usize)>),
    /// Only where the text as a whole begins (escapes or folding moved the rest).
    Start(Place),
}

impl TextMap {
    /// Text that is itself the whole file.
    pub(super) fn identity(text: &str) -> Self {
        TextMap::Lines((1..=text.split('\n').count()).map(|line| (line, 1)).collect())
    }

    /// Line, column and length in the file of a range of the text. A range over several lines ends with its first.
    pub(super) fn locate(&self, text: &str, extent: Extent) -> Place {
        let lines = match self {
            TextMap::Start(place) => return *place,
            TextMap::Lines(lines) => lines,
        };
        let start = floor_boundary(text, extent.start);
        let end = floor_boundary(text, extent.end.max(start));
        let before = text.get(..start).unwrap_or("");
        let index = before.matches('\n').count();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let &(line, column) = lines.get(index).or_else(|| lines.last()).unwrap_or(&(1, 1));
        let within = text.get(line_start..start).unwrap_or("").chars().count();
        let meant = text.get(start..end).unwrap_or("");
        let length = meant.lines().next().unwrap_or("").chars().count();
        Place { line, column: column + within, length: length.max(1) }
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
