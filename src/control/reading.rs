//! All metrics at one time: what threads have counted, and what is committed.

use super::{Control, State};
use crate::event::{DeadCode, Outcome, Timestamp};
use crate::telemetry::metrics::{Snapshot, table};

impl Control {
    /// Reads everything. A rule, outcome or code that has not come up yet shows 0, so that a rate is right from its first time.
    pub fn snapshot(&self) -> Snapshot {
        let mut all = self.metrics().snapshot(Timestamp::now().0);
        let progress = self.progress();
        all.number(table::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        let now = self.state();
        for state in State::ALL {
            all.number(table::PIPELINE_STATE, &[state.name()], f64::from(u8::from(state == now)));
        }
        all.number(table::RULES_REFUSED, &[], f64::from(u8::from(self.refused().is_some())));
        if let Some(plan) = self.plan() {
            all.number(table::RULES, &[], plan.rules.len() as f64);
            for rule in &plan.rules {
                let found = progress.correlations.get(&rule.id).copied().unwrap_or(0);
                all.number(table::CORRELATIONS, &[&rule.id], found as f64);
            }
        }
        for (topic, counts) in &progress.counts {
            for outcome in Outcome::ALL {
                all.number(table::EVENTS, &[topic, outcome.name()], counts.get(outcome) as f64);
            }
        }
        for code in DeadCode::ALL {
            let given_up = progress.dead_letters.get(code.name()).copied().unwrap_or(0);
            all.number(table::DEAD_LETTERS, &[code.name()], given_up as f64);
        }
        all.number(table::EVENT_BYTES, &[], progress.bytes as f64);
        all.number(table::EPOCHS, &[], progress.epochs as f64);
        if let Some(at) = progress.last_commit {
            all.number(table::LAST_COMMIT, &[], at.as_millis() as f64 / 1e3);
        }
        all
    }
}
