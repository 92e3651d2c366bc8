//! The rules, read again while the pipeline runs.
//!
//! Whoever is outside asks ([`Control::reload`]). The files are read and compiled aside, on the thread that asks; a set with
//! any mistake is refused whole and the rules in force go on. A set that differs is laid ready: the pipeline finishes its
//! epoch and starts its next incarnation with it, on the state that the last one left.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Control, State, lock};
use crate::rules::Diagnostic;
use crate::rules::plan::Plan;
use crate::telemetry::metrics::Counter;

/// Reads the rules from where the configuration has them, and checks all that a start checks.
pub type ReadRules = Box<dyn Fn() -> Result<Plan, Vec<Diagnostic>> + Send + Sync>;

/// What a reload came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reload {
    /// accepted: the rules differ and are in force as soon as the epoch in hand is committed; unchanged: they are those in force.
    #[schema(example = "accepted")]
    pub result: &'static str,
    /// How many rules there are now.
    pub rules: usize,
    /// Ids of new rules.
    pub added: Vec<String>,
    /// Ids of rules that find or say something else now.
    pub changed: Vec<String>,
    /// Ids of rules that are gone.
    pub removed: Vec<String>,
}

/// A mistake in a rule set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RuleMistake {
    /// The file.
    #[schema(example = "rules/logins.yaml")]
    pub file: String,
    /// Line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 where the whole file is meant.
    pub column: usize,
    /// Stable code.
    #[schema(example = "E0301")]
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do, where that is known.
    pub help: Option<String>,
}

/// Why rules were not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoReload {
    /// They are wrong; those in force go on.
    Refused(Vec<RuleMistake>),
    /// The pipeline takes no rules: it is starting, draining or stopped.
    NotNow(&'static str),
}

impl From<Diagnostic> for RuleMistake {
    fn from(found: Diagnostic) -> RuleMistake {
        let Diagnostic { file, line, column, code, message, help, .. } = found;
        RuleMistake { file, line, column, code, message, help }
    }
}

impl std::fmt::Display for RuleMistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RuleMistake { file, line, column, code, message, .. } = self;
        match line {
            0 => write!(f, "{file}: [{code}] {message}"),
            _ => write!(f, "{file}:{line}:{column}: [{code}] {message}"),
        }
    }
}

impl Control {
    /// Before the pipeline starts: how its rules are read again.
    pub fn set_rules_reader(&self, read: ReadRules) {
        *lock(&self.shared.read_rules) = Some(read);
    }

    /// Reads the rules again, and has the pipeline go on with them if they differ from those in force. Takes as long as reading and
    /// compiling; one reload after the other.
    pub fn reload(&self) -> Result<Reload, NoReload> {
        // Held to the end: who asks while the files are read may have changed them since.
        let read = lock(&self.shared.read_rules);
        let state = self.state();
        if !matches!(state, State::Running | State::Paused) {
            return Err(NoReload::NotNow(state.name()));
        }
        let (Some(read), Some(current)) = (&*read, self.coming_plan()) else {
            return Err(NoReload::NotNow("starting"));
        };
        let counted = &self.metrics().pipeline;
        let count = |counter: &Counter| counter.add(1);
        let plan = match read() {
            Ok(plan) => plan,
            Err(found) => {
                let mistakes: Vec<RuleMistake> = found.into_iter().map(RuleMistake::from).collect();
                for mistake in &mistakes {
                    tracing::error!("rules refused: {mistake}");
                }
                lock(&self.shared.facts).refused = mistakes.first().map(|first| (mistakes.len(), first.to_string()));
                count(&counted.reloads_refused);
                return Err(NoReload::Refused(mistakes));
            }
        };
        let reload = difference(&current, &plan);
        let mut facts = lock(&self.shared.facts);
        facts.refused = None;
        if reload.result == ACCEPTED {
            facts.next_plan = Some(Arc::new(plan));
            count(&counted.reloads_accepted);
        } else {
            count(&counted.reloads_unchanged);
        }
        drop(facts);
        let Reload { result, rules, added, changed, removed } = &reload;
        let (added, changed, removed) = (added.len(), changed.len(), removed.len());
        tracing::info!(rules, added, changed, removed, "rules read again: {result}");
        Ok(reload)
    }

    /// Whether rules wait that the next incarnation is to start with.
    pub fn has_next_plan(&self) -> bool {
        lock(&self.shared.facts).next_plan.is_some()
    }

    /// By the pipeline, between two incarnations: the rules for the next one, if they are others. They are in force from now on.
    pub fn take_next_plan(&self) -> Option<Arc<Plan>> {
        let mut facts = lock(&self.shared.facts);
        let next = facts.next_plan.take()?;
        facts.plan = Some(Arc::clone(&next));
        Some(next)
    }

    /// Whether the rules that were read last are wrong: how many mistakes they have, and the first.
    pub fn refused(&self) -> Option<(usize, String)> {
        lock(&self.shared.facts).refused.clone()
    }

    /// The rules in force, or those that are about to be.
    fn coming_plan(&self) -> Option<Arc<Plan>> {
        let facts = lock(&self.shared.facts);
        facts.next_plan.clone().or_else(|| facts.plan.clone())
    }
}

const ACCEPTED: &str = "accepted";
const UNCHANGED: &str = "unchanged";

