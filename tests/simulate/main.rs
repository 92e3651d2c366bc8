//! The whole pipeline under a seeded scheduler: sources, shards, committer, group, broker, producers, clocks and faults on
//! one thread, in an order that the seed draws. The same seed gives the same bytes.
//!
//! `make simulate SEEDS=10000` runs that many seeds, `make simulate SEED=7` one of them, and `make simulate-bugs` shows that
//! each planted bug is found. `SIMULATE_TRACE=1` prints everything that happens in a seed, `SIMULATE_CENSUS=1` counts the
//! failures of all seeds instead of stopping at the first. What is compared is INV-ONCE: the committed output is that of one uninterrupted run.

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

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use throughline::event::Outcome;
use throughline::fault::{Bug, POINTS};

use faults::Faults;
use scenario::{Scenario, Setup};

/// Seeds of an ordinary test run.
const SEEDS: u64 = 200;

/// Seeds within which each planted bug must be found.
const BUG_SEEDS: u64 = 1_000;

/// Seeds in which every rule, outcome, fault and point must come up.
const COVERING_SEEDS: u64 = 500;

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

/// What many seeds come to, failure by failure: for a look at a product that has more than one bug.
fn census(seeds: Range<u64>) -> String {
    let mut kinds: BTreeMap<String, (u64, u64, String)> = BTreeMap::new();
    for seed in seeds {
        let scenario = Scenario::of(seed, allowed());
        if let Err(failure) = run::play(&scenario, None) {
            let Setup { by_partition, instances, memory, idle_ms, .. } = scenario.setup;
            let shape =
                format!("by partition {by_partition}, {instances} instances, memory {memory:?}, idle {idle_ms:?}");
            kinds.entry(format!("{}; {shape}", shrink::kind(&failure))).or_insert((0, seed, failure)).0 += 1;
        }
    }
    let line = |(kind, (n, seed, failure)): (String, (u64, u64, String))| {
        format!("{n:>4} {kind}\n     seed {seed}: {}\n", failure.chars().take(400).collect::<String>())
    };
    kinds.into_iter().map(line).collect()
}

#[test]
fn every_seed_comes_out_right() {
    let seeds = match number("SIMULATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATE_SEEDS").unwrap_or(SEEDS),
    };
    let (count, began) = (seeds.end - seeds.start, Instant::now());
    if std::env::var_os("SIMULATE_CENSUS").is_some() {
        let census = census(seeds);
        assert!(census.is_empty(), "{census}");
    } else if let Some(seed) = first_failing(seeds, allowed(), None) {
        panic!("{}", shrink::report(&Scenario::of(seed, allowed()), None));
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
fn the_seeds_show_what_they_are_for() {
    let play = |seed| run::play(&Scenario::of(seed, Faults::ALL), None).map_or_else(|_| BTreeSet::new(), |o| o.shown);
    let shown: BTreeSet<String> = (0..COVERING_SEEDS).flat_map(play).collect();
    let rules = rules::RULES.iter().filter_map(|rule| rule.lines().next()?.strip_prefix("id: "));
    let outcomes = Outcome::ALL.iter().map(|outcome| outcome.name());
    let wanted = rules.chain(outcomes).chain(POINTS.iter().copied()).chain(faults::NAMES.iter().copied());
    let missing: Vec<&str> = wanted.filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "in {COVERING_SEEDS} seeds nothing of {missing:?}");
}

#[test]
fn a_failure_shrinks() {
    let bug = Some(Bug::OrderHeapNotInState);
    let seed = first_failing(0..BUG_SEEDS, Faults::ALL, bug).expect("this bug is found");
    let report = shrink::report(&Scenario::of(seed, Faults::ALL), bug);
    let inputs = |scenario: &Scenario| scenario.inputs.len();
    let left = report.lines().filter(|line| line.starts_with("  Input")).count();
    let all = inputs(&Scenario::of(seed, Faults::ALL));
    assert!(left > 0 && left < all, "{left} of {all} inputs are left\n{report}");
    assert!(report.contains(&format!("make simulate SEED={seed}")), "{report}");
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
