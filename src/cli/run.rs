//! `run`: the service, Kafka to Kafka.

use std::time::Duration;

use clap::Args;
use crossbeam_channel::Sender;

use super::args::Global;
use super::exit::{Exit, Failure};
use super::{compile_or_fail, note, service};
use crate::control::{Control, NoReload};

/// Arguments of `run`.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Stop when every input partition reached the end it had at the start; absence and windows are then decided as if no
    /// more came
    #[arg(long)]
    pub until_end: bool,
}

/// Runs until told to stop; Ctrl-C or SIGTERM once drains, twice stops; SIGHUP reads the rules again.
pub(super) fn execute(global: &Global, args: &RunArgs) -> Result<Exit, Failure> {
    let settings = global.settings()?;
    let plan = compile_or_fail(&settings.rule_paths)?;
    let control = Control::default();
    watch_signals(&control, settings.drain_timeout.to_std())?;
    service::run(&settings, plan, args.until_end, &control)?;
    Ok(Exit::Done)
}

fn watch_signals(control: &Control, drain_timeout: Duration) -> Result<(), Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let cannot = |error| Failure::new(Exit::Unreachable, format!("cannot watch signals: {error}"));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot)?;
    let reload = watch_reloads(control).map_err(cannot)?;
    let control = control.clone();
    let watch = move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                // A full line: a reload that has not begun waits there already, and will see the same files.
                let _ = reload.try_send(());
                continue;
            }
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

/// Reads rules again whenever it is told to, on a thread of its own: a signal to leave must not wait for that.
fn watch_reloads(control: &Control) -> std::io::Result<Sender<()>> {
    let (reload, asked) = crossbeam_channel::bounded(1);
    let control = control.clone();
    let watch = move || {
        for () in asked {
            // What is wrong with the rules is in the log already.
            if let Err(NoReload::NotNow(state)) = control.reload() {
                note(format_args!("rules are not read again: the pipeline is {state}"));
            }
        }
    };
    std::thread::Builder::new().name("reload".into()).spawn(watch)?;
    Ok(reload)
}
