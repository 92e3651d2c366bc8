//! Queries to conditions.

use proptest::prelude::*;

use super::*;

fn lowered(text: &str) -> String {
    condition(&query(&format!("any where {text}")), 0)
}

#[test]
fn predicates_on_one_field_are_for_the_index() {
    for (text, expected) in [
        ("a == 1", "a == 1"),
        ("1 == a", "a == 1"),
        ("a != \"x\"", "!a == \"x\""),
        ("not a == \"x\"", "!a == \"x\""),
        ("not (not a == 1)", "a == 1"),
        ("a == null", "a null"),
        ("null != ?a", "!a null"),
        ("?a == 1", "?a == 1"),
        ("a < 5", "a Lt 5"),
        ("5 < a", "a Gt 5"),
        ("a >= \"b\"", "a Ge \"b\""),
        ("a == -9223372036854775808", "a == -9223372036854775808"),
        ("a == 18446744073709551615", "a == 18446744073709551615u"),
        ("a == 1.5e3", "a == 1500.0"),
        ("a in (1, 2, \"x\")", "a == 1,2,\"x\""),
        ("a in~ (\"x\")", "a ==~ \"x\""),
        ("a not in (1)", "!a == 1"),
        ("a in (1, null)", "(a == 1 | a null)"),
        ("a : \"x\"", "a ==~ \"x\""),
        ("a : \"x*\"", "a like~ x*"),
        ("a : (\"x*\", \"y\")", "a like~ x*,y"),
        ("a : 5", "a == 5"),
        ("a like \"x\"", "a == \"x\""),
        ("a like (\"?x**\")", "a like ?x*"),
        ("a like~ \"x*\"", "a like~ x*"),
        ("a regex \"a.*\"", "a regex ^(?s:a.*)$"),
        ("a regex~ (\"a\", \"b\")", "a regex~ ^(?s:a)$,^(?s:b)$"),
        ("startsWith(a, \"x\")", "a like x*"),
        ("endswith~(a, \"x\")", "a like~ *x"),
        ("STRINGCONTAINS(a, \"x?\")", "a like *x?*"),
        ("wildcard(a, \"x*\", \"y\")", "a like x*,y"),
        ("cidrMatch(a, \"10.1.1.1/8\", \"::1\")", "a cidr 10.0.0.0/8,::1/128"),
        ("a", "a true"),
        ("not ?a", "!?a true"),
        ("a == true", "a == true"),
        ("`a-b`.c == 1", "a-b.c == 1"),
        ("@timestamp > \"2024-01-01\"", "@timestamp Gt \"2024-01-01\""),
        ("a == \"\"\"c:\\x\"\"\"", "a == \"c:\\\\x\""),
        ("a == \"\\u{e9}\\t\"", "a == \"é\\t\""),
        ("labels.in.0 == 1 // in", "labels.in.0 == 1"),
    ] {
        assert_eq!(lowered(text), expected, "{text}");
    }
}

#[test]
fn the_rest_are_expressions() {
    for (text, expected) in [
        ("a == b", "{a == b}"),
        ("?a != ?b", "!{?a == ?b}"),
        ("a < b", "{a Lt b}"),
        ("a + 1 * 2 > b", "{(a Add 2) Gt b}"),
        ("a - b - c == 0", "{((a Sub b) Sub c) == 0}"),
        ("-a == 1", "{-a == 1}"),
        ("length(a) in (1, 2)", "{Length(a) == 1,2}"),
        ("concat(a, \"-\", b) like \"x*\"", "{Concat(a, \"-\", b) like x*}"),
        ("between(a, \"x\", \"y\", true) == \"z\"", "{Between(a, \"x\", \"y\", true) == \"z\"}"),
        ("startsWith~(a, b)", "{StartsWith~(a, b)}"),
        ("a in (b, 1)", "(a == 1 | {a == b})"),
        ("length(a) == null", "{Length(a) null}"),
        ("substring(a, 0, 2) : \"cm\"", "{Substring(a, 0, 2) ==~ \"cm\"}"),
    ] {
        assert_eq!(lowered(text), expected, "{text}");
    }
}

#[test]
fn precedence_is_or_and_not_comparison() {
    assert_eq!(lowered("a == 1 or b == 2 and not c == 3"), "(a == 1 | (b == 2 & !c == 3))");
    assert_eq!(lowered("(a == 1 or b == 2) and c == 3"), "((a == 1 | b == 2) & c == 3)");
    assert_eq!(lowered("a == 1 and (b == 2 and c == 3)"), "(a == 1 & b == 2 & c == 3)");
}

