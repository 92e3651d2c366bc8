//! TLS, passwords, tokens and certificates against a real broker, and what is said when they are wrong.

use std::sync::OnceLock;

use crate::harness::App;
use crate::support::client::NewRecord;
use crate::support::jvm::PrivateBroker;

const RULES: &str = "id: seen\nquery: any where kind == \"x\"\n";

/// One for all tests of this file: it ends with the process.
fn broker() -> &'static PrivateBroker {
    static BROKER: OnceLock<PrivateBroker> = OnceLock::new();
    BROKER.get_or_init(|| {
        let broker = PrivateBroker::start_secure();
        for user in ["alice", "carol", "dora"] {
            let everything = ["--operation", "All", "--topic", "*", "--group", "*", "--transactional-id", "*"];
            broker.allow(user, &everything);
        }
        broker
    })
}

fn file(name: &str) -> String {
    broker().tls_file(name).display().to_string()
}

/// An application that goes to the port for passwords, or for certificates.
fn app(mutual: bool, properties: &[(&str, &str)]) -> App {
    let [passwords, certificates] = broker().tls_brokers();
    let lines: String = properties.iter().map(|(name, value)| format!("    {name}: {value:?}\n")).collect();
    let brokers = if mutual { certificates } else { passwords };
    App::new(broker(), 1, RULES).kafka_section(&format!("kafka:\n  brokers: {brokers}\n  properties:\n{lines}"))
}

fn sasl(mechanism: &str, user: &str, password: &str, authority: &str) -> App {
    app(
        false,
        &[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", user),
            ("sasl.password", password),
            ("ssl.ca.location", &file(authority)),
        ],
    )
}

fn certificate(name: &str) -> App {
    app(
        true,
        &[
            ("security.protocol", "SSL"),
            ("ssl.ca.location", &file("ca.crt")),
            ("ssl.certificate.location", &file(&format!("{name}.crt"))),
            ("ssl.key.location", &file(&format!("{name}.key"))),
        ],
    )
}

#[track_caller]
fn works(app: &App) {
    app.kafka.produce(&app.topic, [NewRecord::value(r#"{"time":1767225600000,"id":"1","kind":"x"}"#)]);
    app.until_end();
    assert_eq!(app.correlations().len(), 1);
}

/// Ends with status 3 and one error that names what to look at.
#[track_caller]
fn is_refused(app: &App, because: &str, secret: &str) {
    let finished = app.start("one", &["--until-end"]).wait();
    assert_eq!(finished.status, Some(3), "{}", finished.log);
    let errors: Vec<&str> = finished.log.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{}", finished.log);
    for part in [because, "127.0.0.1", "check user, password and certificates in `kafka.properties`"] {
        assert!(errors[0].contains(part), "{part:?} is missing in {}", errors[0]);
    }
    assert!(secret.is_empty() || !finished.log.contains(secret), "a secret is printed: {}", finished.log);
}

#[test]
fn events_are_read_and_results_written_over_tls_with_a_scram_password() {
    works(&sasl("SCRAM-SHA-512", "alice", "alice-secret", "ca.crt"));
}

#[test]
fn a_plain_password_works() {
    works(&sasl("PLAIN", "alice", "alice-secret", "ca.crt"));
}

#[test]
fn a_token_works() {
    works(&app(
        false,
        &[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
            ("sasl.oauthbearer.config", "principal=dora"),
            ("ssl.ca.location", &file("ca.crt")),
        ],
    ));
}

#[test]
fn a_certificate_of_our_own_works() {
    works(&certificate("carol"));
}

#[test]
fn a_wrong_password_is_told() {
    let because = "invalid credentials with SASL mechanism SCRAM-SHA-512";
    is_refused(&sasl("SCRAM-SHA-512", "alice", "hunter2", "ca.crt"), because, "hunter2");
    is_refused(&sasl("PLAIN", "alice", "hunter2", "ca.crt"), "Invalid username or password", "hunter2");
}

#[test]
fn a_broker_whose_authority_is_unknown_is_not_trusted() {
    let app = sasl("SCRAM-SHA-512", "alice", "alice-secret", "stranger.crt");
    is_refused(&app, "certificate verify failed", "alice-secret");
}

#[test]
fn a_certificate_that_the_broker_does_not_trust_is_told() {
    is_refused(&certificate("mallory"), "bad certificate", "");
}

#[test]
fn a_certificate_that_is_missing_is_told() {
    let app = app(true, &[("security.protocol", "SSL"), ("ssl.ca.location", &file("ca.crt"))]);
    is_refused(&app, "certificate", "");
}

/// Bob has a password and no rights.
#[test]
fn a_topic_that_is_refused_is_told() {
    let app = sasl("SCRAM-SHA-512", "bob", "bob-secret", "ca.crt");
    let finished = app.start("one", &["--until-end"]).wait();
    assert_eq!(finished.status, Some(3), "{}", finished.log);
    let errors: Vec<&str> = finished.log.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{}", finished.log);
    assert!(errors[0].contains("authoriz") && errors[0].contains("grant it: Read"), "{}", errors[0]);
    assert!(errors[0].contains("topic"), "{}", errors[0]);
}
