//! INV-ORDER: one order of events and deadlines, whatever the batches, the arrival and the jumps of the watermark.

use super::super::Output;
use super::lab::{Lab, times};
use crate::event::{Outcome, RuleIndex, Span, Task, Timestamp};
use crate::rules::plan::AggregateKind;

#[test]
fn deadlines_fire_between_events_however_far_the_watermark_jumps() {
    let lab = Lab::new().sequence("a !b", Some(10)).sequence("c d", Some(100)).settings(0, Span(1_000));
    // Deadline 11 comes after every event of time 11 and before that of 12.
    assert_eq!(lab.found("1a 1c 11d 12c 13d"), ["1 11", "1 -", "12 13"]);
}

#[test]
fn equal_deadlines_fire_by_rule_then_key() {
    let lab = Lab::new().sequence("a !b", Some(10)).sequence("a !c", Some(10)).settings(0, Span(1_000));
    let found = lab.run("1a/z 1a/x 1a/y").correlations;
    let order: Vec<_> = found.iter().map(|c| (c.rule, c.key.clone())).collect();
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!((order.len(), &order), (6, &sorted));
    assert_eq!(order[0].0, RuleIndex(0));
}

#[test]
fn the_watermark_is_exclusive_and_never_goes_back() {
    let lab = Lab::new().sequence("a", Some(10));
    let (mut core, mut out) = (lab.core(), Output::default());
    core.take(&mut lab.signals("5a"), &mut out);
    core.advance(0, Timestamp(5), &mut out);
    assert!(out.correlations.is_empty());
    core.advance(0, Timestamp(6), &mut out);
    core.advance(0, Timestamp(3), &mut out);
    assert_eq!(out.correlations.len(), 1);
    // Behind the watermark nothing waits, also without the mark of a late event.
    core.take(&mut lab.signals("4a"), &mut out);
    assert_eq!(out.correlations.len(), 2);
}

#[test]
fn rules_of_single_events_report_at_once_and_keep_nothing() {
    let lab = Lab::new().single('a', 1);
    let (mut core, mut out) = (lab.core(), Output::default());
    core.take(&mut lab.signals("5a"), &mut out);
    assert_eq!(out.correlations.iter().map(times).collect::<Vec<_>>(), ["5"]);
    assert!(out.correlations[0].key.is_empty());
    assert_eq!(out.counts[0].1.get(Outcome::Matched), 1);
    assert_eq!((core.stats().waiting, core.stats().keys), (0, 0));
}

#[test]
fn a_single_event_rule_with_suppression_waits_for_its_order() {
    let lab = Lab::new().single('a', 0).suppress(10, Vec::new()).settings(0, Span(1_000));
    assert_eq!(lab.folded("1a 2a 12a"), ["1 +0", "12 +1"]);
}

#[test]
fn tasks_have_clocks_of_their_own_and_are_dropped_alone() {
    let lab = Lab::new().sequence("a b", Some(100));
    let (mut core, mut out) = (lab.core(), Output::default());
    let of_task = |task: Task| {
        let mut signals = lab.signals("1a 2b");
        signals.iter_mut().for_each(|signal| signal.task = task);
        signals
    };
    core.take(&mut of_task(1), &mut out);
    core.take(&mut of_task(2), &mut out);
    core.advance(1, Timestamp(10), &mut out);
    assert_eq!((out.correlations.len(), core.stats().waiting), (1, 2));
    core.drop_task(2);
    core.finish(&mut out);
    assert_eq!((out.correlations.len(), core.stats().waiting), (1, 0));
}

#[test]
fn the_last_watermark_is_the_end_of_a_task() {
    let lab = Lab::new().sequence("a !b", Some(10));
    let (mut core, mut out) = (lab.core(), Output::default());
    core.take(&mut lab.signals("1a"), &mut out);
    core.advance(0, Timestamp::MAX, &mut out);
    assert_eq!(out.correlations.len(), 1);
}

#[test]
fn ids_tell_rule_key_events_and_deadline_apart_and_repeat_from_run_to_run() {
    let lab = Lab::new().sequence("a !b", Some(10)).sequence("a !b", Some(20));
    let ids = |script: &str| lab.run(script).correlations.iter().map(|c| c.id).collect::<Vec<_>>();
    let (first, again) = (ids("1a/x 1a/y"), ids("1a/x 1a/y"));
    assert_eq!(first, again);
    let distinct: std::collections::BTreeSet<_> = first.iter().collect();
    assert_eq!(distinct.len(), 4);
    let golden = &Lab::new().sequence("a b", Some(10)).run("1a 2b").correlations[0];
    // Changing this changes the id of every correlation.
    assert_eq!(golden.id.to_string(), "768461b65db36086cd24ccff80f4fc56");
}

#[test]
fn an_event_may_serve_several_steps_and_rules_of_its_dimension() {
    let lab = Lab::new().sequence("a b", Some(10)).aggregate(AggregateKind::EventCount, "ab", 10, 2);
    assert_eq!(lab.found("1ab 2ab"), ["1 2", "1 2"]);
}

#[test]
fn keys_without_state_leave_nothing_behind() {
    let lab = Lab::new().sequence("a b", Some(10)).aggregate(AggregateKind::EventCount, "c", 10, 2);
    let (mut core, mut out) = (lab.core(), Output::default());
    // Only later steps: nothing begins. A match that completes is gone.
    core.take(&mut lab.signals("1b/x 1a/y 2b/y 3c/z"), &mut out);
    core.advance(0, Timestamp(10), &mut out);
    assert_eq!(core.stats().keys, 1);
    core.advance(0, Timestamp(13), &mut out);
    assert_eq!((core.stats().keys, core.stats().events), (1, 1));
    core.advance(0, Timestamp(14), &mut out);
    assert_eq!((core.stats().keys, core.stats().events), (0, 0));
    // What is left is room for the next keys.
    assert!(core.stats().bytes < 1 << 20);
}

#[test]
fn deadlines_of_what_has_ended_do_not_pile_up() {
    let lab = Lab::new().sequence("a !b", Some(1_000_000_000));
    let (mut core, mut out) = (lab.core(), Output::default());
    let mut most = 0;
    for n in 0..100_000 {
        let mut batch = vec![lab.signal(&format!("{n}a/{n}"), 2 * n)];
        // One in a thousand never ends.
        if n % 1_000 != 0 {
            batch.push(lab.signal(&format!("{n}b/{n}"), 2 * n + 1));
        }
        core.take(&mut batch, &mut out);
        core.advance(0, Timestamp(n + 1), &mut out);
        most = most.max(core.stats().deadlines);
    }
    assert_eq!((core.stats().keys, out.correlations.len()), (100, 0));
    assert!(most <= 1 << 16, "{most} deadlines for 100 waiting matches");
    core.finish(&mut out);
    assert_eq!(out.correlations.len(), 100);
}
