//! Aggregates, sentence by sentence.

use super::lab::{Lab, VALUE, times};
use crate::event::{Measure, MeasuredValue, Span};
use crate::rules::plan::{AggregateKind, Literal, Refire, TemporalCond, Threshold, ThresholdOp};

fn lab(kind: AggregateKind, letters: &str, timespan: i64, gte: i64) -> Lab {
    Lab::new().aggregate(kind, letters, timespan, gte).settings(0, Span(1_000_000))
}

fn count(gte: i64) -> Lab {
    lab(AggregateKind::EventCount, "a", 10, gte)
}

fn tumbling(lab: Lab, op: ThresholdOp, value: Literal) -> Lab {
    lab.with(|a| {
        a.condition = vec![Threshold { op, value }];
        a.tumbling = true;
    })
}

#[test]
fn the_window_slides_and_holds_what_is_at_most_a_timespan_old() {
    assert_eq!(count(3).found_in("1a 5a 11a"), ["1 5 11 in 1..11"]);
    assert_eq!(count(3).found("1a 5a 12a"), Vec::<String>::new());
    assert_eq!(count(2).found("1a/x 2a/y 3a/x"), ["1 3"]);
    assert_eq!(lab(AggregateKind::EventCount, "ab", 10, 2).found("1ab 2b"), ["1 2"]);
}

#[test]
fn a_rule_fires_when_its_condition_turns_true_and_folds_what_follows() {
    assert_eq!(count(2).folded("1a 2a 3a 4a 30a 31a"), ["1 2 +0", "30 31 +2"]);
    // It re-arms at an event that finds the condition false.
    assert_eq!(count(2).folded("1a 2a 13a 14a"), ["1 2 +0", "13 14 +0"]);
    // And at fired + timespan, inclusive.
    assert_eq!(count(2).folded("1a 2a 11a 12a 13a"), ["1 2 +0", "2 11 12 +1"]);
    assert_eq!(count(1).folded("1a 11a 12a 21a"), ["1 +0", "1 11 +0", "11 12 21 +1"]);
}

#[test]
fn a_count_not_yet_reported_outlives_its_window_until_the_retention() {
    let short = Lab::new().aggregate(AggregateKind::EventCount, "a", 10, 2).settings(0, Span(100));
    assert_eq!(short.folded("1a 2a 3a 103a 104a"), ["1 2 +0", "103 104 +1"]);
    assert_eq!(short.folded("1a 2a 3a 104a 105a"), ["1 2 +0", "104 105 +0"]);
}

#[test]
fn refire_every_fires_at_each_event_and_reset_empties_the_window() {
    let every = count(2).with(|a| a.refire = Refire::Every);
    assert_eq!(every.folded("1a 2a 3a"), ["1 2 +0", "1 2 3 +0"]);
    let reset = count(2).with(|a| a.refire = Refire::Reset);
    assert_eq!(reset.folded("1a 2a 3a 4a 5a"), ["1 2 +0", "3 4 +0"]);
}

#[test]
fn few_events_are_decided_when_a_window_aligned_to_the_epoch_closes() {
    let few = tumbling(count(0), ThresholdOp::Lt, Literal::Int(2));
    assert_eq!(few.found_in("1a 2a 15a"), ["15 in 10..20"]);
    // An event at the end of a window lies in the next one.
    assert_eq!(few.found_in("1a 2a 10a"), ["10 in 10..20"]);
    // The silent window after one with events is decided too, once; then the group is forgotten.
    assert_eq!(few.found_in("1a 2a 45b 45a 46a"), [" in 10..20"]);
    assert_eq!(few.found_in("-5a"), ["-5 in -10..0"]);
}

#[test]
fn the_end_of_input_closes_the_windows_begun_and_no_further_one() {
    let few = tumbling(count(0), ThresholdOp::Lt, Literal::Int(2));
    // Window 10..20 has begun: an event of another group says so. Window 20..30 has not.
    assert_eq!(few.found_in("1a/x 2a/x 12a/y 13a/y"), [" in 10..20"]);
    assert_eq!(few.found_in("1a/x 2a/x 9a/y 9a/y"), Vec::<String>::new());
}

