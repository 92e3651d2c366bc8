//! Diagnostics: that all are found, at their places, with what helps.

use super::*;

#[test]
fn a_directory_of_ten_mistakes_prints_all_ten_with_their_places() {
    let directory = golden("mistakes");
    let files = read_paths(std::slice::from_ref(&directory)).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    let relative: Vec<RuleFile> = files
        .into_iter()
        .map(|f| RuleFile { path: f.path.rsplit('/').next().unwrap_or("").to_string(), text: f.text })
        .collect();
    assert_eq!(relative.len(), 10);
    let found = compile(&relative).expect_err("ten mistakes");
    let expected = std::fs::read_to_string(golden("mistakes.txt")).expect("tests/golden/rules/mistakes.txt");
    let actual = shown(&found);
    assert!(actual == expected, "the diagnostics changed; if that is meant, make this the golden file:\n{actual}");
    for file in &relative {
        assert_eq!(found.iter().filter(|d| d.file == file.path).count(), 1, "{}", file.path);
    }
}

#[test]
fn diagnostics_are_json_with_the_keys_that_validate_prints() {
    let found = compile_query("process where foo(1)").expect_err("unknown function");
    assert_eq!(
        serde_json::to_string(&found).expect("json"),
        r#"[{"file":"<query>","line":1,"column":15,"code":"E0301","message":"unknown function `foo`","help":null}]"#
    );
}

#[test]
fn a_path_that_is_not_there_is_a_diagnostic() {
    let errors = read_paths(&[golden("no-such-file.yaml"), golden("nor-this")]).expect_err("missing");
    assert_eq!(errors.len(), 2);
    assert_eq!((errors[0].code.as_str(), errors[0].line), ("E0101", 0));
    assert!(errors[0].to_string().contains("no-such-file.yaml"));
}

#[test]
fn syntax_mistakes_in_queries_are_placed() {
    for (text, expected) in [
        ("", "E0204 1:1+1"),
        ("process", "E0204 1:8+1"),
        ("process.name == \"x\"", "E0204 1:14+2"),
        ("process where", "E0204 1:14+1"),
        ("process where a = 1", "E0204 1:17+1"),
        ("process where a == 1 AND b == 2", "E0204 1:22+3"),
        ("process where a == 1 == 2", "E0204 1:22+2"),
        ("process where (a == 1", "E0204 1:22+1"),
        ("process where a in 1", "E0204 1:20+1"),
        ("process where a in ()", "E0204 1:21+1"),
        ("process where a not like \"x\"", "E0204 1:17+3"),
        ("process where args[0] == 1", "E0204 1:19+1"),
        ("process where a == \"x", "E0202 1:20+1"),
        ("process where a == \"\"\"x", "E0202 1:20+3"),
        ("process where a == 'x'", "E0201 1:20+1"),
        ("process where a == \"\\x\"", "E0203 1:21+2"),
        ("process where a == 1 && b", "E0201 1:22+1"),
        ("process where /* a", "E0202 1:15+2"),
        ("process where `a", "E0202 1:15+2"),
        ("process where in == 1", "E0204 1:15+2"),
        ("process where a~ == 1", "E0204 1:15+2"),
        ("process where a == 1e999", "E0206 1:20+5"),
        ("sample by host [a where true] [b where true]", "E0207 1:1+6"),
        ("process where true | head 5", "E0208 1:20+1"),
        ("sequence", "E0204 1:9+1"),
        ("sequence with runs=2 [a where true]", "E0204 1:15+4"),
        ("sequence with maxspan=10 [a where true] [b where true]", "E0110 1:23+2"),
        ("sequence with maxspan=0s [a where true] [b where true]", "E0110 1:23+2"),
        ("sequence by f(x) [a where true]", "E0204 1:13+2"),
        ("sequence [a where true] with runs=1025", "E0304 1:35+4"),
        ("sequence [a where true] with runs=x", "E0204 1:35+1"),
        ("sequence [a where true] [b where true] until ![c where true]", "E0204 1:46+2"),
        ("sequence [a where true", "E0204 1:23+1"),
        ("![a where true]", "E0204 1:1+2"),
    ] {
        assert_eq!(query_errors(text), [expected], "{text}");
    }
}

