//! `completions`: a script that completes our command line in a shell.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::args::Cli;
use super::exit::{Exit, Failure};

/// Arguments of `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script.
pub(super) fn execute(args: &CompletionsArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    // Into memory first: the generator panics on a failed write, and the reader may be gone.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "throughline", &mut script);
    out.write_all(&script)?;
    Ok(Exit::Done)
}