#[test]
fn equal_and_unequal_are_decided_by_window() {
    assert_eq!(tumbling(count(0), ThresholdOp::Eq, Literal::Int(2)).found("1a 2a 3b 11a"), ["1 2"]);
    assert_eq!(tumbling(count(0), ThresholdOp::Neq, Literal::Int(2)).found("1a 2a 11a"), ["11"]);
    assert_eq!(tumbling(count(0), ThresholdOp::Lte, Literal::Float(1.5)).found("1a 2a 11a"), ["11"]);
}

#[test]
fn values_are_counted_by_distinct_tuple_and_unusable_ones_are_not_there() {
    let distinct = lab(AggregateKind::ValueCount(vec![VALUE]), "a", 10, 2);
    assert_eq!(distinct.found("1a=x 2a=x 3a=y"), ["1 2 3"]);
    assert_eq!(distinct.found("1a=x 2a=null 3a 12a=y"), Vec::<String>::new());
    assert_eq!(distinct.found("1a=1 2a=1.0 3a=2"), ["1 2 3"]);
    assert_eq!(distinct.run("1a=x 2a=null 3a=y").ignored_values, 1);
    assert_eq!(
        distinct.values("1a=x 2a=x 3a=y"),
        [[(Measure::Count, MeasuredValue::Int(3)), (Measure::Distinct, MeasuredValue::Int(2))]]
    );
    assert_eq!(distinct.found("1a=x,y"), ["1"]);
    // A value is there as long as any of its events is.
    assert_eq!(distinct.found("1a=x 5a=x 12a=y"), ["5 12"]);
}

#[test]
fn sums_and_means_ignore_what_is_no_number() {
    let sum = lab(AggregateKind::ValueSum(VALUE), "a", 10, 10);
    assert_eq!(sum.found("1a=4 2a=x 3a=null 4a=6"), ["1 4"]);
    assert_eq!(sum.values("1a=4 4a=6")[0][1], (Measure::Sum, MeasuredValue::Int(10)));
    assert_eq!(sum.values("1a=4.5 4a=6")[0][1], (Measure::Sum, MeasuredValue::Float(10.5)));
    assert_eq!(sum.found("1a=9 12a=9"), Vec::<String>::new());
    let avg = lab(AggregateKind::ValueAvg(VALUE), "a", 10, 5);
    assert_eq!(avg.found("1a=1 2a=8 3a=6"), ["1 2 3"]);
    assert_eq!(avg.values("1a=1 2a=8 3a=6")[0][1], (Measure::Avg, MeasuredValue::Float(5.0)));
}

#[test]
fn medians_and_percentiles_follow_the_window() {
    let median = lab(AggregateKind::ValueMedian(VALUE), "a", 10, 5);
    assert_eq!(median.found("1a=1 2a=9 3a=4 4a=6"), ["1 2", "1 2 3 4"]);
    assert_eq!(median.values("1a=1 2a=9")[0][1], (Measure::Median, MeasuredValue::Float(5.0)));
    let high = lab(AggregateKind::ValuePercentile(VALUE, 90), "a", 10, 9);
    assert_eq!(
        high.values("1a=0 2a=10"),
        [[(Measure::Count, MeasuredValue::Int(2)), (Measure::Percentile, MeasuredValue::Float(9.0))]]
    );
}

#[test]
fn of_nothing_counts_are_zero_and_means_are_null() {
    let zero = |kind| tumbling(lab(kind, "a", 10, 0), ThresholdOp::Lt, Literal::Int(1));
    let script = "1a=5 45a=5/z";
    let script = script.replace("45a=5/z", "45a/z=5");
    for kind in [AggregateKind::EventCount, AggregateKind::ValueCount(vec![VALUE]), AggregateKind::ValueSum(VALUE)] {
        assert_eq!(zero(kind).found_in(&script), [" in 10..20"]);
    }
    for kind in [AggregateKind::ValueAvg(VALUE), AggregateKind::ValueMedian(VALUE)] {
        assert_eq!(zero(kind).found_in(&script), Vec::<String>::new());
    }
}

