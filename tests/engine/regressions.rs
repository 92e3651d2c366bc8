//! Bugs that were found, each as small as it gets and named for what went wrong.

use std::process::Command;

use crate::cases::timeline;

/// A silent window is decided at the end of the input if it had begun, and what has begun follows from the newest event of
/// the whole input, matched or not. The source said "finished" without saying how far the input had reached, so the answer
/// hung on `out_of_orderness` (with `max` no watermark had ever come) and on which keys shared a shard.
#[test]
fn the_end_of_the_input_reaches_as_far_as_its_newest_event() {
    let directory = tempfile::tempdir().expect("a directory");
    let rule = "id: quiet\nevents:\n  r0: any where t == \"a\"\ncorrelation:\n  type: event_count\n  rules: [r0]\n  \
                group-by: [k]\n  timespan: 7s\n  condition: {lt: 2}\n";
    let events: String = timeline("a@0 a@1 d@30").iter().map(|event| format!("{}\n", event.to_json())).collect();
    let (rules, input) = (directory.path().join("quiet.yaml"), directory.path().join("events.ndjson"));
    std::fs::write(&rules, rule).expect("rules written");
    std::fs::write(&input, events).expect("events written");
    let backtest = |out_of_orderness: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_throughline"))
            .args(["backtest", "-o", "json", "--time", "ts", "--out-of-orderness", out_of_orderness, "--rules"])
            .args([&rules, &input])
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let found = backtest("1s");
    assert_eq!(found.lines().count(), 1, "the silent window after the seen one, and no other: {found}");
    assert_eq!(backtest("max"), found);
}
