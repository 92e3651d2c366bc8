//! YAML as a tree whose nodes know their place and style. One document at a time: a mistake in one does not hide the
//! rest of the file.
//!
//! Nesting and the number of nodes (aliases expanded) are bounded; the tree is built without recursion.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::diagnostic::Diagnostic;
use super::source::{Place, Source, TextMap};
use crate::limits;

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Yaml {
    pub place: Place,
    pub data: Data,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Data {
    Scalar { text: String, style: ScalarStyle },
    List(Vec<Yaml>),
    Map(Vec<(Yaml, Yaml)>),
}

impl Yaml {
    /// A scalar's text; `None` for lists, maps and null.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        match &self.data {
            Data::Scalar { text, style: ScalarStyle::Plain } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// What it is, in words.
    pub(super) fn describe(&self) -> &'static str {
        match &self.data {
            Data::Scalar { .. } if self.is_null() => "nothing",
            Data::Scalar { .. } => "a single value",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    /// Where the lines of a scalar's text stand in the file, as exactly as its style allows.
    pub(super) fn text_map(&self, source: &Source<'_>) -> TextMap {
        let Data::Scalar { text, style } = &self.data else { return TextMap::Start(self.place) };
        let blank = text.bytes().take_while(|byte| *byte == b'\n').count();
        let (first, shift) = match style {
            // The place of a literal block is that of its first line with text.
            ScalarStyle::Literal => (self.place.line.saturating_sub(blank), None),
            ScalarStyle::Plain => (self.place.line, Some(0)),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => (self.place.line, Some(1)),
            ScalarStyle::Folded => return TextMap::Start(self.place),
        };
        let lines: Option<Vec<(usize, usize)>> = match shift {
            // A literal block keeps its lines: each file line is some indentation and the text's line.
            None => text
                .split('\n')
                .enumerate()
                .map(|(at, line)| {
                    let written = source.line(first + at);
                    let indent = written.strip_suffix(line)?.chars().count();
                    Some((first + at, indent + 1))
                })
                .collect(),
            // On one line and without escapes the text stands in the file as it is.
            Some(shift) => {
                let column = self.place.column + shift;
                let written: String = source.line(first).chars().skip(column.saturating_sub(1)).collect();
                (!text.contains('\n') && written.starts_with(text.as_str())).then(|| vec![(first, column)])
            }
        };
        lines.map_or(TextMap::Start(self.place), TextMap::Lines)
    }
}

/// The documents of a file; what cannot be read is reported and left out.
pub(super) fn documents(source: &Source<'_>, text: &str, out: &mut Vec<Diagnostic>) -> Vec<Yaml> {
    let mut documents = Vec::new();
    for (first_line, chunk) in chunks(text) {
        match document(source, first_line, chunk) {
            Ok(found) => documents.extend(found),
            Err(diagnostic) => out.push(*diagnostic),
        }
    }
    documents
}

/// Cuts at lines that begin with `---`: YAML allows them nowhere but between documents. With the lines before each.
fn chunks(text: &str) -> Vec<(usize, &str)> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 0, 0);
    // Directives and comments belong to the document that follows them.
    let mut content = false;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if marker && content {
            chunks.push((start_line, text.get(start..at).unwrap_or("")));
            (start, start_line, content) = (at, number, false);
        }
        content |= !marker && !line.trim().is_empty() && !line.starts_with(['#', '%']);
        at += line.len();
    }
    chunks.push((start_line, text.get(start..).unwrap_or("")));
    chunks
}

/// A list or mapping being filled, with its anchor.
struct Open {
    node: Yaml,
    key: Option<Yaml>,
    anchor: usize,
}

