//! `topology`, and what `run -v` says of it: on a machine that is described to hwloc in the environment, so that it is the same
//! everywhere.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::{command, finish, golden};

const TWO_NODES: &str = "numa:2 core:2 pu:2";

#[test]
fn the_machine_and_the_places_of_threads_are_shown() {
    let run = finish(command(&["topology", "--set", "workers.shards=2"]).env("HWLOC_SYNTHETIC", TWO_NODES));
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    golden("topology.txt", &run.stdout);
    let off = finish(command(&["topology", "--set", "workers.pin=off"]).env("HWLOC_SYNTHETIC", TWO_NODES));
    assert!(off.stdout.ends_with("not pinned: workers.pin is off\n"), "{}", off.stdout);
}

#[test]
fn a_processor_that_is_not_there_is_refused() {
    let run = finish(command(&["topology", "--set", "workers.pin=[99]"]).env("HWLOC_SYNTHETIC", TWO_NODES));
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.contains("workers.pin names processor 99"), "{}", run.stderr);
}

#[test]
fn run_says_it_with_v() {
    let shown = finish(command(&["topology"]).env("HWLOC_SYNTHETIC", TWO_NODES)).stdout;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = format!("state.directory={}", directory.path().join("state").display());
    // Nobody listens on the broker's port: it is only waited for.
    let settings = ["input=[{topics: [t]}]", "kafka.brokers=127.0.0.1:1", "admin.listen=off", &state];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = ["run", "-v"].into_iter().chain(settings).collect();
    let mut child = command(&arguments)
        .env("HWLOC_SYNTHETIC", TWO_NODES)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    let missing = shown.lines().find(|expected| {
        let expected = format!("topology: {expected}");
        !lines.by_ref().any(|line| {
            seen.push(line);
            seen.last().is_some_and(|line| line.trim_end().ends_with(expected.trim_end()))
        })
    });
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert_eq!(missing, None, "{}", seen.join("\n"));
}
