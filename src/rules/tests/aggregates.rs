//! Correlations over named events.

use super::*;

fn rule(correlation: &str) -> String {
    format!(
        "id: r\nevents:\n  failed: authentication where event.outcome == \"failure\"\n  \
         worked: authentication where event.outcome == \"success\"\ncorrelation:\n{correlation}\n"
    )
}

fn aggregate(correlation: &str) -> (Plan, Aggregate) {
    let plan = compiled(&rule(correlation)).plan;
    match plan.rules[0].pattern.clone() {
        Pattern::Aggregate(aggregate) => (plan, aggregate),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_value_count_as_in_the_documentation() {
    let (plan, aggregate) = aggregate(
        "  type: value_count\n  rules: [failed]\n  group-by: [source.ip]\n  timespan: 5m\n  condition: {field: user.name, gte: 10}",
    );
    let AggregateKind::ValueCount(fields) = &aggregate.kind else { panic!("{aggregate:?}") };
    assert_eq!(fields.iter().map(|field| path(&plan, *field)).collect::<Vec<_>>(), ["user.name"]);
    assert_eq!(aggregate.references, ["failed"]);
    assert_eq!(aggregate.timespan, Span::from_secs(300));
    assert_eq!(aggregate.condition, [Threshold { op: ThresholdOp::Gte, value: Literal::Int(10) }]);
    assert!(!aggregate.tumbling && aggregate.refire == Refire::Edge);
    assert_eq!(plan.steps[0].role, Role::Reference(0));
    assert_eq!(plan.rules[0].key_names, ["source.ip"]);
    assert_eq!(plan.dimensions[0].name, "source.ip");
    let fields: Vec<&str> = plan.rules[0].fields.iter().map(|field| path(&plan, *field)).collect();
    assert_eq!(fields, ["event.outcome", "source.ip", "user.name"]);
}

#[test]
fn every_type_compiles_and_conditions_decide_the_window() {
    let with = |kind: &str, condition: &str| {
        aggregate(&format!("  type: {kind}\n  rules: [failed, worked]\n  timespan: 1h\n  refire: every\n  {condition}"))
            .1
    };
    assert!(with("event_count", "condition: {lt: 5}").tumbling);
    assert!(with("event_count", "condition: {gte: 5, lt: 10.5}").tumbling);
    assert!(!with("event_count", "condition: {gt: -1.5}").tumbling);
    assert!(matches!(with("value_sum", "condition: {field: a, gt: 1}").kind, AggregateKind::ValueSum(_)));
    assert!(matches!(with("value_avg", "condition: {field: a, gt: 1}").kind, AggregateKind::ValueAvg(_)));
    assert!(matches!(with("value_median", "condition: {field: [a], gt: 1}").kind, AggregateKind::ValueMedian(_)));
    let percentile = with("value_percentile", "condition: {field: a, percentile: 95, gt: 1}");
    assert!(matches!(percentile.kind, AggregateKind::ValuePercentile(_, 95)));
    assert_eq!(with("temporal", "generate: false").kind, AggregateKind::Temporal);
    assert_eq!(with("temporal", "condition: {gte: 2}").temporal, None);
    assert_eq!(with("temporal_ordered", "aliases: {}").kind, AggregateKind::TemporalOrdered);
    let extended = with("temporal", "condition: failed and not worked");
    assert!(extended.tumbling && extended.refire == Refire::Every);
    assert_eq!(
        extended.temporal,
        Some(TemporalCond::And(vec![
            TemporalCond::Reference(0),
            TemporalCond::Not(Box::new(TemporalCond::Reference(1)))
        ]))
    );
    assert!(!with("temporal", "condition: failed or worked").tumbling);
}

#[test]
fn an_extended_condition_names_its_events_itself() {
    let (_, aggregate) = aggregate("  type: temporal\n  timespan: 1h\n  condition: worked or failed");
    assert_eq!(aggregate.references, ["worked", "failed"]);
}

#[test]
fn aliases_give_each_event_its_own_key_field() {
    let (plan, _) = aggregate(
        "  type: temporal\n  rules: [failed, worked]\n  timespan: 1h\n  group-by: [who, host]\n  \
         aliases: {who: {failed: source.user, worked: user.name}}",
    );
    assert_eq!(plan.dimensions[0].name, "source.user,host|user.name,host");
    assert_eq!(plan.rules[0].key_names, ["source.user", "host"]);
}

#[test]
fn mistakes_in_correlations_are_placed() {
    for (text, expected) in [
        ("  type: event_cont\n  rules: [failed, worked]\n  timespan: 1h\n  condition: {gte: 1}", "E0111 6:9+10"),
        ("  rules: [failed, worked]\n  timespan: 1h\n  condition: {gte: 1}", "E0105 6:3+1"),
        ("  type: event_count\n  rules: [failed, worked]\n  condition: {gte: 1}", "E0105 6:3+1"),
        ("  type: event_count\n  rules: [failed, worked]\n  timespan: 1h", "E0105 6:3+1"),
        ("  type: event_count\n  rules: [failed, worked]\n  timespan: 1h\n  condition: {}", "E0402 9:14+1"),
        ("  type: event_count\n  rules: [failed, worked]\n  timespan: 1h\n  condition: {gte: many}", "E0104 9:20+4"),
        (
            "  type: event_count\n  rules: [failed, worked]\n  timespan: 1h\n  condition: {field: a, gte: 1}",
            "E0403 9:22+1",
        ),
        ("  type: value_count\n  rules: [failed, worked]\n  timespan: 1h\n  condition: {gte: 1}", "E0403 9:14+1"),
        (
            "  type: value_sum\n  rules: [failed, worked]\n  timespan: 1h\n  condition: {field: [a, b], gte: 1}",
            "E0403 9:22+1",
        ),
        (
            "  type: value_percentile\n  rules: [failed, worked]\n  timespan: 1h\n  condition: {field: a, percentile: 100, gt: 1}",
            "E0404 9:37+3",
        ),
        (
            "  type: event_count\n  rules: [failed, worked]\n  timespan: 1h\n  condition: failed or worked",
            "E0402 9:14+16",
        ),
        (
            "  type: temporal_ordered\n  rules: [failed, worked]\n  timespan: 1h\n  condition: failed or worked",
            "E0402 9:14+16",
        ),
        ("  type: temporal\n  rules: [failed, worked]\n  timespan: 1h\n  condition: failed and workd", "E0401 9:25+5"),
        ("  type: temporal\n  rules: [failed, worked]\n  timespan: 1h\n  condition: failed and", "E0405 9:24+1"),
        ("  type: temporal\n  rules: [failed, worked]\n  timespan: 1h\n  condition: {gte: 1}", "E0402 9:14+1"),
        ("  type: temporal\n  rules: [failed, failed]\n  timespan: 1h", "E0407 7:19+6"),
        ("  type: temporal\n  rules: [r]\n  timespan: 1h", "E0406 7:11+1"),
        ("  type: temporal\n  rules: [failed, worked]\n  timespan: 1h\n  generate: true", "E0406 9:13+4"),
        ("  type: temporal\n  rules: [failed, worked]\n  timespan: 1h\n  group-by: [\"?a\"]", "E0104 9:14+4"),
        (
            "  type: temporal\n  rules: [failed, worked]\n  timespan: 1h\n  group-by: [w]\n  aliases: {w: {failed: a}}",
            "E0403 9:14+1",
        ),
    ] {
        assert_eq!(errors(&rule(text)), [expected], "{text}");
    }
    let sequence = "id: r\nevents: {a: \"sequence [a where true] [b where true]\"}\ncorrelation: {type: temporal, rules: [a], timespan: 1h}";
    assert!(errors(sequence).contains(&"E0406 2:14+8".to_string()), "{:?}", errors(sequence));
}

#[test]
fn percentile_and_unused_events_are_linted() {
    let text = rule("  type: value_percentile\n  rules: [failed]\n  timespan: 1h\n  condition: {field: a, gt: 1}");
    assert_eq!(places(compiled(&text).warnings), ["W0504 4:3+6", "W0501 9:14+1"]);
}

#[test]
fn a_summary_may_say_what_the_rule_measures_and_nothing_else() {
    let text = rule("  type: value_sum\n  rules: [failed, worked]\n  timespan: 1h\n  condition: {field: a, gt: 1}");
    let plan = compiled(&format!("{text}summary: '{{{{ sum }}}} in {{{{count}}}}'")).plan;
    assert_eq!(plan.rules[0].summary.as_ref().map(|template| template.0.len()), Some(3));
    assert_eq!(errors(&format!("{text}summary: '{{{{ avg }}}}'")), ["E0115 10:11+9"]);
}
