//! One layer of configuration as a tree whose nodes know where they were written. This is what the YAML reader makes; what is
//! in it goes on to config-rs as values, and to [`super::places`] as places.
//!
//! Scalars keep the text as written: whether `5` is a number, or `off` a word, is decided by the key it stands under, not
//! by YAML's guess.

use std::sync::Arc;

use ::config::ValueKind;

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// A file, `environment NAME`, `--set KEY` or `defaults`.
    pub(super) file: Arc<str>,
    /// Line from 1; 0 outside of files.
    pub(super) line: usize,
    /// Column from 1; 0 outside of files.
    pub(super) column: usize,
}

impl Place {
    /// A layer without lines.
    pub(super) fn of_layer(name: &str) -> Self {
        Place { file: name.into(), line: 0, column: 0 }
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) data: Data,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Data {
    /// Nothing was written: the default holds.
    Null,
    /// A scalar, as written; `plain`: without quotes, so that it may be a number or a boolean.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order written.
    Map(Vec<Entry>),
}

/// A key with its place, and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

impl Entry {
    /// The value; if nothing was written there, it is where the key is.
    pub(super) fn placed(self) -> Node {
        match self.value.data {
            Data::Null => Node { place: self.place, data: Data::Null },
            _ => self.value,
        }
    }
}

impl Data {
    /// What kind of thing this is, for messages.
    pub(super) fn kind(self) -> String {
        kind(&self.into_unchecked(false))
    }

    /// As config-rs takes it, without regard to what should stand here. `typed`: scalars become what YAML makes of them,
    /// for sections that are passed on unread; else they stay text, as written.
    pub(super) fn into_unchecked(self, typed: bool) -> ValueKind {
        match self {
            Data::Null => ValueKind::Nil,
            Data::Scalar { text, plain: true } if typed => untyped(text),
            Data::Scalar { text, .. } => ValueKind::String(text),
            Data::List(items) => {
                ValueKind::Array(items.into_iter().map(|item| item.data.into_unchecked(typed).into()).collect())
            }
            Data::Map(entries) => ValueKind::Table(
                entries.into_iter().map(|e| (e.key, e.value.data.into_unchecked(typed).into())).collect(),
            ),
        }
    }
}

/// What kind of thing this is, for messages.
pub(super) fn kind(value: &ValueKind) -> String {
    match value {
        ValueKind::Nil => "nothing".into(),
        ValueKind::Array(_) => "a list".into(),
        ValueKind::Table(_) => "a map".into(),
        scalar => format!("`{scalar}`"),
    }
}

/// What YAML's core schema makes of a plain scalar.
fn untyped(text: String) -> ValueKind {
    let number = || text.parse::<f64>().ok().filter(|n| n.is_finite() && text.contains(|c: char| c.is_ascii_digit()));
    match text.as_str() {
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        _ => match text.parse::<i64>() {
            Ok(n) => n.into(),
            Err(_) => number().map_or_else(|| ValueKind::String(text.clone()), Into::into),
        },
    }
}
