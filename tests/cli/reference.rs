//! `docs/configuration.md`: made from `config schema`, and held to it. `THROUGHLINE_BLESS=1` writes it anew.

use std::fmt::Write as _;

use serde_json::Value;

use super::{root, run};

const HEAD: &str = "# Configuration

Later ones win: defaults, the file (`-c FILE`, else `$THROUGHLINE_CONFIG`, else `throughline.yaml` if it exists), variables
`THROUGHLINE_*` (`__` between levels: `THROUGHLINE_KAFKA__BROKERS`), `--set KEY=VALUE`. A key that does not exist is an error that
names the nearest one. `throughline config show` prints what is in force, without secrets; `throughline validate` checks
it and the rules; `throughline config schema` gives the JSON schema to an editor.

[`config/throughline.yaml`](../config/throughline.yaml) has the same keys with their defaults and reasons;
[`config/low-latency.yaml`](../config/low-latency.yaml) and [`config/throughput.yaml`](../config/throughput.yaml) are profiles. TLS and
passwords: [SECURITY.md](../SECURITY.md).

This page is generated from `src/config/typed.rs`; a test holds it to that.

| key | value | meaning |
|---|---|---|
";

#[test]
fn the_page_about_configuration_is_that_of_the_schema() {
    let schema = run(&["config", "schema"]);
    let schema: Value = serde_json::from_str(&schema.stdout).expect("JSON");
    let mut page = HEAD.to_owned();
    keys(&schema, "", &mut page);
    assert!(page.contains("| `input[].time.field` |"), "nested keys are there:\n{page}");
    assert!(page.contains("| `delivery` | `exactly_once`, `at_least_once` |"), "words are there:\n{page}");
    let path = root().join("docs/configuration.md");
    if std::env::var_os("THROUGHLINE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).expect("docs/configuration.md");
    assert!(found == page, "docs/configuration.md is not up to date: THROUGHLINE_BLESS=1 writes it anew");
}

/// One line for each key of a section, and of the sections in it.
fn keys(section: &Value, path: &str, page: &mut String) {
    for (name, schema) in section["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let items = &schema["items"];
        if schema["properties"].is_object() {
            keys(schema, &path, page);
        } else if items["properties"].is_object() {
            keys(items, &format!("{path}[]"), page);
        } else {
            let meaning = schema["description"].as_str().expect("every key has a description");
            let meaning = meaning.replace('\n', " ").replace('|', "\\|");
            writeln!(page, "| `{path}` | {} | {meaning} |", value(schema)).expect("a String takes all");
        }
    }
}

/// What may stand there: words, or the kind of value with an example.
fn value(schema: &Value) -> String {
    let mut words = Vec::new();
    alternatives(schema, &mut words);
    words.dedup();
    let examples: Vec<String> = schema["examples"]
        .as_array()
        .into_iter()
        .flatten()
        .take(2)
        .map(|example| format!("`{}`", text(example)))
        .collect();
    match examples.is_empty() {
        true => words.join(", "),
        false => format!("like {}", examples.join(", ")),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn alternatives(schema: &Value, words: &mut Vec<String>) {
    let mut kind = |name: &str| match name {
        "null" => {}
        "string" => words.push("text".into()),
        "integer" | "number" => words.push("number".into()),
        "array" => words.push("list".into()),
        "object" => words.push("map".into()),
        other => words.push(other.into()),
    };
    if let Some(word) = schema.get("const") {
        words.push(format!("`{}`", text(word)));
    } else if let Some(list) = schema["enum"].as_array() {
        words.extend(list.iter().map(|word| format!("`{}`", text(word))));
    } else if let Some(name) = schema["type"].as_str() {
        kind(name);
    } else if let Some(names) = schema["type"].as_array() {
        names.iter().filter_map(Value::as_str).for_each(&mut kind);
    }
    for each in ["anyOf", "oneOf"].iter().filter_map(|key| schema[key].as_array()).flatten() {
        alternatives(each, words);
    }
}
