//! `config`: layers, mistakes, secrets, schema.

use super::{command, finish, fixture, golden, run};

#[test]
fn the_settings_in_force_are_shown() {
    let run = run(&["-c", "config/throughline.yaml", "--set", "instance=worker-0", "config", "show"]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    golden("config-show.yaml", &run.stdout);
}

#[test]
fn what_is_shown_can_be_read_again() {
    let first = run(&["-c", "config/low-latency.yaml", "--set", "instance=worker-0", "config", "show"]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("shown.yaml");
    std::fs::write(&file, &first.stdout).expect("written");
    let second = run(&["-c", file.to_str().expect("UTF-8"), "config", "show"]);
    assert_eq!((second.status, second.stdout), (Some(0), first.stdout));
}

#[test]
fn secrets_are_hidden() {
    let mut command = command(&["--set", "instance=a", "config", "show"]);
    let run = finish(
        command
            .env("THROUGHLINE_KAFKA__PROPERTIES__SASL__PASSWORD", "hunter2")
            .env("THROUGHLINE_KAFKA__PROPERTIES__SASL__USERNAME", "ada"),
    );
    assert_eq!(run.status, Some(0));
    assert!(run.stdout.contains("sasl.username: ada"), "{}", run.stdout);
    assert!(run.stdout.contains("sasl.password: \"***\""), "{}", run.stdout);
    assert!(!run.stdout.contains("hunter2"));
}

#[test]
fn an_unknown_key_is_placed_and_the_nearest_named() {
    let run = run(&["-c", &fixture("bad.yaml"), "config", "show"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""));
    golden("config-bad.txt", &run.stderr);
}

#[test]
fn a_missing_file_is_an_error_whoever_names_it() {
    let named = run(&["-c", "nowhere.yaml", "config", "show"]);
    assert_eq!(named.status, Some(2));
    assert!(named.stderr.contains("nowhere.yaml"), "{}", named.stderr);
    let by_environment = finish(command(&["config", "show"]).env("THROUGHLINE_CONFIG", "elsewhere.yaml"));
    assert_eq!(by_environment.status, Some(2));
    assert!(by_environment.stderr.contains("elsewhere.yaml"), "{}", by_environment.stderr);
}

#[test]
fn the_file_beside_us_is_read_unless_another_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("throughline.yaml"), "application_id: beside\ninstance: a\n")
        .expect("written");
    let run = finish(command(&["config", "show"]).current_dir(directory.path()));
    assert!(run.stdout.contains("application_id: beside"), "{}{}", run.stdout, run.stderr);
}

#[test]
fn the_schema_is_an_interface() {
    let run = run(&["config", "schema"]);
    assert_eq!(run.status, Some(0));
    serde_json::from_str::<serde_json::Value>(&run.stdout).expect("JSON");
    golden("config-schema.json", &run.stdout);
}
