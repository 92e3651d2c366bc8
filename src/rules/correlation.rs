//! The `correlation` block in Sigma's vocabulary, over the named `events` of the same document.

use std::collections::HashSet;

use super::ast::Query;
use super::diagnostic::{Problem, nearest};
use super::plan::{Refire, TemporalCond, Threshold};
use super::reader::{Entries, Eql, Reader};
use super::source::Place;
use super::temporal;
use super::threshold;
use super::yaml::{Data, Yaml};
use crate::event::{Measure, Span};
use crate::limits;

/// A correlation as read.
#[derive(Debug)]
pub(super) struct CorrelationDraft {
    pub kind: Kind,
    /// The referenced events, in the order of `rules`.
    pub references: Vec<(String, Eql)>,
    /// For each reference the fields that `group-by` stands for.
    pub group_by: Vec<Vec<String>>,
    pub timespan: Span,
    /// `condition.field`.
    pub value_fields: Vec<String>,
    pub percentile: u8,
    pub thresholds: Vec<Threshold>,
    pub temporal: Option<TemporalCond>,
    pub refire: Refire,
}

/// Sigma's correlation types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    EventCount,
    ValueCount,
    Temporal,
    TemporalOrdered,
    ValueSum,
    ValueAvg,
    ValueMedian,
    ValuePercentile,
}

const KINDS: &[(&str, Kind)] = &[
    ("event_count", Kind::EventCount),
    ("value_count", Kind::ValueCount),
    ("temporal", Kind::Temporal),
    ("temporal_ordered", Kind::TemporalOrdered),
    ("value_sum", Kind::ValueSum),
    ("value_avg", Kind::ValueAvg),
    ("value_median", Kind::ValueMedian),
    ("value_percentile", Kind::ValuePercentile),
];

const REFIRES: &[(&str, Refire)] = &[("edge", Refire::Edge), ("every", Refire::Every), ("reset", Refire::Reset)];

const KEYS: &[&str] = &["type", "rules", "group-by", "timespan", "condition", "aliases", "refire", "generate"];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    pub(super) fn is_temporal(self) -> bool {
        matches!(self, Kind::Temporal | Kind::TemporalOrdered)
    }

    /// What the type measures.
    pub(super) fn measure(self) -> Option<Measure> {
        match self {
            Kind::EventCount | Kind::Temporal | Kind::TemporalOrdered => None,
            Kind::ValueCount => Some(Measure::Distinct),
            Kind::ValueSum => Some(Measure::Sum),
            Kind::ValueAvg => Some(Measure::Avg),
            Kind::ValueMedian => Some(Measure::Median),
            Kind::ValuePercentile => Some(Measure::Percentile),
        }
    }
}

/// The named events of a document.
pub(super) fn events(reader: &mut Reader<'_, '_>, node: &Yaml) -> Vec<(String, Option<Eql>)> {
    let Data::Map(map) = &node.data else {
        let help = Some("write `events: {name: category where condition}`");
        reader.error(node.place, "E0104", format!("`events` must be a mapping, this is {}", node.describe()), help);
        return Vec::new();
    };
    let mut events = Vec::new();
    for (key, value) in map {
        let Some(name) = reader.name(key, "the name of an event") else { continue };
        let eql = reader.query(value, &format!("events.{name}"));
        if let Some(Eql { query: Query::Sequence(sequence), text, map, .. }) = &eql {
            let problem =
                Problem::new("E0406", sequence.extent, "an event of a correlation is one event, not a sequence")
                    .help("write `category where condition`; sequences are rules of their own");
            let diagnostic = reader.source.place(problem, text, map);
            reader.out.push(diagnostic);
            continue;
        }
        // An event with a mistake is known by name, so that references to it are not reported too.
        events.push((name, eql));
    }
    events
}

/// Reads the block. `None`: something is wrong, and reported.
pub(super) fn read(
    reader: &mut Reader<'_, '_>,
    block: &Yaml,
    events_node: Option<&Yaml>,
    ids: &HashSet<&str>,
) -> Option<CorrelationDraft> {
    let events = events_node.map(|node| events(reader, node)).unwrap_or_default();
    let entries = reader.entries(block, "`correlation`", KEYS)?;
    let kind = match entries.get("type") {
        Some(node) => reader.word(node, "type", KINDS),
        None => {
            reader.missing(block.place, "type", "`correlation`", "e.g. `type: event_count`");
            None
        }
    };
    let timespan = match entries.get("timespan") {
        Some(node) => reader.duration(node, "timespan"),
        None => {
            reader.missing(block.place, "timespan", "`correlation`", "say how long the window is, e.g. `timespan: 5m`");
            None
        }
    };
    let refire = entries.get("refire").and_then(|node| reader.word(node, "refire", REFIRES)).unwrap_or_default();
    generate(reader, &entries);
    let names = reference_names(reader, block, &entries);
    check_names(reader, &names, &events, ids, kind);
    let known: Vec<String> = names.iter().map(|(name, _)| name.clone()).collect();
    let group_by = group_by(reader, &entries, &known);
    let condition =
        kind.and_then(|kind| threshold::condition(reader, block, entries.get("condition").copied(), kind, &known));
    if let Some(node) = events_node {
        unreferenced(reader, node, &known);
    }
    let references = known
        .iter()
        .map(|name| {
            let (_, eql) = events.iter().find(|(event, _)| event == name)?;
            Some((name.clone(), eql.clone()?))
        })
        .collect::<Option<Vec<_>>>()?;
    let condition = condition?;
    Some(CorrelationDraft {
        kind: kind?,
        references,
        group_by,
        timespan: timespan?,
        value_fields: condition.fields,
        percentile: condition.percentile,
        thresholds: condition.thresholds,
        temporal: condition.temporal,
        refire,
    })
}

