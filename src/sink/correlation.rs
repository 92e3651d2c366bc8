//! A correlation as a record: JSON in a fixed key order, the correlation key as record key, headers for routing.

use std::io::Write;
use std::sync::Arc;

use super::summary;
use crate::broker::OutRecord;
use crate::event::{Correlation, MatchedEvent, MeasuredValue, Origin, Timestamp, TopicId, TopicTable, Val};
use crate::rules::plan::{Plan, Rule};

/// Names of the headers on a correlation, in their order.
pub const HEADERS: [&str; 3] = ["throughline.rule.id", "throughline.severity", "traceparent"];

/// An encoded correlation.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// The record.
    pub record: OutRecord,
    /// Events were left out of `events` because the record would not have fitted its topic.
    pub trimmed: bool,
}

/// How much of a correlation is written. Less and less until it fits: events from the middle, their fields, then all events
/// and the length of texts. A key or summary of a megabyte comes from one event, and one event must never stop a partition.
#[derive(Debug, Clone, Copy)]
struct Detail {
    events: usize,
    fields: bool,
    /// Longest text of key and summary, in characters.
    text_max: usize,
}

impl Detail {
    /// Texts in the least detailed form.
    const TEXT_MIN: usize = 256;

    fn less(self) -> Option<Detail> {
        match self {
            Detail { events, .. } if events > 2 => Some(Detail { events: events / 2, ..self }),
            Detail { fields: true, .. } => Some(Detail { fields: false, ..self }),
            Detail { text_max: usize::MAX, .. } => Some(Detail { events: 0, fields: false, text_max: Self::TEXT_MIN }),
            _ => None,
        }
    }

    fn cut(self, value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::String(text) if text.len() > self.text_max => {
                text.chars().take(self.text_max - 1).chain(['…']).collect::<String>().into()
            }
            // An object as key value.
            other if self.text_max != usize::MAX && other.to_string().len() > self.text_max => serde_json::Value::Null,
            other => other,
        }
    }
}

/// Encodes correlations of one plan. One per thread.
pub struct CorrelationEncoder {
    plan: Arc<Plan>,
    topics: TopicTable,
    names: Vec<(TopicId, Arc<str>)>,
    default_topic: Arc<str>,
    /// Print `detected_at`.
    stamp: bool,
}

impl CorrelationEncoder {
    /// An encoder; `stamp`: with `detected_at` (left out where the same input must give the same bytes).
    pub fn new(plan: Arc<Plan>, topics: TopicTable, default_topic: Arc<str>, stamp: bool) -> Self {
        CorrelationEncoder { plan, topics, names: Vec::new(), default_topic, stamp }
    }

    /// The record of a correlation, at most `bytes_max(topic)` large: if it would be larger, events are left out of the
    /// middle, then their fields. `values.count` keeps the true number.
    pub fn encode(&mut self, found: &Correlation, bytes_max: impl Fn(&str) -> usize) -> Encoded {
        let plan = Arc::clone(&self.plan);
        let rule = &plan.rules[found.rule.0 as usize];
        let topic = rule.output_topic.as_deref().map_or_else(|| Arc::clone(&self.default_topic), Arc::from);
        let limit = bytes_max(&topic);
        let detected_at = self.stamp.then(Timestamp::now);
        let mut detail = Detail { events: found.events.len(), fields: true, text_max: usize::MAX };
        let mut trimmed = false;
        loop {
            let value = self.value(&plan, rule, found, detail, detected_at);
            let key = record_key(rule, found).map(|key| match key.len() > detail.text_max {
                // Still one key for one entity.
                true => format!("{:016x}", found.key.hash()).into_bytes(),
                false => key,
            });
            let record = OutRecord {
                topic: Arc::clone(&topic),
                partition: None,
                key,
                value: Some(value),
                headers: headers(rule, found),
                order: Some((found.window_end, first_event(found))),
            };
            let fits = record.bytes() <= limit;
            match detail.less() {
                Some(less) if !fits => detail = less,
                _ => return Encoded { record, trimmed },
            }
            trimmed = true;
        }
    }

    fn value(
        &mut self,
        plan: &Plan,
        rule: &Rule,
        found: &Correlation,
        detail: Detail,
        detected_at: Option<Timestamp>,
    ) -> Vec<u8> {
        let mut json = Json { out: Vec::with_capacity(512) };
        json.raw("{\"id\":");
        json.text(&found.id.to_string());
        json.raw(",\"rule\":{\"id\":");
        json.text(&rule.id);
        json.raw(",\"name\":");
        json.text(&rule.name);
        json.raw(",\"version\":");
        json.text(&rule.version);
        json.raw(",\"severity\":");
        json.text(rule.severity.name());
        json.raw(",\"tags\":");
        json.value(&rule.tags);
        json.raw("},\"key\":{");
        for (at, (name, part)) in rule.key_names.iter().zip(found.key.parts()).enumerate() {
            json.comma(at);
            json.text(name);
            json.raw(":");
            json.value(&detail.cut(part.to_json()));
        }
        json.raw("},\"window\":{\"start\":");
        json.display(found.window_start);
        json.raw(",\"end\":");
        json.display(found.window_end);
        json.raw("},\"events\":[");
        let (head, tail) = halves(&found.events, detail.events);
        for (at, event) in head.iter().chain(tail).enumerate() {
            json.comma(at);
            match event {
                Some(event) => self.event(&mut json, plan, rule, event, detail.fields),
                None => json.raw("null"),
            }
        }
        json.raw("]");
        if !found.values.is_empty() {
            json.raw(",\"values\":{");
            for (at, (measure, value)) in found.values.iter().enumerate() {
                json.comma(at);
                json.text(measure.name());
                json.raw(":");
                match value {
                    MeasuredValue::Int(n) => json.plain(n),
                    MeasuredValue::Float(f) => json.value(f),
                }
            }
            json.raw("}");
        }
        if let Some(template) = &rule.summary {
            json.raw(",\"summary\":");
            json.value(&detail.cut(summary::render(plan, rule, &template.0, found).into()));
        }
        json.raw(",\"suppressed\":");
        json.plain(found.suppressed);
        if let Some(at) = detected_at {
            json.raw(",\"detected_at\":");
            json.display(at);
        }
        json.raw("}");
        json.out
    }

