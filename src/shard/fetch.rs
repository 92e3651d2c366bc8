//! What a core asks of the store, carried out. On a thread of its own beside the shards, or at once where nothing else runs.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::core::{DUE_AT_ONCE, Entry, Reply, Request, Stem, ranges};
use crate::ring::Bell;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::FetcherMetrics;

/// Carries out one request; the answer, if it asks for one.
pub fn carry_out(store: &dyn Store, request: Request) -> Result<Option<Reply>, StoreError> {
    match request {
        Request::Put(entries) => {
            store.scratch_put(&mut entries.iter().map(|(key, value)| (&**key, &**value)))?;
            Ok(None)
        }
        Request::Remove(from, to) => store.scratch_delete(&from, &to).map(|()| None),
        Request::Keys(life, stems) => {
            let parts = stems.into_iter().map(|stem| Ok((parts_of(store, &stem)?, stem)));
            let keys = parts.map(|read| read.map(|(parts, stem)| (stem, parts))).collect::<Result<_, StoreError>>()?;
            Ok(Some(Reply::Keys(life, keys)))
        }
        Request::Due { life, from, to, end } => {
            let (mut due, mut next) = (Vec::new(), None);
            store.scratch_scan(&from, &end, &mut |key, _| {
                if due.len() < DUE_AT_ONCE && key < &*to {
                    due.push(key.to_vec());
                    return ControlFlow::Continue(());
                }
                next = Some(key.to_vec());
                ControlFlow::Break(())
            })?;
            Ok(Some(Reply::Due { life, due, next }))
        }
        Request::Blocks(life, keys) => {
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            Ok(Some(Reply::Blocks(life, store.scratch_get(&keys)?)))
        }
    }
}

fn parts_of(store: &dyn Store, stem: &Stem) -> Result<Vec<Entry>, StoreError> {
    let mut parts = Vec::new();
    for (from, to) in ranges(stem) {
        store.scan(stem.partition, &from, &to, &mut |key, value| {
            parts.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
    }
    Ok(parts)
}

/// An answer on its way to a shard.
pub type Answer = Result<Reply, StoreError>;

/// A shard's line to the fetcher.
pub struct Line {
    /// Asks.
    pub requests: Sender<Asked>,
    /// For the fetcher to answer on.
    pub answer: Sender<Answer>,
    /// Is answered, in order.
    pub answers: Receiver<Answer>,
}

/// A request, and who is answered.
pub struct Asked {
    /// What.
    pub request: Request,
    /// Where the answer goes.
    pub answer: Sender<Answer>,
    /// Whom to wake.
    pub bell: Bell,
}

/// The thread that reads the disk for all shards.
pub struct Fetcher {
    /// On disk.
    pub store: Arc<dyn Store>,
    /// From all shards.
    pub requests: Receiver<Asked>,
    /// What it counts.
    pub metrics: Arc<FetcherMetrics>,
}

impl Fetcher {
    /// Runs until every shard is gone.
    pub fn run(self) {
        let _working = self.metrics.busy.work();
        loop {
            let mut asked = self.requests.try_recv().ok();
            if asked.is_none() {
                self.metrics.waiting.set(0);
                self.metrics.busy.rest(|| asked = self.requests.recv().ok());
            }
            let Some(asked) = asked else { return };
            self.metrics.waiting.set_size(self.requests.len());
            let began = Instant::now();
            self.serve(asked);
            self.metrics.duration.record(began.elapsed(), 1);
            self.metrics.reads.add(1);
        }
    }

    /// Carries out what is waiting; whether there was anything. For whoever runs everything on one thread.
    pub fn step(&self) -> bool {
        let asked = self.requests.try_recv();
        asked.map(|asked| self.serve(asked)).is_ok()
    }

    fn serve(&self, Asked { request, answer, bell }: Asked) {
        if let Some(reply) = carry_out(&*self.store, request).transpose() {
            // A shard that is gone needs no answer.
            let _ = answer.send(reply);
            bell.ring();
        }
    }
}
