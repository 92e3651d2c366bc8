//! The admin endpoint of the running service: every path, the states, who may ask, and what is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use throughline::telemetry::metrics::table;

use crate::harness::{App, Service, throughline};
use crate::support::client::NewRecord;
use crate::support::kafka;
use crate::watched::Watched;

const RULES: &str = r#"
id: seen
query: any where kind == "good"
---
id: pair
query: sequence by user with maxspan=1m [any where kind == "first"] [any where kind == "second"]
---
id: never
query: any where kind == "never"
"#;

const TOKEN: &str = "correct-horse-battery-staple";

fn app() -> App {
    // The event time is the record's own: what is now is not late.
    App::new(kafka(), 2, RULES).input("id: id\n    out_of_orderness: 200ms\n    idle_timeout: 300ms")
}

fn event(id: usize, kind: &str) -> NewRecord {
    NewRecord::value(format!(r#"{{"id":"e{id}","kind":"{kind}","user":"ada"}}"#)).to((id % 2) as i32)
}

/// 8 single finds, one pair, a repeat, two that are no events.
fn load() -> Vec<NewRecord> {
    let mut all: Vec<NewRecord> = (0..8).map(|id| event(id, "good")).collect();
    all.extend([event(7, "good"), event(8, "first"), event(10, "second")]);
    all.extend([NewRecord::value("{").to(0), NewRecord::value("[]").to(1)]);
    all
}

/// Holds `actual` against a golden file, or writes it.
fn golden(name: &str, actual: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/admin").join(name);
    if std::env::var_os("THROUGHLINE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, actual).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{name} differs; if that is meant, run with THROUGHLINE_BLESS=1");
}

#[test]
fn every_endpoint_answers_on_the_running_service() {
    let app = app().properties("sasl.password: hunter2");
    app.kafka.produce(&app.topic, load());
    let watched = Watched::start(&app, &[]);
    let status = watched.until("all that was sent", |status| {
        status["committed"]["correlations"] == 9 && status["committed"]["records"] == 13
    });
    watched.until("the lag", |status| {
        status["partitions"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["lag"].is_i64()))
    });

    assert_eq!(status["state"], "running");
    let hits: Vec<(&str, u64)> = status["rules"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|rule| (rule["id"].as_str().expect("id"), rule["correlations"].as_u64().expect("n")))
        .collect();
    assert_eq!(hits, [("never", 0), ("pair", 1), ("seen", 8)]);
    assert_eq!(status["committed"]["dead_letters"], serde_json::json!({"invalid_json": 1, "not_an_object": 1}));

    assert_eq!((watched.get("/livez").status, watched.get("/readyz").status), (200, 200));
    metrics_say_what_happened(&watched, &app.topic);
    the_rest_answers(&watched);
    what_is_wrong_is_refused(&watched);
    let finished = watched.service.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
}

fn metrics_say_what_happened(watched: &Watched, topic: &str) {
    let metrics = watched.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    let types: Vec<&str> = metrics.text().lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    golden("metrics.txt", &(types.join("\n") + "\n"));
    let shown: BTreeSet<&str> = types.iter().filter_map(|line| line.split(' ').next()).collect();
    let known: BTreeSet<&str> = table::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, known, "a running service shows every metric that is documented");

    let outcome =
        |name: &str| watched.metric(&format!("throughline_events_total{{topic=\"{topic}\",outcome=\"{name}\"}}"));
    assert_eq!(outcome("matched"), Some(10.0));
    assert_eq!(outcome("duplicate"), Some(1.0));
    assert_eq!(outcome("dead_letter"), Some(2.0));
    let value = |series: &str| watched.metric(series);
    assert_eq!(value("throughline_correlations_total{rule=\"seen\"}"), Some(8.0));
    assert_eq!(value("throughline_correlations_total{rule=\"never\"}"), Some(0.0), "a rule that found nothing shows 0");
    assert_eq!(value("throughline_dead_letters_total{code=\"too_deep\"}"), Some(0.0));
    assert_eq!(value("throughline_partitions{state=\"assigned\"}"), Some(2.0));
    assert_eq!(value("throughline_broker_up"), Some(1.0));
    assert_eq!(value("throughline_pipeline_state{state=\"running\"}"), Some(1.0));
    assert_eq!(value("throughline_processing_latency_seconds_count"), Some(9.0));
    assert_eq!(value("throughline_end_to_end_latency_seconds_count"), Some(9.0));
    for positive in [
        "throughline_epoch_duration_seconds_count",
        "throughline_commit_duration_seconds_sum",
        "throughline_store_write_duration_seconds_count",
        "throughline_changelog_bytes_total",
        "throughline_signals_total{source=\"0\"}",
        "throughline_thread_busy_seconds_total{thread=\"shard-0\"}",
        "process_resident_memory_bytes",
    ] {
        assert!(value(positive).is_some_and(|value| value > 0.0), "{positive}: {:?}", value(positive));
    }
    // What was open is decided by the time of the data, which may have passed.
    assert!(value("throughline_state_keys{shard=\"0\",tier=\"memory\"}").is_some());
    assert!(value("throughline_state_bytes{shard=\"all\",tier=\"disk\"}").is_some());
    let open = watched.ask("GET", "/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n");
    assert!(open.head.to_ascii_lowercase().contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(open.text().ends_with("# EOF\n"));
}

fn the_rest_answers(watched: &Watched) {
    let rules = watched.get("/rules").json();
    assert_eq!(rules[1]["id"], "pair");
    assert_eq!(rules[1]["severity"], "medium");

    let config = watched.get("/config");
    assert_eq!(config.json()["kafka"]["properties"]["sasl.password"], "***");
    assert!(!config.text().contains("hunter2"));

    let document = watched.get("/openapi.json");
    golden("openapi.json", &(document.text().to_owned() + "\n"));

    for profile in ["profile?seconds=1", "heap"] {
        let profile = watched.get(&format!("/debug/pprof/{profile}"));
        assert_eq!(profile.status, 200, "{}", profile.text());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&profile.body[..]).read_to_end(&mut unpacked).expect("gzip");
        assert!(!unpacked.is_empty());
    }

    let mut healthcheck = throughline();
    healthcheck.env("THROUGHLINE_ADMIN__LISTEN", &watched.address).arg("healthcheck");
    let output = healthcheck.output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"ready\":true"), "{output:?}");
}

