//! The thread that ends the process when another one stands still: a pipeline with a dead part looks alive from outside
//! (librdkafka goes on answering the group by itself) and would hold its partitions for ever. A new process starts from
//! the committed offsets.

use crate::event::Span;
use crate::limits::STALL_AFTER;
use crate::ring::Bell;
use crate::source::{Phase, PhaseCell};
use crate::telemetry::liveness::{Doing, Liveness};

/// Time between two looks.
const LOOK_EVERY: Span = Span::from_secs(1);

/// So many looks without a beat are too many.
const LOOKS_MAX: u32 = (STALL_AFTER.0 / LOOK_EVERY.0) as u32;

/// Looks at all threads until the pipeline stops.
pub(super) fn watch(liveness: &Liveness, phase: &PhaseCell, bell: &Bell) {
    let stopped = || phase.get() == Phase::Stop;
    while !stopped() {
        bell.wait(stopped, Some(LOOK_EVERY.to_std()));
        let look = liveness.look(LOOKS_MAX);
        for (thread, doing) in look.waiting {
            let advice = match doing {
                Doing::Disk => "; if this goes on, look at the disk of the state directory",
                Doing::Broker | Doing::Work => "",
            };
            tracing::warn!(thread, "has been waiting for {} for {STALL_AFTER}{advice}", doing.name());
        }
        if let Some(thread) = look.stalled.filter(|_| !stopped()) {
            tracing::error!(
                thread,
                "stands still since {STALL_AFTER}: the process is aborted; start it again, it goes on from the committed offsets. \
                 Please report this with the lines before it"
            );
            std::process::abort();
        }
    }
}
