//! How a command behaves whatever it does: help, usage errors, closed pipes, exit status.

use std::io::Write;
use std::process::Stdio;

use super::{command, finish, fixture, golden, run};

#[test]
fn help_names_every_verb() {
    let run = run(&["--help"]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    golden("help.txt", &run.stdout);
}

#[test]
fn help_of_validate() {
    let run = run(&["validate", "--help"]);
    assert_eq!(run.status, Some(0));
    golden("help-validate.txt", &run.stdout);
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_meant() {
    let verb = run(&["valdate"]);
    assert_eq!((verb.status, verb.stdout.as_str()), (Some(2), ""));
    assert!(verb.stderr.contains("'validate'"), "{}", verb.stderr);
    assert_eq!(run(&[]).status, Some(2));
    assert_eq!(run(&["validate", "-o", "xml"]).status, Some(2));
    let filter = finish(command(&["version"]).env("THROUGHLINE_LOG", "throughline=loud"));
    assert_eq!(filter.status, Some(2));
    assert!(filter.stderr.starts_with("error: THROUGHLINE_LOG: "), "{}", filter.stderr);
}

#[test]
fn the_version_stands_alone_on_a_line() {
    let expected = format!("throughline {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["version"]).stdout, expected);
    assert_eq!(run(&["--version"]).stdout, expected);
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = run(&["completions", shell]);
        assert_eq!(run.status, Some(0), "{shell}");
        assert!(run.stdout.contains("validate") && run.stdout.len() > 500, "{shell}: {}", run.stdout);
    }
    assert_eq!(run(&["completions", "tcsh"]).status, Some(2));
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let bad = fixture("bad");
    for arguments in [&["config", "schema"][..], &["completions", "bash"], &["validate", &bad], &["--help"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = command(arguments).stdout(writer).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn with_a_log_for_programs_all_of_stderr_is_json() {
    let bad = fixture("bad");
    for (arguments, status, level) in [
        (&["--set", "kafka.brokers=x", "run"][..], 2, "ERROR"),
        (&["backtest", "--rules", &bad, "nothing.jsonl"], 2, "ERROR"),
        (&["search", "any where true", "nothing.jsonl"], 3, "ERROR"),
    ] {
        let run = run(&[&["--log-format", "json"], arguments].concat());
        assert_eq!(run.status, Some(status), "{arguments:?}: {}", run.stderr);
        let lines: Vec<serde_json::Value> =
            run.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
        assert_eq!(lines.last().expect("a line")["level"], level, "{arguments:?}");
    }
    let mut search = command(&["--log-format", "json", "search", "any where true", "-"]);
    let run = finish(search.stdin(Stdio::null()));
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert!(run.stderr.lines().count() > 0 && run.stderr.lines().all(|line| line.starts_with('{')), "{}", run.stderr);
}

/// What `search` says on stderr of these events.
fn said_of(query: &str, events: &str) -> String {
    let mut child =
        command(&["search", query, "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("piped").write_all(events.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_field_that_no_event_has_is_named_with_what_may_have_been_meant() {
    let events = r#"{"@timestamp":"2026-03-01T12:00:00Z","user":{"name":"ann"}}
{"@timestamp":"2026-03-01T12:00:01Z","user":{"name":"bob","mail":"b@example.org"}}
"#;
    let said = said_of(r#"any where user.nmae == "ann""#, events);
    assert!(said.contains("in no event: user.nmae (did you mean user.name?)"), "{said}");
    let said = said_of(r#"any where host.id == "1" or user.mail == "x""#, events);
    assert!(said.lines().any(|line| line.ends_with("in no event: host.id")), "the second event has the other: {said}");
    let said = said_of(r#"any where ?host.id == "1" or user.name == "x""#, events);
    assert!(!said.contains("in no event"), "it was said that it may be missing: {said}");
    let said = said_of(r#"process where user.name == "x""#, events);
    assert!(said.contains("in no event: event.category\n"), "no event can be of this category: {said}");
    assert!(!said_of(r#"any where host.id == "1""#, "").contains("in no event"), "nothing is known of nothing");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let run = finish(command(&["config", "schema"]).stdout(full).stderr(Stdio::piped()));
    assert_eq!(run.status, Some(3));
    assert!(run.stderr.starts_with("error: cannot write the output: "), "{}", run.stderr);
}
