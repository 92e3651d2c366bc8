//! The shape of the configuration, taken from the JSON schema of [`super::typed`]: so that what `config schema` publishes
//! is, by construction, what is enforced.

use serde_json::Value;

use super::typed;

/// What may stand at one place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// These keys and no others.
    Struct(Vec<(String, Shape)>),
    /// Any keys, with scalars as values.
    Properties,
    /// Anything, passed on unread.
    Any,
    /// A list.
    List(Box<Shape>),
    /// Any scalar, as text.
    Text,
    /// A whole number from 0.
    Integer,
    /// One of these words.
    Word(Vec<String>),
    /// One of these, told apart by what is written.
    OneOf(Vec<Shape>),
}

/// The JSON schema of the configuration, without references.
pub(super) fn schema() -> schemars::Schema {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<typed::Config>()
}

impl Shape {
    /// The shape of the whole configuration.
    pub(super) fn of_config() -> Shape {
        Shape::of_schema(schema().as_value())
    }

    fn of_schema(schema: &Value) -> Shape {
        if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            return Shape::one_of(choices.iter().filter(|c| !is_null(c)).map(Shape::of_schema).collect());
        }
        if let Some(word) = schema.get("const").and_then(Value::as_str) {
            return Shape::Word(vec![word.to_owned()]);
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return Shape::Word(words.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            return Shape::Struct(properties.iter().map(|(key, s)| (key.clone(), Shape::of_schema(s))).collect());
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if types.contains(&"string") {
            Shape::Text
        } else if types.contains(&"integer") {
            Shape::Integer
        } else if types.contains(&"array") {
            Shape::List(Box::new(schema.get("items").map_or(Shape::Any, Shape::of_schema)))
        } else if types.contains(&"object") {
            match schema.get("additionalProperties").and_then(|s| s.get("type")) {
                Some(_) => Shape::Properties,
                None => Shape::Any,
            }
        } else {
            Shape::Any
        }
    }

    fn one_of(choices: Vec<Shape>) -> Shape {
        let mut words = Vec::new();
        let mut others = Vec::new();
        for choice in choices {
            match choice {
                Shape::Word(some) => words.extend(some),
                other => others.push(other),
            }
        }
        if !words.is_empty() {
            others.insert(0, Shape::Word(words));
        }
        match (others.len(), others.pop()) {
            (1, Some(only)) => only,
            (_, last) => Shape::OneOf(others.into_iter().chain(last).collect()),
        }
    }

    /// What has keys or elements here, if anything may.
    pub(super) fn with_keys(&self) -> Option<&Shape> {
        match self {
            Shape::Struct(_) | Shape::Properties | Shape::Any | Shape::List(_) => Some(self),
            Shape::OneOf(choices) => choices.iter().find_map(Shape::with_keys),
            Shape::Text | Shape::Integer | Shape::Word(_) => None,
        }
    }

    /// What is expected here, for messages.
    pub(super) fn expected(&self) -> String {
        match self {
            Shape::Struct(keys) => {
                let noun = if keys.len() == 1 { "key" } else { "keys" };
                let names: Vec<String> = keys.iter().map(|(key, _)| format!("`{key}`")).collect();
                format!("a map with the {noun} {}", names.join(", "))
            }
            Shape::Properties | Shape::Any => "a map".into(),
            Shape::List(item) => format!("a list, each {}", item.expected()),
            Shape::Text => "text".into(),
            Shape::Integer => "a whole number".into(),
            Shape::Word(words) => super::problem::alternatives(words.iter().map(String::as_str)),
            Shape::OneOf(choices) => choices.iter().map(Shape::expected).collect::<Vec<_>>().join(" or "),
        }
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}
