//! INV-LIVE of the process itself: a thread that stands still ends it within seconds, and the next life goes on as if nothing had
//! been.

use std::os::unix::process::ExitStatusExt;

use crate::attack_points::start_to_die;
use crate::oracle::finish_and_compare;
use crate::oracle_load::{Load, app};
use crate::support::kafka;

/// SIGABRT.
const ABORTED: i32 = 6;

#[test]
fn a_thread_that_stands_still_aborts_the_process_which_then_goes_on_where_it_was() {
    let app = app(kafka(), 4, "epoch: 50ms\nworkers: {shards: 2, sources: 2}");
    let mut load = Load::new(&app, 1);
    load.write(4_000);
    for (point, thread) in [("source.barrier", "source-"), ("shard.persist", "shard-"), ("epoch.begun", "committer")] {
        // Longer than the test has patience: that it ends is not that it woke up.
        let mut service = start_to_die(&app, "one", &format!("{point}:5=sleep:600000"));
        let status = service.feed_until_ended(|| load.trickle());
        let log = service.log();
        assert_eq!(status.signal(), Some(ABORTED), "{point}: ended with {status}\n{log}");
        let said: Vec<&str> = log.lines().filter(|line| line.contains("stands still")).collect();
        assert_eq!(said.len(), 1, "one clear line:\n{log}");
        assert!(said[0].contains(thread) && said[0].contains("start it again"), "{point}: {}", said[0]);
    }
    finish_and_compare(&app, "");
}
