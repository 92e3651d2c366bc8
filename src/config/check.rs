//! Holds the merged values against the shape: values of the wrong form, all of them, each at its place. What is good comes
//! out in the types of [`super::typed::Config`].

use ::config::{Map, Value, ValueKind};

use super::places::{Places, display};
use super::problem::{Problem, ProblemCode, nearest};
use super::shape::Shape;
use super::tree::{Place, kind};

/// Checks the whole. Bad parts are reported and left out.
pub(super) fn check(merged: &Value, shape: &Shape, places: &Places, problems: &mut Vec<Problem>) -> Value {
    let checked = Checker { places, problems, path: Vec::new() }.value(&merged.kind, shape);
    checked.unwrap_or_else(|| Map::<String, Value>::new().into())
}

/// The complaint about a key that does not exist among `known`.
pub(super) fn unknown_key(place: &Place, section: &str, key: &str, known: &[(String, Shape)]) -> Problem {
    let names = || known.iter().map(|(name, _)| name.as_str());
    let help = match nearest(key, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known keys here: {}", names().collect::<Vec<_>>().join(", ")),
    };
    let whole = if section.is_empty() { String::new() } else { format!(" in `{section}`") };
    Problem::at(place, ProblemCode::UnknownKey, format!("unknown key `{key}`{whole}"), Some(help))
}

struct Checker<'a> {
    places: &'a Places,
    problems: &'a mut Vec<Problem>,
    /// To the value being checked.
    path: Vec<String>,
}

impl Checker<'_> {
    fn value(&mut self, value: &ValueKind, shape: &Shape) -> Option<Value> {
        match (value, shape) {
            (ValueKind::Nil, _) => None,
            (ValueKind::Table(values), Shape::Struct(known)) => {
                // The layers hold no other keys.
                let shape_of = |key: &str| known.iter().find(|(name, _)| name == key).map(|(_, shape)| shape);
                let checked: Map<String, Value> = values
                    .iter()
                    .filter_map(|(key, value)| Some((key.clone(), self.below(key, &value.kind, shape_of(key)?)?)))
                    .collect();
                Some(checked.into())
            }
            (ValueKind::Table(values), Shape::Properties) => Some(self.properties(values).into()),
            (ValueKind::Table(_), Shape::Any) => Some(value.clone().into()),
            (ValueKind::Array(items), Shape::List(item)) => {
                let checked: Vec<Value> = items
                    .iter()
                    .enumerate()
                    .filter_map(|(at, value)| self.below(&at.to_string(), &value.kind, item))
                    .collect();
                Some(checked.into())
            }
            (ValueKind::String(text), Shape::Text) => Some(text.as_str().into()),
            (ValueKind::String(text), Shape::Integer) if text.parse::<u32>().is_ok() => {
                text.parse::<u32>().ok().map(Value::from)
            }
            (ValueKind::String(text), Shape::Word(words)) if words.contains(text) => Some(text.as_str().into()),
            (_, Shape::OneOf(choices)) => match choices.iter().find(|choice| fits(value, choice)) {
                Some(choice) => self.value(value, choice),
                None => self.bad(value, shape),
            },
            _ => self.bad(value, shape),
        }
    }

    /// Checks what is under a key or index. An element of a list must be there, a key need not.
    fn below(&mut self, part: &str, value: &ValueKind, shape: &Shape) -> Option<Value> {
        self.path.push(part.to_owned());
        let element = part.parse::<usize>().is_ok();
        let checked = match value {
            ValueKind::Nil if element => self.bad(value, shape),
            _ => self.value(value, shape),
        };
        self.path.pop();
        checked
    }

    fn properties(&mut self, values: &Map<String, Value>) -> Map<String, Value> {
        let mut good = Map::new();
        for (name, value) in values {
            match &value.kind {
                ValueKind::Nil => {}
                ValueKind::String(text) => {
                    good.insert(name.clone(), text.as_str().into());
                }
                other => {
                    let message = format!("`{}.{name}` must be a scalar, not {}", display(&self.path), kind(other));
                    let help = Some("librdkafka takes lists as text with commas".into());
                    self.path.push(name.clone());
                    let place = self.places.find(&self.path);
                    self.problems.push(Problem::at(place, ProblemCode::BadValue, message, help));
                    self.path.pop();
                }
            }
        }
        good
    }

    fn bad(&mut self, value: &ValueKind, shape: &Shape) -> Option<Value> {
        let message = format!("`{}` must be {}, not {}", display(&self.path), shape.expected(), kind(value));
        let help = match (value, shape) {
            (ValueKind::String(text), Shape::Word(words)) => {
                nearest(text, words.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"))
            }
            _ => None,
        };
        self.problems.push(Problem::at(self.places.find(&self.path), ProblemCode::BadValue, message, help));
        None
    }
}

fn fits(value: &ValueKind, shape: &Shape) -> bool {
    match (value, shape) {
        (ValueKind::Table(_), Shape::Struct(_) | Shape::Properties | Shape::Any) => true,
        (ValueKind::Array(_), Shape::List(_)) => true,
        (ValueKind::String(_), Shape::Text) => true,
        (ValueKind::String(text), Shape::Integer) => text.parse::<u32>().is_ok(),
        (ValueKind::String(text), Shape::Word(words)) => words.contains(text),
        _ => false,
    }
}
