//! What is asked of a cluster outside the flow of records: which topics exist, who is in the group, where partitions end.
//!
//! A client of its own, without a group: it connects when first asked, and its questions never wait behind a fetch.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::TopicPartitionList;
use regex::Regex;

use super::context::ClientLog;
use super::native_ask::Described;
use super::settings::{self, KafkaSettings};
use super::{classify, native_ask};
use crate::broker::{BrokerError, ErrorKind, TopicInfo, TopicPartition};

/// Topics that Kafka and tools keep for themselves.
const INTERNAL: &str = "__";

/// How long the topics' size limits may take; they are only good for a better message.
const CONFIGS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long events may take to come out of the client's queue.
const EVENTS_TIMEOUT: Duration = Duration::from_millis(20);

/// Events dropped after each question; more do not gather between two of them.
const EVENTS_KEPT: usize = 16;

/// How long a question waits before it is looked why there is no answer.
const TURN: Duration = Duration::from_secs(1);

/// Which end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// The first record that is there.
    Start,
    /// The high watermark.
    End,
    /// The first record of the oldest open transaction, else the high watermark.
    StableEnd,
}

#[derive(Clone)]
pub(super) struct Lookup {
    client: Arc<BaseConsumer<ClientLog>>,
    settings: Arc<KafkaSettings>,
}

impl Lookup {
    pub(super) fn new(settings: &KafkaSettings) -> Result<Lookup, BrokerError> {
        let mut config = settings.lookup();
        // What goes wrong is in the answer to the question; nobody reads this client's log between questions.
        config.set_log_level(RDKafkaLogLevel::Emerg);
        let client = config.create_with_context(ClientLog::default()).map_err(|e| settings::setting(&e))?;
        Ok(Lookup { client: Arc::new(client), settings: Arc::new(settings.clone()) })
    }

    /// The client that asks.
    pub(super) fn client(&self) -> &BaseConsumer<ClientLog> {
        &self.client
    }

    /// A failed question, with the reason that the client itself gives, which says more than the question's own code.
    pub(super) fn failed(&self, what: &str, error: &KafkaError) -> BrokerError {
        // Errors of connections wait as events, among others, until they are fetched.
        while self.client.poll(EVENTS_TIMEOUT).is_some() {}
        let what = format!("{what} at {}", self.settings.brokers);
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        match self.client.context().last_error() {
            Some((cause, reason)) if classify::kind(code) == ErrorKind::Unreachable => {
                // A certificate that the broker refuses comes as a connection that it closes.
                let refused = classify::kind(cause) == ErrorKind::Authentication || reason.contains("SSL routines");
                let kind = if refused { ErrorKind::Authentication } else { ErrorKind::Unreachable };
                classify::error(kind, &what, &reason)
            }
            _ => classify::by_code(&what, code),
        }
    }

