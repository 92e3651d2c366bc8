//! The machine as plans see it: the processors that this process may use, where each is, and how many may be busy at a time.

use std::collections::BTreeSet;

use hwlocality::bitmap::BitmapIndex;
use hwlocality::cpu::cpuset::CpuSet;
use hwlocality::object::types::ObjectType;

/// A logical processor that this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// As the operating system numbers it.
    pub os_index: usize,
    /// The physical core, by its logical index.
    pub core: usize,
    /// The NUMA node, as the operating system numbers it; 0 where there is but one.
    pub numa_node: usize,
    /// 0 for the first processor of its core that may be used, 1 and up for its hyper-threads.
    pub sibling: usize,
}

/// What a process has of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// The processors that may be used, node by node and core by core. Empty if the topology cannot be read.
    pub cpus: Vec<Cpu>,
    /// Processors in all, those included that are offline or not ours.
    pub processors: usize,
    /// How many threads can be busy at a time: as many as there are processors to use, or fewer under a CPU quota.
    pub parallelism: usize,
}

impl Machine {
    /// What hwloc read. `bound` is the affinity mask of the process, `parallelism` what a quota leaves at most.
    pub(super) fn read(hwloc: &hwlocality::Topology, bound: Option<&CpuSet>, parallelism: usize) -> Machine {
        // Objects are what is online; the cgroup's cpuset is in `allowed`; an affinity mask (taskset) only in the binding.
        let allowed = hwloc.allowed_cpuset();
        let usable = |index: usize| {
            BitmapIndex::try_from(index)
                .is_ok_and(|at| allowed.is_set(at) && bound.is_none_or(|set| set.is_empty() || set.is_set(at)))
        };
        let mut cpus: Vec<Cpu> = Vec::new();
        for pu in hwloc.objects_with_type(ObjectType::PU) {
            let Some(os_index) = pu.os_index().filter(|index| usable(*index)) else { continue };
            let core = pu.first_ancestor_with_type(ObjectType::Core).map_or(os_index, |core| core.logical_index());
            // A processor whose own node has no memory for us still shares caches with its neighbours there.
            let nodes = [pu.nodeset(), pu.complete_nodeset()];
            let numa_node = nodes.into_iter().flatten().find_map(|set| set.first_set()).map_or(0, usize::from);
            let sibling = cpus.iter().filter(|known| known.core == core).count();
            cpus.push(Cpu { os_index, core, numa_node, sibling });
        }
        cpus.sort_by_key(|cpu| (cpu.numa_node, cpu.core, cpu.sibling));
        let processors = hwloc.complete_cpuset().weight().unwrap_or(cpus.len());
        let parallelism = if cpus.is_empty() { parallelism } else { parallelism.min(cpus.len()) };
        Machine { cpus, processors, parallelism }
    }

    /// A CPU quota allows less than the processors could do.
    pub fn has_quota(&self) -> bool {
        self.parallelism < self.cpus.len()
    }

    /// The processor of this number, if it may be used.
    pub fn cpu(&self, os_index: usize) -> Option<&Cpu> {
        self.cpus.iter().find(|cpu| cpu.os_index == os_index)
    }

    /// Cores with a processor that may be used.
    pub fn cores(&self) -> usize {
        self.cpus.iter().filter(|cpu| cpu.sibling == 0).count()
    }

    /// Nodes with a processor that may be used.
    pub fn nodes(&self) -> usize {
        self.cpus.iter().map(|cpu| cpu.numa_node).collect::<BTreeSet<_>>().len()
    }
}
