//! Correlations on stdout: as the records they are, or for people.

use std::io::{self, Write};

use serde_json::Value;

use super::args::RecordFormat;
use super::paint::Paint;
use crate::broker::OutRecord;

/// Widest value of a field that is printed whole in text form.
const VALUE_CHARS: usize = 60;

/// Writes correlations in their order.
pub(super) fn write(correlations: &[OutRecord], format: RecordFormat, out: &mut dyn Write) -> io::Result<()> {
    let paint = Paint::of_stdout();
    if format == RecordFormat::Table && !correlations.is_empty() {
        writeln!(out, "{:<30}  {:<13}  {:<36}  {:<40}  EVENTS", "END", "SEVERITY", "RULE", "KEY")?;
    }
    for record in correlations {
        let bytes = record.value.as_deref().unwrap_or_default();
        if format == RecordFormat::Json {
            out.write_all(bytes)?;
            out.write_all(b"\n")?;
            continue;
        }
        // Written by ourselves: anything else than JSON would be a bug, and is then shown as it is.
        match serde_json::from_slice(bytes) {
            Ok(value) if format == RecordFormat::Table => row(&value, out)?,
            Ok(value) => block(&value, paint, out)?,
            Err(_) => out.write_all(bytes)?,
        }
    }
    Ok(())
}

/// A correlation in a few lines: what, whose, when, and the events that led to it.
pub(super) fn block(correlation: &Value, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let rule = &correlation["rule"];
    let severity = text(&rule["severity"]);
    let head = format!("{severity}  {}", text(&rule["name"]));
    let head = if matches!(severity.as_str(), "high" | "critical") { paint.red(&head) } else { paint.yellow(&head) };
    writeln!(out, "{head}  ({})", key(correlation))?;
    if let Some(summary) = correlation["summary"].as_str() {
        writeln!(out, "  {summary}")?;
    }
    for event in correlation["events"].as_array().into_iter().flatten() {
        if event.is_null() {
            writeln!(out, "  {:<24}  nothing, although it was due", "")?;
            continue;
        }
        let place = format!("{}/{}@{}", text(&event["topic"]), event["partition"], event["offset"]);
        writeln!(
            out,
            "  {:<24}  [{}] {}  {place}",
            text(&event["time"]),
            text(&event["step"]),
            fields(&event["fields"], &correlation["key"])
        )?;
    }
    let measured: Vec<String> = correlation["values"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let folded = match correlation["suppressed"].as_u64() {
        Some(n) if n > 0 => format!(", {n} folded in"),
        _ => String::new(),
    };
    let window = &correlation["window"];
    writeln!(out, "  {} to {}: {}{folded}\n", text(&window["start"]), text(&window["end"]), measured.join(", "))
}

fn row(correlation: &Value, out: &mut dyn Write) -> io::Result<()> {
    let rule = &correlation["rule"];
    let events = correlation["values"]["count"].as_u64().unwrap_or_default();
    writeln!(
        out,
        "{:<30}  {:<13}  {:<36}  {:<40}  {events}",
        text(&correlation["window"]["end"]),
        text(&rule["severity"]),
        text(&rule["id"]),
        key(correlation),
    )
}

fn key(correlation: &Value) -> String {
    let parts: Vec<String> = correlation["key"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect();
    if parts.is_empty() { "no key".to_owned() } else { parts.join(" ") }
}

/// The fields of an event that say more than the key does.
fn fields(fields: &Value, key: &Value) -> String {
    let news = |(name, value): &(&String, &Value)| !value.is_null() && key.get(name.as_str()).is_none();
    let present = fields.as_object().into_iter().flatten().filter(news);
    let parts: Vec<String> = present.map(|(name, value)| format!("{name}={}", cut(&text(value)))).collect();
    parts.join(" ")
}

fn cut(value: &str) -> String {
    if value.chars().count() <= VALUE_CHARS {
        return value.to_owned();
    }
    let kept: String = value.chars().take(VALUE_CHARS - 1).collect();
    kept + "…"
}

/// Text as it stands, without control characters (it comes from events and goes to a terminal); the rest as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        other => other.to_string(),
    }
}
