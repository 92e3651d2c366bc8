//! Which thread runs where: a pure function of the machine and of what was asked for.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Cpu, Machine};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Number of source threads; `None`: from the machine.
    pub sources: Option<usize>,
    /// Number of shard threads; `None`: from the machine.
    pub shards: Option<usize>,
    /// Pinning.
    pub pin: PinRequest,
}

/// Which processors threads are pinned to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PinRequest {
    /// Where it helps: every thread gets a processor of its own, and nobody else holds them back.
    #[default]
    Auto,
    /// None.
    Off,
    /// These (`Cpu::os_index`), first for sources, then for shards; from the start again if there are too few.
    List(Vec<usize>),
}

/// How many threads there are and where each runs: `Some` is a `Cpu::os_index`, `None` wherever the scheduler likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// One entry for each source thread; at least one.
    pub sources: Vec<Option<usize>>,
    /// One entry for each shard thread; at least one.
    pub shards: Vec<Option<usize>>,
    /// Why nothing is pinned, where pinning was asked for or to be expected.
    pub unpinned_because: Option<String>,
}

impl Placement {
    /// Threads stay on the processors they are given.
    pub fn is_pinned(&self) -> bool {
        self.sources.iter().chain(&self.shards).any(Option::is_some)
    }

    /// The names of the threads on a processor.
    pub fn threads_on(&self, os_index: usize) -> Vec<String> {
        let named = |kind: &str, places: &[Option<usize>]| {
            let here = places.iter().enumerate().filter(|(_, place)| **place == Some(os_index));
            here.map(|(index, _)| format!("{kind}-{index}")).collect::<Vec<_>>()
        };
        [named("source", &self.sources), named("shard", &self.shards)].concat()
    }
}

/// A list of processors that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A processor that is not ours.
    #[error("workers.pin names processor {cpu}, which this process may not use; it has {usable}")]
    NotUsable {
        /// The one named.
        cpu: usize,
        /// Those that may be used.
        usable: String,
    },
    /// The topology could not be read, so the list cannot be followed.
    #[error("workers.pin lists processors, but the machine's topology cannot be read; set workers.pin to auto or off")]
    NoTopology,
}

/// Plans for a machine.
///
/// Numbers: half of what may be busy at a time are shards, the rest sources, at least one of each. Both kinds do comparable
/// work on a busy stream, and a thread without work sleeps, so an even split is never far off; on two processors that is one
/// and one.
///
/// Places, with `auto`: only if every thread has a processor of its own. Two pinned threads on one processor wait for each
/// other while another idles; and under a CPU quota the processors belong to others as well, who may have chosen the same
/// ones.
pub fn plan(machine: &Machine, request: &Request) -> Result<Placement, PlanError> {
    let (cpus, parallelism) = (&machine.cpus, machine.parallelism.max(1));
    let shards = request.shards.unwrap_or_else(|| match request.sources {
        None => (parallelism / 2).max(1),
        Some(sources) => parallelism.saturating_sub(sources).max(1),
    });
    let sources = request.sources.unwrap_or_else(|| parallelism.saturating_sub(shards).max(1));
    let unpinned = |because: Option<String>| Placement {
        sources: vec![None; sources],
        shards: vec![None; shards],
        unpinned_because: because,
    };
    let threads = sources + shards;
    match &request.pin {
        PinRequest::Off => Ok(unpinned(None)),
        PinRequest::List(list) => {
            if cpus.is_empty() {
                return Err(PlanError::NoTopology);
            }
            if let Some(&cpu) = list.iter().find(|wanted| machine.cpu(**wanted).is_none()) {
                return Err(PlanError::NotUsable { cpu, usable: listed(cpus) });
            }
            let mut places = list.iter().copied().map(Some).cycle();
            let mut take = |n: usize| places.by_ref().take(n).collect::<Vec<_>>();
            let (sources, shards) = (take(sources), take(shards));
            Ok(Placement { sources, shards, unpinned_because: None })
        }
        PinRequest::Auto if cpus.is_empty() => Ok(unpinned(Some("the machine's topology cannot be read".into()))),
        PinRequest::Auto if machine.has_quota() => Ok(unpinned(Some(format!(
            "a CPU quota allows {parallelism} of {} processors, which others use too",
            cpus.len()
        )))),
        PinRequest::Auto if threads > cpus.len() => {
            Ok(unpinned(Some(format!("there are {threads} threads for {} processors", cpus.len()))))
        }
        PinRequest::Auto => Ok(spread(&choose(cpus, threads), shards)),
    }
}