    /// Asks in turns until `timeout`: brokers that are silent may come up, but who refuses us now will refuse us then.
    fn ask<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut ask: impl FnMut(Duration) -> Result<T, KafkaError>,
    ) -> Result<T, BrokerError> {
        let _ = self.client.context().take_error();
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match ask(left.min(TURN)).map_err(|error| self.failed(what, &error)) {
                Err(error) if error.kind == ErrorKind::Unreachable && left > TURN => {}
                answer => return answer,
            }
        }
    }

    fn metadata(&self, topic: Option<&str>, timeout: Duration) -> Result<Metadata, BrokerError> {
        self.ask("asking for topics", timeout, |turn| self.client.fetch_metadata(topic, turn))
    }

    /// Topics that match, with their number of partitions, by name.
    fn find(&self, patterns: &[String], timeout: Duration) -> Result<Vec<TopicInfo>, BrokerError> {
        let matcher = Matcher::new(patterns)?;
        let deadline = Instant::now() + timeout;
        let all = self.metadata(None, timeout)?;
        let mut found = Vec::new();
        for topic in all.topics().iter().filter(|t| matcher.matches(t.name())) {
            found.push(topic_info(topic.name(), topic.partitions().len()));
        }
        // A topic that we may not see is left out of the list of all; asked by its name, the broker says why.
        for name in &matcher.names {
            if found.iter().any(|t: &TopicInfo| *t.topic == **name) {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
            let answer = self.metadata(Some(name), left)?;
            for topic in answer.topics() {
                match topic.error().map(RDKafkaErrorCode::from) {
                    Some(code) if classify::kind(code) == ErrorKind::Authorization => {
                        return Err(classify::by_code(&format!("topic {name}"), code));
                    }
                    Some(_) => {}
                    None => found.push(topic_info(topic.name(), topic.partitions().len())),
                }
            }
        }
        found.retain(|t| t.partitions > 0);
        found.sort_by(|a, b| a.topic.cmp(&b.topic));
        Ok(found)
    }

    pub(super) fn names(&self, patterns: &[String], timeout: Duration) -> Result<Vec<String>, BrokerError> {
        Ok(self.find(patterns, timeout)?.iter().map(|t| t.topic.to_string()).collect())
    }

    pub(super) fn topics(&self, patterns: &[String], timeout: Duration) -> Result<Vec<TopicInfo>, BrokerError> {
        let mut found = self.find(patterns, timeout)?;
        let limits = self.size_limits(&found, timeout.min(CONFIGS_TIMEOUT)).unwrap_or_default();
        for topic in &mut found {
            topic.message_bytes_max = limits.get(&*topic.topic).copied();
        }
        Ok(found)
    }

    /// A topic by its name; `None`: it does not exist.
    pub(super) fn describe(&self, topic: &str, timeout: Duration) -> Result<Option<Described>, BrokerError> {
        self.ask(&format!("looking for topic {topic}"), timeout, |turn| {
            match native_ask::describe_topic(&self.client, topic, turn) {
                Ok(described) => Ok(Some(described)),
                Err((code, _)) if classify::kind(code) == ErrorKind::TopicMissing => Ok(None),
                Err((code, _)) => Err(KafkaError::Global(code)),
            }
        })
    }

    fn leaderless(&self, what: &str, topic: &str, reason: &str, timeout: Duration) -> BrokerError {
        match self.describe(topic, timeout) {
            Ok(Some(_)) => classify::error(ErrorKind::Transient, &format!("{what} of topic {topic}"), reason),
            Ok(None) => classify::by_code(&format!("{what} of topic {topic}"), RDKafkaErrorCode::UnknownTopic),
            Err(error) => error,
        }
    }

    /// Only to empty it: this client is asked often and nobody else reads its events.
    fn drop_events(&self) {
        for _ in 0..EVENTS_KEPT {
            let _ = self.client.poll(Duration::ZERO);
        }
    }

    /// A client for what only an administrator may ask, and its answer within `timeout`.
    pub(super) fn administer<T>(
        &self,
        timeout: Duration,
        ask: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        let mut config = self.settings.lookup();
        config.set_log_level(RDKafkaLogLevel::Emerg);
        let admin = config.create()?;
        let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
        let answer = block_on(ask(&admin, &options), timeout + Duration::from_secs(1));
        answer.unwrap_or(Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut)))
    }

    /// `max.message.bytes` of each topic, as far as we may know it: that needs a right of its own.
    fn size_limits(&self, topics: &[TopicInfo], timeout: Duration) -> Option<HashMap<String, usize>> {
        if topics.is_empty() {
            return None;
        }
        let wanted: Vec<_> = topics.iter().map(|t| ResourceSpecifier::Topic(&t.topic)).collect();
        let ask = async |admin: &AdminClient<_>, options: &_| admin.describe_configs(&wanted, options).await;
        let answer = self.administer(timeout, ask).ok()?;
        let known = answer.into_iter().flatten().filter_map(|resource| {
            let limit = resource.get("max.message.bytes")?.value.as_ref()?.parse().ok()?;
            match resource.specifier {
                rdkafka::admin::OwnedResourceSpecifier::Topic(name) => Some((name, limit)),
                _ => None,
            }
        });
        Some(known.collect())
    }

    /// Members by name. Our instances set `client.id` to their name, so a foreign program shows under its own.
    pub(super) fn other_members(&self, us: &KafkaSettings, timeout: Duration) -> Result<Vec<String>, BrokerError> {
        let _ = self.client.context().take_error();
        let groups = match self.client.fetch_group_list(Some(&us.application_id), timeout) {
            Ok(groups) => groups,
            // No such group yet.
            Err(KafkaError::GroupListFetch(RDKafkaErrorCode::UnknownGroup)) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed("asking who is in the group", &error)),
        };
        let members = groups.groups().iter().filter(|g| g.name() == us.application_id).flat_map(|g| g.members());
        let mut names: Vec<String> = members.map(|m| m.client_id().to_owned()).filter(|n| *n != us.instance).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// High watermarks, in the order asked.
    pub(super) fn end_offsets(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<i64>, BrokerError> {
        self.offsets(partitions, Bound::End, timeout)
    }

    /// One bound of each partition, in the order asked.
    pub(super) fn offsets(
        &self,
        partitions: &[TopicPartition],
        bound: Bound,
        timeout: Duration,
    ) -> Result<Vec<i64>, BrokerError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let (what, asked) = match bound {
            Bound::Start => ("asking where partitions begin", Offset::Beginning),
            Bound::End | Bound::StableEnd => ("asking where partitions end", Offset::End),
        };
        let mut wanted = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            wanted
                .add_partition_offset(&partition.topic, partition.partition, asked)
                .map_err(|e| classify::by_error(what, &e))?;
        }
        let answer = native_ask::list_offsets(&self.client, &wanted, bound == Bound::StableEnd, timeout);
        self.drop_events();
        let answer = match answer {
            Ok(answer) => answer,
            // No partition has a leader that anyone knows of: none at the moment, or there is no such topic.
            Err((RDKafkaErrorCode::NoEnt, on)) => {
                return Err(self.leaderless(what, &partitions[0].topic, &on, timeout));
            }
            Err((code, on)) => return Err(classify::by_code(&format!("{what} ({on})"), code)),
        };
        let known: HashMap<(&str, i32), i64> = answer.iter().map(|(t, p, o)| ((t.as_str(), *p), *o)).collect();
        let ends = partitions.iter().map(|p| {
            known.get(&(&*p.topic, p.partition)).copied().ok_or_else(|| {
                let on = format!("{}/{} is missing from the answer", p.topic, p.partition);
                classify::error(ErrorKind::Transient, what, &on)
            })
        });
        ends.collect()
    }
}

