//! Named, plain OS threads, pinned where asked for; a thread that dies by a panic is reported, never missed.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;

use crate::broker::{BrokerError, ErrorKind};
use crate::epoch::Notice;
use crate::topology::Topology;

/// Tells the pipeline if the thread unwinds. (Release builds abort on panic; this is for the others.)
struct Obituary {
    name: String,
    notices: Sender<Notice>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let message = format!("thread {} died by a panic; this is a bug, please report it", self.name);
            drop(self.notices.send(Notice::Failed(BrokerError::new(ErrorKind::Fatal, message))));
        }
    }
}

/// A processor for a thread.
pub(super) struct Place {
    pub topology: Arc<Topology>,
    pub cpu: usize,
}

impl Place {
    /// The place of a thread that has `cpu` in the plan.
    pub fn of(topology: Option<&Arc<Topology>>, cpu: Option<usize>) -> Option<Place> {
        Some(Place { topology: Arc::clone(topology?), cpu: cpu? })
    }
}

/// Spawns a thread, pinned to its place if it has one.
///
/// Pinned before `body` runs: Linux puts a page on the NUMA node of the thread that first touches it, and the allocator gives
/// threads arenas of their own, so what a body builds and later allocates lies on its node. No memory policy is set: containers
/// refuse that by default, and it would add nothing.
pub(super) fn spawn(
    name: String,
    place: Option<Place>,
    notices: &Sender<Notice>,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, BrokerError> {
    let obituary = Obituary { name: name.clone(), notices: notices.clone() };
    let start = move || {
        let _obituary = obituary;
        if let Some(Place { topology, cpu }) = place {
            topology.place_current_thread(Some(cpu));
        }
        body();
    };
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(start)
        .map_err(|e| BrokerError::new(ErrorKind::Fatal, format!("cannot start thread {name}: {e}")))
}
