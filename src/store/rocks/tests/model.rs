//! RocksDB's store against the one in memory: whatever is done to both, they answer alike, also after a restart.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::store::memory::MemoryStore;

type Key = Vec<u8>;

/// Changes, and positions by partition.
type Load = (Vec<(u16, Key, Option<Vec<u8>>)>, BTreeMap<u16, i64>);

#[derive(Debug, Clone)]
enum Step {
    Write(Load),
    Loads(Vec<Load>),
    Clear(u16),
    ScratchPut(Vec<(Key, Vec<u8>)>),
    ScratchDelete(Key, Key),
    /// Memtables to files, so that what follows reads files.
    Flush,
    Reopen,
    Scan(u16, Key, Key),
}

/// Few enough that keys come again: each kind around the cold ones, a few hashes, short tails, and keys cut short.
fn key() -> impl Strategy<Value = Key> {
    let kind = select(vec![0x00, 0x0f, 0x10, 0x11, 0x20, 0x21, 0x22, 0x23, 0xff_u8]);
    let hash = select(vec![0, 1, 0xff, 0x0100, u64::MAX - 1, u64::MAX]);
    (kind, hash, vec(select(vec![0, 1, 0xff_u8]), 0..3), prop_oneof![4 => Just(11), 1 => 0..9_usize]).prop_map(
        |(kind, hash, tail, length)| {
            let mut key = [&[kind][..], &hash.to_be_bytes(), &tail].concat();
            key.truncate(length);
            key
        },
    )
}

/// Ranges between any two keys, and those of one kind and correlation key.
fn range() -> impl Strategy<Value = (Key, Key)> {
    prop_oneof![
        (key(), key()),
        key().prop_map(|key| {
            let prefix = key[..key.len().min(9)].to_vec();
            let end = [&prefix[..], &[0xff; 4]].concat();
            (prefix, end)
        }),
        key().prop_map(|key| {
            let prefix = key[..key.len().min(9)].to_vec();
            let mut end = prefix.clone();
            while end.pop_if(|last| *last == 0xff).is_some() {}
            if let Some(last) = end.last_mut() {
                *last += 1;
            }
            (prefix, end)
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..PARTITIONS;
    let value = || vec(any::<u8>(), 0..20);
    let change = || (0..PARTITIONS, key(), proptest::option::weighted(0.7, value()));
    let load = || (vec(change(), 0..12), btree_map(0..PARTITIONS, any::<i64>(), 0..3));
    prop_oneof![
        6 => load().prop_map(Step::Write),
        2 => vec(load(), 0..4).prop_map(Step::Loads),
        1 => partition.clone().prop_map(Step::Clear),
        2 => vec((key(), value()), 0..6).prop_map(Step::ScratchPut),
        1 => range().prop_map(|(from, to)| Step::ScratchDelete(from, to)),
        2 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        8 => (partition, range()).prop_map(|(partition, (from, to))| Step::Scan(partition, from, to)),
    ]
}

fn made((entries, applied): &Load) -> (Changes, Vec<(u16, Applied)>) {
    let mut changes = Changes::default();
    for (partition, key, value) in entries {
        match value {
            Some(value) => changes.put(*partition, key, value),
            None => changes.delete(*partition, key),
        }
    }
    let applied = applied.iter().map(|(p, at)| (*p, Applied { position: *at, written_ms: -*at / 2 }));
    (changes, applied.collect())
}

fn apply(step: &Step, rocks: RocksStore, memory: &mut MemoryStore, directory: &Path) -> RocksStore {
    for store in [&rocks as &dyn Store, &*memory] {
        match step {
            Step::Write(load) => {
                let (changes, applied) = made(load);
                store.write(&Batch { changes: vec![&changes], applied }).expect("written");
            }
            Step::Loads(loads) => {
                let mut bulk = store.bulk().expect("begun");
                for load in loads {
                    let (mut changes, applied) = made(load);
                    bulk.take(&mut changes, applied).expect("taken");
                    assert!(changes.is_empty());
                }
                bulk.finish().expect("finished");
            }
            Step::Clear(partition) => store.clear(*partition).expect("cleared"),
            Step::ScratchPut(entries) => {
                store.scratch_put(entries).expect("written");
            }
            Step::ScratchDelete(from, to) => store.scratch_delete(from, to).expect("deleted"),
            Step::Flush | Step::Reopen | Step::Scan(..) => {}
        }
    }
    match step {
        Step::Flush => {
            for family in Family::ALL {
                rocks.db.flush_cf(rocks.family(family).expect("there")).expect("flushed");
            }
        }
        Step::Reopen => {
            drop(rocks);
            *memory = MemoryStore::from_snapshot(memory.snapshot());
            return open(directory).0;
        }
        Step::Scan(partition, from, to) => {
            let answer = |store: &dyn Store| scanned(store, *partition, from, to).expect("read");
            assert_eq!(answer(&rocks), answer(memory));
            let answer = |store: &dyn Store| {
                (store.scratch_get(&[from, to]).expect("read"), scratched(store, from, to).expect("read"))
            };
            assert_eq!(answer(&rocks), answer(memory));
        }
        _ => {}
    }
    rocks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_answer_alike(steps in vec(step(), 1..60)) {
        let directory = directory_in_memory();
        let mut rocks = open(directory.path()).0;
        let mut memory = MemoryStore::default();
        for step in steps.iter().chain([&Step::Flush, &Step::Reopen]) {
            rocks = apply(step, rocks, &mut memory, directory.path());
            prop_assert_eq!(state(&rocks).expect("read"), state(&memory).expect("read"));
            let applied = |store: &dyn Store| (0..PARTITIONS).map(|p| store.applied(p).expect("read")).collect::<Vec<_>>();
            prop_assert_eq!(applied(&rocks), applied(&memory));
        }
    }
}
