//! The pipeline of a simulation, as its configuration would describe it.

use std::sync::Arc;
use std::time::Duration;

use throughline::broker::memory::MemoryBroker;
use throughline::epoch::{Delivery, StateHome};
use throughline::event::{LatePolicy, Span};
use throughline::pipeline::{INSTANCE_CUT, Locality, Spec};
use throughline::source::Stream;
use throughline::store::Store;
use throughline::topology::Placement;

use crate::rules;
use crate::scenario::Setup;

/// `application_id`.
pub const APPLICATION: &str = "simulated";

/// Correlations, dead letters.
pub const OUTPUTS: [&str; 2] = ["correlations", "dead-letters"];

/// The changelog of all instances.
pub const CHANGELOG: &str = "simulated-changelog";

/// How long the changelog keeps tombstones: no simulation takes so long.
pub const TOMBSTONES_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How far ahead of its record's timestamp an event may be.
pub const MAX_FUTURE: Span = Span::from_secs(3600);

/// Bound on patterns without `maxspan`: beyond every simulation.
pub const RETENTION: Span = Span::from_secs(24 * 3600);

/// The input.
pub fn stream(setup: &Setup) -> Stream {
    Stream {
        topics: setup.topics().into_iter().map(str::to_owned).collect(),
        time: Some("ts".to_owned()),
        id: vec!["id".to_owned()],
        category: String::new(),
        out_of_orderness: Span::from_millis(setup.out_of_orderness_ms),
        idle_timeout: setup.idle_ms.map(Span::from_millis),
        late: if setup.drop_late { LatePolicy::Drop } else { LatePolicy::Dlq },
        max_skew: Span::from_millis(setup.max_skew_ms),
        max_future: MAX_FUTURE,
    }
}

/// Changelog partitions.
pub fn changelog_partitions(setup: &Setup) -> u16 {
    if setup.by_partition { setup.partitions[0] as u16 } else { INSTANCE_CUT }
}

/// State on this disk.
pub fn state(store: Arc<dyn Store>) -> StateHome {
    StateHome { store, changelog: CHANGELOG.into(), tombstones_kept: TOMBSTONES_KEPT, record_bytes_max: 1 << 20 }
}

/// What an instance runs, without its disk.
pub fn spec(setup: &Setup, broker: &MemoryBroker, instance: &str) -> Spec {
    Spec {
        plan: rules::plan(setup.rules),
        streams: vec![stream(setup)],
        broker: Arc::new(broker.client(APPLICATION, instance)),
        instance: instance.to_owned(),
        output_topic: OUTPUTS[0].to_owned(),
        dead_letter_topic: OUTPUTS[1].to_owned(),
        check_outputs: true,
        delivery: if setup.at_least_once { Delivery::AtLeastOnce } else { Delivery::ExactlyOnce },
        epoch: Duration::from_millis(setup.epoch_ms),
        locality: if setup.by_partition { Locality::Partition } else { Locality::Instance },
        dedup_window: Span::from_millis(setup.dedup_ms),
        retention: RETENTION,
        state: None,
        state_memory: setup.memory,
        placement: Placement {
            sources: vec![None; setup.sources],
            shards: vec![None; setup.shards],
            unpinned_because: None,
        },
        topology: None,
        until_end: false,
        // The time of detection is the one thing that may differ between two runs.
        stamp: false,
        fields_seen: None,
        startup_timeout: Duration::ZERO,
    }
}
