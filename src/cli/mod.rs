//! The verbs of the command line: one file each.
//!
//! Reads arguments, calls the rooms below, prints. Data goes to stdout, everything else to stderr; the exit status is an
//! [`Exit`]. A verb writes through the writer it is given and returns what went wrong: only [`main`] prints failures and
//! ends the process. Holds no logic that another front door (the HTTP API) would need too.

mod admin;
mod args;
mod backtest;
mod bench;
mod completions;
mod config;
mod demo;
mod exit;
mod files;
mod generate;
mod healthcheck;
mod paint;
mod progress;
mod report;
mod rules;
mod run;
mod sarif;
mod search;
mod service;
mod show;
mod state;
mod topology;
mod validate;
mod version;

pub use args::{CheckFormat, Cli, FileInput, Global, ListFormat, LogFormatArg, RecordFormat, Verb};
pub use backtest::BacktestArgs;
pub use exit::{Exit, Failure};
pub use healthcheck::HealthcheckArgs;
pub use run::RunArgs;
pub use search::SearchArgs;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use crate::rules::Diagnostic;
use crate::rules::plan::Plan;
use crate::telemetry;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with status 0, wrong usage to stderr with status 2. A closed pipe is nobody
            // left to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    // Not locked: a verb's own threads may print too.
    let mut stdout = std::io::BufWriter::new(std::io::stdout());
    let result = cli.execute(&mut stdout).and_then(|exit| {
        stdout.flush()?;
        Ok(exit)
    });
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // What was written before the failure still counts; if stdout is what failed, there is nothing to save.
            let _ = stdout.flush();
            if JSON.load(Ordering::Relaxed) && failure.exit() != Exit::Done {
                tracing::error!("{failure}");
                return failure.exit().into();
            }
            failure.report(&mut std::io::stderr().lock()).into()
        }
    }
}

impl Cli {
    /// Sets up logging and runs the verb; its data goes to `out`.
    pub fn execute(&self, out: &mut dyn Write) -> Result<Exit, Failure> {
        telemetry::init_logging(self.global.log_format.into(), self.global.verbosity())
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        JSON.store(matches!(self.global.log_format, LogFormatArg::Json), Ordering::Relaxed);
        match &self.verb {
            Verb::Run(args) => run::execute(&self.global, args),
            Verb::Search(args) => search::execute(args, out),
            Verb::Backtest(args) => backtest::execute(args, out),
            Verb::Generate(args) => generate::execute(&self.global, args, out),
            Verb::Bench(args) => bench::execute(&self.global, args, out),
            Verb::Demo(args) => demo::execute(args, out),
            Verb::Validate(args) => validate::execute(&self.global, args, out),
            Verb::Rules(args) => rules::execute(&self.global, args, out),
            Verb::Config(args) => config::execute(&self.global, args, out),
            Verb::Topology => topology::execute(&self.global, out),
            Verb::Completions(args) => completions::execute(args, out),
            Verb::Healthcheck(args) => healthcheck::execute(&self.global, args, out),
            Verb::Version => version::execute(out),
        }
    }
}

/// The log is for programs: then all of stderr is.
static JSON: AtomicBool = AtomicBool::new(false);

/// A line for people, on stderr. A closed stderr is nobody left to tell.
fn note(line: std::fmt::Arguments<'_>) {
    if JSON.load(Ordering::Relaxed) {
        tracing::info!("{}", line.to_string().trim());
        return;
    }
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Compiles the rules at `paths`: errors end the command, warnings are said.
fn compile_or_fail(paths: &[PathBuf]) -> Result<Plan, Failure> {
    compile(paths).map_err(|errors| refuse(&errors))
}

/// Compiles the rules at `paths` or says what is wrong; warnings are said.
fn compile(paths: &[PathBuf]) -> Result<Plan, Vec<Diagnostic>> {
    let files = crate::rules::read_paths(paths)?;
    let compiled = crate::rules::compile(&files)?;
    for warning in &compiled.warnings {
        note(format_args!("{warning}\n"));
    }
    Ok(compiled.plan)
}

/// All mistakes of a rule set at once.
fn refuse(errors: &[Diagnostic]) -> Failure {
    let blocks: Vec<String> = errors.iter().map(Diagnostic::to_string).collect();
    Failure::Rules(blocks.join("\n\n"))
}
