//! The layers: file, environment, command line. Each becomes a source for config-rs, which lays them over one another;
//! beside that it is written down where each part stands ([`Places`]), and a key that does not exist is reported here, where
//! its own place is still known.
//!
//! A file is one source. Environment and command line name a place by its path and give one value: a source each, under a
//! path expression of config-rs such as `input[0].late`. What is a text by its key is taken literally, so a password needs
//! no quoting; anything else is read as YAML. A number names an element of a list: `--set input.0.late=drop`,
//! `THROUGHLINE_INPUT__0__LATE=drop`.
//!
//! Invariant: the keys at the top of a source are keys of ours and list indices, because config-rs reads those as path
//! expressions. Names that may hold dots (client properties) only stand in maps below, which it takes as they are.

use ::config::{Config, ConfigError, Map, Source, Value, ValueKind};

use super::check::unknown_key;
use super::places::{Places, display};
use super::problem::{Problem, ProblemCode};
use super::shape::Shape;
use super::tree::{Data, Entry, Node, Place};
use super::yaml::parse_value;

const PREFIX: &str = "THROUGHLINE_";

/// What one layer says.
#[derive(Debug, Clone)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// The layers so far, lowest first.
pub(super) struct Layers<'s> {
    shape: &'s Shape,
    layers: Vec<Layer>,
    /// Where what they say was written.
    pub(super) places: Places,
    /// What is wrong with them.
    pub(super) problems: Vec<Problem>,
}

impl<'s> Layers<'s> {
    /// No layer but the defaults.
    pub(super) fn new(shape: &'s Shape) -> Self {
        let places = Places::new(Place::of_layer("defaults"));
        Layers { shape, layers: Vec::new(), places, problems: Vec::new() }
    }

    /// Adds a file.
    pub(super) fn file(&mut self, root: Node) {
        let (Shape::Struct(known), place) = (self.shape, root.place) else { return };
        match root.data {
            // An empty file is a layer that says nothing.
            Data::Null => {}
            Data::Map(entries) => {
                self.places.set_root(place);
                let values = self.section(entries, known, &mut Vec::new());
                self.layers.push(Layer(values));
            }
            other => {
                let message = format!("a configuration is a map of keys, not {}", other.kind());
                self.problems.push(Problem::at(&place, ProblemCode::BadValue, message, None));
            }
        }
    }

    /// Adds the variables `THROUGHLINE_*`.
    ///
    /// A variable whose first level is no key of ours is passed over: Kubernetes itself sets `THROUGHLINE_PORT` and the
    /// like beside a service of that name. Below a known key a mistake is an error.
    pub(super) fn environment(&mut self, variables: &[(String, String)]) {
        let Shape::Struct(known) = self.shape else { return };
        let mut ours: Vec<(&String, Vec<String>, &String)> = variables
            .iter()
            .filter_map(|(name, value)| {
                let path: Vec<String> = name.strip_prefix(PREFIX)?.split("__").map(str::to_ascii_lowercase).collect();
                let first = path.first()?;
                known.iter().any(|(key, _)| key == first).then_some((name, path, value))
            })
            .collect();
        ours.sort();
        for (name, path, value) in ours {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            self.set(&path, value, &Place::of_layer(&format!("environment {name}")));
        }
    }

    /// Adds `--set KEY=VALUE`, in their order.
    pub(super) fn overrides(&mut self, overrides: &[String]) {
        for text in overrides {
            let Some((key, value)) = text.split_once('=') else {
                let place = Place::of_layer(&format!("--set {text}"));
                let help = Some("write KEY=VALUE, e.g. --set epoch=100ms".into());
                self.problems.push(Problem::at(&place, ProblemCode::Syntax, "has no `=`", help));
                continue;
            };
            let path: Vec<&str> = key.split('.').collect();
            self.set(&path, value, &Place::of_layer(&format!("--set {key}")));
        }
    }

    /// Lays the layers over one another: maps key by key, everything else as a whole.
    pub(super) fn merge(&self) -> Result<Config, ConfigError> {
        self.layers.iter().fold(Config::builder(), |builder, layer| builder.add_source(layer.clone())).build()
    }

    fn set(&mut self, path: &[&str], raw: &str, place: &Place) {
        let set = self.target(path, place).and_then(|mut target| {
            let node = value_below(target.shape, target.rest, raw, place)?;
            Ok(self.value(node, target.shape, &mut target.path).map(|value| (target.expression, value)))
        });
        match set {
            Ok(Some(entry)) => self.layers.push(Layer(Map::from_iter([entry]))),
            Ok(None) => {}
            Err(problem) => self.problems.push(problem),
        }
    }

