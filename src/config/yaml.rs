//! YAML text to a [`Node`] tree with places. Depth and number of nodes (aliases expanded) are bounded, because whoever
//! walks a tree recurses; a key that stands twice in one map is a mistake.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::problem::{Problem, ProblemCode};
use super::tree::{Data, Entry, Node, Place};
use crate::limits;

/// Reads a configuration file. `name` is how messages call it.
pub(super) fn parse_file(name: &str, bytes: &[u8]) -> Result<Node, Problem> {
    let start = Place { file: name.into(), line: 1, column: 1 };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes.iter().take(error.valid_up_to()).filter(|b| **b == b'\n').count() + 1;
        let place = Place { line, ..start.clone() };
        Problem::at(&place, ProblemCode::Syntax, "not UTF-8", Some("save the file as UTF-8".into()))
    })?;
    let root =
        Reader { layer: &start, fixed: false, open: Vec::new(), anchors: HashMap::new(), nodes: 0 }.read(text)?;
    Ok(root
        .map_or_else(|| Node { place: start.clone(), data: Data::Null }, |root| Node { place: start.clone(), ..root }))
}

/// Reads a value from the environment or the command line, e.g. `[a, b]` or `{field: x}`; all of it is at `place`.
pub(super) fn parse_value(place: &Place, text: &str) -> Result<Node, Problem> {
    let root = Reader { layer: place, fixed: true, open: Vec::new(), anchors: HashMap::new(), nodes: 0 }.read(text)?;
    Ok(root.unwrap_or_else(|| Node { place: place.clone(), data: Data::Null }))
}

/// A list or map being filled.
struct Open {
    node: Node,
    key: Option<(String, Place)>,
    anchor: usize,
}

struct Reader<'p> {
    layer: &'p Place,
    /// Everything is at `layer`, whatever line of the value it stands on.
    fixed: bool,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Reader<'_> {
    /// The one document of `text`; `None` if it holds nothing.
    fn read(mut self, text: &str) -> Result<Option<Node>, Problem> {
        let mut root = None;
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = event
                .map_err(|error| fault(&self.place(error.marker()), format!("not valid YAML: {}", error.info())))?;
            let place = self.place(&span.start);
            let (node, anchor, size) = match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let help = Some("write one document; profiles are files of their own".into());
                        let message = "a second YAML document in a configuration";
                        return Err(Problem::at(&place, ProblemCode::Syntax, message, help));
                    }
                    continue;
                }
                Event::Scalar(text, style, anchor, _) => (scalar(place, &text, style), anchor, 1),
                Event::SequenceStart(anchor, _) => {
                    self.begin(place, Data::List(Vec::new()), anchor)?;
                    continue;
                }
                Event::MappingStart(anchor, _) => {
                    self.begin(place, Data::Map(Vec::new()), anchor)?;
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                    Some(done) => (done.node, done.anchor, 1),
                    None => continue,
                },
                Event::Alias(id) => match self.anchors.get(&id) {
                    Some(node) => (node.clone(), 0, count(node)),
                    None => return Err(fault(&place, "this alias names no anchor".into())),
                },
                _ => continue,
            };
            self.nodes += size;
            if self.nodes > limits::CONFIG_NODES_MAX {
                return Err(fault(&node.place, format!("more than {} YAML nodes", limits::CONFIG_NODES_MAX)));
            }
            if anchor > 0 {
                self.anchors.insert(anchor, node.clone());
            }
            if let Some(complete) = self.insert(node)? {
                root = Some(complete);
            }
        }
        Ok(root)
    }

    fn place(&self, marker: &saphyr_parser::Marker) -> Place {
        match self.fixed {
            true => self.layer.clone(),
            false => Place { file: self.layer.file.clone(), line: marker.line(), column: marker.col() + 1 },
        }
    }

    fn begin(&mut self, place: Place, data: Data, anchor: usize) -> Result<(), Problem> {
        if self.open.len() >= limits::CONFIG_DEPTH_MAX {
            return Err(fault(&place, format!("nested deeper than {} levels", limits::CONFIG_DEPTH_MAX)));
        }
        self.open.push(Open { node: Node { place, data }, key: None, anchor });
        Ok(())
    }

    /// Puts a complete node where it belongs; gives it back if it is the whole document.
    fn insert(&mut self, node: Node) -> Result<Option<Node>, Problem> {
        let Some(parent) = self.open.last_mut() else { return Ok(Some(node)) };
        match &mut parent.node.data {
            Data::List(items) => items.push(node),
            Data::Map(entries) => match parent.key.take() {
                Some((key, place)) => entries.push(Entry { key, place, value: node }),
                None => {
                    let Data::Scalar { text, .. } = node.data else {
                        return Err(fault(&node.place, "a key must be text".into()));
                    };
                    if entries.iter().any(|entry| entry.key == text) {
                        return Err(fault(&node.place, format!("the key `{text}` stands here twice")));
                    }
                    parent.key = Some((text, node.place));
                }
            },
            Data::Null | Data::Scalar { .. } => {}
        }
        Ok(None)
    }
}

fn fault(place: &Place, message: String) -> Problem {
    Problem::at(place, ProblemCode::Syntax, message, None)
}

fn scalar(place: Place, text: &str, style: ScalarStyle) -> Node {
    let plain = style == ScalarStyle::Plain;
    let data = match text {
        "" | "~" | "null" | "Null" | "NULL" if plain => Data::Null,
        _ => Data::Scalar { text: text.to_owned(), plain },
    };
    Node { place, data }
}

/// Nodes below and including this one; only of complete nodes, whose depth is bounded.
fn count(node: &Node) -> usize {
    match &node.data {
        Data::Null | Data::Scalar { .. } => 1,
        Data::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Data::Map(entries) => 1 + entries.iter().map(|entry| 1 + count(&entry.value)).sum::<usize>(),
    }
}
