//! Apache Kafka through librdkafka. The only importer of `rdkafka`.
//!
//! What it owns: the settings that our promises rest on ([`settings`]), one consumer per membership with a queue of its own
//! for each partition ([`group`], [`rebalance`], [`lease`], [`handle`]), the producers ([`producer`]), the questions asked at
//! the start ([`lookup`], [`offsets`]), topics made and read bare ([`topics`]), the changelog topic ([`changelog`]) and the way back from it ([`restore`]), and the
//! one classification of librdkafka's errors ([`classify`]). Calls that the safe wrapper does not have are in [`native`] and
//! [`native_ask`], which alone are `unsafe`.
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

mod changelog;
mod classify;
mod context;
mod group;
mod handle;
mod lease;
mod lookup;
mod native;
mod native_ask;
mod offsets;
mod owners;
mod producer;
mod rebalance;
mod restore;
mod settings;
mod topics;

use std::time::Duration;

use super::{
    Broker, BrokerError, Flow, Group, GroupEvents, LogInfo, LogRecord, Producer, Subscription, TopicInfo,
    TopicPartition,
};
use lookup::Lookup;
pub use settings::{Assignment, KafkaSettings};
pub use topics::Bare;

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

    fn owned(&self, timeout: Duration) -> Result<Option<Vec<TopicPartition>>, BrokerError> {
        self.lookup.owned(&self.settings.application_id, timeout)
    }

    fn other_members(&self, timeout: Duration) -> Result<Vec<String>, BrokerError> {
        self.lookup.other_members(&self.settings, timeout)
    }

    fn producer(&self, transactional: bool, log: Option<&str>) -> Result<Box<dyn Producer>, BrokerError> {
        Ok(Box::new(producer::KafkaProducer::new(&self.settings, transactional, log)?))
    }

    fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<(i64, String)>>, BrokerError> {
        offsets::of_group(&self.settings, partitions, timeout)
    }

    fn prepare_log(&self, topic: &str, partitions: i32, timeout: Duration) -> Result<LogInfo, BrokerError> {
        changelog::prepare(&self.lookup, topic, partitions, timeout)
    }

    fn log_bounds(&self, topic: &str, partitions: &[i32], timeout: Duration) -> Result<Vec<(i64, i64)>, BrokerError> {
        changelog::bounds(&self.lookup, topic, partitions, timeout)
    }

    fn session_timeout(&self) -> Duration {
        self.settings.session_timeout()
    }

    fn read_log(
        &self,
        topic: &str,
        ranges: &[(i32, i64, i64)],
        visit: &mut dyn FnMut(LogRecord<'_>) -> Flow,
    ) -> Result<(), BrokerError> {
        restore::read(&self.settings, &self.lookup, topic, ranges, visit)
    }
}
