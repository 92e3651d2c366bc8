//! A check's result as SARIF 2.1.0 (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/>), which code-scanning services read.

use serde_json::{Value, json};

use super::report::Report;
use crate::config::ProblemCode;
use crate::rules::Diagnostic;

/// The log of one run.
pub(super) fn of_report(report: &Report) -> Value {
    let all: Vec<&Diagnostic> = report.errors.iter().chain(&report.warnings).collect();
    let mut codes: Vec<&str> = all.iter().map(|d| d.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(|code| rule(code)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": all.iter().map(|diagnostic| result(diagnostic, &codes)).collect::<Vec<_>>(),
        }],
    })
}

fn rule(code: &str) -> Value {
    match ProblemCode::ALL.into_iter().find(|known| known.name() == code) {
        Some(known) => json!({"id": code, "shortDescription": {"text": known.meaning()}}),
        None => json!({"id": code}),
    }
}

fn result(diagnostic: &Diagnostic, codes: &[&str]) -> Value {
    let help = diagnostic.help.as_ref().map(|help| format!("\n{help}")).unwrap_or_default();
    let mut result = json!({
        "ruleId": diagnostic.code,
        "ruleIndex": codes.iter().position(|code| *code == diagnostic.code),
        "level": if diagnostic.is_error { "error" } else { "warning" },
        "message": {"text": format!("{}{help}", diagnostic.message)},
    });
    let mut physical = json!({"artifactLocation": {"uri": uri(&diagnostic.file)}});
    if diagnostic.line > 0 {
        physical["region"] = json!({
            "startLine": diagnostic.line,
            "startColumn": diagnostic.column.max(1),
            "endColumn": diagnostic.column.max(1) + diagnostic.length.max(1),
        });
    }
    // The environment and the command line are no files.
    let layer = diagnostic.file.starts_with("environment ") || diagnostic.file.starts_with("--set ");
    result["locations"] = match layer {
        true => json!([{"logicalLocations": [{"fullyQualifiedName": diagnostic.file}]}]),
        false => json!([{"physicalLocation": physical}]),
    };
    result
}

/// A path as a URI reference (RFC 3986): relative as it is, absolute as `file:`.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_uri_references() {
        assert_eq!(uri("rules/a b.yaml"), "rules/a%20b.yaml");
        assert_eq!(uri("./rules/ä.yaml"), "rules/%C3%A4.yaml");
        assert_eq!(uri("/etc/throughline/x.yaml"), "file:///etc/throughline/x.yaml");
    }
}
