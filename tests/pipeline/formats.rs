//! State of a newer program: refused with the name of what to start instead, and left as it is. It is not damage: nothing may be
//! rebuilt over it.

use crate::harness::App;
use crate::oracle::finish_and_compare;
use crate::oracle_load::{Load, app};
use crate::support::client::NewRecord;
use crate::support::kafka;

/// A newer layout than any there is; larger numbers mean something else in a changelog.
const NEWER: u8 = 200;

/// Key and value of the newest record in the changelog whose key is of this kind, and its partition.
fn newest_of(app: &App, kind: u8) -> (i32, Vec<u8>, Vec<u8>) {
    let records = app.kafka.read_committed(&format!("{}-changelog", app.id));
    let of_kind = |key: &Option<Vec<u8>>| key.as_ref().is_some_and(|key| key[0] == kind);
    let mut newest = std::collections::BTreeMap::new();
    for record in records.into_iter().filter(|record| of_kind(&record.key)) {
        newest.insert((record.partition, record.key.expect("a key")), record.value);
    }
    let held = newest.into_iter().find_map(|((partition, key), value)| Some((partition, key, value?)));
    held.unwrap_or_else(|| panic!("nothing of kind {kind:#x} is in the changelog"))
}

fn write(app: &App, partition: i32, key: &[u8], value: Option<&[u8]>) {
    let record = NewRecord {
        partition: Some(partition),
        key: Some(key.to_vec()),
        value: value.map(<[u8]>::to_vec),
        ..NewRecord::default()
    };
    app.kafka.produce(&format!("{}-changelog", app.id), [record]);
}

/// Is refused, whatever the directory holds, and touches nothing.
fn refused(app: &App, words: &[&str]) {
    let log = format!("{}-changelog", app.id);
    let before = (app.kafka.committed(&app.id, &app.topic), app.kafka.end_offsets(&log));
    for directory in ["as it was", "empty"] {
        if directory == "empty" {
            std::fs::remove_dir_all(app.state("one")).expect("removed");
        }
        let finished = app.start("one", &["--until-end"]).wait();
        assert_eq!(finished.status, Some(2), "{directory}: {}", finished.log);
        for words in words {
            assert!(finished.log.contains(words), "{directory}: `{words}` is not in\n{}", finished.log);
        }
        assert!(!finished.log.contains("set aside"), "{directory}: it is no damage\n{}", finished.log);
        assert_eq!((app.kafka.committed(&app.id, &app.topic), app.kafka.end_offsets(&log)), before, "{directory}");
    }
}

#[test]
fn state_of_a_newer_program_is_refused_and_left_alone() {
    let app = app(kafka(), 2, "workers: {shards: 2, sources: 1}");
    let mut load = Load::new(&app, 1);
    load.write(4_000);
    // Not to the end: the end of the input decides what waits, and leaves nothing of some kinds.
    let service = app.start("one", &[]);
    crate::support::wait_until("all is committed", std::time::Duration::from_secs(60), || app.lag() == 0);
    assert_eq!(service.interrupt().status, Some(0));

    let (partition, key, value) = newest_of(&app, 0x01);
    let mut newer = vec![NEWER, 5];
    newer.extend(b"9.8.7 and what only that version knows");
    write(&app, partition, &key, Some(&newer));
    refused(&app, &["9.8.7", "newer than this one", "start that one again"]);
    write(&app, partition, &key, Some(&value));

    for kind in [0x10, 0x11, 0x20, 0x22] {
        let (partition, key, value) = newest_of(&app, kind);
        write(&app, partition, &key, Some(&[&[NEWER][..], &value[1..]].concat()));
        refused(&app, &["layout version 200", "newer than this one", "start that one again"]);
        write(&app, partition, &key, Some(&value));
    }

    // A kind that is read and not written any more. The first two bytes of a repeat say that it lies in partition 3 of 4.
    let repeat = [&[0x30, 0xc0][..], &[0; 15]].concat();
    write(&app, 3, &repeat, Some(&[NEWER, 1, 2, 3]));
    refused(&app, &["layout version 200", "newer than this one", "start that one again"]);
    write(&app, 3, &repeat, None);

    for (partition, kind, words) in [(3, 0x21, "a part of kind 0x21"), (0, 0x03, "a part with the key [03,")] {
        write(&app, partition, &[kind, 7], Some(&[1, 2, 3]));
        refused(&app, &[words, "newer than this one"]);
        write(&app, partition, &[kind, 7], None);
    }

    load.write(2_000);
    finish_and_compare(&app, "");
}
