//! Numbers about the running pipeline, counted by each thread for itself and read by whoever asks.
//!
//! A thread gets its block from [`Metrics`] when it starts and writes it once a turn, batch or epoch with plain stores; a reader
//! takes a [`Snapshot`] at any time. Nothing is locked while events flow: the lists of blocks are locked when a thread starts,
//! when the assignment changes, and when a snapshot is taken.
//!
//! What exists, with its name and labels, is in [`table`]. What is committed (events, correlations, dead letters) is not counted
//! here a second time: `control` puts the committed totals into the snapshot.

mod blocks;
mod cell;
mod histogram;
mod process;
mod snapshot;
pub mod table;
mod text;

pub use blocks::{
    CommitterMetrics, FetcherMetrics, GroupMetrics, LagMetrics, OtlpMetrics, PartitionMetrics, PipelineMetrics,
    RestoreMetrics, ShardMetrics, SourceMetrics, StateMetrics,
};
pub use cell::{Busy, Counter, Gauge, Working};
pub use histogram::{Distribution, Histogram};
pub use snapshot::{Family, Sample, Snapshot, Value};
pub use table::{Kind, Metric};
pub use text::{BOUNDS_US, Format, encode};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A partition by topic and number.
pub type PartitionName = (Arc<str>, i32);

/// The blocks of all threads. It outlives the threads: those of the next incarnation go on with the same blocks.
#[derive(Debug, Default)]
pub struct Metrics {
    sources: Mutex<Vec<Arc<SourceMetrics>>>,
    shards: Mutex<Vec<Arc<ShardMetrics>>>,
    partitions: Mutex<BTreeMap<PartitionName, Arc<PartitionMetrics>>>,
    /// The committer's.
    pub committer: Arc<CommitterMetrics>,
    /// The fetcher's.
    pub fetcher: Arc<FetcherMetrics>,
    /// The group thread's.
    pub group: Arc<GroupMetrics>,
    /// Of whoever brings the store level.
    pub restore: Arc<RestoreMetrics>,
    /// The pipeline's.
    pub pipeline: Arc<PipelineMetrics>,
    /// Of whoever asks where partitions end.
    pub lag: Arc<LagMetrics>,
    /// The OpenTelemetry exporter's.
    pub otlp: Arc<OtlpMetrics>,
}

impl Metrics {
    /// The block of source `index`.
    pub fn source(&self, index: usize) -> Arc<SourceMetrics> {
        slot(&self.sources, index)
    }

    /// The block of shard `index`.
    pub fn shard(&self, index: usize) -> Arc<ShardMetrics> {
        slot(&self.shards, index)
    }

    /// The block of a partition that was just assigned.
    pub fn assign(&self, topic: &Arc<str>, partition: i32) -> Arc<PartitionMetrics> {
        let fresh = Arc::<PartitionMetrics>::default();
        lock(&self.partitions).insert((Arc::clone(topic), partition), Arc::clone(&fresh));
        fresh
    }

    /// These partitions are ours no more.
    pub fn unassign(&self, gone: impl Fn(&PartitionName) -> bool) {
        lock(&self.partitions).retain(|name, _| !gone(name));
    }

    /// The partitions that are assigned.
    pub fn partitions(&self) -> Vec<(PartitionName, Arc<PartitionMetrics>)> {
        lock(&self.partitions).iter().map(|(name, block)| (name.clone(), Arc::clone(block))).collect()
    }

    fn sources(&self) -> Vec<Arc<SourceMetrics>> {
        lock(&self.sources).clone()
    }

    /// The blocks of all shards, by number.
    pub fn shards(&self) -> Vec<Arc<ShardMetrics>> {
        lock(&self.shards).clone()
    }
}

fn lock<T>(list: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slot<T: Default>(blocks: &Mutex<Vec<Arc<T>>>, index: usize) -> Arc<T> {
    let mut blocks = lock(blocks);
    while blocks.len() <= index {
        blocks.push(Arc::default());
    }
    Arc::clone(&blocks[index])
}
