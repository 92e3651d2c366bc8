//! The process as the operating system sees it, from `/proc`. Where there is none, these metrics are absent.

use super::snapshot::Snapshot;
use super::table;

/// Ticks a second of the times in `/proc`: fixed in Linux' interface to programs, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn read(out: &mut Snapshot) {
    let file = |name: &str| std::fs::read_to_string(name).ok();
    if let Some((cpu, started)) = file("/proc/self/stat").as_deref().and_then(times) {
        out.number(table::PROCESS_CPU, &[], cpu / TICKS_PER_SECOND);
        if let Some(boot) = file("/proc/stat").as_deref().and_then(|text| field(text, "btime")) {
            out.number(table::PROCESS_START, &[], boot + started / TICKS_PER_SECOND);
        }
    }
    if let Some(kib) = file("/proc/self/status").as_deref().and_then(|text| field(text, "VmRSS:")) {
        out.number(table::PROCESS_MEMORY, &[], kib * 1024.0);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory being read.
        out.number(table::PROCESS_FILES, &[], files.count().saturating_sub(1) as f64);
    }
}

/// Processor time and start, in ticks. The second field is the program's name, which may hold anything.
fn times(stat: &str) -> Option<(f64, f64)> {
    let rest: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    // The first one here is field 3 of proc(5): user time is 14, system time 15, start 22.
    let at = |field: usize| rest.get(field - 3)?.parse::<f64>().ok();
    Some((at(14)? + at(15)?, at(22)?))
}

/// The number behind `name` at the begin of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_that_holds_anything() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4 9 0 0 0 150 50 0 0 20 0 4 0 1234 1 2";
        assert_eq!(times(stat), Some((200.0, 1234.0)));
        assert_eq!(times("7 (a"), None);
        assert_eq!(field("Name:\tx\nVmRSS:\t  42 kB\n", "VmRSS:"), Some(42.0));
    }
}
