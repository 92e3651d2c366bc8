//! The engine against a brute-force evaluator written apart from it, over random rules and events.
//!
//! A failing property prints the rules as YAML and the events in their order, already shrunk. `THROUGHLINE_PROPTEST_CASES`
//! raises the number of cases.

/// Hand-computed answers, straight from RULES.md: they hold the oracle, and through it the engine, to the text.
mod cases;
/// The whole engine from memory, as the benches drive it.
#[path = "../../benches/input/drained.rs"]
mod drained;
/// The engine, driven from rules and events to findings, without threads.
mod drive;
/// State as earlier versions wrote it.
mod fixtures;
/// Random rule sets, event streams and ways of arrival.
mod generators;
/// As many rules as anybody may have.
mod many;
/// The evaluator: what RULES.md says, computed in the plainest way.
mod oracle;
/// Engine and oracle agree, and nothing but rules and events decides what is found.
mod properties;
/// Bugs that were found, each as small as it gets.
mod regressions;
/// Rule sets of any size.
#[path = "../../benches/input/ruleset.rs"]
mod ruleset;
