//! Apache Kafka through librdkafka. The only importer of `rdkafka`.
//!
//! What it owns: the settings that our promises rest on ([`settings`]), one consumer per membership with a queue of its own
//! for each partition ([`group`], [`rebalance`], [`lease`], [`handle`]), the producers ([`producer`]), the questions asked at the start ([`lookup`]),
//! and the one classification of librdkafka's errors ([`classify`]). Calls that the safe wrapper does not have are in
//! [`native`], which alone is `unsafe`.
//!
//! What holds here:
//! - A partition's records are read only from its own queue, under the [`lease`] of one assignment. A queue of an older
//!   assignment gives nothing, and no record is given twice or skipped within one assignment, pauses included.
//! - The group's own queue carries events only; a record that shows up there ends the membership instead of being lost.
//! - Offsets are committed by us alone: in a transaction, or explicitly.
//!
//! Static membership: an instance is a named member (`group.instance.id`). Leaving, orderly or not, sends no LeaveGroup, so
//! that the same name takes its partitions back at once after a restart. The price: the partitions of an instance that
//! does not return stay with its name until `session.timeout.ms` (10 s) has passed; the others get them only then.
//!
//! It decides no policy: whether an error ends an epoch, an incarnation or the process is for its callers, by
//! [`ErrorKind`](super::ErrorKind).

mod classify;
mod context;
mod group;
mod handle;
mod lease;
mod lookup;
mod native;
mod producer;
mod rebalance;
mod settings;

use std::time::Duration;

use super::{Broker, BrokerError, Group, GroupEvents, Producer, Subscription, TopicInfo};
use lookup::Lookup;
pub use settings::{Assignment, KafkaSettings};

/// How long joining and making a producer may wait for the broker.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A way to one Kafka cluster.
pub struct KafkaBroker {
    settings: KafkaSettings,
    lookup: Lookup,
}

impl KafkaBroker {
    /// Checks the settings; connects to nothing yet (a broker that is down shows in the first question asked).
    ///
    /// Errors: [`ErrorKind::Setting`](super::ErrorKind::Setting), naming every property that is unknown or may not be used.
    pub fn new(settings: KafkaSettings) -> Result<KafkaBroker, BrokerError> {
        settings.check()?;
        let lookup = Lookup::new(&settings)?;
        Ok(KafkaBroker { settings, lookup })
    }
}

impl Broker for KafkaBroker {
    fn topics(&self, patterns: &[String], timeout: Duration) -> Result<Vec<TopicInfo>, BrokerError> {
        self.lookup.topics(patterns, timeout)
    }

    fn join(&self, subscription: &Subscription, events: Box<dyn GroupEvents>) -> Result<Box<dyn Group>, BrokerError> {
        Ok(Box::new(group::KafkaGroup::join(&self.settings, self.lookup.clone(), subscription, events)?))
    }

    fn other_members(&self, timeout: Duration) -> Result<Vec<String>, BrokerError> {
        self.lookup.other_members(&self.settings, timeout)
    }

    fn producer(&self, transactional: bool) -> Result<Box<dyn Producer>, BrokerError> {
        Ok(Box::new(producer::KafkaProducer::new(&self.settings, transactional)?))
    }
}
