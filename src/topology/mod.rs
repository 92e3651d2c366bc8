//! Processors and NUMA nodes, and which thread runs where.
//!
//! Reads the machine through hwloc once, at the start, honours what the process may use (cgroup cpusets, affinity masks, CPU
//! quotas), and pins threads. Pinning only makes things faster: wherever it is not possible, threads run unpinned and that
//! is said once. Decides no numbers that the configuration gave.

mod plan;

pub use plan::{PinRequest, Placement, PlanError, Request, plan};

use std::num::NonZero;

use hwlocality::cpu::binding::CpuBindingFlags;
use hwlocality::cpu::cpuset::CpuSet;
use hwlocality::object::types::ObjectType;

use crate::telemetry::First;

/// A logical processor that this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// As the operating system numbers it.
    pub os_index: usize,
    /// The physical core, by its logical index.
    pub core: usize,
    /// The NUMA node, by its number; 0 where there is but one.
    pub numa_node: usize,
    /// 0 for the first processor of its core, 1 and up for its hyper-threads.
    pub sibling: usize,
}

/// Why a thread could not be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// hwloc could not read the machine.
    #[error("the machine's topology cannot be read")]
    NoTopology,
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

/// The machine as this process sees it.
pub struct Topology {
    hwloc: Option<hwlocality::Topology>,
    cpus: Vec<Cpu>,
    parallelism: usize,
}

impl std::fmt::Debug for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topology").field("cpus", &self.cpus).field("parallelism", &self.parallelism).finish()
    }
}

impl Topology {
    /// Reads the machine. Never fails: what cannot be read is logged, and then nothing is pinned.
    pub fn detect() -> Topology {
        // Knows affinity masks and cgroup quotas, so it also serves where hwloc does not.
        let parallelism = std::thread::available_parallelism().map_or(1, NonZero::get);
        match hwlocality::Topology::new() {
            Ok(hwloc) => {
                let cpus = usable_cpus(&hwloc);
                Topology { hwloc: Some(hwloc), cpus, parallelism }
            }
            Err(error) => {
                tracing::warn!(%error, "the machine's topology cannot be read: threads run unpinned");
                Topology { hwloc: None, cpus: Vec::new(), parallelism }
            }
        }
    }

    /// The processors this process may use, best first: whole cores of the first NUMA node, of the next, ...; then the
    /// hyper-threads of the same cores. Empty if the topology cannot be read.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// How many threads can be busy at a time: processors, or fewer under a CPU quota.
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// How many threads of each kind, and where.
    pub fn plan(&self, request: &Request) -> Result<Placement, PlanError> {
        plan(&self.cpus, self.parallelism, request)
    }

    /// Pins the calling thread to one processor.
    pub fn bind_current_thread(&self, cpu: usize) -> Result<(), BindError> {
        let hwloc = self.hwloc.as_ref().ok_or(BindError::NoTopology)?;
        let set = self
            .cpus
            .iter()
            .find(|known| known.os_index == cpu)
            .and_then(|known| cpu_set(known.os_index))
            .ok_or(BindError::NoSuchCpu(cpu))?;
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
    let index = hwlocality::bitmap::BitmapIndex::try_from(os_index).ok()?;
    Some(CpuSet::from(index))
}

fn usable_cpus(hwloc: &hwlocality::Topology) -> Vec<Cpu> {
    // The cgroup's cpuset is in `allowed`; an affinity mask (taskset) only in the binding of the process.
    let allowed = hwloc.allowed_cpuset();
    let bound = hwloc.cpu_binding(CpuBindingFlags::PROCESS).ok();
    let usable = |index: usize| {
        hwlocality::bitmap::BitmapIndex::try_from(index)
            .is_ok_and(|at| allowed.is_set(at) && bound.as_ref().is_none_or(|set| set.is_empty() || set.is_set(at)))
    };
    let mut cpus: Vec<Cpu> = Vec::new();
    for pu in hwloc.objects_with_type(ObjectType::PU) {
        let Some(os_index) = pu.os_index().filter(|index| usable(*index)) else { continue };
        let core = pu.first_ancestor_with_type(ObjectType::Core).map_or(os_index, |core| core.logical_index());
        let numa_node = pu.nodeset().and_then(|nodes| nodes.first_set()).map_or(0, usize::from);
        let sibling = cpus.iter().filter(|known| known.core == core).count();
        cpus.push(Cpu { os_index, core, numa_node, sibling });
    }
    cpus.sort_by_key(|cpu| (cpu.sibling, cpu.numa_node, cpu.core, cpu.os_index));
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_processors_and_threads_can_be_pinned_to_each() {
        let topology = Topology::detect();
        assert!(topology.parallelism() >= 1);
        assert!(!topology.cpus().is_empty(), "hwloc finds no processor");
        for cpu in topology.cpus() {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    topology.bind_current_thread(cpu.os_index).expect("an allowed processor can be bound");
                    let hwloc = topology.hwloc.as_ref().expect("detected");
                    let bound = hwloc.cpu_binding(CpuBindingFlags::THREAD).expect("the binding can be read");
                    assert_eq!(Some(bound), cpu_set(cpu.os_index));
                });
            });
        }
    }

    #[test]
    fn a_processor_that_is_not_there_is_refused() {
        let topology = Topology::detect();
        assert_eq!(topology.bind_current_thread(1 << 20), Err(BindError::NoSuchCpu(1 << 20)));
        let blind = Topology { hwloc: None, cpus: Vec::new(), parallelism: 2 };
        assert_eq!(blind.bind_current_thread(0), Err(BindError::NoTopology));
        blind.place_current_thread(Some(0));
    }
}
