//! Test rules as native YAML, as a person would write them: also what a failing property prints.

use std::fmt::Write;

use super::rule::{Aggregate, Body, By, Cond, Element, Extended, Measure, Refire, Rule, Sequence};

/// A rule set as one multi-document file.
pub fn render_all(rules: &[Rule]) -> String {
    rules.iter().map(render).collect::<Vec<_>>().join("---\n")
}

/// One rule as one document.
pub fn render(rule: &Rule) -> String {
    let mut text = format!("id: {}\n", rule.id);
    match &rule.body {
        Body::Event(cond) => put(&mut text, format_args!("query: |\n  {}\n", event_query(cond))),
        Body::Sequence(sequence) => put(&mut text, format_args!("query: |\n{}", sequence_query(sequence))),
        Body::Aggregate(aggregate) => text.push_str(&correlation(aggregate)),
    }
    if let Some(suppress) = &rule.suppress {
        put(&mut text, format_args!("suppress: {{for: {}", duration(suppress.window_ms)));
        if !suppress.beyond.is_empty() {
            let all = rule.key_fields().into_iter().chain(suppress.beyond.iter().copied());
            let names: Vec<&str> = all.map(|field| field.name()).collect();
            put(&mut text, format_args!(", by: [{}]", names.join(", ")));
        }
        text.push_str("}\n");
    }
    text
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("a string takes all");
}

/// `2s`, or `1500ms` where it is no whole second.
fn duration(ms: i64) -> String {
    if ms % 1000 == 0 { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

fn event_query(cond: &Cond) -> String {
    let condition = match cond {
        Cond::Any => "true".to_owned(),
        Cond::Kind(kind) => format!("t == \"{kind}\""),
        Cond::KindIn(kinds) => {
            let quoted: Vec<String> = kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
            format!("t in ({})", quoted.join(", "))
        }
        Cond::NotKind(kind) => format!("t != \"{kind}\""),
        Cond::KindFrom(kind, halves) => format!("t == \"{kind}\" and v >= {:?}", *halves as f64 / 2.0),
    };
    format!("any where {condition}")
}

fn by(fields: &[By]) -> String {
    if fields.is_empty() {
        return String::new();
    }
    let name = |by: &By| format!("{}{}", if by.optional { "?" } else { "" }, by.field.name());
    format!(" by {}", fields.iter().map(name).collect::<Vec<_>>().join(", "))
}

fn sequence_query(sequence: &Sequence) -> String {
    let mut text = format!("  sequence{}", by(&sequence.by));
    if let Some(ms) = sequence.maxspan_ms {
        put(&mut text, format_args!(" with maxspan={}", duration(ms)));
    }
    text.push('\n');
    for Element { missing, cond, runs, by: own } in &sequence.elements {
        let mark = if *missing { "!" } else { "" };
        put(&mut text, format_args!("    {mark}[{}]{}", event_query(cond), by(own)));
        if *runs > 1 {
            put(&mut text, format_args!(" with runs={runs}"));
        }
        text.push('\n');
    }
    if let Some((cond, own)) = &sequence.until {
        put(&mut text, format_args!("    until [{}]{}\n", event_query(cond), by(own)));
    }
    text
}

fn correlation(aggregate: &Aggregate) -> String {
    let mut text = String::from("events:\n");
    for (number, cond) in aggregate.references.iter().enumerate() {
        put(&mut text, format_args!("  r{number}: {}\n", event_query(cond)));
    }
    let (kind, field, percent) = match &aggregate.measure {
        Measure::EventCount => ("event_count", Vec::new(), None),
        Measure::ValueCount(fields) => ("value_count", fields.clone(), None),
        Measure::Sum(field) => ("value_sum", vec![*field], None),
        Measure::Avg(field) => ("value_avg", vec![*field], None),
        Measure::Median(field) => ("value_median", vec![*field], None),
        Measure::Percentile(field, percent) => ("value_percentile", vec![*field], Some(*percent)),
        Measure::Temporal(_) => ("temporal", Vec::new(), None),
        Measure::TemporalOrdered => ("temporal_ordered", Vec::new(), None),
    };
    let names: Vec<String> = (0..aggregate.references.len()).map(|number| format!("r{number}")).collect();
    put(&mut text, format_args!("correlation:\n  type: {kind}\n  rules: [{}]\n", names.join(", ")));
    if !aggregate.group_by.is_empty() {
        let names: Vec<&str> = aggregate.group_by.iter().map(|field| field.name()).collect();
        put(&mut text, format_args!("  group-by: [{}]\n", names.join(", ")));
    }
    put(&mut text, format_args!("  timespan: {}\n", duration(aggregate.timespan_ms)));
    match aggregate.refire {
        Refire::Edge => {}
        Refire::Every => text.push_str("  refire: every\n"),
        Refire::Reset => text.push_str("  refire: reset\n"),
    }
    let mut parts: Vec<String> = Vec::new();
    match field.as_slice() {
        [] => {}
        [one] => parts.push(format!("field: {}", one.name())),
        more => parts.push(format!("field: [{}]", more.iter().map(|f| f.name()).collect::<Vec<_>>().join(", "))),
    }
    parts.extend(percent.map(|percent| format!("percentile: {percent}")));
    parts.extend(aggregate.condition.iter().map(|(op, hundredths)| format!("{}: {}", op.name(), number(*hundredths))));
    if let Measure::Temporal(Some(condition)) = &aggregate.measure {
        put(&mut text, format_args!("  condition: {}\n", extended(condition)));
    } else if !parts.is_empty() {
        put(&mut text, format_args!("  condition: {{{}}}\n", parts.join(", ")));
    }
    text
}

fn number(hundredths: i64) -> String {
    if hundredths % 100 == 0 { format!("{}", hundredths / 100) } else { format!("{}", hundredths as f64 / 100.0) }
}

fn extended(condition: &Extended) -> String {
    match condition {
        Extended::Reference(number) => format!("r{number}"),
        Extended::And(a, b) => format!("({} and {})", extended(a), extended(b)),
        Extended::Or(a, b) => format!("({} or {})", extended(a), extended(b)),
        Extended::Not(a) => format!("not {}", extended(a)),
    }
}
