//! What a part of this process used, from `/proc`: CPU by thread, memory at its peak.
//!
//! Threads that were there before a [`Meter`] was started do not count: they are the load and those who watch. A thread that
//! ends between two samples is counted up to the last one before its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

/// Time between two samples: each reads some files for every thread, which is load too.
const EVERY: Duration = Duration::from_millis(50);

/// What was used.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// CPU time by thread name, in seconds; threads of one name together.
    pub threads: BTreeMap<String, f64>,
    /// Largest resident set of the whole process, in bytes.
    pub rss_peak: u64,
    /// Time that it was measured over, in seconds.
    pub seconds: f64,
}

impl Usage {
    /// All threads together.
    pub fn cpu_seconds(&self) -> f64 {
        self.threads.values().sum()
    }

    /// The part of all processors that they took, in per cent.
    pub fn cpu_percent(&self) -> f64 {
        100.0 * self.cpu_seconds() / (self.seconds * processors() as f64).max(f64::MIN_POSITIVE)
    }
}

/// What is asked of the sampler.
enum Ask {
    /// Count from now on.
    Begin,
    /// Take the last sample.
    Finish,
}

/// Measures from its start, or from [`Meter::begin`], to [`Meter::finish`].
pub struct Meter {
    asks: Sender<Ask>,
    thread: std::thread::JoinHandle<Usage>,
}

impl Meter {
    /// Starts to measure. Threads that exist now are left out.
    pub fn start() -> std::io::Result<Meter> {
        let before: BTreeSet<u32> = threads().into_iter().collect();
        // Without room: whoever asks waits until the sampler takes it.
        let (asks, asked) = bounded::<Ask>(0);
        let sample = move || {
            let mut taken: BTreeMap<u32, (String, u64)> = BTreeMap::new();
            let (mut base, mut begun, mut rss_peak) = (BTreeMap::new(), Instant::now(), 0);
            let own = own_thread();
            loop {
                let ask = asked.recv_timeout(EVERY);
                rss_peak = rss_peak.max(resident_bytes());
                for thread in threads().into_iter().filter(|id| !before.contains(id) && Some(*id) != own) {
                    if let Some(nanos) = cpu_nanos(thread) {
                        let entry = taken.entry(thread).or_insert_with(|| (name(thread), 0));
                        // A thread sets its name only after it has begun.
                        if entry.1 < 1_000_000 {
                            entry.0 = name(thread);
                        }
                        entry.1 = nanos;
                    }
                }
                match ask {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(Ask::Begin) => {
                        base = taken.iter().map(|(thread, (_, nanos))| (*thread, *nanos)).collect();
                        begun = Instant::now();
                    }
                    Ok(Ask::Finish) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            let mut usage = Usage { threads: BTreeMap::new(), rss_peak, seconds: begun.elapsed().as_secs_f64() };
            for (thread, (name, nanos)) in taken {
                let nanos = nanos - base.get(&thread).copied().unwrap_or(0);
                *usage.threads.entry(name).or_default() += nanos as f64 / 1e9;
            }
            usage
        };
        let thread = std::thread::Builder::new().name("meter".into()).spawn(sample)?;
        Ok(Meter { asks, thread })
    }

    /// CPU counts only from now on; the threads are still those begun since the start.
    pub fn begin(&self) {
        let _ = self.asks.send(Ask::Begin);
    }

    /// What was used.
    pub fn finish(self) -> Usage {
        let _ = self.asks.send(Ask::Finish);
        self.thread.join().unwrap_or_default()
    }
}

fn threads() -> Vec<u32> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn own_thread() -> Option<u32> {
    // `/proc/thread-self` points to `<process>/task/<thread>`.
    fs::read_link("/proc/thread-self").ok()?.file_name()?.to_str()?.parse().ok()
}

fn name(thread: u32) -> String {
    fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default().trim().to_owned()
}

/// Time on a processor, kernel included.
fn cpu_nanos(thread: u32) -> Option<u64> {
    fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?.split(' ').next()?.parse().ok()
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Processors that this process may use.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The processor and how many of them, and memory: for the report.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([':', '\t', ' ']);
    let cores = processors();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kilobytes = total.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    format!("{model}, {cores} processors, {} GiB", kilobytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn work_of_threads_begun_later_counts_by_name_and_that_of_others_does_not() {
        let spin = |name: &str, time: Duration| {
            let body = move || {
                let begun = Instant::now();
                while begun.elapsed() < time {
                    std::hint::black_box(0);
                }
                // Stays until it was seen.
                std::thread::sleep(EVERY * 4);
            };
            std::thread::Builder::new().name(name.into()).spawn(body).expect("a thread")
        };
        let before = spin("before", Duration::from_millis(60));
        let meter = Meter::start().expect("a thread");
        spin("worker", Duration::from_millis(60)).join().expect("ends");
        before.join().expect("ends");
        let usage = meter.finish();
        let worked = usage.threads.get("worker").copied().unwrap_or_default();
        assert!(worked > 0.005, "{usage:?}");
        assert!(!usage.threads.contains_key("before"), "{usage:?}");
        assert!(usage.rss_peak > 1 << 20, "{usage:?}");
    }

    #[test]
    fn what_was_used_before_the_beginning_does_not_count() {
        let meter = Meter::start().expect("a thread");
        let (told, tell) = bounded::<()>(0);
        let body = move || {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(80) {
                std::hint::black_box(0);
            }
            // Worked, and is still here.
            let _ = told.send(());
            let _ = told.send(());
        };
        let thread = std::thread::Builder::new().name("early".into()).spawn(body).expect("a thread");
        tell.recv().expect("worked");
        meter.begin();
        std::thread::sleep(EVERY * 2);
        let usage = meter.finish();
        tell.recv().expect("still here");
        thread.join().expect("ends");
        assert!(usage.threads.get("early").is_some_and(|seconds| *seconds < 0.03), "{usage:?}");
        assert!((0.1..10.0).contains(&usage.seconds), "{usage:?}");
    }
}
