//! As many rules as anybody may have, in one plan.

use crate::drained::Engine;
use crate::ruleset;

/// A hundred thousand rules compile, and find what was planted for the few of them that it concerns; no more and no less.
#[test]
fn a_hundred_thousand_rules_find_what_was_planted() {
    Engine::new(20_000, ruleset::plan(100_000)).check();
}
