//! The keys that one event stands for under a list of `by` fields.

use super::event::{Event, Scalar, Value};
use super::rule::By;

/// A correlation key; `None` is a null that an optional field let through.
pub type Key = Vec<Option<Scalar>>;

/// What one field gives: each distinct element of an array, its value, or null.
fn choices(value: &Value) -> Vec<Option<Scalar>> {
    let mut found: Vec<Option<Scalar>> = match value {
        Value::Absent | Value::Null => Vec::new(),
        Value::One(scalar) => vec![Some(scalar.canonical())],
        Value::Many(all) => all.iter().flatten().map(|one| Some(one.canonical())).collect(),
    };
    found.sort();
    found.dedup();
    if found.is_empty() {
        found.push(None);
    }
    found
}

/// All keys of an event: every combination of what its fields give, without those that have a null where none may stand.
pub fn keys_of(event: &Event, by: &[By]) -> Vec<Key> {
    let mut keys: Vec<Key> = vec![Vec::new()];
    for field in by {
        let choices = choices(event.get(field.field));
        keys = keys
            .iter()
            .flat_map(|key| choices.iter().map(move |choice| (key, choice)))
            .filter(|(_, choice)| choice.is_some() || field.optional)
            .map(|(key, choice)| key.iter().cloned().chain([choice.clone()]).collect())
            .collect();
    }
    keys
}