    fn event(&mut self, json: &mut Json, plan: &Plan, rule: &Rule, matched: &MatchedEvent, with_fields: bool) {
        let event = &matched.event;
        let topic = self.topic_name(event.origin.topic);
        json.raw("{\"topic\":");
        json.text(&topic);
        json.raw(",\"partition\":");
        json.plain(event.origin.partition);
        json.raw(",\"offset\":");
        json.plain(event.origin.offset);
        json.raw(",\"time\":");
        json.display(event.time);
        if let Some(id) = &event.id {
            json.raw(",\"id\":");
            json.text(id);
        }
        json.raw(",\"step\":");
        json.text(rule.step_names.get(matched.step as usize).map_or("", String::as_str));
        json.raw(",\"fields\":{");
        let fields: &[_] = if with_fields { &rule.fields } else { &[] };
        let present = fields.iter().map(|&f| (f, event.fields.get(f))).filter(|(_, v)| !matches!(v, Val::Absent));
        for (at, (field, value)) in present.enumerate() {
            json.comma(at);
            json.text(plan.fields.get(field.index()).map_or("", |path| path.0.as_str()));
            json.raw(":");
            json.value(&value.to_json());
        }
        json.raw("}}");
    }

    fn topic_name(&mut self, topic: TopicId) -> Arc<str> {
        if let Some((_, name)) = self.names.iter().find(|entry| entry.0 == topic) {
            return Arc::clone(name);
        }
        let name = self.topics.name(topic);
        self.names.push((topic, Arc::clone(&name)));
        name
    }
}

/// First and last halves, `keep` in all.
fn halves<T>(events: &[T], keep: usize) -> (&[T], &[T]) {
    if events.len() <= keep {
        return (events, &[]);
    }
    (&events[..keep.div_ceil(2)], &events[events.len() - keep / 2..])
}

fn first_event(found: &Correlation) -> (Timestamp, Origin) {
    let nowhere = Origin { topic: TopicId(0), partition: 0, offset: 0 };
    let first = found.events.iter().flatten().next();
    first.map_or((found.window_start, nowhere), |matched| (matched.event.time, matched.event.origin))
}

/// The record key: the rule's `output.key` field, else the key's only value as text, else all values as a JSON array; none
/// for a rule without a key. Text, so that other consumers can join on it.
fn record_key(rule: &Rule, found: &Correlation) -> Option<Vec<u8>> {
    let plain = |value: serde_json::Value| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.into_bytes()),
        other => Some(other.to_string().into_bytes()),
    };
    if let Some(field) = rule.output_key {
        let value = found.events.iter().flatten().map(|m| m.event.fields.get(field)).find(|v| !v.is_null());
        if let Some(value) = value {
            return plain(value.to_json());
        }
    }
    let mut parts: Vec<serde_json::Value> =
        found.key.parts().iter().take(rule.key_names.len()).map(|part| part.to_json()).collect();
    match parts.len() {
        0 => None,
        1 => plain(parts.remove(0)),
        _ => plain(serde_json::Value::Array(parts)),
    }
}

/// `traceparent` (W3C Trace Context) has the correlation's id as trace id, so that whoever consumes the record can name it.
fn headers(rule: &Rule, found: &Correlation) -> Vec<(String, Option<Vec<u8>>)> {
    let span = found.trace().span;
    let values = [rule.id.clone(), rule.severity.name().to_owned(), format!("00-{}-{span:016x}-01", found.id)];
    HEADERS.iter().zip(values).map(|(name, value)| ((*name).to_owned(), Some(value.into_bytes()))).collect()
}

/// Writes JSON piece by piece. Writing to a vector cannot fail, so results are dropped.
struct Json {
    out: Vec<u8>,
}

impl Json {
    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn comma(&mut self, at: usize) {
        if at > 0 {
            self.raw(",");
        }
    }

    fn text(&mut self, text: &str) {
        self.value(text);
    }

    fn plain(&mut self, value: impl std::fmt::Display) {
        let _ = write!(self.out, "{value}");
    }

    fn display(&mut self, value: impl std::fmt::Display) {
        let _ = write!(self.out, "\"{value}\"");
    }

    fn value(&mut self, value: &(impl serde::Serialize + ?Sized)) {
        let _ = serde_json::to_writer(&mut self.out, value);
    }
}
