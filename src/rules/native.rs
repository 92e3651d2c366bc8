//! The native envelope: one YAML mapping to one [`Draft`], a rule that is read and parsed but not yet compiled.

use std::collections::HashSet;

use super::correlation::{self, CorrelationDraft};
use super::diagnostic::Diagnostic;
use super::plan::Severity;
use super::reader::{Entries, Eql, Reader};
use super::source::{Place, Source, TextMap};
use super::yaml::{Data, Yaml};
use crate::event::Span;

/// A rule as read.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub source: &'a Source<'a>,
    /// Where the rule begins.
    pub place: Place,
    pub id: String,
    pub name: String,
    pub severity: Severity,
    pub tags: Vec<String>,
    pub description: String,
    pub body: Body,
    pub suppress: Option<SuppressDraft>,
    pub evidence: Vec<String>,
    pub summary: Option<Summary>,
    pub output_topic: Option<String>,
    pub output_key: Option<String>,
    /// Asked for there.
    pub backfill: Option<Place>,
}

/// What a rule looks for.
#[derive(Debug)]
pub(super) enum Body {
    Query(Eql),
    Correlation(CorrelationDraft),
}

/// `suppress: {for, by}`.
#[derive(Debug)]
pub(super) struct SuppressDraft {
    pub window: Span,
    pub by: Option<Vec<String>>,
    pub place: Place,
}

/// The text of a `summary`.
#[derive(Debug)]
pub(super) struct Summary {
    pub text: String,
    pub map: TextMap,
}

const KEYS: &[&str] = &[
    "id",
    "name",
    "severity",
    "description",
    "tags",
    "query",
    "events",
    "correlation",
    "suppress",
    "evidence",
    "summary",
    "output",
    "backfill",
];

const FLAGS: &[(&str, bool)] = &[("true", true), ("false", false)];

const SEVERITIES: &[(&str, Severity)] = &[
    ("informational", Severity::Informational),
    ("low", Severity::Low),
    ("medium", Severity::Medium),
    ("high", Severity::High),
    ("critical", Severity::Critical),
];

/// Longest id: it stands in record headers, metric labels and state keys.
const ID_CHARS_MAX: usize = 256;

/// The id a document will have and its place, without looking at anything else of it.
pub(super) fn id_of<'y>(node: &'y Yaml, stem: Option<&'y str>) -> Option<(&'y str, Place)> {
    match &node.data {
        Data::Map(map) => match map.iter().find(|(key, _)| key.text() == Some("id")) {
            Some((_, value)) => value.text().map(|text| (text.trim(), value.place)),
            None => stem.map(|stem| (stem, node.place)),
        },
        _ => None,
    }
}

/// Reads one rule. `stem` is the id of a rule without one (`None`: the file has several rules). `ids` are those of the
/// whole set. `None`: something is wrong, and reported.
pub(super) fn read<'a>(
    source: &'a Source<'a>,
    node: &Yaml,
    stem: Option<&str>,
    ids: &HashSet<&str>,
    out: &mut Vec<Diagnostic>,
) -> Option<Draft<'a>> {
    let before = out.len();
    let mut reader = Reader { source, out };
    if let Data::Map(map) = &node.data
        && let Some((key, _)) = map.iter().find(|(key, _)| key.text() == Some("detection"))
    {
        let help = "write the rule as EQL in `query`; Sigma detection rules come with a later version";
        reader.error(key.place, "E0108", "Sigma detection rules are not supported yet", Some(help));
        return None;
    }
    let entries = reader.entries(node, "a rule", KEYS)?;
    let draft = envelope(&mut reader, node, &entries, stem, ids);
    // A draft with anything wrong is not compiled: what would follow from one mistake is not reported as another.
    draft.filter(|_| !out.iter().skip(before).any(|diagnostic| diagnostic.is_error))
}

