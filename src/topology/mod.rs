//! Processors and NUMA nodes, and which thread runs where.
//!
//! Reads the machine through hwloc once, at the start, honours what the process may use (cgroup cpusets, affinity masks, CPU
//! quotas), and pins threads. Pinning only makes things faster: wherever it is not possible, threads run unpinned and that
//! is said once. Decides no numbers that the configuration gave.

mod machine;
mod plan;
mod table;
#[cfg(test)]
mod tests;

pub use machine::{Cpu, Machine};
pub use plan::{PinRequest, Placement, PlanError, Request, plan};
pub use table::Table;

use std::num::NonZero;

use hwlocality::bitmap::BitmapIndex;
use hwlocality::cpu::binding::CpuBindingFlags;
use hwlocality::cpu::cpuset::CpuSet;

use crate::telemetry::First;

/// Why a thread could not be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// hwloc could not read the machine.
    #[error("the machine's topology cannot be read")]
    NoTopology,
    /// The topology was given in the environment (`HWLOC_XMLFILE`, `HWLOC_SYNTHETIC`).
    #[error("the topology in the environment (HWLOC_XMLFILE, HWLOC_SYNTHETIC) is not known to be this machine's")]
    NotThisMachine,
    /// No processor has this number.
    #[error("processor {0} does not exist or may not be used")]
    NoSuchCpu(usize),
    /// The operating system refused.
    #[error("processor {cpu}: {reason}")]
    Refused {
        /// Which.
        cpu: usize,
        /// What it said.
        reason: String,
    },
}

/// The machine as this process sees it, and the means to pin threads on it.
pub struct Topology {
    hwloc: Option<hwlocality::Topology>,
    machine: Machine,
}

impl std::fmt::Debug for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topology").field("machine", &self.machine).finish()
    }
}

impl Topology {
    /// Reads the machine. Never fails: what cannot be read is logged, and then nothing is pinned.
    pub fn detect() -> Topology {
        // Knows affinity masks and the quotas of cgroups v1 and v2 (all groups above us included, rounded down), so it also
        // serves where hwloc does not.
        let parallelism = std::thread::available_parallelism().map_or(1, NonZero::get);
        match hwlocality::Topology::new() {
            Ok(hwloc) if hwloc.is_this_system() => {
                let bound = hwloc.cpu_binding(CpuBindingFlags::PROCESS).ok();
                let machine = Machine::read(&hwloc, bound.as_ref(), parallelism);
                Topology { hwloc: Some(hwloc), machine }
            }
            Ok(hwloc) => {
                // A machine that is only described: our masks and quotas say nothing about it.
                let machine = Machine::read(&hwloc, None, usize::MAX);
                Topology { hwloc: Some(hwloc), machine }
            }
            Err(error) => {
                tracing::warn!(%error, "the machine's topology cannot be read: threads run unpinned");
                Topology { hwloc: None, machine: Machine { parallelism, ..Machine::default() } }
            }
        }
    }

    /// What this process has of the machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// How many threads of each kind, and where.
    pub fn plan(&self, request: &Request) -> Result<Placement, PlanError> {
        plan(&self.machine, request)
    }

    /// The machine with a placement on it, for people.
    pub fn table<'a>(&'a self, placement: &'a Placement) -> Table<'a> {
        Table { machine: &self.machine, placement }
    }

    /// Pins the calling thread to one processor.
    pub fn bind_current_thread(&self, cpu: usize) -> Result<(), BindError> {
        let hwloc = self.hwloc.as_ref().ok_or(BindError::NoTopology)?;
        if !hwloc.is_this_system() {
            return Err(BindError::NotThisMachine);
        }
        let known = self.machine.cpu(cpu).ok_or(BindError::NoSuchCpu(cpu))?;
        let set = cpu_set(known.os_index).ok_or(BindError::NoSuchCpu(cpu))?;
        hwloc
            .bind_cpu(&set, CpuBindingFlags::THREAD)
            .map_err(|error| BindError::Refused { cpu, reason: error.to_string() })
    }

    /// Pins the calling thread if it has a place; where that fails it runs unpinned, which is logged once for all threads.
    pub fn place_current_thread(&self, cpu: Option<usize>) {
        static SAID: First = First::new();
        let Some(cpu) = cpu else { return };
        if let Err(error) = self.bind_current_thread(cpu)
            && SAID.is_first()
        {
            tracing::warn!(%error, "threads cannot be pinned here: they run wherever the scheduler puts them");
        }
    }
}

fn cpu_set(os_index: usize) -> Option<CpuSet> {
    BitmapIndex::try_from(os_index).ok().map(CpuSet::from)
}