#[test]
fn mistakes_of_meaning_are_placed() {
    for (text, expected) in [
        ("process where length(a)", "E0309 1:15+9"),
        ("process where \"a\" and b", "E0309 1:15+3"),
        ("process where a + \"x\" == 1", "E0309 1:19+3"),
        ("process where true < a", "E0309 1:15+8"),
        ("process where a like b", "E0309 1:22+1"),
        ("process where a : null", "E0309 1:19+4"),
        ("process where length(a) like \"x\"", "E0309 1:15+9"),
        ("process where startsWith(a)", "E0302 1:15+13"),
        ("process where startsWith(a, 1)", "E0309 1:29+1"),
        ("process where length~(a) == 1", "E0303 1:15+7"),
        ("process where a regex \"(\"", "E0307 1:23+3"),
        ("process where cidrMatch(a, \"10.0.0.0/33\")", "E0308 1:28+13"),
        ("process where cidrMatch(a, b)", "E0309 1:28+1"),
        ("sequence [a where true]", "E0310 1:1+8"),
        ("sequence with maxspan=1m ![a where true] ![a where true]", "E0310 1:1+8"),
        ("sequence by x [a where true] [b where true] until [c where true] by y", "E0305 1:69+1"),
    ] {
        assert_eq!(query_errors(text), [expected], "{text}");
    }
    // Several in one query are all reported, also those of different steps.
    let text = "sequence by x with maxspan=1m\n [a where foo(1) and bar(2)]\n [b where ]\n [c where d =]";
    assert_eq!(query_errors(text), ["E0204 3:11+1", "E0204 4:13+1"]);
    assert_eq!(query_errors("a where foo(1) and bar(2)"), ["E0301 1:9+3", "E0301 1:20+3"]);
}

#[test]
fn mistakes_in_the_envelope_are_placed() {
    let rule = |rest: &str| format!("id: a\nquery: a where true\n{rest}\n");
    for (text, expected) in [
        (rule("severity: hihg"), "E0111 3:11+4"),
        (rule("suppress: {by: [a]}"), "E0105 3:11+1"),
        (rule("suppress: {for: 5m}"), "E0114 3:11+1"),
        (rule("suppress: {for: 0, by: a}"), "E0110 3:17+1"),
        (rule("suppress: 5m"), "E0104 3:11+2"),
        (rule("summary: \"x {{ y\""), "E0115 3:13+2"),
        (rule("output: {topic: \"a b\"}"), "E0104 3:17+5"),
        (rule("tags: {a: b}"), "E0104 3:7+1"),
        (rule("name:"), "E0104 3:5+1"),
        (rule("id: b"), "E0107 3:1+2"),
        (rule("detection: {}"), "E0108 3:1+9"),
        (rule("correlation: {}"), "E0112 2:8+12"),
        ("id: a".to_string(), "E0105 1:1+1"),
        ("just text".to_string(), "E0104 1:1+9"),
        ("id: [".to_string(), "E0102 2:1+1"),
        ("id: a\nquery:\n  process where x : 1\n".to_string(), "E0109 3:3+1"),
        ("query: a where true\n---\nid: b\nquery: a where true".to_string(), "E0105 1:1+1"),
        ("id: *x".to_string(), "E0102 1:5+1"),
    ] {
        assert_eq!(errors(&text), [expected], "{text}");
    }
}

#[test]
fn the_colon_of_a_query_in_a_plain_scalar_is_told_from_other_yaml_mistakes() {
    assert_eq!(errors("id: a\nquery: a where b == \"x\" and c : 1\n"), ["E0109 2:31+1"]);
    assert_eq!(errors("id: a\nquery: a where\n  b == 1 and\n  c : 1\n"), ["E0109 4:5+1"]);
    assert_eq!(errors("id: a\nevents:\n  e: a where b : 1\n"), ["E0109 3:16+1"]);
    assert_eq!(errors("id: a\nquery: \"a where b : 1\" : x\n")[0][..5], *"E0102");
}

