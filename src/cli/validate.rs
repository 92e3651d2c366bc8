//! `validate`: configuration and rules, all errors at once.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::{CheckFormat, Global};
use super::exit::{Exit, Failure};
use super::report::{Report, diagnostic_of};
use super::service;
use crate::broker::Broker;
use crate::config::Settings;
use crate::pipeline::PipelineError;
use crate::rules::Diagnostic;
use crate::rules::plan::Plan;
use crate::{config, rules};

/// Arguments of `validate`.
#[derive(Debug, Clone, Args)]
pub struct ValidateArgs {
    /// Rule files, and directories that are searched for them [default: `rules.paths` of the configuration]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: CheckFormat,
    /// Also ask the broker: do the topics exist, may they be described, do partition counts fit the locality
    #[arg(long)]
    broker: bool,
}

/// Checks, and prints what was found.
pub(super) fn execute(global: &Global, args: &ValidateArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut report = Report::default();
    let sources = global.sources();
    let settings = config::load(&sources).map_err(|problems| report.add(problems.iter().map(diagnostic_of))).ok();
    let paths = if args.paths.is_empty() { config::rule_paths(&sources) } else { args.paths.clone() };
    match rules::read_paths(&paths).and_then(|files| rules::compile(&files)) {
        Ok(compiled) => {
            report.rules = compiled.plan.rules.len();
            report.add(compiled.warnings);
            if let (true, Some(settings)) = (args.broker, &settings) {
                report.add(ask_broker(settings, &compiled.plan)?);
            }
        }
        Err(diagnostics) => report.add(diagnostics),
    }
    report.write(args.output, out)?;
    Ok(if report.errors.is_empty() { Exit::Done } else { Exit::Usage })
}

/// How long the broker may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What is wrong between the configuration and the broker. It only looks: no group is joined, nobody is fenced.
fn ask_broker(settings: &Settings, plan: &Plan) -> Result<Vec<Diagnostic>, Failure> {
    let broker = service::kafka(settings)?;
    let ask = |names: &[String]| {
        broker.topics(names, ANSWER_WITHIN).map_err(|error| Failure::from(PipelineError::from(error)))
    };
    let complain = |code: &str, message: String, help: &str| {
        Diagnostic::of_whole(format!("broker {}", settings.kafka.brokers), code, message, Some(help))
    };
    let inputs: Vec<String> = settings.inputs.iter().flat_map(|input| input.topics.clone()).collect();
    let found = ask(&inputs)?;
    let mut outputs = plan.output_topics();
    outputs.extend([settings.output_topic.as_str(), settings.dead_letter_topic.as_str()]);
    let outputs: Vec<String> = outputs.into_iter().map(str::to_owned).collect();
    let written = ask(&outputs)?;
    let known = |name: &String| found.iter().chain(&written).any(|info| *info.topic == **name);
    let mut wrong = Vec::new();
    for name in inputs.iter().chain(&outputs).filter(|name| !name.starts_with('^') && !known(name)) {
        let help = "create it, or allow this user to describe it";
        wrong.push(complain("E0701", format!("topic `{name}` does not exist, or may not be seen"), help));
    }
    for pattern in inputs.iter().filter(|name| name.starts_with('^')) {
        if !found.iter().any(|info| config::topic_matches(pattern, &info.topic)) {
            wrong.push(complain(
                "E0702",
                format!("no topic matches `{pattern}`"),
                "correct the expression, or create a topic",
            ));
        }
    }
    let counts: BTreeSet<i32> = found.iter().map(|info| info.partitions).collect();
    if settings.locality == config::Locality::Partition && counts.len() > 1 {
        let each: Vec<String> = found.iter().map(|info| format!("{} has {}", info.topic, info.partitions)).collect();
        let message = format!("`locality: partition` needs equal partition counts: {}", each.join(", "));
        wrong.push(complain("E0703", message, "give all input topics the same number of partitions"));
    }
    Ok(wrong)
}
