//! `config`: the configuration in force, and its schema.

use std::io::Write;

use clap::{Args, Subcommand};

use super::args::Global;
use super::exit::{Exit, Failure};

/// Arguments of `config`.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum What {
    /// Print every setting in force as YAML that can be read again; secrets are hidden
    Show,
    /// Print the JSON schema of the configuration file
    Schema,
}

/// Prints it.
pub(super) fn execute(global: &Global, args: &ConfigArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    match args.what {
        What::Show => out.write_all(global.settings()?.to_yaml().as_bytes())?,
        What::Schema => writeln!(out, "{:#}", crate::config::schema())?,
    }
    Ok(Exit::Done)
}
