//! What rules compile to: steps, states, dimensions, suppression, versions.

use super::*;

const CRASH_LOOP: &str = r#"
id: oom-crash-loop
name: Container killed for memory, then crash-looping
severity: high
description: whatever
tags: [kubernetes, memory]
query: |
  sequence by k8s.pod.uid with maxspan=10m
    [kernel where event.action == "oom_kill"]
    [kubernetes where event.reason == "BackOff"] with runs=3
suppress: {for: 30m, by: [k8s.pod.uid, host.name]}
evidence: [host.name, container.image]
summary: "{{ k8s.pod.name }} was OOM-killed and restarted {{ count }} times"
output: {topic: correlations.k8s, key: k8s.pod.uid}
"#;

fn fields(plan: &Plan, fields: &[FieldId]) -> Vec<String> {
    fields.iter().map(|field| path(plan, *field).to_string()).collect()
}

#[test]
fn the_envelope_of_the_documentation_compiles() {
    let Compiled { plan, warnings } = compiled(CRASH_LOOP);
    assert_eq!(warnings, []);
    let rule = &plan.rules[0];
    assert_eq!((rule.id.as_str(), rule.severity), ("oom-crash-loop", Severity::High));
    assert_eq!(rule.tags, ["kubernetes", "memory"]);
    assert_eq!(rule.place, "rules/test-rule.yaml:2");
    assert_eq!(rule.key_names, ["k8s.pod.uid"]);
    assert_eq!(rule.step_names, ["1", "2"]);
    assert_eq!(
        fields(&plan, &rule.fields),
        ["container.image", "event.action", "event.reason", "host.name", "k8s.pod.name", "k8s.pod.uid"]
    );
    let suppress = rule.suppress.as_ref().expect("suppress");
    assert_eq!(suppress.window, Span::from_secs(1800));
    assert_eq!(fields(&plan, &suppress.by), ["host.name"]);
    assert_eq!(rule.output_topic.as_deref(), Some("correlations.k8s"));
    assert_eq!(rule.output_key.map(|field| path(&plan, field)), Some("k8s.pod.uid"));
    let Pattern::Sequence(sequence) = &rule.pattern else { panic!("a sequence") };
    assert_eq!(sequence.states.iter().map(|step| step.0).collect::<Vec<_>>(), [0, 1, 1, 1]);
    assert_eq!(sequence.gaps, vec![Vec::new(); 5]);
    assert_eq!(sequence.maxspan, Some(Span::from_secs(600)));
    assert_eq!(plan.steps[1].role, Role::State { first: 1, count: 3 });
    assert_eq!(plan.dimensions[rule.dimension.0 as usize].name, "k8s.pod.uid");
    assert_eq!(condition(&plan, 0), "(@category == \"kernel\" & event.action == \"oom_kill\")");
    assert!(plan.steps.iter().all(|step| step.key.len() == 1 && !step.key[0].optional));
}

#[test]
fn missing_events_stand_in_their_gaps_and_until_comes_last() {
    let plan = query(
        "sequence with maxspan=1h ![a where true] by x [b where true] by ?y with runs=2 ![c where true] by x with runs=3 \
         ![d where true] by x [e where true] by x ![f where true] by x until [g where true] by x",
    );
    let Pattern::Sequence(sequence) = &plan.rules[0].pattern else { panic!("a sequence") };
    assert_eq!(sequence.states.iter().map(|step| step.0).collect::<Vec<_>>(), [1, 1, 4]);
    let gaps: Vec<Vec<(u32, u16)>> =
        sequence.gaps.iter().map(|gap| gap.iter().map(|absent| (absent.step.0, absent.runs)).collect()).collect();
    assert_eq!(gaps, [vec![(0, 1)], vec![], vec![(2, 3), (3, 1)], vec![(5, 1)]]);
    assert_eq!(sequence.until.map(|step| step.0), Some(6));
    let roles: Vec<Role> = plan.steps.iter().map(|step| step.role).collect();
    assert_eq!(
        roles,
        [
            Role::Absent { gap: 0, index: 0 },
            Role::State { first: 0, count: 2 },
            Role::Absent { gap: 2, index: 0 },
            Role::Absent { gap: 2, index: 1 },
            Role::State { first: 2, count: 1 },
            Role::Absent { gap: 3, index: 0 },
            Role::Until,
        ]
    );
    assert_eq!(plan.dimensions[0].name, "x|y?");
    assert_eq!(plan.rules[0].key_names, ["y"]);
    assert_eq!(plan.rules[0].step_names, ["1", "2", "3", "4", "5", "6", "until"]);
    assert_eq!(plan.steps[6].name, 6);
}

