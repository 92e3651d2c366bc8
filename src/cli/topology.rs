//! `topology`: the machine, and where the configuration would put threads on it.

use std::io::Write;

use super::args::Global;
use super::exit::{Exit, Failure};
use super::service;

/// Prints it; nothing is started.
pub(super) fn execute(global: &Global, out: &mut dyn Write) -> Result<Exit, Failure> {
    let (topology, placement) = service::place(&global.settings()?)?;
    write!(out, "{}", topology.table(&placement))?;
    Ok(Exit::Done)
}
