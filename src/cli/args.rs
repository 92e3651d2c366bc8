//! The command line as a whole: global options, verbs, and what several verbs have in common.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::exit::Failure;
use super::{completions, config, rules, validate};
use crate::config::{Settings, Sources};
use crate::event::Span;
use crate::telemetry::{LogFormat, Verbosity};

/// Finds the line that runs through many events: correlates Kafka topics by rules over event time, exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "throughline",
    version,
    disable_help_subcommand = true,
    max_term_width = 110,
    after_help = "Exit status: 0 done, 1 the check or test asked for failed, 2 wrong usage, configuration or rules, 3 broker \
                  or disk unreachable or failed."
)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Configuration file [default: $THROUGHLINE_CONFIG, else throughline.yaml if it exists]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Set one configuration value, over file and environment; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", help_heading = "Global options")]
    pub set: Vec<String>,
    /// How log lines on stderr look
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Global options")]
    pub log_format: LogFormatArg,
    /// Log more (twice: everything); THROUGHLINE_LOG sets a filter in full
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Log less (twice: errors only)
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: u8,
}

impl Global {
    /// Where the settings come from.
    pub fn sources(&self) -> Sources {
        Sources::of_process(self.config.clone(), self.set.clone())
    }

    /// The settings in force.
    pub fn settings(&self) -> Result<Settings, Failure> {
        crate::config::load(&self.sources()).map_err(Failure::Configuration)
    }

    /// How much is logged.
    pub fn verbosity(&self) -> Verbosity {
        let up = i8::try_from(self.verbose).unwrap_or(i8::MAX);
        let down = i8::try_from(self.quiet).unwrap_or(i8::MAX);
        Verbosity(up.saturating_sub(down))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// The service: Kafka to Kafka
    Run(super::RunArgs),
    /// Check configuration and rules; report all errors at once
    Validate(validate::ValidateArgs),
    /// One EQL query over files or stdin
    Search(super::SearchArgs),
    /// Rules over files
    Backtest(super::BacktestArgs),
    /// A seeded stream of events with planted incidents
    Generate(super::generate::GenerateArgs),
    /// See it work: the whole pipeline in this terminal, no Kafka, no configuration
    Demo(super::demo::DemoArgs),
    /// Load on the whole pipeline: throughput, latency, CPU, memory, and whether the outputs were right
    Bench(super::bench::BenchArgs),
    /// List and show rules
    Rules(rules::RulesArgs),
    /// Show the configuration in force, or its schema
    Config(config::ConfigArgs),
    /// Show the processors of this machine, and which threads the configuration would put on them
    Topology,
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Ask the running service of this configuration how it is; status 0: it does its work
    Healthcheck(super::HealthcheckArgs),
    /// Print the version
    Version,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormatArg {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl From<LogFormatArg> for LogFormat {
    fn from(format: LogFormatArg) -> LogFormat {
        match format {
            LogFormatArg::Text => LogFormat::Text,
            LogFormatArg::Json => LogFormat::Json,
        }
    }
}

/// The form of a check's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CheckFormat {
    /// For people, with the source line
    #[default]
    Text,
    /// One JSON object
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

/// The form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ListFormat {
    /// For people
    #[default]
    Text,
    /// JSON
    Json,
}

/// The form of correlations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum RecordFormat {
    /// One JSON object a line, as on the output topic
    Json,
    /// For people, with the events
    #[default]
    Text,
    /// For people, one line each
    Table,
}

/// Files as input: what `search` and `backtest` have in common.
#[derive(Debug, Clone, Default, Args)]
pub struct FileInput {
    /// Field of the event time [default: the first of @timestamp, timestamp, time, ts, eventTime that the first event has]
    #[arg(long, value_name = "FIELD")]
    pub time: Option<String>,
    /// Field of the event id; turns dedup on. May be repeated: all of them together
    #[arg(long, value_name = "FIELD")]
    pub id: Vec<String>,
    /// Field of the event category
    #[arg(long, value_name = "FIELD", default_value = "event.category")]
    pub category: String,
    /// How late an event may come in the file and still be in order; `max`: all is read and ordered first
    #[arg(long, value_name = "DURATION", default_value = "max", value_parser = parse_span)]
    pub out_of_orderness: Option<Span>,
    /// Stop after so many correlations
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Form of the correlations on stdout
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: RecordFormat,
}

impl FileInput {
    /// `--out-of-orderness`; [`Span::MAX`]: all is read and ordered first.
    pub fn out_of_orderness(&self) -> Span {
        self.out_of_orderness.unwrap_or(Span::MAX)
    }
}

fn parse_span(text: &str) -> Result<Span, String> {
    match text {
        "max" => Ok(Span::MAX),
        _ => Span::parse(text).map_err(|error| format!("{error}, or max")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn verbosity_goes_both_ways() {
        let level = |line: &[&str]| Cli::try_parse_from(line).expect("parsed").global.verbosity().0;
        assert_eq!(level(&["throughline", "version"]), 0);
        assert_eq!(level(&["throughline", "-vv", "version"]), 2);
        assert_eq!(level(&["throughline", "version", "-q"]), -1);
        assert!(Cli::try_parse_from(["throughline", "-v", "-q", "version"]).is_err());
    }
}
