//! `version`: name and version, alone on a line.

use std::io::Write;

use super::exit::{Exit, Failure};

/// Prints the version.
pub(super) fn execute(out: &mut dyn Write) -> Result<Exit, Failure> {
    writeln!(out, "{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))?;
    Ok(Exit::Done)
}
