//! The whole shape: wires sources, shards, committer and broker, spawns their threads, drains and stops them.
//!
//! ```text
//! group ──commands──► source ──ring──► shard ──ring──► committer ──► broker
//!   ▲                   │ └──────────── reports ───────────▲ │
//!   └──── requests ─────┘ ◄──────────── barriers ────────────┘
//! ```
//!
//! One *incarnation* is one producer, one membership and their threads. When something fails that may pass (fenced by a
//! rebalance, a transaction of unknown outcome, a broker gone), the incarnation is dropped whole and the next one starts
//! from the committed offsets: there is one way to recover, and it is the way of a fresh start. Other rules come the same way: the
//! incarnation commits what it has read and makes room, and the next one starts with them.

mod breaker;
mod encoders;
mod incarnation;
mod lag;
mod lookup;
mod membership;
mod owners;
mod parts;
mod spec;
mod state;
#[cfg(feature = "faults")]
pub mod stepped;
mod threads;
mod watchdog;

pub use crate::control::Control;
pub use lookup::check_outputs;
pub use spec::{INSTANCE_CUT, Locality, PipelineError, Spec, Stage};

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::{BrokerError, ErrorKind};
use crate::control::Condition;
use crate::epoch::Progress;

use breaker::{Breaker, OPENINGS_MAX, Verdict};
use incarnation::{End, Incarnation};

/// A coordinator takes notice of a session's end somewhat late.
const SESSION_LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Runs the pipeline until its input ends (a bounded one), [`Control`] stops it, or it cannot go on. Returns the totals of
/// everything committed. The plan of `spec` follows the reloads.
pub fn run(spec: &mut Spec, control: &Control) -> Result<Progress, PipelineError> {
    control.set_plan(Arc::clone(&spec.plan));
    let result = run_incarnations(spec, control);
    control.set_condition(Condition::Ended);
    result
}

fn run_incarnations(spec: &mut Spec, control: &Control) -> Result<Progress, PipelineError> {
    let mut breaker = Breaker::new();
    let (mut worked, mut reloaded) = (false, false);
    loop {
        let before = control.progress().epochs;
        control.set_condition(Condition::Starting);
        if let Some(plan) = control.take_next_plan() {
            spec.plan = plan;
        }
        if !std::mem::take(&mut reloaded) {
            control.metrics().pipeline.incarnations.add(1);
        }
        let end = match Incarnation::start(spec, control) {
            Ok(incarnation) => {
                worked = true;
                control.set_condition(Condition::Up);
                incarnation.run()
            }
            // A broker that never answered is a wrong address as likely as an outage: the first start waits once, then says so.
            Err(error) if !worked => return Err(error.into()),
            Err(error) => End::Failed(error),
        };
        let in_rebalance = match end {
            End::Done => return Ok(control.progress()),
            End::Refused(error) => return Err(error),
            End::MadeRoom { settled } => {
                reloaded = true;
                !settled
            }
            End::Failed(error) => {
                let committed = control.progress().epochs > before;
                failed(&error, committed, &mut breaker, control)?;
                error.kind == ErrorKind::Abortable
            }
        };
        // A member that comes back at once under its name is given its old share again, with no rebalance. In the middle of one, what
        // it had given up would then stay with nobody: so it comes back when the group has given its place away.
        let absent = match spec.locality {
            Locality::Partition if in_rebalance => spec.broker.session_timeout() + SESSION_LOOKS_EVERY,
            _ => Duration::ZERO,
        };
        let back = Instant::now() + absent;
        while !breaker.may_try(Instant::now()) || Instant::now() < back {
            if control.is_stopping() {
                return Ok(control.progress());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What a failure leads to: an error to end with, or a pause.
fn failed(error: &BrokerError, committed: bool, breaker: &mut Breaker, control: &Control) -> Result<(), PipelineError> {
    // A drain whose last epoch could not be committed is no clean end.
    if !may_pass(error.kind) || control.is_stopping() {
        return Err(error.clone().into());
    }
    let Verdict::Open { pause, openings } = breaker.failed(committed, Instant::now()) else {
        let message = format!("gave up after {OPENINGS_MAX} attempts without progress: {error}");
        return Err(BrokerError::new(error.kind, message).into());
    };
    control.set_condition(Condition::Failed(error.to_string()));
    tracing::warn!(%error, attempt = openings, pause_ms = pause.as_millis() as u64, "starting again from the committed offsets");
    Ok(())
}

/// Whether a new incarnation may succeed where this one failed.
fn may_pass(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Unreachable
        | ErrorKind::Fenced
        | ErrorKind::Abortable
        | ErrorKind::Uncertain
        | ErrorKind::Transient
        | ErrorKind::Fatal => true,
        // Whoever opened the state sets it aside and runs again.
        ErrorKind::State
        | ErrorKind::Authentication
        | ErrorKind::Authorization
        | ErrorKind::TopicMissing
        | ErrorKind::TooLarge
        | ErrorKind::Setting
        | ErrorKind::File => false,
    }
}