#[test]
fn directives_comments_and_empty_documents_are_no_rules() {
    let text = "%YAML 1.2\n---\n# only this\nid: a\nquery: a where true\n---\n---\n# nothing\n";
    assert_eq!(compiled(text).plan.rules.len(), 1);
    assert_eq!(compiled("").plan.rules.len(), 0);
    assert_eq!(compiled("query: a where true").plan.rules[0].id, "test-rule");
}

#[test]
fn a_broken_document_does_not_hide_the_next() {
    let found = errors("id: a\nquery: a where b : 1\n---\nid: b\nquery: a where foo(1)\n---\nid: [\n");
    assert_eq!(found, ["E0109 2:18+1", "E0301 5:16+3", "E0102 8:1+1"]);
}

#[test]
fn queries_in_scalars_of_every_style_point_into_the_file() {
    assert_eq!(errors("id: a\nquery: |\n\n  a where\n    foo(1)\n"), ["E0301 5:5+3"]);
    assert_eq!(errors("id: a\r\nquery: |\r\n  a where\r\n    foo(1)\r\n"), ["E0301 4:5+3"]);
    assert_eq!(errors("id: a\nquery: |4\n      a where\n      foo(1)\n"), ["E0301 4:7+3"]);
    assert_eq!(errors("id: a\nquery: \"a where foo(1)\"\n"), ["E0301 2:17+3"]);
    assert_eq!(errors("id: a\nquery: a where foo(1) # why\n"), ["E0301 2:16+3"]);
    assert_eq!(errors("{\"id\": \"a\", \"query\": \"a where foo(1)\"}"), ["E0301 1:31+3"]);
    assert_eq!(errors("id: a\nquery: |\n  | x\n  a where foo(1)\n"), ["E0204 3:3+1"]);
    // Escapes and folds move the text: then the scalar's start is named.
    assert_eq!(errors("id: a\nquery: \"a where b == \\\"ü\\\" and foo(1)\"\n"), ["E0301 2:8+31"]);
    assert!(errors("id: a\nquery: >\n  a where\n  foo(1)\n")[0].starts_with("E0301 3:3"));
    // Columns are characters, not bytes.
    assert_eq!(errors("id: a\nquery: |\n  a where b == \"ü€\" and foo(1)\n"), ["E0301 3:25+3"]);
}

#[test]
fn depth_and_size_are_bounded() {
    for text in [
        format!("a where {}", "(".repeat(100_000)),
        format!("a where {}true", "not ".repeat(100_000)),
        format!("a where {}1 == 1", "-".repeat(100_000)),
        format!("a where b == {}1", "1 + ".repeat(100_000)),
        format!("a where {}", "length(".repeat(100_000)),
    ] {
        assert!(query_errors(&text)[0].starts_with("E0205"), "{}", &text[..40]);
    }
    // Width is no depth.
    query(&format!("a where b == 0{}", " or b == 1".repeat(10_000)));
    assert!(errors(&"[".repeat(10_000))[0].starts_with("E0102"));
    assert!(errors(&format!("a: {}", "{a: ".repeat(10_000)))[0].starts_with("E0102"));
    let bomb = (1..12).fold("id: a\nevents:\n  e0: &e0 [x]\n".to_string(), |text, level| {
        let refs = vec![format!("*e{}", level - 1); 10].join(", ");
        format!("{text}  e{level}: &e{level} [{refs}]\n")
    });
    assert!(errors(&bomb)[0].starts_with("E0102"));
    let long = format!("- &x {}\n{}", "y".repeat(100_000), "- *x\n".repeat(1_000));
    assert!(errors(&long)[0].starts_with("E0102"));
    let many = "[a where true] with runs=1024 ".repeat(3_000);
    assert_eq!(query_errors(&format!("sequence with maxspan=1m {many}")), ["E0310 1:1+8"]);
}
