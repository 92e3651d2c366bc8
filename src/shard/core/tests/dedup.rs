//! Dedup, then the late policy.

use super::super::Output;
use super::lab::{Lab, times};
use crate::event::{DeadCode, Late, Outcome, RawRecord, Signal, Span, Stage, Timestamp};

fn lab() -> Lab {
    Lab::new().sequence("a b", Some(100)).settings(80, Span(1_000))
}

fn counted(out: &Output, outcome: Outcome) -> u64 {
    out.counts.iter().map(|(_, counts)| counts.get(outcome)).sum()
}

#[test]
fn a_copy_is_known_whatever_time_it_bears_and_only_its_counting_signal_counts() {
    let lab = lab();
    let (mut core, mut out) = (lab.core(), Output::default());
    let first = lab.signal("100a", 1);
    let mut copy = lab.signal("500a", 1);
    copy.counts = false;
    let copies = [lab.signal("100a", 1), lab.signal("30a", 1), lab.signal("500a", 1), copy];
    core.take(&mut vec![first], &mut out);
    core.take(&mut copies.to_vec(), &mut out);
    assert_eq!((counted(&out, Outcome::Matched), counted(&out, Outcome::Duplicate)), (1, 3));
    // Another key or dimension is another signal of the same event.
    core.take(&mut vec![lab.signal("100a/other", 1)], &mut out);
    assert_eq!(counted(&out, Outcome::Matched), 2);
}

#[test]
fn an_id_lives_at_least_a_window_of_event_time_and_then_is_forgotten() {
    let lab = lab();
    let (mut core, mut out) = (lab.core(), Output::default());
    core.take(&mut vec![lab.signal("100a", 1)], &mut out);
    core.advance(0, Timestamp(180), &mut out);
    core.take(&mut vec![lab.signal("200a", 1)], &mut out);
    assert_eq!(counted(&out, Outcome::Duplicate), 1);
    // One window and one bucket (an eighth) later it is gone, whether or not its memory was given back yet.
    core.advance(0, Timestamp(191), &mut out);
    core.take(&mut vec![lab.signal("200a", 1)], &mut out);
    assert_eq!(counted(&out, Outcome::Duplicate), 1);
    core.advance(0, Timestamp(1_000), &mut out);
    core.advance(0, Timestamp(1_001), &mut out);
    assert_eq!(core.stats().dedup_ids, 0);
}

#[test]
fn an_event_behind_the_watermark_is_remembered_from_the_watermark_on() {
    let lab = lab();
    let (mut core, mut out) = (lab.core(), Output::default());
    core.advance(0, Timestamp(10_000), &mut out);
    let late = || Signal { late: Some(Late::Drop), ..lab.signal("1a", 1) };
    core.take(&mut vec![late()], &mut out);
    core.advance(0, Timestamp(10_080), &mut out);
    core.take(&mut vec![late()], &mut out);
    assert_eq!((counted(&out, Outcome::Late), counted(&out, Outcome::Duplicate)), (1, 1));
}

#[test]
fn dedup_can_be_off() {
    let lab = lab().settings(0, Span(1_000));
    let (mut core, mut out) = (lab.core(), Output::default());
    core.take(&mut vec![lab.signal("1a", 1), lab.signal("1a", 1)], &mut out);
    assert_eq!((counted(&out, Outcome::Matched), core.stats().dedup_ids), (2, 0));
}

#[test]
fn a_late_duplicate_is_a_duplicate_and_a_late_event_follows_its_policy() {
    let lab = lab();
    let (mut core, mut out) = (lab.core(), Output::default());
    core.take(&mut vec![lab.signal("1a", 1)], &mut out);
    core.advance(0, Timestamp(50), &mut out);
    let late = |offset, late| Signal { late: Some(late), ..lab.signal("1b", offset) };
    let record = RawRecord { value: Some(b"{}"[..].into()), ..RawRecord::default() };
    let mut batch = vec![
        Signal { late: Some(Late::Drop), ..lab.signal("1a", 1) },
        late(2, Late::Drop),
        late(3, Late::Dlq(Some(Box::new(record.clone())))),
        Signal { counts: false, ..late(4, Late::Dlq(None)) },
    ];
    core.take(&mut batch, &mut out);
    assert!(batch.is_empty());
    assert_eq!((counted(&out, Outcome::Duplicate), counted(&out, Outcome::Late)), (1, 2));
    assert_eq!(out.dead_letters.len(), 1);
    let letter = &out.dead_letters[0];
    assert_eq!((letter.code, letter.stage, letter.origin.offset), (DeadCode::Late, Stage::Order, 3));
    assert_eq!((letter.event_time, &letter.record), (Some(Timestamp(1)), &record));
    assert!(out.correlations.is_empty());
}

#[test]
fn a_late_event_that_is_processed_may_advance_a_match_at_once() {
    let lab = lab();
    let (mut core, mut out) = (lab.core(), Output::default());
    core.take(&mut vec![lab.signal("1a", 1)], &mut out);
    core.advance(0, Timestamp(50), &mut out);
    core.take(&mut vec![Signal { late: Some(Late::Process), ..lab.signal("5b", 2) }], &mut out);
    assert_eq!(out.correlations.iter().map(times).collect::<Vec<_>>(), ["1 5"]);
    assert_eq!(counted(&out, Outcome::Matched), 2);
}

#[test]
fn a_late_event_advances_only_what_lies_before_it_and_replaces_nothing_newer() {
    let lab = lab();
    let (mut core, mut out) = (lab.core(), Output::default());
    core.take(&mut vec![lab.signal("10a", 1)], &mut out);
    core.advance(0, Timestamp(50), &mut out);
    let late = |word, offset| Signal { late: Some(Late::Process), ..lab.signal(word, offset) };
    core.take(&mut vec![late("5b", 2), late("7a", 3), late("11b", 4)], &mut out);
    assert_eq!(out.correlations.iter().map(times).collect::<Vec<_>>(), ["10 11"]);
}

#[test]
fn a_late_absence_is_decided_at_once_and_late_events_do_not_reopen_windows() {
    use crate::rules::plan::{AggregateKind, Literal, Threshold, ThresholdOp};
    let lab = Lab::new().sequence("a !b", Some(10)).aggregate(AggregateKind::EventCount, "c", 10, 0).with(|a| {
        a.condition = vec![Threshold { op: ThresholdOp::Lt, value: Literal::Int(5) }];
        a.tumbling = true;
    });
    let (mut core, mut out) = (lab.core(), Output::default());
    core.advance(0, Timestamp(50), &mut out);
    let late = |word, offset| Signal { late: Some(Late::Process), ..lab.signal(word, offset) };
    core.take(&mut vec![late("5a", 2), late("7c", 3)], &mut out);
    assert_eq!(out.correlations.iter().map(times).collect::<Vec<_>>(), ["5 -"]);
    assert_eq!((out.late_ignored, core.stats().keys), (1, 0));
}
