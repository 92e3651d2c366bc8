//! A rule set of any size over the events of `generate --kind security`, as YAML text: the starter rules for
//! authentication, which find the planted incidents, and a mix of rules of which most never see an event of theirs.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use throughline::rules::plan::Plan;
use throughline::rules::{RuleFile, compile, read_paths};

/// Names of the users that some rules watch, as the generator numbers them.
const USERS: [&str; 8] = ["ada", "barbara", "edsger", "grace", "john", "leslie", "margaret", "tony"];

/// A plan of `rules` rules, compiled from text as `run` does it.
pub fn plan(rules: usize) -> Arc<Plan> {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/authentication");
    let mut files = read_paths(&[starter]).expect("the starter rules are readable");
    let mut text = String::new();
    for n in files.len()..rules {
        text += "---\n";
        rule(&mut text, n).expect("memory takes text");
    }
    files.push(RuleFile { path: "mix.yaml".into(), text });
    let plan =
        compile(&files).unwrap_or_else(|errors| panic!("the rules of the bench compile: {:?}", errors.first())).plan;
    assert_eq!(plan.rules.len(), rules, "every rule is in the plan");
    Arc::new(plan)
}

/// Rule `n`: equalities and wildcards in single events, sequences and counts. None of them is ever satisfied whole; the
/// sequences of kind 5 are begun by every login of the user that they watch.
fn rule(text: &mut String, n: usize) -> std::fmt::Result {
    let user = USERS[n % USERS.len()];
    writeln!(text, "id: mix-{n}\nseverity: medium\nevidence: [host.name, source.ip]")?;
    match n % 10 {
        0..3 => query(text, &format!(r#"process where event.action == "start" and process.name == "tool-{n}""#)),
        3 => query(text, &format!(r#"process where event.action == "start" and process.executable : "*/tools-{n}/*""#)),
        4 => {
            query(text, &format!(r#"file where event.action == "open" and file.path : "/srv/share/secret-{n}-*.ods""#))
        }
        5 => query(
            text,
            &format!(
                r#"sequence by user.name with maxspan=10m
    [authentication where event.action == "login" and event.outcome == "success" and user.name == "{user}.{n}"]
    [file where event.action == "open" and file.path : "/srv/vault-{n}/*"]"#
            ),
        ),
        6 => query(
            text,
            &format!(
                r#"sequence by host.name with maxspan=5m
    [network where event.action == "connection" and destination.port == {}]
    [process where event.action == "start" and process.name : "dropper-{n}*"]"#,
                10_000 + n
            ),
        ),
        7 => {
            let block = format!("198.51.{}.0/24", n % 256);
            let event = format!(r#"network where event.outcome == "failure" and cidrMatch(destination.ip, "{block}")"#);
            count(text, "event_count", &event, "source.ip", "{gte: 20}")
        }
        8 => {
            let event = format!(r#"file where event.action == "open" and file.path : "/srv/hr-{n}/*""#);
            count(text, "value_count", &event, "user.name", "{field: file.path, gte: 10}")
        }
        _ => query(
            text,
            &format!(
                r#"sequence by host.name with maxspan=15m
    [any where event.reason == "Failure{n}" and event.action == "restart"] with runs=3"#
            ),
        ),
    }
}

fn query(text: &mut String, query: &str) -> std::fmt::Result {
    writeln!(text, "query: |\n  {query}")
}

fn count(text: &mut String, kind: &str, event: &str, key: &str, condition: &str) -> std::fmt::Result {
    writeln!(text, "events:\n  seen: |\n    {event}")?;
    writeln!(text, "correlation:\n  type: {kind}\n  rules: [seen]\n  group-by: [{key}]\n  timespan: 5m")?;
    writeln!(text, "  condition: {condition}")
}
