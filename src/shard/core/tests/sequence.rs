//! Sequences, sentence by sentence.

use super::lab::Lab;
use crate::event::{Measure, MeasuredValue, Span};

fn sequence(shorthand: &str, maxspan: i64) -> Lab {
    Lab::new().sequence(shorthand, Some(maxspan)).settings(0, Span(1_000_000))
}

#[test]
fn a_newer_match_replaces_the_one_in_its_state() {
    assert_eq!(sequence("a b", 100).found("1a 2a 3b 4b"), ["2 3"]);
    assert_eq!(sequence("a b c", 100).found("1a 2b 3a 4b 5c 6c"), ["3 4 5"]);
    // The older match keeps its state until a newer one comes to it.
    assert_eq!(sequence("a b c", 100).found("1a 2b 3a 4c"), ["1 2 4"]);
}

#[test]
fn states_are_tried_from_the_last_so_one_event_never_fills_two_steps_of_a_match() {
    assert_eq!(sequence("a a", 100).found("1a 2a 3a"), ["1 2", "2 3"]);
    assert_eq!(sequence("a b", 100).found("1ab 2ab 3ab"), ["1 2", "2 3"]);
    assert_eq!(sequence("a b c", 100).found("1abc 2abc 3abc"), ["1 2 3"]);
}

#[test]
fn keys_do_not_meet_and_equal_times_are_ordered_by_offset() {
    assert_eq!(sequence("a b", 100).found("1a/x 2b/y 3a/y 4b/x 5b/y"), ["1 4", "3 5"]);
    assert_eq!(sequence("a b", 100).found("1a 1b"), ["1 1"]);
    assert_eq!(sequence("a b", 100).found("1b 1a"), Vec::<String>::new());
}

#[test]
fn maxspan_is_inclusive_and_spans_the_whole_sequence() {
    assert_eq!(sequence("a b", 10).found("1a 11b"), ["1 11"]);
    assert_eq!(sequence("a b", 10).found("1a 12b"), Vec::<String>::new());
    assert_eq!(sequence("a b c", 10).found("1a 9b 12c"), Vec::<String>::new());
    assert_eq!(sequence("a b", 0).found("1a 1b 2b"), ["1 1"]);
}

#[test]
fn runs_repeat_a_step_and_each_repeat_is_a_step_of_its_own() {
    assert_eq!(sequence("a*3 b", 100).found("1a 2a 3a 4b"), ["1 2 3 4"]);
    assert_eq!(sequence("a*3 b", 100).found("1a 2a 3b"), Vec::<String>::new());
    assert_eq!(sequence("a*3 b", 100).found("1a 2a 3a 4a 5b"), ["2 3 4 5"]);
    assert_eq!(sequence("a b*2", 100).found("1a 2b 3b 4b"), ["1 2 3"]);
    assert_eq!(sequence("a*3", 100).found("1a 2a 3a 4a"), ["1 2 3", "2 3 4"]);
}

#[test]
fn until_is_looked_at_after_the_steps() {
    let lab = sequence("a b until z", 100);
    assert_eq!(lab.found("1a 2z 3b"), Vec::<String>::new());
    assert_eq!(lab.found("1a 2z/other 3b"), ["1 3"]);
    // One that this event began is removed, one that it completed stands.
    assert_eq!(lab.found("1az 2b"), Vec::<String>::new());
    assert_eq!(lab.found("1a 2bz"), ["1 2"]);
    assert_eq!(sequence("a b c until z", 100).found("1a 2bz 3c"), Vec::<String>::new());
}

#[test]
fn until_removes_a_match_that_only_waits_for_a_missing_event() {
    let lab = sequence("a !b until z", 10);
    assert_eq!(lab.found("1a"), ["1 -"]);
    assert_eq!(lab.found("1a 11z"), Vec::<String>::new());
    assert_eq!(lab.found("1a 12z"), ["1 -"]);
    assert_eq!(lab.found("1az"), Vec::<String>::new());
}

#[test]
fn a_missing_event_between_two_steps() {
    let lab = sequence("a !x b", 100);
    assert_eq!(lab.found("1a 3b"), ["1 - 3"]);
    assert_eq!(lab.found("1a 2x 3b"), Vec::<String>::new());
    assert_eq!(lab.found("1a 2x 3a 4b"), ["3 - 4"]);
    // Strictly between: neither the step before nor the one after.
    assert_eq!(lab.found("1ax 3b"), ["1 - 3"]);
    assert_eq!(lab.found("1a 3bx"), ["1 - 3"]);
    assert_eq!(lab.found("1a 2x/other 3b"), ["1 - 3"]);
    assert_eq!(sequence("a b !x c", 100).found("1a 2x 3b 4c"), ["1 3 - 4"]);
}

