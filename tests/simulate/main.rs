//! The whole pipeline under a seeded scheduler: sources, shards, committer, group, broker, producers, clocks and faults on
//! one thread, in an order that the seed draws. The same seed gives the same bytes.
//!
//! `make simulate SEEDS=10000` runs that many seeds, `make simulate SEED=7` one of them, and `make simulate-bugs` shows that
//! each planted bug is found. What is compared is INV-ONCE: the committed output is that of one uninterrupted run.

/// What came out against what must.
mod check;
/// What goes wrong, and when.
mod faults;
/// What producers write.
mod input;
/// One process.
mod instance;
/// What must come out.
mod oracle;
/// Panics as findings.
mod quiet;
/// Numbers from a seed.
mod random;
/// The rules that are played with.
mod rules;
/// A scenario from the first step to the verdict.
mod run;
/// What a seed stands for.
mod scenario;
/// The pipeline as configured.
mod setup;
/// Smaller scenarios that fail alike.
mod shrink;
/// The scheduler.
mod world;
/// The producers.
mod writer;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use throughline::fault::Bug;

use faults::Faults;
use scenario::Scenario;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 200;

/// Seeds within which each planted bug must be found.
const BUG_SEEDS: u64 = 1_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// The kinds of faults that may come; `SIMULATE_FAULTS=restarts,clock,disks,tiers` names them, else all.
fn allowed() -> Faults {
    let Ok(text) = std::env::var("SIMULATE_FAULTS") else { return Faults::ALL };
    let named = |kind: &str| text.split(',').any(|word| word == kind);
    Faults { restarts: named("restarts"), clock: named("clock"), disks: named("disks"), tiers: named("tiers") }
}

/// The first seed that fails, run on all cores; with a bug planted, that fails only with it.
fn first_failing(seeds: Range<u64>, faults: Faults, bug: Option<Bug>) -> Option<u64> {
    let (next, found) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || seed > found.load(Ordering::Relaxed) {
                return;
            }
            let scenario = Scenario::of(seed, faults);
            let fails = run::play(&scenario, bug).is_err();
            if fails && (bug.is_none() || run::play(&scenario, None).is_ok()) {
                found.fetch_min(seed, Ordering::Relaxed);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    Some(found.into_inner()).filter(|seed| *seed != u64::MAX)
}

#[test]
fn every_seed_comes_out_right() {
    let seeds = match number("SIMULATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATE_SEEDS").unwrap_or(SEEDS),
    };
    let (count, began) = (seeds.end - seeds.start, Instant::now());
    if let Some(seed) = first_failing(seeds, allowed(), None) {
        panic!("{}", shrink::report(&Scenario::of(seed, allowed())));
    }
    println!("{count} seeds, {:.0} a second", count as f64 / began.elapsed().as_secs_f64());
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 0..20 {
        let play = || run::play(&Scenario::of(seed, Faults::ALL), None);
        assert_eq!(play(), play(), "seed {seed}");
    }
}

#[test]
fn each_planted_bug_is_found() {
    let mut missed = Vec::new();
    for &bug in Bug::ALL {
        match first_failing(0..BUG_SEEDS, Faults::ALL, Some(bug)) {
            Some(seed) => {
                let why = run::play(&Scenario::of(seed, Faults::ALL), Some(bug)).expect_err("it failed before");
                println!("{:<30} seed {seed:>3}: {}", format!("{bug:?}"), why.lines().next().unwrap_or_default());
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found by {BUG_SEEDS} seeds: {missed:?}");
}

/// What many seeds come to, failure by failure: a look at a product that has more than one bug.
#[test]
fn census() {
    let Some(seeds) = number("SIMULATE_CENSUS") else { return };
    let mut kinds: BTreeMap<String, (u64, u64, String)> = BTreeMap::new();
    for seed in 0..seeds {
        let scenario = Scenario::of(seed, allowed());
        if let Err(failure) = run::play(&scenario, None) {
            let shape = &scenario.setup;
            let kind = format!(
                "{} {} {:?} {:?} {}",
                shape.by_partition,
                shape.instances,
                shape.memory,
                shape.idle_ms.is_some(),
                shrink::kind(&failure)
            );
            let entry = kinds.entry(kind).or_insert((0, seed, failure));
            entry.0 += 1;
        }
    }
    for (kind, (n, seed, failure)) in kinds {
        println!("{n} {kind}\n   {seed}: {}", failure.chars().take(600).collect::<String>());
    }
}
