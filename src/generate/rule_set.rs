//! Rules over the events of `--kind security`, as YAML text: the starter rules for authentication, which find the planted
//! incidents, and a mix of any size of which most rules never see an event of theirs. What benches run.

use std::fmt::Write as _;

/// The authentication starter rules, as shipped.
const STARTER: [(&str, &str); 7] = [
    ("auth-brute-force-success.yaml", include_str!("../../rules/authentication/auth-brute-force-success.yaml")),
    (
        "auth-disabled-account-revived.yaml",
        include_str!("../../rules/authentication/auth-disabled-account-revived.yaml"),
    ),
    ("auth-mfa-fatigue.yaml", include_str!("../../rules/authentication/auth-mfa-fatigue.yaml")),
    ("auth-password-spraying.yaml", include_str!("../../rules/authentication/auth-password-spraying.yaml")),
    ("auth-session-without-login.yaml", include_str!("../../rules/authentication/auth-session-without-login.yaml")),
    (
        "auth-session-without-second-factor.yaml",
        include_str!("../../rules/authentication/auth-session-without-second-factor.yaml"),
    ),
    (
        "auth-user-from-many-addresses.yaml",
        include_str!("../../rules/authentication/auth-user-from-many-addresses.yaml"),
    ),
];

/// Names of the users that some rules watch, as the generator numbers them.
const USERS: [&str; 8] = ["ada", "barbara", "edsger", "grace", "john", "leslie", "margaret", "tony"];

/// A rule of which every background event begins a match that is never completed: as many live keys as there are entities.
const HOLD: &str = r#"---
id: hold-every-user
severity: low
query: |
  sequence by user.name with maxspan=30d
    [any where user.name != null]
    [any where event.action == "never-seen"]
"#;

/// A rule set of `rules` rules, the starter rules among them (so there are at least as many as these). `hold`: one more, of
/// which each event of an entity begins a match.
/// As (file name, text).
pub fn rule_set(rules: usize, hold: bool) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = STARTER.map(|(name, text)| (name.into(), text.into())).into();
    let mut text = String::new();
    for n in files.len()..rules {
        text += "---\n";
        // A string takes all that is written to it.
        let _ = rule(&mut text, n);
    }
    if hold {
        text += HOLD;
    }
    if !text.is_empty() {
        files.push(("mix.yaml".into(), text));
    }
    files
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
