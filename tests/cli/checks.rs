//! `validate` and `rules`: mistakes of configuration and rules, in every form.

use super::{finish, fixture, golden, run};

#[test]
fn a_good_rule_set_passes() {
    let run = run(&["validate", &fixture("good")]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    golden("validate-good.txt", &run.stdout);
}

#[test]
fn all_mistakes_are_printed_as_text() {
    let run = run(&["-c", &fixture("bad.yaml"), "validate", &fixture("bad")]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(2), ""));
    golden("validate-bad.txt", &run.stdout);
}

#[test]
fn all_mistakes_are_printed_as_json() {
    let run = run(&["-c", &fixture("bad.yaml"), "validate", &fixture("bad"), "-o", "json"]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(2), ""));
    let value: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(value["rules"], 0);
    golden("validate-bad.json", &format!("{value:#}\n"));
}

#[test]
fn all_mistakes_are_printed_as_sarif() {
    let run = run(&["-c", &fixture("bad.yaml"), "validate", &fixture("bad"), "-o", "sarif"]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(2), ""));
    let value: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(value["version"], "2.1.0");
    let ours = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    golden("validate-bad.sarif", &run.stdout.replace(&ours, "\"version\": \"(ours)\""));
}

#[test]
fn rules_are_found_through_a_configuration_that_is_wrong_elsewhere() {
    let paths = format!("rules.paths=[{}]", fixture("bad"));
    let run = run(&["--set", &paths, "--set", "epoch=soon", "validate", "-o", "json"]);
    assert_eq!(run.status, Some(2));
    let value: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    let files: Vec<_> = value["errors"].as_array().expect("a list").iter().filter_map(|e| e["file"].as_str()).collect();
    assert!(files.contains(&"--set epoch"), "{files:?}");
    assert!(files.iter().any(|file| file.ends_with("mistakes.yaml")), "{files:?}");
}

#[test]
fn rules_that_are_not_there_are_an_error() {
    let run = run(&["validate", "tests/cli/fixtures/nowhere"]);
    assert_eq!(run.status, Some(2));
    assert!(run.stdout.contains("tests/cli/fixtures/nowhere"), "{}", run.stdout);
}

#[test]
fn rules_are_listed_and_shown() {
    let good = fixture("good");
    let list = run(&["rules", "list", &good]);
    assert_eq!((list.status, list.stderr.as_str()), (Some(0), ""));
    golden("rules-list.txt", &list.stdout);
    let show = run(&["rules", "show", "key-after-user", &good]);
    assert_eq!(show.status, Some(0));
    let version = show.stdout.lines().find(|line| line.starts_with("version:")).expect("a version");
    // The content hash changes with the hash's own definition; its form does not.
    assert_eq!(version.split_whitespace().nth(1).map(str::len), Some(16));
    golden("rules-show.txt", &show.stdout.replace(version, "version:      (16 hex digits)"));
    let json = run(&["rules", "list", &good, "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(value.as_array().map(Vec::len), Some(3));
}

#[test]
fn a_rule_that_is_not_there_is_not_shown_but_its_neighbour_named() {
    let run = run(&["rules", "show", "key-after-usr", &fixture("good")]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""));
    assert_eq!(run.stderr, "error: no rule has the id `key-after-usr`; did you mean `key-after-user`?\n");
}

#[test]
fn nothing_is_coloured_unless_a_terminal_looks() {
    let mut command = super::command(&["validate", &fixture("bad")]);
    let run = finish(command.env("TERM", "xterm-256color"));
    assert!(!run.stdout.contains('\x1b') && !run.stderr.contains('\x1b'));
}
