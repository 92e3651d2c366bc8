//! `rules`: what is in a rule set, as compiled.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::{Global, ListFormat};
use super::exit::{Exit, Failure};
use crate::rules;
use crate::rules::plan::{AggregateKind, Pattern, Plan, Rule};

/// Arguments of `rules`.
#[derive(Debug, Clone, Args)]
pub struct RulesArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List the rules: id, severity, kind, place, name
    List {
        /// Rule files and directories [default: `rules.paths` of the configuration]
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Form of the list
        #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
        output: ListFormat,
    },
    /// Show one rule: its steps, key and fields
    Show {
        /// The rule's id
        #[arg(value_name = "ID")]
        id: String,
        /// Rule files and directories [default: `rules.paths` of the configuration]
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Form of the rule
        #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
        output: ListFormat,
    },
}

/// Prints it.
pub(super) fn execute(global: &Global, args: &RulesArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    match &args.what {
        What::List { paths, output } => list(&compile(global, paths)?, *output, out),
        What::Show { id, paths, output } => {
            let plan = compile(global, paths)?;
            let rule = plan.rules.iter().find(|rule| rule.id == *id).ok_or_else(|| {
                let nearest = plan
                    .rules
                    .iter()
                    .map(|rule| (strsim::jaro_winkler(id, &rule.id), rule.id.as_str()))
                    .filter(|(score, _)| *score >= 0.8)
                    .max_by(|a, b| a.0.total_cmp(&b.0));
                let help = match nearest {
                    Some((_, near)) => format!("did you mean `{near}`?"),
                    None => "`throughline rules list` prints the ids".to_owned(),
                };
                Failure::new(Exit::Usage, format!("no rule has the id `{id}`; {help}"))
            })?;
            show(&plan, rule, *output, out)
        }
    }
}

fn compile(global: &Global, paths: &[PathBuf]) -> Result<Plan, Failure> {
    let paths = if paths.is_empty() { global.settings()?.rule_paths } else { paths.to_vec() };
    let compiled = rules::read_paths(&paths).and_then(|files| rules::compile(&files)).map_err(|diagnostics| {
        let text: Vec<String> = diagnostics.iter().filter(|d| d.is_error).map(ToString::to_string).collect();
        Failure::new(Exit::Usage, format!("the rules are wrong\n\n{}", text.join("\n\n")))
    })?;
    Ok(compiled.plan)
}

fn list(plan: &Plan, format: ListFormat, out: &mut dyn Write) -> Result<Exit, Failure> {
    if format == ListFormat::Json {
        let rules: Vec<Value> = plan.rules.iter().map(|rule| summary(plan, rule)).collect();
        writeln!(out, "{}", Value::Array(rules))?;
        return Ok(Exit::Done);
    }
    let head = ["ID", "SEVERITY", "KIND", "PLACE", "NAME"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head)
        .chain(plan.rules.iter().map(|rule| {
            let severity = rule.severity.name().to_owned();
            [rule.id.clone(), severity, kind(rule).to_owned(), rule.place.clone(), rule.name.clone()]
        }))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    for [id, severity, kind, place, name] in &rows {
        let [w0, w1, w2, w3] = widths;
        let line = format!("{id:w0$}  {severity:w1$}  {kind:w2$}  {place:w3$}  {name}");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(Exit::Done)
}

fn show(plan: &Plan, rule: &Rule, format: ListFormat, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut value = summary(plan, rule);
    value["description"] = rule.description.clone().into();
    value["steps"] = rule.step_names.clone().into();
    let paths = rule.fields.iter().filter_map(|field| plan.fields.get(field.index()));
    value["fields"] = paths.map(|path| path.0.as_str()).collect::<Vec<_>>().into();
    value["output_topic"] = rule.output_topic.clone().into();
    if format == ListFormat::Json {
        writeln!(out, "{value}")?;
        return Ok(Exit::Done);
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.trim_end().replace('\n', "\n              "),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            Value::Null => continue,
            other => other.to_string(),
        };
        if !text.is_empty() {
            writeln!(out, "{:<14}{text}", format!("{}:", name.replace('_', " ")))?;
        }
    }
    Ok(Exit::Done)
}

fn summary(plan: &Plan, rule: &Rule) -> Value {
    let dimension = plan.dimensions.get(rule.dimension.0 as usize);
    json!({
        "id": rule.id,
        "name": rule.name,
        "version": rule.version,
        "severity": rule.severity.name(),
        "tags": rule.tags,
        "kind": kind(rule),
        "key": if dimension.is_some_and(|d| d.per_event) { Vec::new() } else { rule.key_names.clone() },
        "place": rule.place,
    })
}

/// The word by which rules call it.
fn kind(rule: &Rule) -> &'static str {
    match &rule.pattern {
        Pattern::Event => "event",
        Pattern::Sequence(_) => "sequence",
        Pattern::Aggregate(aggregate) => aggregate_kind(&aggregate.kind),
    }
}

fn aggregate_kind(kind: &AggregateKind) -> &'static str {
    match kind {
        AggregateKind::EventCount => "event_count",
        AggregateKind::ValueCount(_) => "value_count",
        AggregateKind::Temporal => "temporal",
        AggregateKind::TemporalOrdered => "temporal_ordered",
        AggregateKind::ValueSum(_) => "value_sum",
        AggregateKind::ValueAvg(_) => "value_avg",
        AggregateKind::ValueMedian(_) => "value_median",
        AggregateKind::ValuePercentile(..) => "value_percentile",
    }
}