#[test]
fn constants_are_folded_in_three_valued_logic() {
    for (text, expected) in [
        ("true and a == 1", "a == 1"),
        ("a == 1 or true", "Some(true)"),
        ("a == 1 and false", "Some(false)"),
        ("1 + 2 * 3 == 7", "Some(true)"),
        ("7 / -2 == -3 and -7 % 3 == -1", "Some(true)"),
        ("1 / 0 == null", "{(1 Div 0) null}"),
        ("1 == 1.0", "Some(true)"),
        ("\"1\" == 1", "Some(false)"),
        ("null == null", "Some(true)"),
        ("null < 1", "None"),
        ("a < null", "None"),
        ("not (a < null)", "None"),
        ("9007199254740993 == 9007199254740993", "Some(true)"),
        ("9007199254740993 > 9007199254740992", "Some(true)"),
        ("\"b\" > \"a\"", "Some(true)"),
        ("length(null) == 1", "{Length(null) == 1}"),
        ("null == 1", "Some(false)"),
        ("null in (1, 2)", "Some(false)"),
        ("1 in (2, 1)", "Some(true)"),
    ] {
        let text = format!("any where {text}");
        let plan = compile_query(&text).expect("query").plan;
        let shown = condition(&plan, 0);
        assert_eq!(shown, expected, "{text}");
    }
}

#[test]
fn categories() {
    let shown = |text: &str| condition(&query(text), 0);
    assert_eq!(shown("process where true"), "@category == \"process\"");
    assert_eq!(shown("\"Process X\" where a == 1"), "(@category == \"Process X\" & a == 1)");
    assert_eq!(shown("`sequence` where true"), "@category == \"sequence\"");
    assert_eq!(shown("any where true"), "Some(true)");
    // A field that is spelled like the pseudo field is a field.
    let plan = query("any where `@category` == 1 and event.category == \"x\"");
    assert!(plan.rules[0].fields.iter().all(|field| *field != FieldId::CATEGORY) && plan.rules[0].fields.len() == 2);
}

/// Queries in the style of Elastic's EQL documentation and detection rules, written from memory: they must parse, no more.
#[test]
fn queries_from_elastics_documentation_compile() {
    let text = std::fs::read_to_string(golden("elastic-queries.eql")).expect("tests/golden/rules/elastic-queries.eql");
    let queries: Vec<&str> = text.split("\n\n").map(str::trim).filter(|query| !query.is_empty()).collect();
    assert!(queries.len() >= 40, "{}", queries.len());
    for text in queries {
        query(text);
    }
}

/// Text that is nearly EQL: pieces of it in any order.
fn nearly_eql() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "sequence",
        "by",
        "with",
        "maxspan",
        "=",
        "10m",
        "runs",
        "3",
        "[",
        "![",
        "]",
        "(",
        ")",
        "where",
        "any",
        "process",
        "a.b",
        "?",
        "==",
        "!=",
        "<",
        ":",
        "in",
        "in~",
        "like",
        "regex~",
        "not",
        "and",
        "or",
        "\"x*\"",
        "\"\"\"r\"\"\"",
        "`q`",
        "-",
        "+",
        "/",
        "%",
        ",",
        "|",
        "until",
        "null",
        "true",
        "length",
        "startsWith~",
        "cidrMatch",
        "1.5",
        "1e3",
        "//",
        "/*",
        "\n",
        "\"",
        "\\",
        "é",
        "~",
        "sample",
        "'",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn no_text_panics_the_compiler(text in any::<String>(), nearly in nearly_eql(), yaml in "[a-z:\\-|>'\"{}\\[\\]*&!# \n]{0,80}") {
        for text in [&text, &nearly] {
            if let Err(errors) = compile_query(text) {
                prop_assert!(!errors.is_empty());
                prop_assert!(!shown(&errors).is_empty());
            }
        }
        for text in [text, format!("id: a\nquery: |\n  {nearly}\n"), yaml] {
            if let Err(errors) = compile(&file(&text)) {
                prop_assert!(!errors.is_empty() && errors.iter().all(|error| error.is_error));
                prop_assert!(!shown(&errors).is_empty());
            }
        }
    }
}
