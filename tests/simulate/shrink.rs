//! A smaller scenario that fails alike: faults and inputs are taken away as long as it still fails.

use throughline::fault::Bug;

use crate::input::{Act, disputed};
use crate::quiet::is_traced;
use crate::run::play;
use crate::scenario::Scenario;

/// Plays that shrinking may take.
const PLAYS_MAX: usize = 400;

/// The first line of a failure without numbers: what makes two failures alike.
pub fn kind(failure: &str) -> String {
    let line = failure.lines().next().unwrap_or_default();
    let upto = if line.starts_with("INV-") { 1 } else { 2 };
    line.split(':').take(upto).collect::<String>().chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Whether a scenario may be judged at all: transactions end, and no copy of an event is late.
fn means_something(scenario: &Scenario) -> bool {
    let mut open = 0;
    for input in &scenario.inputs {
        match input.act {
            Act::Begin(producer) => open |= 1 << producer,
            Act::End { producer, .. } => open &= !(1 << producer),
            // What waits for the end of a transaction waits for the next silence, which waits for it.
            Act::Quiet if open != 0 => return false,
            _ => {}
        }
    }
    open == 0 && disputed(&scenario.setup, &scenario.inputs).is_empty()
}

/// The smallest failing scenario that greedy removal finds, and its failure.
fn shrink(scenario: &Scenario, failure: String, bug: Option<Bug>) -> (Scenario, String) {
    let (mut best, mut why, mut left) = (scenario.clone(), failure, PLAYS_MAX);
    let kind_wanted = kind(&why);
    let mut attempt = |best: &mut Scenario, smaller: Scenario, left: &mut usize| {
        if *left == 0 || !means_something(&smaller) {
            return false;
        }
        *left -= 1;
        match play(&smaller, bug) {
            Err(failure) if kind(&failure) == kind_wanted => {
                (*best, why) = (smaller, failure);
                true
            }
            _ => false,
        }
    };
    let mut at = 0;
    while at < best.faults.len() {
        let mut smaller = best.clone();
        smaller.faults.remove(at);
        at += usize::from(!attempt(&mut best, smaller, &mut left));
    }
    let mut chunk = (best.inputs.len() / 4).max(1);
    loop {
        let mut at = 0;
        while at < best.inputs.len() {
            let mut smaller = best.clone();
            let upto = (at + chunk).min(best.inputs.len());
            let kept: Vec<_> = smaller.inputs.drain(at..upto).filter(|input| input.act.is_needed()).collect();
            if kept.len() == upto - at {
                at += chunk;
                continue;
            }
            smaller.inputs.splice(at..at, kept);
            for fault in &mut smaller.faults {
                fault.after_inputs = fault.after_inputs.min(smaller.inputs.len());
            }
            if !attempt(&mut best, smaller, &mut left) {
                at += chunk;
            }
        }
        if chunk == 1 || left == 0 {
            return (best, why);
        }
        chunk /= 2;
    }
}

/// A failing scenario for people: how to play it again, what it is, and how small it gets.
pub fn report(scenario: &Scenario, bug: Option<Bug>) -> String {
    let failure = match play(scenario, bug) {
        Err(failure) => failure,
        Ok(_) => return format!("seed {} failed once and then did not: it is not deterministic", scenario.seed),
    };
    if is_traced() {
        return failure;
    }
    let (small, why) = shrink(scenario, failure.clone(), bug);
    let mut text =
        format!("seed {seed} fails; play it again: make simulate SEED={seed}\n{failure}\n", seed = scenario.seed);
    text.push_str(&format!(
        "shrunk from {} inputs and {} faults: {why}\n",
        scenario.inputs.len(),
        scenario.faults.len()
    ));
    text.push_str(&format!("  {:?}\n", small.setup));
    small.faults.iter().for_each(|fault| text.push_str(&format!("  {fault:?}\n")));
    small.inputs.iter().for_each(|input| text.push_str(&format!("  {input:?}\n")));
    text
}
