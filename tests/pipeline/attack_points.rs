//! INV-ONCE at every line of the protocol: the process is killed there, early and later in its life, and starts again.

use std::process::ExitStatus;

use throughline::fault::{ENVIRONMENT, POINTS};

use crate::harness::{App, Service};
use crate::oracle::finish_and_compare;
use crate::oracle_load::{Load, app};
use crate::support::kafka;

const SETTINGS: &str = "epoch: 50ms\nworkers: {shards: 2, sources: 2}";

/// What waits before the first life. Small fetches make it last for a few of them.
const BACKLOG: usize = 30_000;

/// Starts an instance that kills itself where `fault` says.
pub fn start_to_die(app: &App, instance: &str, fault: &str) -> Service {
    if !cfg!(feature = "faults") {
        panic!("without the points in it nothing dies: --features faults");
    }
    let mut command = app.command(instance);
    command.env(ENVIRONMENT, fault);
    Service::spawn(command)
}

/// Whether the process died by SIGKILL.
pub fn was_killed(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
}

/// Lets an instance run, writing more and more for it, until it has killed itself.
pub fn live_until_killed(app: &App, load: &mut Load, fault: &str) {
    let mut service = start_to_die(app, "one", fault);
    let status = service.feed_until_ended(|| load.trickle());
    assert!(was_killed(status), "{fault}: ended with {status}\n{}", service.log());
}

#[test]
fn killed_at_each_point_of_the_protocol_the_output_is_that_of_one_run() {
    let app = app(kafka(), 4, SETTINGS).properties("fetch.message.max.bytes: 4096");
    let mut load = Load::new(&app, 1);
    load.write(BACKLOG / 2);
    load.write_aborted(&app);
    load.write(BACKLOG / 2);
    // Those of a rebalance are for instances that take partitions from each other. Calls onto the disk lie between others.
    let points: Vec<&str> = POINTS.iter().copied().filter(|point| !point.starts_with("revoke.")).collect();
    assert_eq!(points.len(), 12);
    for nth in [1, 2, 7] {
        for point in &points {
            // Passed once in a life, or once by each shard; or for each changelog partition.
            let often = match *point {
                "recovery.swept" => nth <= 2,
                point => nth == 1 || !point.starts_with("recovery."),
            };
            if often {
                live_until_killed(&app, &mut load, &format!("{point}:{nth}"));
            }
        }
    }
    finish_and_compare(&app, "");
}
