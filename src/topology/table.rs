//! Machine and placement as a table for people.

use std::fmt;

use super::{Machine, Placement};

/// Which thread runs on which processor of a machine; printed by `Display`.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// What was planned for it.
    pub placement: &'a Placement,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table { machine, placement } = self;
        let cpus = &machine.cpus;
        match cpus.is_empty() {
            true => writeln!(f, "usable   unknown: the machine's topology cannot be read")?,
            false => writeln!(
                f,
                "usable   {} of {}, on {} of {}",
                cpus.len(),
                count(machine.processors, "processor"),
                count(machine.cores(), "core"),
                count(machine.nodes(), "NUMA node"),
            )?,
        }
        let quota = if machine.has_quota() { " (CPU quota)" } else { "" };
        writeln!(f, "at once  {}{quota}", count(machine.parallelism, "busy thread"))?;
        let (sources, shards) = (&placement.sources, &placement.shards);
        let pinned = match (&placement.unpinned_because, placement.is_pinned()) {
            (Some(reason), _) => format!("not pinned: {reason}"),
            (None, false) => "not pinned: workers.pin is off".to_owned(),
            (None, true) => "pinned".to_owned(),
        };
        writeln!(f, "threads  {}, {}, {pinned}", count(sources.len(), "source"), count(shards.len(), "shard"))?;
        if !placement.is_pinned() {
            return Ok(());
        }
        writeln!(f, "\nNODE  CORE  PROCESSOR  THREADS")?;
        for cpu in cpus {
            let threads = placement.threads_on(cpu.os_index);
            let threads = if threads.is_empty() { "-".to_owned() } else { threads.join(", ") };
            writeln!(f, "{:<4}  {:<4}  {:<9}  {threads}", cpu.numa_node, cpu.core, cpu.os_index)?;
        }
        Ok(())
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
