//! Suppression comes after matching.

use super::lab::{Lab, VALUE};
use crate::event::Span;

fn pairs(window: i64, by: Vec<crate::event::FieldId>) -> Lab {
    Lab::new().sequence("a b", Some(5)).suppress(window, by).settings(0, Span(1_000))
}

#[test]
fn repeats_within_the_window_are_counted_in_the_next_one_reported() {
    let lab = pairs(10, Vec::new());
    assert_eq!(lab.folded("1a 2b 3a 4b 5a 12b 13a 14b"), ["1 2 +0", "13 14 +1"]);
    // At most the window after a reported one, inclusive.
    assert_eq!(lab.folded("1a 2b 11a 12b 13a 14b"), ["1 2 +0", "13 14 +1"]);
    assert_eq!(lab.folded("1a/x 2b/x 3a/y 4b/y"), ["1 2 +0", "3 4 +0"]);
    assert_eq!(lab.run("1a 2b 3a 4b").suppressed, 1);
}

#[test]
fn the_window_runs_from_the_one_reported_not_from_those_suppressed() {
    assert_eq!(pairs(10, Vec::new()).folded("1a 2b 8a 9b 12a 13b"), ["1 2 +0", "12 13 +1"]);
}

#[test]
fn further_fields_tell_repeats_apart() {
    let lab = pairs(10, vec![VALUE]);
    assert_eq!(lab.folded("1a 2b=u 3a 4b=v 5a 6b=u"), ["1 2 +0", "3 4 +0"]);
}

#[test]
fn a_count_is_kept_for_the_retention() {
    let lab = pairs(10, Vec::new());
    assert_eq!(lab.folded("1a 2b 3a 4b 1003a 1004b"), ["1 2 +0", "1003 1004 +1"]);
    assert_eq!(lab.folded("1a 2b 3a 4b 1003a 1005b"), ["1 2 +0", "1003 1005 +0"]);
}

#[test]
fn what_a_suppressed_one_had_folded_is_counted_too() {
    use crate::rules::plan::AggregateKind;
    let lab = Lab::new().aggregate(AggregateKind::EventCount, "a", 10, 2).suppress(30, Vec::new());
    let lab = lab.settings(0, Span(1_000));
    // Fires at 2, folds 3; fires at 21 (suppressed, with that one folded in); fires at 41 and says both.
    assert_eq!(lab.folded("1a 2a 3a 20a 21a 40a 41a"), ["1 2 +0", "40 41 +2"]);
}