fn temporal(kind: AggregateKind, letters: &str) -> Lab {
    lab(kind, letters, 10, 0).with(|a| a.condition.clear())
}

#[test]
fn temporal_needs_every_rule_once_and_one_event_may_stand_for_two() {
    let lab = temporal(AggregateKind::Temporal, "ab");
    assert_eq!(lab.found_in("1b 2b 5a"), ["1 2 5 in 1..5"]);
    assert_eq!(lab.found("1ab"), ["1"]);
    assert_eq!(lab.found("1a 12b"), Vec::<String>::new());
    assert_eq!(lab.folded("1a 2b 3a 20a 21b"), ["1 2 +0", "20 21 +1"]);
}

#[test]
fn temporal_ordered_needs_different_events_in_the_order_of_rules() {
    let lab = temporal(AggregateKind::TemporalOrdered, "abc");
    assert_eq!(lab.found("1a 2b 3c"), ["1 2 3"]);
    assert_eq!(lab.found("1b 2a 3c"), Vec::<String>::new());
    assert_eq!(lab.found("1ab 2c"), Vec::<String>::new());
    assert_eq!(lab.found("1ab 2b 3c"), ["1 2 3"]);
    // Not only the newest start: the chain from 1 is still in the window.
    assert_eq!(lab.found("1a 2b 3a 4c"), ["1 2 3 4"]);
    assert_eq!(lab.found("1a 2b 12c"), Vec::<String>::new());
    assert_eq!(lab.found("1a 1b 1c"), ["1 1 1"]);
    assert_eq!(lab.found("1c 1b 1a"), Vec::<String>::new());
    // A start that leaves the window takes its chain along.
    assert_eq!(lab.found("1a 2b 3c 12c"), ["1 2 3"]);
    let reset = temporal(AggregateKind::TemporalOrdered, "ab").with(|a| a.refire = Refire::Reset);
    assert_eq!(reset.found("1a 2b 3b 4a 5b"), ["1 2", "3 4 5"]);
}

#[test]
fn extended_conditions_with_not_are_decided_by_window() {
    let and_not =
        TemporalCond::And(vec![TemporalCond::Reference(0), TemporalCond::Not(Box::new(TemporalCond::Reference(1)))]);
    let lab = temporal(AggregateKind::Temporal, "ab").with(|a| {
        a.temporal = Some(and_not);
        a.tumbling = true;
    });
    assert_eq!(lab.found_in("1a 2b 11a 12a 21b"), ["11 12 in 10..20"]);
    let or = TemporalCond::Or(vec![TemporalCond::Reference(0), TemporalCond::Reference(1)]);
    let sliding = temporal(AggregateKind::Temporal, "ab").with(|a| a.temporal = Some(or));
    assert_eq!(sliding.found("1b 2a"), ["1"]);
}

#[test]
fn a_large_window_prints_its_first_and_last_halves_and_hashes_all() {
    let script = |ids: std::ops::Range<i64>| ids.map(|n| format!("{n}a")).collect::<Vec<_>>().join(" ");
    let lab = Lab::new().aggregate(AggregateKind::EventCount, "a", 10_000, 300).settings(0, Span(100_000));
    let found = lab.run(&script(0..300)).correlations;
    assert_eq!(found[0].events.len(), 100);
    assert!(times(&found[0]).ends_with("298 299") && times(&found[0]).contains("48 49 250 251"));
    assert_eq!(found[0].values, [(Measure::Count, MeasuredValue::Int(300))]);
    // The same ids printed, another one between: another correlation. (Offsets are the ids here.)
    let signals = lab.signals(&script(0..300));
    let mut other = signals.clone();
    let mut changed = (*other[120].event).clone();
    changed.id = Some("other".into());
    other[120].event = std::sync::Arc::new(changed);
    let id = |mut signals: Vec<_>| {
        let (mut core, mut out) = (lab.core(), super::super::Output::default());
        core.take(&mut signals, &mut out);
        core.finish(&mut out);
        out.correlations[0].id
    };
    assert_eq!(id(signals.clone()), found[0].id);
    assert_ne!(id(other), id(signals));
}
