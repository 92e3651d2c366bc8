//! What a core asks of the store, carried out. On a thread of its own beside the shards, or at once where nothing else runs.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::core::{DUE_AT_ONCE, Entry, Reply, Request, Stem, ranges};
use crate::ring::Bell;
use crate::store::{Store, StoreError};
use crate::telemetry::liveness::{Doing, Pulse};
use crate::telemetry::metrics::FetcherMetrics;

/// Longest sleep without a beat.
const NAP: Duration = Duration::from_secs(1);

/// Carries out one request; the answer, if it asks for one.
pub fn carry_out(store: &dyn Store, request: Request) -> Result<Option<Reply>, StoreError> {
    match request {
        Request::Put(entries) => {
            store.scratch_put(&entries)?;
            Ok(None)
        }
        Request::Remove(from, to) => store.scratch_delete(&from, &to).map(|()| None),
        Request::Keys(life, stems) => Ok(Some(Reply::Keys(life, parts_of(store, stems)?))),
        Request::Due { life, decide, from, to, end } => {
            let (mut due, mut next) = (Vec::new(), None);
            store.scratch_scan(&from, &end, &mut |key, _| {
                if due.len() < DUE_AT_ONCE && key < &*to {
                    due.push(key.to_vec());
                    return ControlFlow::Continue(());
                }
                next = Some(key.to_vec());
                ControlFlow::Break(())
            })?;
            Ok(Some(Reply::Due { life, decide, due, next }))
        }
        Request::Blocks(life, keys) => {
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            Ok(Some(Reply::Blocks(life, store.scratch_get(&keys)?)))
        }
    }
}

/// All parts of each key, in key order.
fn parts_of(store: &dyn Store, stems: Vec<Stem>) -> Result<Vec<(Stem, Vec<Entry>)>, StoreError> {
    let of_stem = |stem: &Stem| ranges(stem).map(|(from, to)| (stem.partition, from, to));
    let all: Vec<_> = stems.iter().flat_map(of_stem).collect();
    let each = all.len() / stems.len().max(1);
    let mut keys: Vec<(Stem, Vec<Entry>)> = stems.into_iter().map(|stem| (stem, Vec::new())).collect();
    store.scan_keys(&all, &mut |range, key, value| {
        if let Some((_, parts)) = keys.get_mut(range / each) {
            parts.push((key.to_vec(), value.to_vec()));
        }
    })?;
    // Kinds lie in different families, which are read one after the other.
    keys.iter_mut().for_each(|(_, parts)| parts.sort_unstable());
    Ok(keys)
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

/// Requests that may lie before the fetcher while a shard restores: some 20 MB.
const REQUESTS_AHEAD: usize = 64;

/// Requests before which nothing is asked that can wait: what a signal waits for comes soon.
const REQUESTS_BEFORE: usize = 2;

/// How long a fetcher may take for one request before a restore goes on without waiting: it is gone, or told by its own pulse.
const ROOM_WAIT: Duration = Duration::from_secs(10);

impl Line {
    /// Asks; whoever is answered is woken by `bell`.
    pub fn ask(&self, request: Request, bell: &Bell) {
        let asked = Asked { request, answer: self.answer.clone(), bell: bell.clone() };
        // Without a fetcher the pipeline is stopping.
        drop(self.requests.send(asked));
    }

    /// Whether the fetcher is near enough behind for more to be asked that nobody waits for.
    pub fn has_room(&self) -> bool {
        self.requests.len() <= REQUESTS_BEFORE
    }

    /// Waits while too much is asked for. Only where the fetcher is on another thread.
    pub fn wait_for_room(&self) {
        let until = Instant::now() + ROOM_WAIT;
        while self.requests.len() > REQUESTS_AHEAD && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
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
    /// Beats once a request, or while there is none.
    pub pulse: Pulse,
    /// What it counts.
    pub metrics: Arc<FetcherMetrics>,
}

impl Fetcher {
    /// Runs until every shard is gone.
    pub fn run(self) {
        let _working = self.metrics.busy.work();
        loop {
            self.pulse.beat();
            let asked = match self.requests.try_recv() {
                Ok(asked) => asked,
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    self.metrics.waiting.set(0);
                    let mut asked = Err(RecvTimeoutError::Timeout);
                    self.metrics.busy.rest(|| asked = self.requests.recv_timeout(NAP));
                    match asked {
                        Ok(asked) => asked,
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            };
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
        let carried = self.pulse.during(Doing::Disk, || carry_out(&*self.store, request));
        if let Some(reply) = carried.transpose() {
            // A shard that is gone needs no answer.
            let _ = answer.send(reply);
            bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::telemetry::liveness::{Liveness, Look};

    #[test]
    fn it_lives_while_nobody_asks_and_is_not_watched_when_it_has_ended() {
        let liveness = Liveness::default();
        let (asks, requests) = crossbeam_channel::unbounded();
        let (pulse, metrics) = (liveness.pulse("fetcher"), Arc::default());
        let fetcher = Fetcher { store: Arc::new(MemoryStore::default()), requests, pulse, metrics };
        let thread = std::thread::spawn(move || fetcher.run());
        // Three looks take longer than a nap.
        for _ in 0..6 {
            assert_eq!(liveness.look(3), Look::default());
            std::thread::sleep(NAP / 2);
        }
        drop(asks);
        thread.join().expect("it ends with the last shard");
        (0..5).for_each(|_| assert_eq!(liveness.look(3), Look::default()));
    }
}