#[test]
fn dimensions_are_named_by_their_lists_and_shared() {
    let plan = compiled(
        "id: a\nquery: sequence by user.name, ?host.id with maxspan=1m [a where true] [b where true]\n---\n\
         id: b\nquery: sequence by user.name with maxspan=1m [a where true] by ?host.id [b where true] by ?host.id\n---\n\
         id: c\nquery: sequence with maxspan=1m [a where true] [b where true]\n---\n\
         id: d\nquery: a where true\n---\n\
         id: e\nquery: a where x == 1\nsuppress: {for: 1m, by: [u, v]}\n---\n\
         id: f\nquery: sequence by `a,b` with maxspan=1m [a where true] [b where true]\n",
    )
    .plan;
    let names: Vec<&str> =
        plan.rules.iter().map(|rule| plan.dimensions[rule.dimension.0 as usize].name.as_str()).collect();
    assert_eq!(names, ["user.name,host.id?", "user.name,host.id?", "@all", "@event", "u?,v?", "a\\,b"]);
    assert!(plan.dimensions.iter().all(|d| d.per_event == (d.name == "@event")));
    let single = &plan.rules[4];
    assert_eq!((single.key_names.len(), single.suppress.as_ref().map(|s| s.by.len())), (0, Some(0)));
    let key = &plan.steps.iter().find(|step| step.rule.0 == 4).expect("step").key;
    assert!(key.len() == 2 && key.iter().all(|field| field.optional));
    // Conditions are shared: `a where true` is one, whoever asks.
    assert_eq!(plan.steps[0].condition, plan.steps[2].condition);
}

#[test]
fn a_name_that_comes_twice_in_a_key_is_numbered() {
    let plan = query("sequence by a with maxspan=1m [x where true] by a, b [y where true] by c, d");
    assert_eq!(plan.rules[0].key_names, ["a", "a#2", "b"]);
    assert_eq!(plan.dimensions[0].name, "a,a,b|a,c,d");
}

#[test]
fn rules_are_ordered_by_id_whatever_the_files() {
    let one = RuleFile { path: "z.yaml".into(), text: "query: a where x == 1".into() };
    let two = RuleFile {
        path: "b.yaml".into(),
        text: "- {id: y, query: a where y == 1}\n- {id: c, query: a where z == 1}".into(),
    };
    let forward = compile(&[one.clone(), two.clone()]).expect("rules").plan;
    let backward = compile(&[two, one]).expect("rules").plan;
    assert_eq!(forward.rules.iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>(), ["c", "y", "z"]);
    assert_eq!(format!("{forward:?}"), format!("{backward:?}"));
}

#[test]
fn the_version_sees_meaning_and_not_layout() {
    let version =
        |text: &str| compiled(text).plan.rules.iter().find(|r| r.id == "oom-crash-loop").expect("rule").version.clone();
    let base = version(CRASH_LOOP);
    assert_eq!(base.len(), 16);
    let same = [
        CRASH_LOOP.replace("description: whatever", "# a comment\ndescription: other"),
        CRASH_LOOP.replace("[kernel where", "/* x */ [ kernel\n      where"),
        CRASH_LOOP.replace("\"oom_kill\"", "\"\"\"oom_kill\"\"\""),
        CRASH_LOOP.replace("[host.name, container.image]", "[container.image, host.name]"),
        format!("{CRASH_LOOP}---\nid: other\nquery: a where zzz == 1\n"),
        format!("id: aaa\nquery: a where zzz == 1\n---\n{CRASH_LOOP}"),
    ];
    for text in same {
        assert_eq!(version(&text), base, "{text}");
    }
    for (from, to) in [
        ("oom_kill", "oom_kilt"),
        ("runs=3", "runs=4"),
        ("10m", "11m"),
        ("30m", "31m"),
        ("severity: high", "severity: low"),
        ("{{ count }}", "{{ rule }}"),
        ("correlations.k8s", "correlations.x"),
        ("container.image", "container.id"),
    ] {
        assert_ne!(version(&CRASH_LOOP.replace(from, to)), base, "{from}");
    }
}

#[test]
fn lints_are_warnings_and_do_not_stop() {
    let lints = |text: &str| places(compile_query(text).expect("only warnings").warnings);
    assert_eq!(lints("sequence by x [a where true] [b where true]"), ["W0502 1:1+8"]);
    assert_eq!(lints("a where \"x\" == \"y\""), ["W0503 1:9+10"]);
    assert_eq!(lints("a where b == 1 or 1 == 1"), ["W0503 1:9+16"]);
    assert_eq!(lints("a where length(b) == \"1\""), ["W0503 1:9+16"]);
    assert_eq!(lints("a where true"), Vec::<String>::new());
}