#[test]
fn a_missing_event_at_the_end_is_decided_by_the_watermark() {
    let lab = sequence("a !b", 10);
    assert_eq!(lab.found_in("1a"), ["1 - in 1..11"]);
    assert_eq!(lab.found_in("1a 11b"), Vec::<String>::new());
    assert_eq!(lab.found_in("1a 12b"), ["1 - in 1..11"]);
    // Several may wait for one key.
    assert_eq!(lab.found_in("1a 2a 3a"), ["1 - in 1..11", "2 - in 2..12", "3 - in 3..13"]);
    assert_eq!(lab.found_in("1a 5a 12b"), ["1 - in 1..11"]);
    assert_eq!(lab.found_in("1a 1b"), Vec::<String>::new());
    assert_eq!(lab.found_in("1ab"), ["1 - in 1..11"]);
    // From the first event, not the last.
    assert_eq!(sequence("a b !c", 10).found_in("1a 5b 11a"), ["1 5 - in 1..11"]);
    assert_eq!(sequence("a b !c", 10).found_in("1a 5b 6a 8b 12c"), ["1 5 - in 1..11"]);
}

#[test]
fn absence_needs_no_further_event_only_the_watermark_beyond_the_deadline() {
    use super::super::Output;
    use crate::event::Timestamp;
    let lab = sequence("a !b", 10);
    let (mut core, mut out) = (lab.core(), Output::default());
    core.take(&mut lab.signals("1a"), &mut out);
    core.advance(0, Timestamp(11), &mut out);
    assert!(out.correlations.is_empty());
    core.advance(0, Timestamp(12), &mut out);
    assert_eq!(out.correlations.len(), 1);
    assert_eq!(core.stats().keys, 0);
}

#[test]
fn a_missing_event_at_the_start_looks_back_one_maxspan_from_the_last_event() {
    let lab = sequence("!x a b", 10);
    assert_eq!(lab.found_in("5a 8b"), ["- 5 8 in 5..8"]);
    assert_eq!(lab.found("4x 5a 8b"), Vec::<String>::new());
    // Exactly last - maxspan counts; before it does not; nor what comes at or after the first event.
    assert_eq!(lab.found("1x 5a 11b"), Vec::<String>::new());
    assert_eq!(lab.found("1x 5a 12b"), ["- 5 12"]);
    assert_eq!(lab.found("5ax 8b"), ["- 5 8"]);
    assert_eq!(lab.found("5a 6x 8b"), ["- 5 8"]);
    assert_eq!(sequence("!x a", 10).found("1x 11a 12a"), ["- 12"]);
}

#[test]
fn missing_events_at_both_ends_need_one_free_maxspan_around_the_match() {
    let lab = sequence("!x a !y", 10);
    assert_eq!(lab.found_in("5a"), ["- 5 - in 5..15"]);
    assert_eq!(lab.found("3x 5a"), ["- 5 -"]);
    assert_eq!(lab.found("5a 7y"), ["- 5 -"]);
    assert_eq!(lab.found("3x 5a 13y"), Vec::<String>::new());
    assert_eq!(lab.found("3x 5a 14y"), ["- 5 -"]);
    // The nearest before and after count.
    assert_eq!(lab.found("1x 4x 5a 14y 15y"), Vec::<String>::new());
    // An event is not before itself.
    assert_eq!(lab.found("3x 4a 5ax 14y"), ["- 4 -", "- 5 -"]);
    assert_eq!(lab.found("4x 4a 5ax 14y"), Vec::<String>::new());
}

#[test]
fn missing_events_stand_as_null_as_often_as_they_run() {
    assert_eq!(sequence("!x*2 a !y b !z*3", 10).found("1a 2b"), ["- - 1 - 2 - - -"]);
    let values = sequence("a !y b", 10).values("1a 2b");
    assert_eq!(values, [[(Measure::Count, MeasuredValue::Int(2))]]);
}

#[test]
fn several_missing_events_in_one_gap_each_break_the_match() {
    let lab = sequence("a !x !y b", 100);
    assert_eq!(lab.found("1a 3b"), ["1 - - 3"]);
    assert_eq!(lab.found("1a 2x 3b"), Vec::<String>::new());
    assert_eq!(lab.found("1a 2y 3b"), Vec::<String>::new());
}

#[test]
fn without_maxspan_the_retention_bounds_a_match() {
    let lab = |retention| Lab::new().sequence("a b", None).settings(0, retention);
    assert_eq!(lab(Span(10)).found("1a 11b"), ["1 11"]);
    assert_eq!(lab(Span(10)).found("1a 12b"), Vec::<String>::new());
    let (unbounded, mut out) = (lab(Span::MAX), super::super::Output::default());
    let mut core = unbounded.core();
    core.take(&mut unbounded.signals("1a 1000000000000000b"), &mut out);
    core.finish(&mut out);
    assert_eq!(out.correlations.len(), 1);
}

#[test]
fn rules_of_one_dimension_read_the_same_events() {
    let lab = Lab::new().sequence("a b", Some(10)).sequence("b c", Some(10)).settings(0, Span(1_000));
    assert_eq!(lab.found("1a 2b 3c"), ["1 2", "2 3"]);
}

#[test]
fn a_long_run_of_events_prints_its_first_and_last_halves() {
    let script = (1..=150).map(|n| format!("{n}a")).collect::<Vec<_>>().join(" ");
    let found = sequence("a*150", 1000).run(&script).correlations;
    let half: Vec<_> = (1..=50).chain(101..=150).map(|n: i64| n.to_string()).collect();
    assert_eq!(super::lab::times(&found[0]), half.join(" "));
    assert_eq!(found[0].values, [(Measure::Count, MeasuredValue::Int(150))]);
}
