//! `run`: the service, Kafka to Kafka.

use std::time::Duration;

use clap::Args;

use super::args::Global;
use super::exit::{Exit, Failure};
use super::{compile_or_fail, note, service};
use crate::pipeline::Control;

/// Arguments of `run`.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Stop when every input partition reached the end it had at the start; absence and windows are then decided as if no
    /// more came
    #[arg(long)]
    pub until_end: bool,
}

/// Runs until told to stop; Ctrl-C or SIGTERM once drains, twice stops.
pub(super) fn execute(global: &Global, args: &RunArgs) -> Result<Exit, Failure> {
    let settings = global.settings()?;
    let plan = compile_or_fail(&settings.rule_paths)?;
    let control = Control::default();
    watch_signals(&control, settings.drain_timeout.to_std())?;
    service::run(&settings, plan, args.until_end, &control)?;
    Ok(Exit::Done)
}

fn watch_signals(control: &Control, drain_timeout: Duration) -> Result<(), Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let cannot = |error| Failure::new(Exit::Unreachable, format!("cannot watch signals: {error}"));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(cannot)?;
    let control = control.clone();
    let watch = move || {
        for _ in signals.forever() {
            // After a drain by request the process stays; the first signal then only ends that.
            if control.leave() {
                note(format_args!("leaving as soon as what was read is committed (again: stop at once)"));
            } else if control.is_stopping() {
                note(format_args!("stopping at once; what is not committed is read again by the next run"));
                control.stop();
            } else {
                note(format_args!("draining: finishing the epoch, then leaving (again: stop at once)"));
                control.drain_within(drain_timeout);
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map_err(cannot)?;
    Ok(())
}
