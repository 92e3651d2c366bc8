//! Dedup ids that left memory: runs of sorted blocks in scratch space, each behind a filter.
//!
//! A run holds ids of one bucket, cut into blocks by their lower bits, so that one id is in exactly one block of a run. Nearly
//! every id that comes is new, and a filter says so without reading; the rest ("perhaps") costs one block.

use std::collections::VecDeque;

use super::{Entry, Filter, Life, Request, remove_all, scratch, scratch_of};
use crate::event::{Signal, Task, Timestamp};
use crate::shard::core::dedup::Id;

/// Ids in a block, on average: 4 KiB.
const BLOCK_IDS: usize = 256;

#[derive(Debug)]
struct Run {
    bucket: i64,
    number: u32,
    block_bits: u32,
    filter: Filter,
}

/// A signal whose id may be in runs, until they were read.
#[derive(Debug)]
pub(in super::super) struct Lookup {
    pub(in super::super) signal: Signal,
    pub(in super::super) id: Id,
    blocks: usize,
}

/// The runs of one task, and the signals that wait for blocks of them.
#[derive(Debug)]
pub(in super::super) struct Runs {
    life: Life,
    shard: u16,
    task: Task,
    runs: Vec<Run>,
    next_number: u32,
    ids: usize,
    waiting: VecDeque<Lookup>,
    wanted: Vec<Vec<u8>>,
    /// For each question asked, how many signals it was for, and the time of the oldest.
    asked: VecDeque<(usize, Timestamp)>,
    /// The same of what is not asked yet.
    unasked: (usize, Timestamp),
    requests: Vec<Request>,
}

impl Runs {
    pub(in super::super) fn new(life: Life, shard: u16, task: Task) -> Runs {
        Runs {
            life,
            shard,
            task,
            runs: Vec::new(),
            next_number: 0,
            ids: 0,
            waiting: VecDeque::new(),
            wanted: Vec::new(),
            asked: VecDeque::new(),
            unasked: (0, Timestamp::MAX),
            requests: vec![remove_all(shard, scratch::IDS, task)],
        }
    }

    fn stem(&self, bucket: i64, number: u32) -> Vec<u8> {
        let mut key = scratch_of(self.shard, scratch::IDS, self.task, self.life);
        key.extend_from_slice(&bucket.to_be_bytes());
        key.extend_from_slice(&number.to_be_bytes());
        key
    }

    fn block_key(&self, run: &Run, id: Id) -> Vec<u8> {
        let mut key = self.stem(run.bucket, run.number);
        key.extend_from_slice(&block_of(id, run.block_bits).to_be_bytes());
        key
    }

    /// Ids of a bucket leave memory.
    pub(in super::super) fn spill(&mut self, bucket: i64, mut ids: Vec<Id>) {
        if ids.is_empty() {
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        let block_bits = (ids.len() / BLOCK_IDS).max(1).ilog2();
        let mut filter = Filter::of_items(ids.len());
        ids.iter().for_each(|id| filter.insert(id.low()));
        ids.sort_unstable_by_key(|id| (id.low(), id.key_hash()));
        let run = Run { bucket, number, block_bits, filter };
        let entries: Vec<Entry> = ids
            .chunk_by(|a, b| block_of(*a, block_bits) == block_of(*b, block_bits))
            .filter_map(|block| {
                let key = self.block_key(&run, *block.first()?);
                Some((key, block.iter().flat_map(|id| id.to_bytes()).collect()))
            })
            .collect();
        self.ids += ids.len();
        self.requests.push(Request::Put(entries));
        self.runs.push(run);
    }

    /// Whether an id is certainly in no run of a live bucket.
    #[inline]
    pub(in super::super) fn certainly_new(&self, id: Id, live_from: i64) -> bool {
        !self.runs.iter().any(|run| run.bucket >= live_from && run.filter.perhaps(id.low()))
    }

    /// The signal waits until the runs that may hold its id were read.
    pub(in super::super) fn look_up(&mut self, signal: Signal, id: Id, live_from: i64) {
        let before = self.wanted.len();
        let perhaps = self.runs.iter().filter(|run| run.bucket >= live_from && run.filter.perhaps(id.low()));
        let keys: Vec<Vec<u8>> = perhaps.map(|run| self.block_key(run, id)).collect();
        self.wanted.extend(keys);
        self.unasked = (self.unasked.0 + 1, self.unasked.1.min(signal.event.time));
        self.waiting.push_back(Lookup { signal, id, blocks: self.wanted.len() - before });
    }

    /// Whether an answer is owed.
    pub(in super::super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Time of the oldest signal that waits; [`Timestamp::MAX`]: none does.
    pub(in super::super) fn oldest(&self) -> Timestamp {
        self.asked.iter().fold(self.unasked.1, |oldest, (_, time)| oldest.min(*time))
    }

    /// Signals that wait.
    pub(in super::super) fn owed(&self) -> usize {
        self.waiting.len()
    }

    /// The blocks of the oldest question: its signals in the order of their coming, and whether a run has the id.
    pub(in super::super) fn answered(&mut self, blocks: Vec<Option<Vec<u8>>>) -> Vec<(Lookup, bool)> {
        let signals = self.asked.pop_front().map_or(0, |(signals, _)| signals).min(self.waiting.len());
        let mut blocks = blocks.into_iter();
        let answer = |lookup: Lookup| {
            let found = blocks.by_ref().take(lookup.blocks).filter(|block| {
                let (ids, _) = block.as_deref().unwrap_or_default().as_chunks::<{ Id::BYTES }>();
                ids.contains(&lookup.id.to_bytes())
            });
            let known = found.count() > 0;
            (lookup, known)
        };
        self.waiting.drain(..signals).map(answer).collect()
    }

    /// Forgets the runs of expired buckets.
    pub(in super::super) fn expire(&mut self, live_from: i64) {
        let gone: Vec<(i64, u32)> =
            self.runs.iter().filter(|run| run.bucket < live_from).map(|run| (run.bucket, run.number)).collect();
        for (bucket, number) in gone {
            let from = self.stem(bucket, number);
            let mut to = from.clone();
            to.push(0xff);
            to.extend([0xff; 4]);
            self.requests.push(Request::Remove(from, to));
        }
        self.runs.retain(|run| run.bucket >= live_from);
    }

    /// What is to be asked now.
    pub(in super::super) fn take_requests(&mut self, out: &mut Vec<Request>) {
        out.append(&mut self.requests);
        if self.unasked.0 > 0 {
            self.asked.push_back(std::mem::replace(&mut self.unasked, (0, Timestamp::MAX)));
            out.push(Request::Blocks(self.life, std::mem::take(&mut self.wanted)));
        }
    }

    /// Bytes of filters.
    pub(in super::super) fn bytes(&self) -> usize {
        self.runs.iter().map(|run| run.filter.bytes()).sum()
    }

    /// Ids that were spilled, expired ones included.
    pub(in super::super) fn spilled(&self) -> usize {
        self.ids
    }
}

fn block_of(id: Id, bits: u32) -> u32 {
    if bits == 0 { 0 } else { (id.low() >> (64 - bits)) as u32 }
}