fn envelope<'a>(
    reader: &mut Reader<'a, '_>,
    node: &Yaml,
    entries: &Entries<'_>,
    stem: Option<&str>,
    ids: &HashSet<&str>,
) -> Option<Draft<'a>> {
    let source = reader.source;
    let id_place = entries.get("id").map_or(node.place, |id| id.place);
    let id = match entries.get("id") {
        Some(id) => reader.name(id, "id"),
        None if stem.is_none() => {
            reader.missing(node.place, "id", "this rule", "a file with several rules must name each");
            None
        }
        None => stem.map(str::to_string),
    };
    if id.as_ref().is_some_and(|id| id.chars().count() > ID_CHARS_MAX) {
        reader.error(id_place, "E0104", format!("an `id` has at most {ID_CHARS_MAX} characters"), None);
    }
    let name = entries.get("name").and_then(|name| reader.name(name, "name"));
    let severity = entries.get("severity").and_then(|node| reader.word(node, "severity", SEVERITIES));
    let description =
        entries.get("description").filter(|node| !node.is_null()).and_then(|node| reader.text(node, "description"));
    let tags = entries.get("tags").map(|tags| reader.names(tags, "tags")).unwrap_or_default();
    let evidence = entries.get("evidence").map(|fields| reader.names(fields, "evidence")).unwrap_or_default();
    let suppress = entries.get("suppress").and_then(|node| suppress(reader, node));
    let summary = entries.get("summary").and_then(|node| {
        let text = reader.text(node, "summary")?.trim_end().to_string();
        Some(Summary { text, map: node.text_map(source) })
    });
    let (output_topic, output_key) = entries.get("output").map(|node| output(reader, node)).unwrap_or_default();
    let backfill = entries.get("backfill").and_then(|node| Some((reader.word(node, "backfill", FLAGS)?, node.place)));
    let body = body(reader, node, entries, ids);
    let id = id?;
    Some(Draft {
        source,
        place: node.place,
        name: name.unwrap_or_else(|| id.clone()),
        id,
        severity: severity.unwrap_or_default(),
        tags: tags.into_iter().map(|(tag, _)| tag).collect(),
        description: description.map(|text| text.trim_end().to_string()).unwrap_or_default(),
        body: body?,
        suppress,
        evidence: evidence.into_iter().map(|(field, _)| field).collect(),
        summary,
        output_topic,
        output_key,
        backfill: backfill.and_then(|(wanted, place)| wanted.then_some(place)),
    })
}

fn body(reader: &mut Reader<'_, '_>, node: &Yaml, entries: &Entries<'_>, ids: &HashSet<&str>) -> Option<Body> {
    match (entries.get("query"), entries.get("correlation"), entries.get("events")) {
        (Some(query), None, None) => reader.query(query, "query").map(Body::Query),
        (Some(query), _, _) => {
            let help = "keep `query`, or `events` with `correlation`";
            reader.error(
                query.place,
                "E0112",
                "a rule has either a `query` or a `correlation` over `events`",
                Some(help),
            );
            reader.query(query, "query");
            None
        }
        (None, Some(block), events) => correlation::read(reader, block, events.copied(), ids).map(Body::Correlation),
        (None, None, Some(events)) => {
            correlation::events(reader, events);
            let help = "add `correlation: {type: ..., rules: [...], timespan: ...}`, or write a `query`";
            reader.missing(node.place, "correlation", "this rule has `events` but", help);
            None
        }
        (None, None, None) => {
            let help = "add `query: ...`, or `events` with a `correlation`";
            reader.missing(node.place, "query", "this rule", help);
            None
        }
    }
}

fn suppress(reader: &mut Reader<'_, '_>, node: &Yaml) -> Option<SuppressDraft> {
    let entries = reader.entries(node, "`suppress`", &["for", "by"])?;
    let by = entries.get("by").map(|by| {
        // `?field`, as the query may write it, is the same field.
        reader.names(by, "by").into_iter().map(|(field, _)| field.trim_start_matches('?').to_string()).collect()
    });
    match entries.get("for") {
        Some(window) => {
            let window = reader.duration(window, "for")?;
            Some(SuppressDraft { window, by, place: node.place })
        }
        None => {
            reader.missing(node.place, "for", "`suppress`", "say for how long, e.g. `for: 30m`");
            None
        }
    }
}

fn output(reader: &mut Reader<'_, '_>, node: &Yaml) -> (Option<String>, Option<String>) {
    let Some(entries) = reader.entries(node, "`output`", &["topic", "key"]) else { return (None, None) };
    let topic = entries.get("topic").and_then(|topic| {
        let name = reader.name(topic, "topic")?;
        let legal = name.len() <= 249
            && !matches!(name.as_str(), "." | "..")
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !legal {
            let help = "Kafka takes up to 249 letters, digits, `.`, `_` and `-`";
            reader.error(topic.place, "E0104", format!("`{name}` is no topic name"), Some(help));
        }
        legal.then_some(name)
    });
    let key = entries.get("key").and_then(|key| reader.name(key, "key"));
    (topic, key)
}
