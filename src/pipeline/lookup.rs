//! What is asked of the broker before an incarnation starts: topics, their sizes, and who else is in the group.

use std::collections::BTreeSet;
use std::time::Duration;

use super::spec::{Locality, Spec};
use crate::broker::{Broker, BrokerError, ErrorKind, TopicInfo, TopicPartition};
use crate::epoch::TopicLimits;
use crate::event::TopicTable;
use crate::rules::plan::Plan;

/// What was found.
pub(super) struct Found {
    /// The input topics in their order.
    pub topics: TopicTable,
    /// Every input partition.
    pub inputs: Vec<TopicPartition>,
    /// Largest records of the outputs.
    pub limits: TopicLimits,
}

/// Finds the input topics, gives them their places in the total order, and checks that outputs can be written.
pub(super) fn look_up_topics(spec: &Spec) -> Result<Found, BrokerError> {
    let inputs: Vec<String> = spec.streams.iter().flat_map(|stream| stream.topics.clone()).collect();
    let found = spec.broker.topics(&inputs, spec.startup_timeout)?;
    let missing: Vec<&str> = inputs
        .iter()
        .filter(|name| !name.starts_with('^') && !found.iter().any(|info| *info.topic == ***name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        return Err(missing_topics("input", &missing));
    }
    let table = TopicTable::default();
    table.intern_all(found.iter().map(|info| &*info.topic)).ok_or_else(|| {
        BrokerError::new(ErrorKind::Setting, format!("{} input topics are more than can be ordered", found.len()))
    })?;
    let mut limits = TopicLimits::default();
    if spec.check_outputs {
        let own = spec.plan.output_topics();
        let outputs = own.into_iter().chain([&*spec.output_topic, &*spec.dead_letter_topic]);
        let known = find_outputs(&*spec.broker, outputs, spec.startup_timeout)?;
        let sizes = known.into_iter().filter_map(|info| Some((info.topic.to_string(), info.message_bytes_max?)));
        limits.0.extend(sizes);
    }
    check_others(spec)?;
    let partitions = |info: &TopicInfo| {
        let topic = std::sync::Arc::clone(&info.topic);
        (0..info.partitions).map(move |partition| TopicPartition { topic: std::sync::Arc::clone(&topic), partition })
    };
    Ok(Found { topics: table, inputs: found.iter().flat_map(partitions).collect(), limits })
}

/// Whether the topics that rules write to by themselves can be found: what a start would fail for.
pub fn check_outputs(broker: &dyn Broker, plan: &Plan, timeout: Duration) -> Result<(), BrokerError> {
    let own = plan.output_topics();
    if own.is_empty() {
        return Ok(());
    }
    find_outputs(broker, own.into_iter(), timeout).map(drop)
}

fn find_outputs<'a>(
    broker: &dyn Broker,
    names: impl Iterator<Item = &'a str>,
    timeout: Duration,
) -> Result<Vec<TopicInfo>, BrokerError> {
    let names: Vec<String> = names.collect::<BTreeSet<&str>>().into_iter().map(str::to_owned).collect();
    let known = broker.topics(&names, timeout)?;
    let is_missing = |name: &&String| !known.iter().any(|info| *info.topic == ***name);
    let missing: Vec<&str> = names.iter().filter(is_missing).map(String::as_str).collect();
    if missing.is_empty() { Ok(known) } else { Err(missing_topics("output", &missing)) }
}

fn missing_topics(what: &str, names: &[&str]) -> BrokerError {
    let message = format!(
        "{what} topic{} {} {} not exist; create {} first, e.g. kafka-topics.sh --create --topic {} --partitions 4",
        if names.len() == 1 { "" } else { "s" },
        names.join(", "),
        if names.len() == 1 { "does" } else { "do" },
        if names.len() == 1 { "it" } else { "them" },
        names[0],
    );
    BrokerError::new(ErrorKind::TopicMissing, message)
}

/// With `locality: instance` nobody else may be in the group.
fn check_others(spec: &Spec) -> Result<(), BrokerError> {
    if spec.locality != Locality::Instance {
        return Ok(());
    }
    let others = spec.broker.other_members(spec.startup_timeout)?;
    match others.first() {
        None => Ok(()),
        Some(other) => Err(BrokerError::new(ErrorKind::Setting, alone_message(&spec.instance, other))),
    }
}

/// What to tell who is not alone.
pub(super) fn alone_message(ours: &str, other: &str) -> String {
    format!(
        "instance {other} is in this group already, and with `locality: instance` one process owns all partitions: \
         {ours} would take half of every key's events from it. Stop {other}, or start this one under another \
         application_id, or, if the input topics are partitioned by the correlation key, set `locality: partition` on both"
    )
}
