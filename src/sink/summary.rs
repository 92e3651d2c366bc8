//! The `summary` line of a correlation, rendered from the rule's template.

use std::fmt::Write;

use crate::event::{Correlation, FieldId, Measure, MeasuredValue, Val};
use crate::rules::plan::{Plan, Rule, TemplatePart};

/// Renders a rule's template. A field is looked up in the correlation's first event that has it, then in the key.
pub(super) fn render(plan: &Plan, rule: &Rule, parts: &[TemplatePart], found: &Correlation) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            TemplatePart::Text(literal) => text.push_str(literal),
            TemplatePart::RuleName => text.push_str(&rule.name),
            TemplatePart::Measure(measure) => text.push_str(&measured(found, *measure)),
            TemplatePart::Field(field) => text.push_str(&field_text(plan, rule, found, *field)),
        }
    }
    text
}

fn measured(found: &Correlation, measure: Measure) -> String {
    let value = found.values.iter().find(|entry| entry.0 == measure).map(|entry| entry.1);
    match value {
        Some(MeasuredValue::Int(n)) => n.to_string(),
        Some(MeasuredValue::Float(f)) => f.to_string(),
        None if measure == Measure::Count => found.events.iter().flatten().count().to_string(),
        None => String::new(),
    }
}

fn field_text(plan: &Plan, rule: &Rule, found: &Correlation, field: FieldId) -> String {
    let in_events = found.events.iter().flatten().map(|matched| matched.event.fields.get(field)).find(|v| !v.is_null());
    if let Some(value) = in_events {
        return plain(value);
    }
    let path = plan.fields.get(field.index()).map(|path| path.0.as_str());
    let at = rule.key_names.iter().position(|name| Some(name.as_str()) == path);
    match at.and_then(|at| found.key.parts().get(at).map(|part| part.to_json())) {
        Some(serde_json::Value::String(text)) => text,
        Some(serde_json::Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// Text as it stands, everything else as JSON; an array as its elements separated by commas.
fn plain(value: Val<'_>) -> String {
    match value {
        Val::Str(text) => text.to_owned(),
        Val::Array(array) => {
            let mut text = String::new();
            for (at, element) in array.iter().enumerate() {
                let separator = if at > 0 { ", " } else { "" };
                // Writing to a String cannot fail.
                let _ = write!(text, "{separator}{}", plain(element));
            }
            text
        }
        other => other.to_json().to_string(),
    }
}