fn what_is_wrong_is_refused(watched: &Watched) {
    assert_eq!(watched.get("/nothing").status, 404);
    assert_eq!(watched.ask("POST", "/metrics", "Content-Length: 0\r\n").status, 405);
    assert_eq!(watched.get("/pipeline/pause").status, 405);
    for seconds in ["0", "61", "soon", "-1"] {
        assert_eq!(watched.get(&format!("/debug/pprof/profile?seconds={seconds}")).status, 400, "{seconds}");
    }
    let long = "x".repeat(32 << 10);
    assert_eq!(watched.ask("GET", "/livez", &format!("X-Long: {long}\r\n")).status, 431);
    assert_eq!(watched.ask("POST", "/pipeline/resume", "Content-Length: 1000000\r\n").status, 413);
    assert_eq!(watched.ask("POST", "/pipeline/drain", "Origin: http://evil.example\r\n").status, 403);
    let rebound = watched.send(b"GET /config HTTP/1.0\r\nHost: evil.example\r\n\r\n");
    assert_eq!(rebound.status, 403);
    // Health is for whoever reaches us, but only by name.
    let health = watched.send(b"GET /livez HTTP/1.0\r\nHost: evil.example\r\n\r\n");
    assert_eq!(health.status, 200);
    assert_eq!(watched.get("/status").json()["state"], "running", "none of this did anything");
}

#[test]
fn a_pause_reads_nothing_and_loses_nothing_and_a_drained_process_stays_until_it_may_leave() {
    let app = app();
    app.kafka.produce(&app.topic, [event(0, "good"), event(1, "good")]);
    let watched = Watched::start(&app, &[]);
    watched.until("the first two", |status| status["committed"]["correlations"] == 2);
    watched.until("idle partitions", |status| {
        status["partitions"].as_array().is_some_and(|all| all.iter().all(|one| one["idle"] == true))
    });

    assert_eq!(watched.ask("POST", "/pipeline/pause", "").json()["state"], "paused");
    let ready = watched.get("/readyz");
    assert_eq!((ready.status, &ready.json()["reasons"][0]["name"]), (503, &Value::from("paused")));
    // Longer than the partitions' idle timeout and out-of-orderness: a watermark that followed the clock would pass these by.
    app.kafka.produce(&app.topic, [event(2, "first"), event(3, "good"), event(4, "second")]);
    std::thread::sleep(Duration::from_secs(2));
    let status = watched.get("/status").json();
    assert_eq!((&status["state"], &status["committed"]["records"]), (&Value::from("paused"), &Value::from(2)));

    assert_eq!(watched.ask("POST", "/pipeline/resume", "").json()["state"], "running");
    let status = watched.until("what came meanwhile", |status| status["committed"]["correlations"] == 4);
    assert_eq!(status["committed"]["outcomes"][&app.topic]["late"], 0);

    assert_eq!(watched.ask("POST", "/pipeline/drain", "").json()["state"], "draining");
    watched.until("the end", |status| status["state"] == "stopped");
    let ready = watched.get("/readyz");
    assert_eq!((ready.status, &ready.json()["reasons"][0]["name"]), (503, &Value::from("stopped")));
    assert_eq!(watched.ask("POST", "/pipeline/resume", "").status, 409);
    assert_eq!(watched.get("/livez").status, 200, "the process lives");
    let finished = watched.service.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    assert_eq!(app.correlations().len(), 4);
}