fn topic_info(name: &str, partitions: usize) -> TopicInfo {
    TopicInfo { topic: name.into(), partitions: i32::try_from(partitions).unwrap_or(0), message_bytes_max: None }
}

/// Names, and regular expressions that start with `^`.
struct Matcher<'p> {
    names: Vec<&'p str>,
    expressions: Vec<Regex>,
}

impl<'p> Matcher<'p> {
    fn new(patterns: &'p [String]) -> Result<Matcher<'p>, BrokerError> {
        let (expressions, names): (Vec<&str>, Vec<&str>) =
            patterns.iter().map(String::as_str).partition(|p| p.starts_with('^'));
        let compile =
            |p: &str| Regex::new(p).map_err(|e| BrokerError::new(ErrorKind::Setting, format!("topics `{p}`: {e}")));
        let expressions = expressions.into_iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Matcher { names, expressions })
    }

    fn matches(&self, topic: &str) -> bool {
        // A name is what its user says it is; only a pattern does not mean Kafka's own topics.
        self.names.contains(&topic)
            || (!topic.starts_with(INTERNAL) && self.expressions.iter().any(|e| e.is_match(topic)))
    }
}

/// Waits for one of rdkafka's admin answers, which a thread of its own completes.
fn block_on<F: Future>(future: F, timeout: Duration) -> Option<F::Output> {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    let deadline = Instant::now() + timeout;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_do_not_reach_internal_topics_but_names_do() {
        let patterns = ["^.*".to_owned(), "__odd".to_owned()];
        let matcher = Matcher::new(&patterns).expect("patterns");
        assert!(matcher.matches("orders") && matcher.matches("__odd"));
        assert!(!matcher.matches("__consumer_offsets"));
    }

    #[test]
    fn a_bad_pattern_is_a_setting_error() {
        let patterns = ["^logs(".to_owned()];
        assert_eq!(Matcher::new(&patterns).err().map(|e| e.kind), Some(ErrorKind::Setting));
    }
}
