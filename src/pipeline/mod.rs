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
//! from the committed offsets: there is one way to recover, and it is the way of a fresh start.

mod encoders;
mod incarnation;
mod lookup;
mod membership;
mod parts;
mod spec;
mod state;
#[cfg(feature = "faults")]
pub mod stepped;
mod threads;

pub use spec::{Control, INSTANCE_CUT, Locality, PipelineError, Spec, Stage};

use std::time::{Duration, Instant};

use crate::broker::{BrokerError, ErrorKind};
use crate::epoch::Progress;

use incarnation::{End, Incarnation};

/// First pause before a new incarnation; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Incarnations that fail one after the other without a single committed epoch before the process gives up: endless
/// retries hide what an orchestrator should see.
const FAILURES_MAX: u32 = 20;

/// Runs the pipeline until its input ends (a bounded one), [`Control`] stops it, or it cannot go on. Returns the totals of
/// everything committed.
pub fn run(spec: &Spec, control: &Control) -> Result<Progress, PipelineError> {
    let mut failures = 0;
    let mut pause = PAUSE_MIN;
    let mut worked = false;
    loop {
        let before = control.progress().epochs;
        let end = match Incarnation::start(spec, control) {
            Ok(incarnation) => {
                worked = true;
                incarnation.run()
            }
            // A broker that never answered is a wrong address as likely as an outage: the first start waits once, then says so.
            Err(error) if !worked => return Err(error.into()),
            Err(error) => End::Failed(error),
        };
        let error = match end {
            End::Done => return Ok(control.progress()),
            End::Refused(error) => return Err(error),
            End::Failed(error) => error,
        };
        // A drain whose last epoch could not be committed is no clean end.
        if !may_pass(error.kind) || control.is_stopping() {
            return Err(error.into());
        }
        let progressed = control.progress().epochs > before;
        (failures, pause) = if progressed { (1, PAUSE_MIN) } else { (failures + 1, (pause * 2).min(PAUSE_MAX)) };
        if failures >= FAILURES_MAX {
            return Err(PipelineError::from(BrokerError::new(
                error.kind,
                format!("gave up after {FAILURES_MAX} attempts without progress: {error}"),
            )));
        }
        tracing::warn!(%error, attempt = failures, pause_ms = pause.as_millis() as u64, "starting again from the committed offsets");
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if control.is_stopping() {
                return Ok(control.progress());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
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