fn document(source: &Source<'_>, first_line: usize, chunk: &str) -> Result<Vec<Yaml>, Box<Diagnostic>> {
    let fail = |place: Place, code: &str, message: String, help: Option<String>| {
        Box::new(source.diagnostic(place, code, message, help))
    };
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, (Yaml, usize)> = HashMap::new();
    let mut finished = Vec::new();
    let mut nodes = 0;
    for event in Parser::new_from_str(chunk) {
        let (event, span) = event.map_err(|why| {
            let place = Place { line: why.marker().line() + first_line, column: why.marker().col() + 1, length: 1 };
            match colon(source, place.line) {
                Some(colon) => {
                    let message = "YAML takes the ` : ` of this query for a mapping".to_string();
                    fail(colon, "E0109", message, Some(COLON_HELP.to_string()))
                }
                None => fail(place, "E0102", format!("not valid YAML: {}", why.info()), None),
            }
        })?;
        let mut place = Place { line: span.start.line() + first_line, column: span.start.col() + 1, length: 1 };
        if span.start.line() == span.end.line() {
            place.length = span.len().max(1);
        }
        let (complete, anchor, size) = match event {
            Event::Scalar(text, style, anchor, _) => {
                (Yaml { place, data: Data::Scalar { text: text.into_owned(), style } }, anchor, 1)
            }
            Event::SequenceStart(anchor, _) => {
                open.push(Open { node: Yaml { place, data: Data::List(Vec::new()) }, key: None, anchor });
                if open.len() > limits::RULE_YAML_DEPTH_MAX {
                    let message = format!("YAML nested deeper than {} levels", limits::RULE_YAML_DEPTH_MAX);
                    return Err(fail(place, "E0102", message, None));
                }
                continue;
            }
            Event::MappingStart(anchor, _) => {
                open.push(Open { node: Yaml { place, data: Data::Map(Vec::new()) }, key: None, anchor });
                if open.len() > limits::RULE_YAML_DEPTH_MAX {
                    let message = format!("YAML nested deeper than {} levels", limits::RULE_YAML_DEPTH_MAX);
                    return Err(fail(place, "E0102", message, None));
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(done) => (done.node, done.anchor, 1),
                None => continue,
            },
            Event::Alias(id) => match anchors.get(&id) {
                Some((node, size)) => (node.clone(), 0, *size),
                None => return Err(fail(place, "E0102", "this alias names no anchor".to_string(), None)),
            },
            _ => continue,
        };
        nodes += size;
        if nodes > limits::RULE_YAML_NODES_MAX {
            let message = format!("a document of more than {} YAML nodes", limits::RULE_YAML_NODES_MAX);
            return Err(fail(place, "E0102", message, Some("split the rules into several documents".to_string())));
        }
        if anchor > 0 {
            anchors.insert(anchor, (complete.clone(), count(&complete)));
        }
        insert(source, complete, &mut open, &mut finished)?;
    }
    // An empty document (a lone `---`, only comments) is nothing.
    finished.retain(|node: &Yaml| !node.is_null());
    Ok(finished)
}

fn insert(source: &Source<'_>, node: Yaml, open: &mut [Open], finished: &mut Vec<Yaml>) -> Result<(), Box<Diagnostic>> {
    let Some(parent) = open.last_mut() else {
        finished.push(node);
        return Ok(());
    };
    match &mut parent.node.data {
        Data::List(list) => list.push(node),
        Data::Map(map) => match parent.key.take() {
            None => parent.key = Some(node),
            Some(key) => {
                if key.text().is_some() && map.iter().any(|(other, _)| other.text() == key.text()) {
                    let message = format!("the key `{}` stands here twice", key.text().unwrap_or(""));
                    let help = Some("remove one; documents are separated by a line `---`".to_string());
                    return Err(Box::new(source.diagnostic(key.place, "E0107", message, help)));
                }
                map.push((key, node));
            }
        },
        Data::Scalar { .. } => {}
    }
    Ok(())
}

/// What an alias of this node costs: its nodes, long text counting as several. Nesting is bounded by then.
fn count(node: &Yaml) -> usize {
    match &node.data {
        Data::Scalar { text, .. } => 1 + text.len() / 64,
        Data::List(list) => 1 + list.iter().map(count).sum::<usize>(),
        Data::Map(map) => 1 + map.iter().map(|(key, value)| count(key) + count(value)).sum::<usize>(),
    }
}

/// Lines before a failing one in which the `where` of its query is looked for.
const QUERY_LINES: usize = 20;

/// The ` : ` of a query in a plain scalar, if that is what made a line fail.
fn colon(source: &Source<'_>, number: usize) -> Option<Place> {
    let line = source.line(number);
    let value = line.split_once(": ").map_or("", |(_, value)| value.trim_start());
    if value.starts_with(['"', '\'', '|', '>']) {
        return None;
    }
    let at = line.find(" : ")?;
    let before = (number.saturating_sub(QUERY_LINES).max(1)..number).map(|earlier| source.line(earlier));
    let mut query = before.skip_while(|earlier| !earlier.contains("query:")).chain([line.get(..at).unwrap_or("")]);
    query.any(|text| text.split_whitespace().any(|word| word == "where")).then(|| {
        let column = line.get(..at + 1).unwrap_or("").chars().count() + 1;
        Place { line: number, column, length: 1 }
    })
}

/// What to do about ` : ` in a plain scalar.
pub(super) const COLON_HELP: &str =
    "EQL's ` : ` may not stand in a plain YAML scalar: put the query in quotes, or on its own lines after `|`";
