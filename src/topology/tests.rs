//! Placement on machines that are not this one: described to hwloc in its synthetic notation, or as exported XML. What comes
//! out is in `tests/golden/topology`; `THROUGHLINE_BLESS=1` rewrites it, only on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::*;

const NO_QUOTA: usize = usize::MAX;

fn synthetic(description: &str) -> hwlocality::Topology {
    let builder = hwlocality::Topology::builder().from_synthetic(description);
    builder.expect("a description").build().expect("a topology")
}

fn machine(description: &str) -> Machine {
    Machine::read(&synthetic(description), None, NO_QUOTA)
}

/// What hwloc reads of an export in `tests/fixtures/topology`.
fn exported(name: &str) -> Machine {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/topology").join(name);
    let xml = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let hwloc = hwlocality::Topology::builder().from_xml(&xml).expect("XML").build().expect("a topology");
    Machine::read(&hwloc, None, NO_QUOTA)
}

fn mask(cpus: &[usize]) -> CpuSet {
    cpus.iter().map(|cpu| BitmapIndex::try_from(*cpu).expect("a small number")).collect()
}

fn threads(sources: usize, shards: usize) -> Request {
    Request { sources: Some(sources), shards: Some(shards), pin: PinRequest::Auto }
}

/// Holds the tables of `cases` against a golden file.
#[track_caller]
fn golden(name: &str, cases: &[(&str, Machine, Request)]) {
    let mut actual = String::new();
    for (title, machine, request) in cases {
        let placement = plan(machine, request).expect("planned");
        writeln!(actual, "# {title}\n{}", Table { machine, placement: &placement }).expect("memory");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/topology").join(name);
    if std::env::var_os("THROUGHLINE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &actual).expect("golden file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        actual == expected,
        "{name} changed; THROUGHLINE_BLESS=1 rewrites it\n--- expected\n{expected}\n--- actual\n{actual}"
    );
}

#[test]
fn one_node() {
    let plain = || machine("pack:1 core:4 pu:1");
    let smt = || machine("pack:1 core:4 pu:2(indexes=core)");
    golden(
        "one_node.txt",
        &[
            ("4 cores", plain(), Request::default()),
            ("4 cores, 1 source, 1 shard", plain(), threads(1, 1)),
            ("4 cores, 3 sources, 2 shards: too many to pin", plain(), threads(3, 2)),
            ("4 cores, SMT", smt(), Request::default()),
            ("4 cores, SMT, 2 sources, 2 shards: cores alone", smt(), threads(2, 2)),
            ("4 cores, SMT, 2 sources, 3 shards: one hyper-thread", smt(), threads(2, 3)),
            ("4 cores, a list", plain(), Request { pin: PinRequest::List(vec![3, 1]), ..threads(1, 2) }),
        ],
    );
}

#[test]
fn two_nodes() {
    // Processors are numbered in turn over nodes, then over cores: the hyper-thread of 0 is 8, and 1 is on the other node.
    let smt = || machine("numa:2 core:4 pu:2(indexes=numa:core)");
    golden(
        "two_nodes.txt",
        &[
            ("4 cores each, SMT", smt(), Request::default()),
            ("2 sources, 2 shards: fit on one node", smt(), threads(2, 2)),
            ("3 sources, 3 shards: three on each", smt(), threads(3, 3)),
            ("1 source, 4 shards", smt(), threads(1, 4)),
            ("4 sources, 5 shards: one hyper-thread", smt(), threads(4, 5)),
        ],
    );
}

#[test]
fn four_nodes() {
    let plain = || machine("numa:4 core:2 pu:1");
    golden(
        "four_nodes.txt",
        &[
            ("2 cores each", plain(), Request::default()),
            ("3 sources, 2 shards: three nodes have the cores", plain(), threads(3, 2)),
            ("1 source, 1 shard", plain(), threads(1, 1)),
        ],
    );
}

#[test]
fn a_part_of_a_machine() {
    let offline = || exported("offline_and_restricted.xml");
    let taskset = |cpus: &[usize]| {
        Machine::read(&synthetic("numa:2 core:4 pu:2(indexes=numa:core)"), Some(&mask(cpus)), NO_QUOTA)
    };
    let quota = Machine::read(&synthetic("numa:2 core:4 pu:1"), None, 3);
    golden(
        "a_part.txt",
        &[
            ("a core offline, hyper-threads outside of the cpuset", offline(), Request::default()),
            ("the same, 2 sources, 2 shards: the node with more cores", offline(), threads(2, 2)),
            ("the same, 4 sources, 4 shards: one hyper-thread", offline(), threads(4, 4)),
            ("affinity mask, one core of node 0: node 1 has room for all", taskset(&[0, 8, 1, 3, 5]), threads(1, 2)),
            (
                "the same mask, 2 sources, 2 shards: every core before a hyper-thread",
                taskset(&[0, 8, 1, 3, 5]),
                threads(2, 2),
            ),
            ("affinity mask, second hyper-threads alone: each is its core's first", taskset(&[8, 10]), threads(1, 1)),
            ("CPU quota", quota, Request::default()),
        ],
    );
}

#[test]
fn what_is_offline_or_not_allowed_is_not_used() {
    let machine = exported("offline_and_restricted.xml");
    let usable: BTreeSet<usize> = machine.cpus.iter().map(|cpu| cpu.os_index).collect();
    assert_eq!(usable, BTreeSet::from([0, 1, 2, 3, 4, 5, 7, 8, 9, 10]));
    assert_eq!((machine.processors, machine.cores(), machine.nodes(), machine.parallelism), (16, 7, 2, 10));
    for offline_or_foreign in [6, 14, 11, 12, 13, 15] {
        let list = Request { pin: PinRequest::List(vec![offline_or_foreign]), ..threads(1, 1) };
        let refused = plan(&machine, &list).expect_err("refused").to_string();
        assert!(refused.contains(&format!("processor {offline_or_foreign},")), "{refused}");
    }
}

/// What holds on every machine for every number of threads that `auto` pins.
#[test]
fn no_core_is_shared_while_another_is_free_and_no_node_is_crowded_while_another_has_room() {
    for description in ["core:6 pu:2", "numa:2 core:3 pu:2", "numa:4 core:2 pu:4", "numa:3 core:5 pu:1"] {
        let machine = machine(description);
        for wanted in 2..=machine.cpus.len() {
            let placement = plan(&machine, &threads(wanted / 2, wanted - wanted / 2)).expect("planned");
            let places = placement.sources.iter().chain(&placement.shards);
            let places: BTreeSet<usize> = places.copied().map(|place| place.expect("pinned")).collect();
            assert_eq!(places.len(), wanted, "{description}: a processor has two threads");
            let used: Vec<&Cpu> = places.iter().map(|place| machine.cpu(*place).expect("ours")).collect();
            let (mut by_core, mut by_node) = (BTreeMap::new(), BTreeMap::new());
            for cpu in &used {
                *by_core.entry(cpu.core).or_insert(0) += 1;
                *by_node.entry(cpu.numa_node).or_insert(0) += 1;
            }
            let spread = |counts: &BTreeMap<usize, usize>| {
                counts.values().max().copied().unwrap_or(0) - counts.values().min().copied().unwrap_or(0)
            };
            assert_eq!(by_core.len(), wanted.min(machine.cores()), "{description}: {wanted} threads on {by_core:?}");
            assert!(spread(&by_core) <= 1, "{description}: {wanted} threads on {by_core:?}");
            let cores_of_a_node = machine.cores() / machine.nodes();
            assert_eq!(
                by_node.len(),
                wanted.div_ceil(cores_of_a_node).min(machine.nodes()),
                "{description}: {by_node:?}"
            );
            assert!(spread(&by_node) <= 1, "{description}: {wanted} threads on {by_node:?}");
        }
    }
}

#[test]
fn this_machine_has_processors_and_threads_can_be_pinned_to_each() {
    let topology = Topology::detect();
    let machine = topology.machine();
    assert!(machine.parallelism >= 1 && machine.parallelism <= machine.cpus.len(), "{machine:?}");
    assert!(machine.processors >= machine.cpus.len(), "{machine:?}");
    for cpu in &machine.cpus {
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
fn where_a_thread_cannot_be_pinned_that_is_said() {
    let topology = Topology::detect();
    assert_eq!(topology.bind_current_thread(1 << 20), Err(BindError::NoSuchCpu(1 << 20)));
    let blind = Topology { hwloc: None, machine: Machine { parallelism: 2, ..Machine::default() } };
    assert_eq!(blind.bind_current_thread(0), Err(BindError::NoTopology));
    blind.place_current_thread(Some(0));
    let described = Topology { hwloc: Some(synthetic("core:2 pu:1")), machine: machine("core:2 pu:1") };
    assert_eq!(described.bind_current_thread(0), Err(BindError::NotThisMachine));
}