/// As many processors as there are threads, node by node and core by core.
///
/// Every source feeds every shard, so hand-offs cross nodes unless all threads are on one: the fewest nodes are taken that
/// have a core for each thread. These take turns, so that none is crowded while another has cores left. A hyper-thread is
/// second best: used only when every core has its thread.
fn choose(cpus: &[Cpu], threads: usize) -> Vec<Cpu> {
    let mut by_node: BTreeMap<usize, Vec<Cpu>> = BTreeMap::new();
    for cpu in cpus {
        by_node.entry(cpu.numa_node).or_default().push(*cpu);
    }
    let cores = |node: &Vec<Cpu>| node.iter().filter(|cpu| cpu.sibling == 0).count();
    let mut nodes: Vec<Vec<Cpu>> = by_node.into_values().collect();
    // The sort is stable: nodes of equal size stay in the order of their numbers.
    nodes.sort_by_key(|node| Reverse(cores(node)));
    let (mut few, mut room) = (0, 0);
    while few < nodes.len() && room < threads {
        room += cores(&nodes[few]);
        few += 1;
    }
    nodes.truncate(few);
    for node in &mut nodes {
        node.sort_by_key(|cpu| (cpu.sibling, cpu.core));
    }
    let mut turns: Vec<(usize, usize, Cpu)> =
        nodes.iter().flat_map(|node| node.iter().enumerate().map(|(turn, cpu)| (cpu.sibling, turn, *cpu))).collect();
    // Stable again: within a turn the nodes keep their order.
    turns.sort_by_key(|(sibling, turn, _)| (*sibling, *turn));
    let mut chosen: Vec<Cpu> = turns.into_iter().take(threads).map(|(_, _, cpu)| cpu).collect();
    chosen.sort_by_key(|cpu| (cpu.numa_node, cpu.core, cpu.sibling));
    chosen
}

/// Gives each processor a thread, `shards` of them to shards, both kinds mixed evenly: so that they run side by side on each
/// NUMA node and, where all its hyper-threads are in use, on each core, whatever their numbers.
fn spread(cpus: &[Cpu], shards: usize) -> Placement {
    let threads = cpus.len();
    let mut placement = Placement { sources: Vec::new(), shards: Vec::new(), unpinned_because: None };
    for (at, cpu) in cpus.iter().enumerate() {
        // Bresenham: the shards among the first n threads are n·shards/threads, rounded down.
        let is_shard = (at + 1) * shards / threads > at * shards / threads;
        let kind = if is_shard { &mut placement.shards } else { &mut placement.sources };
        kind.push(Some(cpu.os_index));
    }
    placement
}

fn listed(cpus: &[Cpu]) -> String {
    let mut indices: Vec<usize> = cpus.iter().map(|cpu| cpu.os_index).collect();
    indices.sort_unstable();
    indices.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(n: usize) -> Machine {
        let cpu = |i| Cpu { os_index: i, core: i, numa_node: i * 2 / n.max(1), sibling: 0 };
        Machine { cpus: (0..n).map(cpu).collect(), processors: n, parallelism: n }
    }

    fn some(indices: &[usize]) -> Vec<Option<usize>> {
        indices.iter().copied().map(Some).collect()
    }

    #[test]
    fn auto_gives_half_to_shards_and_a_processor_to_each_thread() {
        let auto = Request::default();
        let two = plan(&machine(2), &auto).expect("planned");
        assert_eq!((two.sources, two.shards, two.unpinned_because), (some(&[0]), some(&[1]), None));
        let eight = plan(&machine(8), &auto).expect("planned");
        assert_eq!((eight.sources, eight.shards), (some(&[0, 2, 4, 6]), some(&[1, 3, 5, 7])));
        let three = plan(&machine(3), &auto).expect("planned");
        assert_eq!((three.sources.len(), three.shards.len()), (2, 1));
    }

    #[test]
    fn no_processor_is_given_twice_and_every_thread_has_a_place() {
        for n in 2..40 {
            for shards in 1..n {
                let request = Request { sources: Some(n - shards), shards: Some(shards), pin: PinRequest::Auto };
                let placement = plan(&machine(n), &request).expect("planned");
                assert_eq!((placement.sources.len(), placement.shards.len()), (n - shards, shards));
                let mut all: Vec<_> = placement.sources.iter().chain(&placement.shards).collect();
                all.sort();
                all.dedup();
                assert_eq!(all.len(), n);
            }
        }
    }

    #[test]
    fn auto_does_not_pin_where_threads_would_wait_for_each_other() {
        let one = plan(&machine(1), &Request::default()).expect("planned");
        assert_eq!((one.sources, one.shards), (vec![None], vec![None]));
        assert!(one.unpinned_because.is_some());
        let many = Request { sources: Some(1), shards: Some(4), pin: PinRequest::Auto };
        assert!(plan(&machine(2), &many).expect("planned").unpinned_because.is_some());
        let quota = plan(&Machine { parallelism: 2, ..machine(64) }, &Request::default()).expect("planned");
        assert_eq!((quota.sources, quota.shards), (vec![None], vec![None]));
        let blind = plan(&Machine { parallelism: 4, ..machine(0) }, &Request::default()).expect("planned");
        assert_eq!((blind.sources.len(), blind.shards.len()), (2, 2));
    }

    #[test]
    fn what_is_asked_for_is_done() {
        let off = Request { pin: PinRequest::Off, shards: Some(3), sources: None };
        let off = plan(&machine(4), &off).expect("planned");
        assert_eq!((off.sources.len(), off.shards.len(), off.unpinned_because), (1, 3, None));
        let list = Request { pin: PinRequest::List(vec![3, 1]), shards: Some(2), sources: Some(1) };
        let placed = plan(&machine(4), &list).expect("planned");
        assert_eq!((placed.sources, placed.shards), (some(&[3]), some(&[1, 3])));
        let wrong = Request { pin: PinRequest::List(vec![9]), shards: None, sources: None };
        assert_eq!(
            plan(&machine(2), &wrong).expect_err("refused").to_string(),
            "workers.pin names processor 9, which this process may not use; it has 0, 1"
        );
    }
}