fn generate(reader: &mut Reader<'_, '_>, entries: &Entries<'_>) {
    let Some(node) = entries.get("generate") else { return };
    if reader.word(node, "generate", &[("false", false), ("true", true)]) == Some(true) {
        let help = "write the event as a rule of its own beside this one";
        reader.error(node.place, "E0406", "`generate: true` is not supported yet for named events", Some(help));
    }
}

fn reference_names(reader: &mut Reader<'_, '_>, block: &Yaml, entries: &Entries<'_>) -> Vec<(String, Place)> {
    if let Some(node) = entries.get("rules") {
        let names = reader.names(node, "rules");
        if names.is_empty() && matches!(&node.data, Data::List(list) if list.is_empty()) {
            reader.error(node.place, "E0104", "`rules` names no event", None);
        }
        return names;
    }
    // An extended temporal condition names its events itself.
    match entries.get("condition").and_then(|node| Some((node.text()?, node.place))) {
        Some((text, place)) => temporal::names(text).into_iter().map(|name| (name, place)).collect(),
        None => {
            reader.missing(
                block.place,
                "rules",
                "`correlation`",
                "name the events it is about, e.g. `rules: [failed]`",
            );
            Vec::new()
        }
    }
}

fn check_names(
    reader: &mut Reader<'_, '_>,
    names: &[(String, Place)],
    events: &[(String, Option<Eql>)],
    ids: &HashSet<&str>,
    kind: Option<Kind>,
) {
    if let Some((_, place)) = names.get(limits::SEQUENCE_STATES_MAX) {
        let message = format!("`rules` names more than {} events", limits::SEQUENCE_STATES_MAX);
        reader.error(*place, "E0407", message, Some("join conditions with `or` in one event"));
        return;
    }
    for (at, (name, place)) in names.iter().enumerate() {
        if names.iter().take(at).any(|(other, _)| other == name) && kind != Some(Kind::TemporalOrdered) {
            reader.error(*place, "E0407", format!("`{name}` stands twice in `rules`"), None);
        }
        if events.iter().any(|(event, _)| event == name) {
            continue;
        }
        if ids.contains(name.as_str()) {
            let help = "name an event of this document's `events`; repeat the other rule's condition there";
            let message = format!("`{name}` is another rule; a correlation over other rules is not supported yet");
            reader.error(*place, "E0406", message, Some(help));
            continue;
        }
        let help = match nearest(name, events.iter().map(|(event, _)| event.as_str())) {
            Some(near) => format!("did you mean `{near}`?"),
            None if events.is_empty() => "define it under `events`".to_string(),
            None => {
                format!("known are: {}", events.iter().map(|(event, _)| event.as_str()).collect::<Vec<_>>().join(", "))
            }
        };
        reader.error(*place, "E0401", format!("`{name}` is not among this rule's `events`"), Some(&help));
    }
}

fn unreferenced(reader: &mut Reader<'_, '_>, node: &Yaml, references: &[String]) {
    let Data::Map(map) = &node.data else { return };
    for (key, _) in map {
        if let Some(name) = key.text().filter(|name| !references.iter().any(|reference| reference == name)) {
            let message = format!("the event `{name}` is not among `correlation.rules`: it has no effect");
            reader.error(key.place, "W0504", message, Some("add it to `rules`, or remove it"));
        }
    }
}

/// For each reference the fields of `group-by`, aliases resolved.
fn group_by(reader: &mut Reader<'_, '_>, entries: &Entries<'_>, references: &[String]) -> Vec<Vec<String>> {
    let fields = entries.get("group-by").map(|node| reader.names(node, "group-by")).unwrap_or_default();
    let mut lists = vec![Vec::new(); references.len()];
    let aliases = match entries.get("aliases").map(|node| (&node.data, node)) {
        Some((Data::Map(map), _)) => map.as_slice(),
        Some((_, node)) => {
            let help = Some("write `aliases: {name: {event: field}}`");
            reader.error(
                node.place,
                "E0104",
                format!("`aliases` must be a mapping, this is {}", node.describe()),
                help,
            );
            &[]
        }
        None => &[],
    };
    for (alias, node) in aliases {
        if let Data::Map(targets) = &node.data {
            for (event, _) in targets {
                if !references.iter().any(|name| Some(name.as_str()) == event.text()) {
                    let name = event.text().unwrap_or("");
                    reader.error(
                        event.place,
                        "E0401",
                        format!("`{name}` is not among the correlation's `rules`"),
                        None,
                    );
                }
            }
        } else {
            let help = Some("write `aliases: {name: {event: field}}`");
            reader.error(alias.place, "E0104", "an alias says for each event which field it is", help);
        }
    }
    for (field, place) in fields {
        if field.starts_with('?') {
            let help = Some("an event without a group-by field is not counted; use a sequence for optional keys");
            reader.error(place, "E0104", "a `group-by` field is never optional", help);
        }
        let alias = aliases.iter().find(|(name, _)| name.text() == Some(&field)).map(|(_, targets)| targets);
        for (list, reference) in lists.iter_mut().zip(references) {
            let Some(Data::Map(targets)) = alias.map(|targets| &targets.data) else {
                list.push(field.clone());
                continue;
            };
            match targets.iter().find(|(event, _)| event.text() == Some(reference)) {
                Some((_, target)) => list.extend(reader.name(target, "the field of an alias")),
                None => {
                    let message = format!("the alias `{field}` does not say which field it is for `{reference}`");
                    reader.error(place, "E0403", message, Some("add the event to the alias"));
                }
            }
        }
    }
    lists
}