    /// Follows a path as far as its keys and indices are ours.
    fn target<'p>(&mut self, path: &'p [&'p str], place: &Place) -> Result<Target<'s, 'p>, Problem> {
        let mut target = Target { shape: self.shape, path: Vec::new(), expression: String::new(), rest: path };
        while let Some((first, rest)) = target.rest.split_first() {
            let walked = target.path.join(".");
            match target.shape.with_keys() {
                Some(Shape::Struct(known)) => {
                    let (key, inner) = known
                        .iter()
                        .find(|(name, _)| name == first)
                        .ok_or_else(|| unknown_key(place, &walked, first, known))?;
                    let dot = if target.expression.is_empty() { "" } else { "." };
                    target.expression += &format!("{dot}{key}");
                    target.path.push(key.clone());
                    target.shape = inner;
                }
                Some(Shape::List(item)) => {
                    let length = self.places.items(&target.path);
                    let at = first.parse::<usize>().ok().filter(|at| *at <= length).ok_or_else(|| {
                        let message = format!("`{walked}` is a list of {length}: `{first}` names no element of it");
                        let help = Some(format!("use a number from 0, or set the whole list: {walked}=[...]"));
                        Problem::at(place, ProblemCode::UnknownKey, message, help)
                    })?;
                    target.expression += &format!("[{at}]");
                    target.path.push(at.to_string());
                    target.shape = item;
                }
                Some(_) => break,
                None => {
                    let message = format!("`{walked}` is a single value and has no keys");
                    let help = Some(format!("set it itself: {walked}=..."));
                    return Err(Problem::at(place, ProblemCode::UnknownKey, message, help));
                }
            }
            target.rest = rest;
        }
        for length in 1..target.path.len() {
            self.places.imply(&target.path[..length], place);
        }
        Ok(target)
    }

    /// A node as config-rs takes it, its places written down. `None`: it says nothing.
    fn value(&mut self, node: Node, shape: &Shape, path: &mut Vec<String>) -> Option<Value> {
        self.places.write(path, node.place);
        let kind = match (node.data, shape.with_keys()) {
            // `kafka:` without anything below it leaves what is below it in lower layers.
            (Data::Null, Some(Shape::Struct(_) | Shape::Properties | Shape::Any)) => return None,
            (Data::Map(entries), Some(Shape::Struct(known))) => ValueKind::Table(self.section(entries, known, path)),
            (Data::Map(entries), Some(Shape::Properties)) => {
                let mut flat = Map::new();
                self.properties(entries, "", path, &mut flat);
                ValueKind::Table(flat)
            }
            (Data::List(items), Some(Shape::List(item))) => {
                self.places.forget_below(path);
                let items = items.into_iter().enumerate().map(|(at, node)| {
                    path.push(at.to_string());
                    let value = self.value(node, item, path).unwrap_or_else(|| ValueKind::Nil.into());
                    path.pop();
                    value
                });
                ValueKind::Array(items.collect())
            }
            (data @ Data::Map(_), _) => data.into_unchecked(*shape == Shape::Any),
            (data, _) => {
                self.places.forget_below(path);
                data.into_unchecked(false)
            }
        };
        Some(kind.into())
    }

    fn section(
        &mut self,
        entries: Vec<Entry>,
        known: &[(String, Shape)],
        path: &mut Vec<String>,
    ) -> Map<String, Value> {
        let mut values = Map::new();
        for entry in entries {
            let Some((_, shape)) = known.iter().find(|(name, _)| *name == entry.key) else {
                self.problems.push(unknown_key(&entry.place, &display(path), &entry.key, known));
                continue;
            };
            path.push(entry.key.clone());
            if let Some(value) = self.value(entry.placed(), shape, path) {
                values.extend(path.last().cloned().map(|key| (key, value)));
            }
            path.pop();
        }
        values
    }

    /// Client properties: a name with dots may be written as nested maps. It is one name from here on, so that a layer
    /// above replaces what it means to replace.
    fn properties(&mut self, entries: Vec<Entry>, prefix: &str, path: &mut Vec<String>, flat: &mut Map<String, Value>) {
        for entry in entries {
            let name = if prefix.is_empty() { entry.key.clone() } else { format!("{prefix}.{}", entry.key) };
            match entry.value.data {
                Data::Map(inner) => self.properties(inner, &name, path, flat),
                _ => {
                    path.push(name.clone());
                    flat.extend(self.value(entry.placed(), &Shape::Text, path).map(|value| (name, value)));
                    path.pop();
                }
            }
        }
    }
}

/// Where an environment variable or `--set` points.
struct Target<'s, 'p> {
    shape: &'s Shape,
    path: Vec<String>,
    /// The path, for config-rs.
    expression: String,
    /// What is left of it: keys that only the user knows.
    rest: &'p [&'p str],
}

/// The text of a variable or `--set` as a node, below the keys of `rest`.
fn value_below(shape: &Shape, rest: &[&str], raw: &str, place: &Place) -> Result<Node, Problem> {
    let literal = match shape {
        Shape::Text | Shape::Word(_) | Shape::Integer => true,
        Shape::OneOf(choices) => {
            // `[a, b]` is a list where a list may stand; anything else is the text it is.
            choices.iter().any(|c| matches!(c, Shape::Text)) && !raw.trim_start().starts_with('[')
        }
        Shape::Properties => !rest.is_empty(),
        _ => false,
    };
    let node = match literal {
        true => Node { place: place.clone(), data: Data::Scalar { text: raw.to_owned(), plain: true } },
        false => parse_value(place, raw)?,
    };
    Ok(rest.iter().rev().fold(node, |value, key| {
        let entry = Entry { key: (*key).to_owned(), place: place.clone(), value };
        Node { place: place.clone(), data: Data::Map(vec![entry]) }
    }))
}
