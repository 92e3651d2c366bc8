//! Whether the pipeline does its work, and if not, why: each reason by name.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Condition, Control, State};

/// Why the pipeline is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reason {
    /// Which, for machines.
    #[schema(example = "restoring")]
    pub name: &'static str,
    /// For people.
    #[schema(example = "restoring state: 120000 of 500000 changelog records are left")]
    pub detail: String,
}

impl Reason {
    fn new(name: &'static str, detail: impl Into<String>) -> Self {
        Reason { name, detail: detail.into() }
    }
}

impl Control {
    /// Everything that keeps the pipeline from its work; empty: it is ready.
    pub fn reasons(&self) -> Vec<Reason> {
        match self.state() {
            State::Stopped => return vec![Reason::new("stopped", "the pipeline has left the group")],
            State::Draining => {
                return vec![Reason::new("draining", "nothing more is read; what was read is being committed")];
            }
            State::Paused | State::Running => {}
        }
        let mut reasons = Vec::new();
        let (metrics, condition) = (self.metrics(), self.condition());
        let remaining = metrics.restore.remaining.get();
        if remaining > 0 {
            let expected = metrics.restore.expected.get();
            let detail = format!("restoring state: {remaining} of {expected} changelog records are left");
            reasons.push(Reason::new("restoring", detail));
        }
        match condition {
            Condition::Up if metrics.lag.broker_up.get() == 0 => {
                reasons.push(Reason::new("broker", "the brokers do not answer"));
            }
            Condition::Up if !self.is_settled() => {
                reasons.push(Reason::new("assignment", "the group has not said which partitions are ours"));
            }
            Condition::Up | Condition::Ended => {}
            Condition::Starting => reasons.push(Reason::new("starting", "the pipeline is being built")),
            Condition::Failed(error) => reasons.push(Reason::new("recovering", error)),
        }
        if let Some((mistakes, first)) = self.refused() {
            let s = if mistakes == 1 { "" } else { "s" };
            let detail = format!(
                "the rules as they are on disk have {mistakes} mistake{s}, and those read before go on; correct them and reload: {first}"
            );
            reasons.push(Reason::new("rules_refused", detail));
        }
        if self.state() == State::Paused {
            reasons.push(Reason::new("paused", "paused by an operator; POST /pipeline/resume reads on"));
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(control: &Control) -> Vec<&'static str> {
        control.reasons().iter().map(|reason| reason.name).collect()
    }

    #[test]
    fn each_reason_has_its_name_until_the_pipeline_works() {
        let control = Control::default();
        let metrics = control.metrics();
        assert_eq!(names(&control), ["starting"]);
        metrics.restore.expected.set(10);
        metrics.restore.remaining.set(7);
        assert_eq!(names(&control), ["restoring", "starting"]);
        assert!(control.reasons()[0].detail.contains("7 of 10"));
        metrics.restore.remaining.set(0);
        control.set_condition(Condition::Up);
        assert_eq!(names(&control), ["broker"]);
        metrics.lag.broker_up.set(1);
        assert_eq!(names(&control), ["assignment"]);
        control.set_settled(true);
        assert!(names(&control).is_empty());
        control.pause();
        assert_eq!(names(&control), ["paused"]);
        control.resume();
        control.set_condition(Condition::Failed("fenced".into()));
        assert_eq!(control.reasons(), [Reason::new("recovering", "fenced")]);
        control.drain();
        assert_eq!(names(&control), ["draining"]);
        control.set_condition(Condition::Ended);
        assert_eq!(names(&control), ["stopped"]);
    }
}
