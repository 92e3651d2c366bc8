//! The `condition` of a correlation: what is measured and compared, or an extended temporal condition.

use super::correlation::Kind;
use super::plan::{Literal, TemporalCond, Threshold, ThresholdOp};
use super::reader::{Entries, Reader};
use super::temporal;
use super::yaml::Yaml;

const OPERATORS: &[(&str, ThresholdOp)] = &[
    ("gt", ThresholdOp::Gt),
    ("gte", ThresholdOp::Gte),
    ("lt", ThresholdOp::Lt),
    ("lte", ThresholdOp::Lte),
    ("eq", ThresholdOp::Eq),
    ("neq", ThresholdOp::Neq),
];

const CONDITION_KEYS: &[&str] = &["field", "percentile", "gt", "gte", "lt", "lte", "eq", "neq"];

/// The percentile where none is said: the median, with a warning.
const PERCENTILE_DEFAULT: u8 = 50;

/// A `condition` as read.
pub(super) struct Condition {
    pub fields: Vec<String>,
    pub percentile: u8,
    pub thresholds: Vec<Threshold>,
    pub temporal: Option<TemporalCond>,
}

/// Reads the condition of a correlation of this kind. `None`: something is wrong, and reported.
pub(super) fn condition(
    reader: &mut Reader<'_, '_>,
    block: &Yaml,
    node: Option<&Yaml>,
    kind: Kind,
    references: &[String],
) -> Option<Condition> {
    let none = Condition { fields: Vec::new(), percentile: PERCENTILE_DEFAULT, thresholds: Vec::new(), temporal: None };
    let Some(node) = node else {
        if !kind.is_temporal() {
            let help = "e.g. `condition: {gte: 10}`";
            reader.missing(block.place, "condition", &format!("a `{}` correlation", kind.name()), help);
            return None;
        }
        return Some(none);
    };
    if let Some(text) = node.text() {
        return extended(reader, node, text, kind, references)
            .map(|temporal| Condition { temporal: Some(temporal), ..none });
    }
    let entries = reader.entries(node, "`condition`", CONDITION_KEYS)?;
    let mut thresholds = Vec::new();
    for (key, op) in OPERATORS {
        if let Some(value) = entries.get(key).and_then(|node| reader.number(node, key)) {
            thresholds.push(Threshold { op: *op, value });
        }
    }
    if kind.is_temporal() {
        // pySigma writes the default out as `gte: number of rules`.
        let all = Literal::Int(references.len() as i64);
        let default = matches!(thresholds.as_slice(), [Threshold { op: ThresholdOp::Gte, value }] if *value == all);
        if !default {
            let help = "leave `condition` out (all of `rules`), or name the events: `condition: a and not b`";
            reader.error(node.place, "E0402", format!("`{}` measures nothing to compare", kind.name()), Some(help));
        }
        return Some(none);
    }
    if !OPERATORS.iter().any(|(key, _)| entries.contains_key(key)) {
        let help = "give one of gt, gte, lt, lte, eq, neq; two are a range";
        reader.error(node.place, "E0402", "this condition compares with nothing", Some(help));
    }
    let fields = value_fields(reader, node, &entries, kind);
    let percentile = percentile(reader, node, &entries, kind);
    Some(Condition { fields, percentile, thresholds, temporal: None })
}

fn extended(
    reader: &mut Reader<'_, '_>,
    node: &Yaml,
    text: &str,
    kind: Kind,
    references: &[String],
) -> Option<TemporalCond> {
    if kind != Kind::Temporal {
        let help = match kind {
            Kind::TemporalOrdered => "names joined by `and`, `or`, `not` have no order: use `type: temporal`",
            _ => "write e.g. `condition: {gte: 10}`; names joined by `and`, `or`, `not` are for `type: temporal`",
        };
        reader.error(node.place, "E0402", format!("`{}` takes no condition of this form", kind.name()), Some(help));
        return None;
    }
    match temporal::parse(text, references) {
        Ok(condition) => Some(condition),
        Err(problem) => {
            let diagnostic = reader.source.place(problem, text, &node.text_map(reader.source));
            reader.out.push(diagnostic);
            None
        }
    }
}

fn value_fields(reader: &mut Reader<'_, '_>, node: &Yaml, entries: &Entries<'_>, kind: Kind) -> Vec<String> {
    let Some(field) = entries.get("field") else {
        if kind != Kind::EventCount {
            let message = format!("`{}` needs a `field` to measure", kind.name());
            reader.error(node.place, "E0403", message, Some("e.g. `condition: {field: user.name, gte: 10}`"));
        }
        return Vec::new();
    };
    if kind == Kind::EventCount {
        let help = "to count different values use `type: value_count`";
        reader.error(field.place, "E0403", "`event_count` counts events and takes no `field`", Some(help));
        return Vec::new();
    }
    let fields = reader.names(field, "field");
    if kind != Kind::ValueCount && fields.len() > 1 {
        reader.error(field.place, "E0403", format!("`{}` measures one field", kind.name()), None);
    }
    fields.into_iter().map(|(field, _)| field).collect()
}

fn percentile(reader: &mut Reader<'_, '_>, node: &Yaml, entries: &Entries<'_>, kind: Kind) -> u8 {
    let given = entries.get("percentile");
    if kind != Kind::ValuePercentile {
        if let Some(given) = given {
            reader.error(given.place, "E0404", format!("`{}` takes no `percentile`", kind.name()), None);
        }
        return PERCENTILE_DEFAULT;
    }
    let Some(given) = given else {
        let message = format!("no `percentile` given: {PERCENTILE_DEFAULT}, the median, is taken");
        reader.error(node.place, "W0501", message, Some("add e.g. `percentile: 95` to the condition"));
        return PERCENTILE_DEFAULT;
    };
    match reader.number(given, "percentile") {
        Some(Literal::Int(n @ 1..=99)) => n as u8,
        Some(_) => {
            reader.error(given.place, "E0404", "`percentile` is a whole number from 1 to 99", None);
            PERCENTILE_DEFAULT
        }
        None => PERCENTILE_DEFAULT,
    }
}
