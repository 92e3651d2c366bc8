//! `broker::kafka` against a real Apache Kafka.

#[path = "../support/mod.rs"]
mod support;

/// A member as the pipeline would be one, with everything it saw kept.
mod member;

/// The topic that keeps state: made, measured, read back.
mod changelog;
/// Committed offsets: their metadata, and where to start without them.
mod committed;
/// Records through partition queues: order, stopping, pauses, ends.
mod consume;
/// Members coming and going, crashing, and being pushed out.
mod membership;
/// Partitions that stay while others come and go.
mod rebalances;
/// Broker down, missing topics, refused rights and settings.
mod refusals;
/// The client that the other tests judge by.
mod support_works;
/// Commit, abort, fencing, and what others see of it.
mod transactions;