/// What another set brings. A rule's version sees all that the rule finds and says.
fn difference(before: &Plan, after: &Plan) -> Reload {
    let versions = |plan: &Plan| -> BTreeMap<String, String> {
        plan.rules.iter().map(|rule| (rule.id.clone(), rule.version.clone())).collect()
    };
    let (old, new) = (versions(before), versions(after));
    let ids = |of: &BTreeMap<String, String>, keep: &dyn Fn(&str, &str) -> bool| -> Vec<String> {
        of.iter().filter(|(id, version)| keep(id, version)).map(|(id, _)| id.clone()).collect()
    };
    let added = ids(&new, &|id, _| !old.contains_key(id));
    let changed = ids(&new, &|id, version| old.get(id).is_some_and(|before| before != version));
    let removed = ids(&old, &|id, _| !new.contains_key(id));
    let same = added.is_empty() && changed.is_empty() && removed.is_empty();
    Reload { result: if same { UNCHANGED } else { ACCEPTED }, rules: new.len(), added, changed, removed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Condition;
    use crate::rules::{RuleFile, compile};
    use std::sync::Mutex;

    const ONE: &str = "id: one\nquery: any where a == 1\n";
    const TWO: &str = "id: two\nquery: any where a == 2\n";

    fn plan(text: &str) -> Result<Plan, Vec<Diagnostic>> {
        compile(&[RuleFile { path: "rules.yaml".into(), text: text.into() }]).map(|compiled| compiled.plan)
    }

    /// A pipeline that runs `text`, and the file that is read again.
    fn running(text: &str) -> (Control, Arc<Mutex<String>>) {
        let control = Control::default();
        control.set_plan(Arc::new(plan(text).expect("compiles")));
        let file = Arc::new(Mutex::new(text.to_owned()));
        let read = Arc::clone(&file);
        control.set_rules_reader(Box::new(move || plan(&lock(&read))));
        (control, file)
    }

    fn names(control: &Control) -> Vec<&'static str> {
        control.reasons().iter().map(|reason| reason.name).collect()
    }

    fn reloads(control: &Control) -> [u64; 3] {
        let counted = &control.metrics().pipeline;
        [&counted.reloads_accepted, &counted.reloads_unchanged, &counted.reloads_refused].map(Counter::get)
    }

    #[test]
    fn other_rules_wait_for_the_next_incarnation_and_the_same_ones_do_nothing() {
        let (control, file) = running(&[ONE, TWO].join("---\n"));
        *lock(&file) = format!("# the same, said otherwise\n{TWO}---\n{ONE}");
        let unchanged = control.reload().expect("right");
        assert_eq!((unchanged.result, unchanged.rules, control.has_next_plan()), ("unchanged", 2, false));

        *lock(&file) = "id: two\nquery: any where a == 3\n---\nid: three\nquery: any where true\n".into();
        let accepted = control.reload().expect("right");
        let expected = Reload {
            result: "accepted",
            rules: 2,
            added: vec!["three".into()],
            changed: vec!["two".into()],
            removed: vec!["one".into()],
        };
        assert_eq!(accepted, expected);
        assert_eq!(control.reload().expect("right").result, "unchanged", "they wait already");
        assert_eq!(control.plan().expect("a plan").rules[0].id, "one", "in force are the old ones");
        assert!(control.take_next_plan().is_some() && control.take_next_plan().is_none());
        assert_eq!(control.plan().expect("a plan").rules[0].id, "three");
        assert_eq!(reloads(&control), [1, 2, 0]);
    }

    #[test]
    fn what_only_tells_of_a_finding_is_a_change_too() {
        let (control, file) = running(ONE);
        *lock(&file) = format!("{ONE}severity: critical\n");
        assert_eq!(control.reload().expect("right").changed, ["one"]);
    }

    #[test]
    fn wrong_rules_are_refused_whole_and_named_until_right_ones_are_read() {
        let (control, file) = running(ONE);
        control.set_condition(Condition::Up);
        control.metrics().lag.broker_up.set(1);
        control.set_settled(true);
        *lock(&file) = format!("{TWO}---\nid: three\nquery: any where foo(1)\n---\nid: four\nquery: any where\n");
        let Err(NoReload::Refused(mistakes)) = control.reload() else { panic!("taken") };
        assert_eq!(mistakes.len(), 2);
        assert_eq!((mistakes[0].file.as_str(), mistakes[0].line, mistakes[0].column), ("rules.yaml", 5, 18));
        assert!(!control.has_next_plan(), "also the right one of them is not taken");
        let reasons = control.reasons();
        assert_eq!(reasons[0].name, "rules_refused");
        assert!(
            reasons[0].detail.contains("2 mistakes") && reasons[0].detail.contains("rules.yaml:5:18"),
            "{reasons:?}"
        );
        *lock(&file) = ONE.into();
        assert_eq!(control.reload().expect("right").result, "unchanged");
        assert!(names(&control).is_empty(), "what runs is what the files say");
        assert_eq!(reloads(&control), [0, 1, 1]);
    }

    #[test]
    fn who_leaves_or_has_left_or_has_not_begun_takes_no_rules() {
        let begun = Control::default();
        assert_eq!(begun.reload(), Err(NoReload::NotNow("starting")));
        let (control, _) = running(ONE);
        control.drain();
        assert_eq!(control.reload(), Err(NoReload::NotNow("draining")));
        control.set_condition(Condition::Ended);
        assert_eq!(control.reload(), Err(NoReload::NotNow("stopped")));
    }
}
