//! The rule set of the benches: `generate::rule_set`, compiled as `run` does it.

use std::sync::Arc;

use throughline::generate::rule_set;
use throughline::rules::plan::Plan;
use throughline::rules::{RuleFile, compile};

/// A plan of `rules` rules.
pub fn plan(rules: usize) -> Arc<Plan> {
    let files: Vec<RuleFile> = rule_set(rules, false).into_iter().map(|(path, text)| RuleFile { path, text }).collect();
    let plan =
        compile(&files).unwrap_or_else(|errors| panic!("the rules of the bench compile: {:?}", errors.first())).plan;
    assert_eq!(plan.rules.len(), rules, "every rule is in the plan");
    Arc::new(plan)
}
