//! Records through partition queues: order, stopping, pauses, ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use throughline::broker::{Broker, Delivery, Flow};
use throughline::ring::Bell;

use crate::member::{Member, SOON, at, broker, subscription};
use crate::support::client::NewRecord;
use crate::support::{kafka, unique, wait_until};

fn numbers(range: std::ops::Range<usize>, partition: i32) -> impl Iterator<Item = NewRecord> {
    range.map(move |n| NewRecord::value(n.to_string()).to(partition))
}

fn values(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[test]
fn every_record_comes_once_in_order_however_often_the_visitor_stops() {
    let (topic, app) = (unique("stops"), unique("app"));
    kafka().create_topic(&topic, 2, &[]);
    kafka().produce(&topic, numbers(0..5_000, 0).chain(numbers(0..5_000, 1)));
    let member = Member::join(&broker(kafka(), &app, "one"), &subscription(&[&topic]));
    member.wait_held(2);
    for partition in [at(&topic, 0), at(&topic, 1)] {
        let mut turn = 0;
        wait_until("the partition's end", SOON, || {
            turn += 1;
            member.with(&partition, |held| {
                let taken = held.drain(turn % 7 + 1);
                assert!(taken <= turn % 7 + 1, "stopped after {taken}");
                !held.ends.is_empty()
            }) || {
                turn % 50 == 0 && {
                    std::thread::sleep(Duration::from_millis(1));
                    false
                }
            }
        });
        member.with(&partition, |held| {
            assert_eq!(held.committed, None);
            assert_eq!(held.records.iter().map(|(_, v)| v.clone()).collect::<Vec<_>>(), values(0..5_000));
            assert_eq!(held.ends, [5_000]);
        });
    }
    member.leave();
}

#[test]
fn keys_headers_tombstones_and_timestamps_arrive_as_they_were_written() {
    let (topic, app) = (unique("whole"), unique("app"));
    kafka().create_topic(&topic, 1, &[]);
    let headers = vec![("a".to_owned(), Some(b"1".to_vec())), ("a".to_owned(), None), ("b".to_owned(), Some(vec![]))];
    let record = NewRecord {
        partition: Some(0),
        key: Some(b"\xffkey".to_vec()),
        value: None,
        headers: headers.clone(),
        timestamp_ms: Some(123_456),
    };
    kafka().produce(&topic, [record, NewRecord { value: Some(vec![]), ..NewRecord::default() }]);
    let member = Member::join(&broker(kafka(), &app, "one"), &subscription(&[&topic]));
    member.wait_held(1);
    let mut seen = Vec::new();
    wait_until("both records", SOON, || {
        member.with(&at(&topic, 0), |held| {
            held.queue.drain(&mut |delivery| {
                if let Delivery::Record(record) = delivery {
                    seen.push(record.to_raw());
                }
                Flow::Continue
            })
        });
        seen.len() == 2
    });
    assert_eq!(seen[0].key.as_deref(), Some(&b"\xffkey"[..]));
    assert_eq!((seen[0].value.as_deref(), seen[0].timestamp_ms), (None, Some(123_456)));
    let seen_headers: Vec<_> =
        seen[0].headers.iter().map(|(n, v)| (n.clone(), v.as_deref().map(<[u8]>::to_vec))).collect();
    assert_eq!(seen_headers, headers);
    assert_eq!((seen[1].key.as_deref(), seen[1].value.as_deref()), (None, Some(&b""[..])));
    member.leave();
}

#[test]
fn a_bell_rings_for_data_that_comes_later() {
    let (topic, app) = (unique("bell"), unique("app"));
    kafka().create_topic(&topic, 1, &[]);
    let member = Member::join(&broker(kafka(), &app, "one"), &subscription(&[&topic]));
    member.wait_held(1);
    let bell = Bell::default();
    member.with(&at(&topic, 0), |held| held.queue.ring_on_data(bell.clone()));
    member.drain_until("the empty partition's end", |held| held.values().all(|h| h.ends == [0]));
    let state = Arc::clone(&member.state);
    let (woken, partition) = (Arc::new(AtomicBool::new(false)), at(&topic, 0));
    let seen = Arc::clone(&woken);
    let source = std::thread::spawn(move || {
        // No timeout and no polling: without a ring this thread sleeps for ever.
        while !seen.load(Ordering::Relaxed) {
            bell.wait(|| false, None);
            let mut state = state.lock().expect("state");
            let held = state.held.get_mut(&partition).expect("held");
            held.drain(usize::MAX);
            seen.store(held.records.len() == 1, Ordering::Relaxed);
        }
    });
    kafka().produce(&topic, numbers(0..1, 0));
    wait_until("the bell wakes the source", SOON, || woken.load(Ordering::Relaxed));
    source.join().expect("source");
    member.leave();
}

#[test]
fn a_visitors_panic_comes_out_and_the_queue_goes_on_behind_it() {
    let (topic, app) = (unique("panic"), unique("app"));
    kafka().create_topic(&topic, 1, &[]);
    kafka().produce(&topic, numbers(0..10, 0));
    let member = Member::join(&broker(kafka(), &app, "one"), &subscription(&[&topic]));
    member.wait_held(1);
    let mut queue = member.state.lock().expect("state").held.remove(&at(&topic, 0)).expect("held").queue;
    let seen = Mutex::new(Vec::new());
    wait_until("a panic", SOON, || {
        let drained = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            queue.drain(&mut |delivery| {
                if let Delivery::Record(record) = delivery {
                    seen.lock().expect("seen").push(record.offset);
                    assert!(record.offset != 3, "the visitor fails here, on purpose");
                }
                Flow::Continue
            });
        }));
        drained.is_err()
    });
    wait_until("the rest", SOON, || {
        queue.drain(&mut |delivery| {
            if let Delivery::Record(record) = delivery {
                seen.lock().expect("seen").push(record.offset);
            }
            Flow::Continue
        });
        seen.lock().expect("seen").len() == 10
    });
    assert_eq!(*seen.lock().expect("seen"), (0..10).collect::<Vec<_>>());
    drop(queue);
    member.crash();
}

