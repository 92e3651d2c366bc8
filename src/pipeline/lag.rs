//! The thread that asks the brokers where our partitions end: for the lag, also of partitions that are held or paused, and for
//! whether the brokers answer at all. On the look-up's connections, so that it neither waits for a fetch nor delays the group. At the
//! same pace it looks whether every partition has an owner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::owners::Owners;
use crate::broker::Broker;
use crate::ring::Bell;
use crate::source::{Phase, PhaseCell};
use crate::telemetry::metrics::{Metrics, PartitionMetrics};

/// Time between two questions.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The same while there are partitions of which nothing is known yet.
const ASK_FIRST_EVERY: Duration = Duration::from_millis(500);

/// How long the leaders of a topic may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Asks until the pipeline stops. It starts after the broker has answered the pipeline.
pub(super) fn watch(
    broker: &dyn Broker,
    inputs: &[String],
    mut owners: Option<Owners>,
    metrics: &Metrics,
    (phase, bell): (&PhaseCell, &Bell),
) {
    let stopped = || phase.get() == Phase::Stop;
    metrics.lag.broker_up.set(1);
    let mut looked = Instant::now();
    while !stopped() {
        let up = ask(broker, inputs, metrics, stopped);
        metrics.lag.broker_up.set(up.into());
        if let Some(owners) = owners.as_mut().filter(|_| up && looked.elapsed() >= ASK_EVERY) {
            owners.look(broker);
            looked = Instant::now();
        }
        let unknown = metrics.partitions().iter().any(|(_, shown)| shown.end.get() < 0);
        bell.wait(stopped, Some(if unknown { ASK_FIRST_EVERY } else { ASK_EVERY }));
    }
}

/// Asks for every assigned partition, without any for the topics alone. Whether all answered.
fn ask(broker: &dyn Broker, inputs: &[String], metrics: &Metrics, stopped: impl Fn() -> bool) -> bool {
    let mut topics: BTreeMap<Arc<str>, Vec<(i32, Arc<PartitionMetrics>)>> = BTreeMap::new();
    for ((topic, partition), shown) in metrics.partitions() {
        topics.entry(topic).or_default().push((partition, shown));
    }
    if topics.is_empty() {
        return broker.topics(inputs, ANSWER_WAIT).is_ok();
    }
    let mut up = true;
    for (topic, partitions) in topics {
        if stopped() {
            break;
        }
        let numbers: Vec<i32> = partitions.iter().map(|(number, _)| *number).collect();
        match broker.log_bounds(&topic, &numbers, ANSWER_WAIT) {
            Ok(bounds) => partitions.iter().zip(bounds).for_each(|((_, shown), (_, end))| shown.end.set(end)),
            Err(error) => {
                tracing::debug!(%error, "no answer where the partitions of a topic end");
                up = false;
            }
        }
    }
    up
}
