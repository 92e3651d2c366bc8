//! The sending side of a source: batches being filled, parcels that a full ring refused, watermarks already announced.

use std::collections::VecDeque;
use std::time::Instant;

use crate::event::{Late, Mark, Report, Signal, Task, Timestamp, ToShard};
use crate::limits::{BATCH_BYTES, BATCH_SIGNALS};
use crate::ring::Producer;

/// One ring with what waits for it.
struct Lane {
    ring: Producer<ToShard>,
    filling: ToShard,
    filling_bytes: usize,
    /// Refused parcels in their order. Nothing is read while one waits, so there are never more than a few.
    held: VecDeque<ToShard>,
}

impl Lane {
    /// Sends off what is being filled. Returns the number of signals.
    fn dispatch(&mut self, arrived: Option<Instant>) -> u64 {
        if self.filling.is_empty() {
            return 0;
        }
        let signals = self.filling.signals.len() as u64;
        self.filling.arrived = arrived;
        let spare = self.ring.spare().unwrap_or_default();
        let parcel = std::mem::replace(&mut self.filling, spare);
        self.filling.clear();
        self.filling_bytes = 0;
        if !self.held.is_empty() {
            self.held.push_back(parcel);
        } else if let Err(refused) = self.ring.push(parcel) {
            self.held.push_back(refused);
        }
        signals
    }

    fn retry(&mut self) -> bool {
        while let Some(parcel) = self.held.pop_front() {
            if let Err(refused) = self.ring.push(parcel) {
                self.held.push_front(refused);
                return false;
            }
        }
        true
    }
}

/// Bytes that a signal carries beyond its own size: evidence, and the whole record if it is late.
fn weight(signal: &Signal) -> usize {
    let late = match &signal.late {
        Some(Late::Dlq(Some(record))) => record.bytes(),
        _ => 0,
    };
    late + signal.event.fields.heap_bytes()
}

/// All rings of one source.
pub struct Outgoing {
    lanes: Vec<Lane>,
    committer: Producer<Report>,
    held_reports: VecDeque<Report>,
    announced: Vec<(Task, Timestamp)>,
    /// When that arrived which the turn finds that fills the parcels.
    turn: Option<Instant>,
    /// Signals sent and not yet counted.
    sent: u64,
}

impl Outgoing {
    /// One ring per shard, and the one to the committer.
    pub fn new(shards: Vec<Producer<ToShard>>, committer: Producer<Report>) -> Self {
        let lane = |ring| Lane { ring, filling: ToShard::default(), filling_bytes: 0, held: VecDeque::new() };
        Outgoing {
            lanes: shards.into_iter().map(lane).collect(),
            committer,
            held_reports: VecDeque::new(),
            announced: Vec::new(),
            turn: None,
            sent: 0,
        }
    }

    /// A turn begins: what is sent from now on arrived then, or later.
    pub fn turn(&mut self, arrived: Instant) {
        self.turn = Some(arrived);
    }

    /// Signals sent since the last call.
    pub fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }

    /// Adds a signal to its shard's batch. Returns whether reading may go on.
    pub fn signal(&mut self, shard: usize, signal: Signal) -> bool {
        let lane = &mut self.lanes[shard];
        lane.filling_bytes += weight(&signal);
        lane.filling.signals.push(signal);
        if lane.filling.signals.len() >= BATCH_SIGNALS || lane.filling_bytes >= BATCH_BYTES {
            self.sent += lane.dispatch(self.turn);
        }
        lane.held.is_empty()
    }

    /// Tries what was refused again. Returns whether nothing waits any more.
    pub fn retry(&mut self) -> bool {
        while let Some(report) = self.held_reports.pop_front() {
            if let Err(refused) = self.committer.push(report) {
                self.held_reports.push_front(refused);
                break;
            }
        }
        let mut free = self.held_reports.is_empty();
        for lane in &mut self.lanes {
            free &= lane.retry();
        }
        free
    }

    /// Whether something waits for room.
    pub fn is_held(&self) -> bool {
        !self.held_reports.is_empty() || self.lanes.iter().any(|lane| !lane.held.is_empty())
    }

    /// Whether some ring has no room, or something waits already.
    pub fn would_wait(&self) -> bool {
        self.lanes.iter().any(|lane| lane.ring.is_full() && !lane.held.is_empty())
            || !self.held_reports.is_empty() && self.committer.is_full()
    }

    /// The watermark of a task that this source announced last: nothing it sends may be older, unless marked late.
    pub fn announced(&self, task: Task) -> Timestamp {
        self.announced.iter().find(|entry| entry.0 == task).map_or(Timestamp::MIN, |entry| entry.1)
    }

    /// Announces a task's watermark on all rings, behind the signals so far. Never goes back.
    pub fn announce(&mut self, task: Task, watermark: Timestamp) {
        if watermark <= self.announced(task) {
            return;
        }
        match self.announced.iter_mut().find(|entry| entry.0 == task) {
            Some(entry) => entry.1 = watermark,
            None => self.announced.push((task, watermark)),
        }
        for lane in &mut self.lanes {
            match lane.filling.watermarks.iter_mut().find(|entry| entry.0 == task) {
                Some(entry) => entry.1 = watermark,
                None => lane.filling.watermarks.push((task, watermark)),
            }
        }
    }

    /// The watermarks announced, by task.
    pub fn all_announced(&self) -> &[(Task, Timestamp)] {
        &self.announced
    }

    /// A task stood at this watermark when it came to us; its shards know.
    pub fn restore(&mut self, task: Task, watermark: Timestamp) {
        self.announced.retain(|entry| entry.0 != task);
        self.announced.push((task, watermark));
    }

    /// Forgets what was announced for tasks that are gone.
    pub fn forget(&mut self, tasks: &[Task]) {
        self.announced.retain(|entry| !tasks.contains(&entry.0));
    }

    /// Sends off everything that is being filled.
    pub fn dispatch(&mut self) {
        self.sent += self.lanes.iter_mut().map(|lane| lane.dispatch(self.turn)).sum::<u64>();
    }

    /// Sends a mark on all rings, behind everything so far.
    pub fn mark(&mut self, mark: &Mark) {
        for lane in &mut self.lanes {
            lane.filling.mark = Some(mark.clone());
            self.sent += lane.dispatch(self.turn);
        }
    }

    /// Sends a report to the committer.
    pub fn report(&mut self, report: Report) {
        if !self.held_reports.is_empty() {
            self.held_reports.push_back(report);
        } else if let Err(refused) = self.committer.push(report) {
            self.held_reports.push_back(refused);
        }
    }
}
