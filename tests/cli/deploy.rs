//! What is deployed beside the binary, held to the binary: queries ask for metrics that exist, versions agree, copies are equal.
//! `scripts/check-deploy.sh` checks the rest with the tools of each format.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use super::root;

/// Labels that Prometheus adds, and those of its own series.
const ADDED_LABELS: &[&str] = &["instance", "job", "le", "alertname", "alertstate"];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a regular expression")
}

/// Every text under the key `expr`.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(query) if key == "expr" => found.push(query.to_owned()),
                    _ => queries(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

/// Metrics by name, with their type and labels, as `docs/metrics.md` lists them.
fn metrics() -> BTreeMap<String, (String, Vec<String>)> {
    let row = regex(r"(?m)^\| `([a-z_]+)` \| (\w+) \| ([^|]*) \|");
    let label = regex(r"`(\w+)`");
    row.captures_iter(&read("docs/metrics.md"))
        .map(|row| {
            let labels = label.captures_iter(&row[3]).map(|label| label[1].to_owned()).collect();
            (row[1].to_owned(), (row[2].to_owned(), labels))
        })
        .collect()
}

/// What is wrong with a query: a metric or a label that does not exist.
fn mistakes(query: &str, metrics: &BTreeMap<String, (String, Vec<String>)>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut labels: BTreeSet<&str> = ADDED_LABELS.iter().copied().collect();
    for name in regex(r"\b(?:throughline|process)_[a-z_]+").find_iter(query).map(|found| found.as_str()) {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let metric = match of_histogram.and_then(|base| metrics.get(base)) {
            Some(metric) if metric.0 == "histogram" => Some(metric),
            _ => metrics.get(name).filter(|metric| metric.0 != "histogram"),
        };
        match metric {
            Some((_, known)) => labels.extend(known.iter().map(String::as_str)),
            None => wrong.push(format!("no metric {name}")),
        }
    }
    let matched = regex(r#"(\w+)\s*(?:=~|!~|!=|=)\s*""#);
    let grouped = regex(r"\b(?:by|on|without|ignoring) \(([^)]*)\)");
    let used = matched.captures_iter(query).map(|found| found[1].to_owned());
    let used = used.chain(
        grouped
            .captures_iter(query)
            .flat_map(|found| found[1].split(',').map(|label| label.trim().to_owned()).collect::<Vec<_>>()),
    );
    wrong.extend(used.filter(|label| !labels.contains(label.as_str())).map(|label| format!("no label {label}")));
    wrong
}

#[test]
fn every_query_asks_for_metrics_and_labels_that_exist() {
    let metrics = metrics();
    assert!(metrics.len() > 20, "docs/metrics.md lists metrics: {metrics:?}");
    let dashboard: Value = serde_json::from_str(&read("docker/grafana/dashboards/throughline.json")).expect("JSON");
    let alerts: Value = serde_saphyr::from_str(&read("docker/prometheus/alerts.yml")).expect("YAML");
    for (file, value, least) in [("dashboard", dashboard, 40), ("alerts", alerts, 9)] {
        let mut found = Vec::new();
        queries(&value, &mut found);
        assert!(found.len() >= least, "{file}: {} queries", found.len());
        for query in found {
            let wrong = mistakes(&query, &metrics);
            assert!(wrong.is_empty(), "{file}: {query}\n{}", wrong.join("\n"));
        }
    }
}

#[test]
fn a_query_with_a_wrong_name_is_found() {
    let one = |name: &str, kind: &str, label: &str| (name.to_owned(), (kind.to_owned(), vec![label.to_owned()]));
    let metrics =
        BTreeMap::from([one("throughline_a_total", "counter", "rule"), one("throughline_b_seconds", "histogram", "x")]);
    let wrong = |query: &str| mistakes(query, &metrics).len();
    assert_eq!(wrong(r#"sum by (rule) (rate(throughline_a_total{instance=~"$i"}[5m]))"#), 0);
    assert_eq!(wrong("histogram_quantile(0.9, sum by (le) (rate(throughline_b_seconds_bucket[5m])))"), 0);
    assert_eq!(wrong("throughline_a"), 1);
    assert_eq!(wrong("throughline_b_seconds"), 1, "a histogram has no series of its own name");
    assert_eq!(wrong("throughline_a_total_count"), 1, "a counter has no parts");
    assert_eq!(wrong("sum by (shard) (throughline_a_total)"), 1);
    assert_eq!(wrong(r#"throughline_a_total{x="1"}"#), 1, "a label of another metric");
}

#[test]
fn every_alert_says_where_to_go_on() {
    let operating = read("docs/operating.md");
    let anchors: BTreeSet<String> = operating
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| title.to_lowercase().replace(' ', "-"))
        .collect();
    let alerts: Value = serde_saphyr::from_str(&read("docker/prometheus/alerts.yml")).expect("YAML");
    let rules = alerts["groups"][0]["rules"].as_array().expect("rules");
    for rule in rules {
        let runbook = rule["annotations"]["runbook"].as_str().expect("a runbook");
        let anchor = runbook.strip_prefix("docs/operating.md#").expect("in docs/operating.md");
        assert!(anchors.contains(anchor), "{}: no section {anchor} among {anchors:?}", rule["alert"]);
    }
    let tests = read("docker/prometheus/alerts.test.yml");
    for rule in rules {
        let name = rule["alert"].as_str().expect("a name");
        assert!(tests.matches(name).count() >= 1, "{name} has no test in alerts.test.yml");
    }
}

#[test]
fn the_chart_has_the_same_dashboard_and_alerts() {
    // Helm reads only what lies in the chart.
    for (ours, charts) in [
        ("docker/prometheus/alerts.yml", "helm/throughline/files/alerts.yml"),
        ("docker/grafana/dashboards/throughline.json", "helm/throughline/files/dashboard.json"),
    ] {
        assert!(read(ours) == read(charts), "{charts} differs: cp {ours} {charts}");
    }
}

#[test]
fn image_and_chart_are_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let dockerfile = read("docker/Dockerfile");
    assert!(dockerfile.contains(&format!("\nARG VERSION={version}\n")), "docker/Dockerfile: ARG VERSION");
    let chart = read("helm/throughline/Chart.yaml");
    assert!(chart.contains(&format!("\nappVersion: {version}\n")), "Chart.yaml: appVersion");
    let toolchain = read("rust-toolchain.toml");
    let rust = regex(r#"channel = "(.+)""#).captures(&toolchain).expect("a channel")[1].to_owned();
    assert!(dockerfile.contains(&format!("\nARG RUST_VERSION={rust}\n")), "docker/Dockerfile: ARG RUST_VERSION");
    assert!(dockerfile.contains("\nCOPY .cargo .cargo\n"), "docker/Dockerfile: built with other settings than ours");
}

#[test]
fn the_image_has_a_stub_for_every_target() {
    // Cargo refuses a manifest that names a target whose file is not there.
    let (manifest, dockerfile) = (read("Cargo.toml"), read("docker/Dockerfile"));
    let stubs = regex(r"(?s)for stub in (.*?); do").captures(&dockerfile).expect("stubs")[1].replace('\\', " ");
    let stubs: BTreeSet<String> = stubs.split_whitespace().map(String::from).collect();
    let target = regex(r#"(?m)^\[\[(bin|bench|test)\]\]\nname = "([^"]+)"\n(?:path = "([^"]+)")?"#);
    let paths: BTreeSet<String> = target
        .captures_iter(&manifest)
        .map(|found| found.get(3).map_or_else(|| format!("benches/{}.rs", &found[2]), |path| path.as_str().to_owned()))
        .collect();
    assert!(paths.len() > 5, "the targets of Cargo.toml: {paths:?}");
    assert_eq!(stubs, paths, "docker/Dockerfile: what is made empty is what Cargo.toml names");
}