#[test]
fn with_a_token_only_health_is_for_all_and_readiness_names_its_reasons() {
    // Nobody answers there: the service goes on trying for a while.
    let app = app().kafka_section("kafka:\n  brokers: 127.0.0.1:1\n");
    let watched = Watched::start(&app, &[("THROUGHLINE_ADMIN__TOKEN", TOKEN)]);
    assert_eq!(watched.get("/livez").status, 200);
    let ready = watched.get("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json(), serde_json::json!({"ready": false, "reasons": [{"name": "starting", "detail": ""}]}));
    for path in ["/metrics", "/status", "/rules", "/config", "/openapi.json", "/debug/pprof/heap", "/nothing"] {
        let refused = watched.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.head.to_ascii_lowercase().contains("www-authenticate: bearer"), "{}", refused.head);
    }
    assert_eq!(watched.ask("POST", "/pipeline/drain", "").status, 401);
    let shown = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(watched.ask("GET", "/status", &shown).json()["ready"], false);
    let ready = watched.ask("GET", "/readyz", &shown).json();
    assert_ne!(ready["reasons"][0]["detail"], "", "who has the token sees why");
    let config = watched.ask("GET", "/config", &shown);
    assert!(config.json()["admin"]["token"] == "***" && !config.text().contains(TOKEN));
    assert!(!watched.service.log().contains(TOKEN));

    let mut healthcheck = throughline();
    healthcheck.env("THROUGHLINE_ADMIN__LISTEN", &watched.address).env("THROUGHLINE_ADMIN__TOKEN", TOKEN);
    let output = healthcheck.arg("healthcheck").output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("starting"), "{output:?}");
}

#[test]
fn an_address_that_is_taken_is_said_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let app = app();
    let mut command = app.command("one");
    command.env("THROUGHLINE_ADMIN__LISTEN", &address);
    let finished = Service::spawn(command).wait();
    assert_eq!(finished.status, Some(2), "{}", finished.log);
    let said = format!("cannot listen on {address} for health and metrics");
    assert!(finished.log.contains(&said) && finished.log.contains("admin.listen"), "{}", finished.log);
}

#[test]
fn a_thousand_rules_give_a_series_each_and_what_events_hold_gives_none() {
    let rule = |n: usize| {
        format!(
            "id: rule-{n}\nquery: sequence by user with maxspan=1m [any where kind == \"k{n}\"] [any where kind == \"never\"]\n"
        )
    };
    let rules: Vec<String> = (0..1_000).map(rule).collect();
    let app = App::new(kafka(), 2, &rules.join("---\n"))
        .input("id: id\n    out_of_orderness: 200ms\n    idle_timeout: 300ms");
    let event = |n: usize| {
        let value = format!(r#"{{"id":"id-{n}","kind":"k{}","user":"user-{n}"}}"#, n % 1_000);
        NewRecord::value(value).to((n % 2) as i32)
    };
    app.kafka.produce(&app.topic, (0..3_000).map(event));
    let watched = Watched::start(&app, &[]);
    watched.until("all that was sent", |status| status["committed"]["records"] == 3_000);
    let metrics = watched.get("/metrics");
    let mut series: BTreeMap<&str, usize> = BTreeMap::new();
    for line in metrics.text().lines().filter(|line| !line.starts_with('#')) {
        *series.entry(line.split(['{', ' ']).next().expect("a name")).or_default() += 1;
    }
    assert_eq!(series.remove("throughline_correlations_total"), Some(1_000));
    // The longest are the buckets of a histogram and the reasons of dead letters.
    let many: Vec<_> = series.iter().filter(|(_, count)| **count > 32).collect();
    assert!(many.is_empty(), "{many:?}");
    assert!(series.values().sum::<usize>() < 500, "{series:?}");
    assert!(
        !metrics.text().contains("user-") && !metrics.text().contains("id-"),
        "labels come from the configuration only"
    );
    let finished = watched.service.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
}