/// Transaction markers that were fetched before a pause move librdkafka's own position past records that the pause threw
/// away; a second pause would then skip these. Each turn takes a little, pauses twice, and goes on.
#[test]
fn pauses_lose_and_repeat_nothing_even_among_transaction_markers() {
    let (topic, app) = (unique("pause"), unique("app"));
    kafka().create_topic(&topic, 1, &[]);
    for start in (0..300).step_by(10) {
        kafka().produce_transaction(&topic, numbers(start..start + 10, 0), true);
    }
    let member = Member::join(&broker(kafka(), &app, "one"), &subscription(&[&topic]));
    member.wait_held(1);
    let partition = at(&topic, 0);
    let mut turns = 0;
    wait_until("the partition's end", SOON * 2, || {
        let (taken, end) = member.with(&partition, |held| (held.drain(23), !held.ends.is_empty()));
        // Only after progress: a pause throws away what was fetched, and one after the other would leave nothing to take.
        turns += usize::from(taken > 0);
        if taken > 0 && turns % 2 == 0 {
            for _ in 0..2 {
                let paused = [partition.clone()];
                member.group(move |group| group.pause(&paused)).expect("pause");
                member.with(&partition, |held| held.drain(usize::MAX));
                let paused = [partition.clone()];
                member.group(move |group| group.resume(&paused)).expect("resume");
            }
        }
        end
    });
    let read = member.with(&partition, |held| held.records.iter().map(|(_, v)| v.clone()).collect::<Vec<_>>());
    assert_eq!(read, values(0..300));
    member.leave();
}

#[test]
fn a_pause_at_the_very_end_does_not_hide_what_comes_after() {
    let (topic, app) = (unique("tail"), unique("app"));
    kafka().create_topic(&topic, 1, &[]);
    kafka().produce(&topic, numbers(0..5, 0));
    let member = Member::join(&broker(kafka(), &app, "one"), &subscription(&[&topic]));
    member.wait_held(1);
    let partition = at(&topic, 0);
    member.drain_until("the end", |held| held[&partition].ends == [5]);
    for round in 0..3 {
        let before = 5 + round * 2;
        let paused = [partition.clone()];
        member.group(move |group| group.pause(&paused)).expect("pause");
        kafka().produce(&topic, numbers(before..before + 1, 0));
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(member.with(&partition, |held| held.drain(usize::MAX)), 0, "paused");
        let paused = [partition.clone()];
        member.group(move |group| group.resume(&paused)).expect("resume");
        kafka().produce(&topic, numbers(before + 1..before + 2, 0));
        member.drain_until("what came during and after the pause", |held| held[&partition].records.len() == before + 2);
    }
    assert_eq!(
        member.with(&partition, |h| h.records.iter().map(|(_, v)| v.clone()).collect::<Vec<_>>()),
        values(0..11)
    );
    member.drain_until("the end again", |held| held[&partition].ends.last() == Some(&11));
    member.leave();
}

#[test]
fn the_end_is_told_behind_markers_and_aborted_records() {
    let (topic, app) = (unique("markers"), unique("app"));
    kafka().create_topic(&topic, 1, &[]);
    kafka().produce_transaction(&topic, numbers(0..3, 0), true);
    kafka().produce_transaction(&topic, numbers(3..9, 0), false);
    wait_until("both markers are written", SOON, || kafka().end_offsets(&topic)[&0] == 11);
    let member = Member::join(&broker(kafka(), &app, "one"), &subscription(&[&topic]));
    member.wait_held(1);
    // 3 records, marker, 6 aborted records, marker: no record is at the end, and the end is told all the same.
    member.drain_until("the end", |held| held[&at(&topic, 0)].ends.last() == Some(&11));
    assert_eq!(member.with(&at(&topic, 0), |held| held.records.len()), 3);
    member.leave();
}

#[test]
fn patterns_find_their_topics_and_sizes_are_known() {
    let (prefix, app) = (unique("logs"), unique("app"));
    kafka().create_topic(&format!("{prefix}.a"), 1, &[("max.message.bytes", "54321")]);
    kafka().create_topic(&format!("{prefix}.b"), 3, &[]);
    let broker = broker(kafka(), &app, "one");
    let pattern = format!("^{prefix}\\.\\w$");
    let found = broker.topics(&[pattern.clone(), "no-such-topic".to_owned()], SOON).expect("topics");
    let found: Vec<_> = found.iter().map(|t| (t.topic.to_string(), t.partitions, t.message_bytes_max)).collect();
    assert_eq!(found[0], (format!("{prefix}.a"), 1, Some(54_321)));
    assert_eq!((&found[1].0, found[1].1), (&format!("{prefix}.b"), 3));
    assert_eq!(found.len(), 2);
    let member = Member::join(&broker, &subscription(&[&pattern]));
    member.wait_held(4);
    member.leave();
}
