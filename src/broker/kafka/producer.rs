//! Producers: transactional for `exactly_once`, idempotent for `at_least_once`.
//!
//! After an error that leaves the outcome open, or that librdkafka calls fatal, the producer refuses everything further: its
//! owner drops it and makes a new one, whose start finishes or aborts what the old one left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::classify::{self, Failure, Stage, classify};
use super::context::ClientLog;
use super::handle::{self, KafkaHandle};
use super::settings::{self, KafkaSettings};
use super::{START_TIMEOUT, native};
use crate::broker::{BrokerError, Deliveries, ErrorKind, GroupHandle, OutRecord, Position, Producer};

/// How long one end of a transaction may take: past the coordinator's own limit (`transaction.timeout.ms`, 10 s) waiting
/// longer cannot help.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);

/// How long `send` waits for room in the local queue. Past it nothing has left for a minute: the broker is gone.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(60);

struct ProducerLog {
    log: ClientLog,
    /// The topic whose ends are to be known.
    changelog: Option<String>,
    reports: Mutex<Reports>,
    /// Without transactions: what is on its way.
    sent: Option<Sent>,
}

/// Records by the numbers under which they were sent.
#[derive(Default)]
struct Sent {
    on_their_way: Mutex<OnTheirWay>,
    arrived: Condvar,
}

#[derive(Default)]
struct OnTheirWay {
    next: usize,
    numbers: BTreeSet<usize>,
}

impl Sent {
    fn on_their_way(&self) -> MutexGuard<'_, OnTheirWay> {
        self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> usize {
        let mut records = self.on_their_way();
        let number = records.next;
        records.next += 1;
        records.numbers.insert(number);
        number
    }

    /// It arrived, or never will.
    fn end(&self, number: usize) {
        self.on_their_way().numbers.remove(&number);
        self.arrived.notify_all();
    }

    /// Whether none below this number is on its way within the time.
    fn wait(&self, below: usize, timeout: Duration) -> bool {
        let some = |records: &mut OnTheirWay| records.numbers.first().is_some_and(|first| *first < below);
        let waited = self.arrived.wait_timeout_while(self.on_their_way(), timeout, some);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// What a producer without transactions had sent at a moment.
struct SentBelow {
    log: Arc<ProducerLog>,
    number: usize,
}

impl Deliveries for SentBelow {
    fn wait(&self, timeout: Duration) -> Result<(), BrokerError> {
        let delivered = self.log.sent.as_ref().is_none_or(|sent| sent.wait(self.number, timeout));
        let refused = self.log.reports().refused.take();
        match refused {
            Some((topic, code)) => Err(refusal(Stage::Outside, &topic, code)),
            None if delivered => Ok(()),
            None => {
                let reason = format!("none came within {} s", timeout.as_secs());
                Err(classify::error(ErrorKind::Transient, "waiting for acknowledgements", &reason))
            }
        }
    }
}

/// Dead letters of one record may be large; which topic refused it is what a person needs.
fn refusal(stage: Stage, topic: &str, code: RDKafkaErrorCode) -> BrokerError {
    let kind = classify(stage, Failure::code(code));
    classify::error(kind, &format!("writing to topic {topic}"), &code.to_string())
}

/// What delivery reports said of the transaction that is open.
#[derive(Default)]
struct Reports {
    /// Its number. Reports of an older one come late, also after an abort has returned: no matter of this one.
    transaction: usize,
    /// The first record that was refused: where it was going, and why.
    refused: Option<(String, RDKafkaErrorCode)>,
    /// Last offset + 1 in each partition of the changelog.
    written: BTreeMap<i32, i64>,
}

impl ProducerLog {
    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ProducerLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.log.log(level, facility, line);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ProducerContext for ProducerLog {
    /// The number of the transaction, of the record if there are none.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let transaction = if self.sent.is_some() { 0 } else { number };
        match result {
            Ok(message) => {
                if self.changelog.as_deref() == Some(message.topic()) {
                    let mut reports = self.reports();
                    if reports.transaction == transaction {
                        let end = reports.written.entry(message.partition()).or_default();
                        *end = message.offset().saturating_add(1).max(*end);
                    }
                }
            }
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                let mut reports = self.reports();
                // What is purged is purged by an abort, which is no refusal.
                let purged = matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight);
                if reports.transaction == transaction && !purged {
                    reports.refused.get_or_insert_with(|| (message.topic().to_owned(), code));
                }
            }
        }
        if let Some(sent) = &self.sent {
            sent.end(number);
        }
    }
}

pub(super) struct KafkaProducer {
    producer: ThreadedProducer<ProducerLog>,
    settings: KafkaSettings,
    name: String,
    /// A record of the open transaction was refused.
    tainted: bool,
    /// Why nothing further is accepted.
    dead: Option<BrokerError>,
    changelog: Option<String>,
    /// Without transactions all is one.
    transaction: usize,
    /// Ends of the changelog that were committed, or flushed, and not asked for yet.
    ends: BTreeMap<i32, i64>,
}

/// A connected client; a transactional one has finished or aborted what an older one of its name left open.
fn connect(
    settings: &KafkaSettings,
    transactional: bool,
    changelog: Option<String>,
) -> Result<ThreadedProducer<ProducerLog>, BrokerError> {
    let sent = (!transactional).then(Sent::default);
    let context = ProducerLog { log: ClientLog::default(), changelog, reports: Mutex::default(), sent };
    let config = settings.producer(transactional);
    let producer = ThreadedProducer::from_config_and_context(&config, context).map_err(|e| settings::setting(&e))?;
    if !transactional {
        return Ok(producer);
    }
    retry(START_TIMEOUT, |left| producer.init_transactions(left)).map_err(|failed| {
        let what = format!("starting transactions as {}", settings.transactional_id());
        let error = classify::by_error(&what, &failed);
        // A time-out says nothing; why the client cannot connect does.
        match producer.client().context().log.take_error() {
            Some((code, reason)) if matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Transient) => {
                classify::error(classify::kind(code), &format!("{what} at {}", settings.brokers), &reason)
            }
            _ => error,
        }
    })?;
    Ok(producer)
}

impl KafkaProducer {
    pub(super) fn new(
        settings: &KafkaSettings,
        transactional: bool,
        changelog: Option<&str>,
    ) -> Result<KafkaProducer, BrokerError> {
        let changelog = changelog.map(str::to_owned);
        let producer = connect(settings, transactional, changelog.clone())?;
        let name = if transactional { settings.transactional_id() } else { settings.instance.clone() };
        Ok(KafkaProducer {
            producer,
            settings: settings.clone(),
            name,
            tainted: false,
            dead: None,
            changelog,
            transaction: 0,
            ends: BTreeMap::new(),
        })
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.producer.client().context().reports()
    }

    fn sent(&self) -> Option<&Sent> {
        self.producer.client().context().sent.as_ref()
    }

    fn alive(&self) -> Result<(), BrokerError> {
        self.dead.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Remembers an error after which this producer may not be used again.
    fn note(&mut self, error: BrokerError) -> BrokerError {
        if matches!(error.kind, ErrorKind::Fenced | ErrorKind::Fatal | ErrorKind::Uncertain) {
            self.dead = Some(error.clone());
        }
        error
    }

    fn take_refused(&self) -> Option<(String, RDKafkaErrorCode)> {
        self.reports().refused.take()
    }

    fn stage(&self) -> Stage {
        if self.transaction == 0 { Stage::Outside } else { Stage::Open }
    }

    /// What was written has been made to count.
    fn keep_ends(&mut self) {
        let mut written = std::mem::take(&mut self.reports().written);
        self.ends.append(&mut written);
    }

    /// Whether a record was refused since last asked.
    fn check_refused(&mut self) -> Result<(), BrokerError> {
        match self.take_refused() {
            None => Ok(()),
            Some((topic, code)) => {
                self.tainted = true;
                Err(refusal(self.stage(), &topic, code))
            }
        }
    }

    fn commit_within(&mut self, positions: &[Position], group: &KafkaHandle) -> Result<(), BrokerError> {
        let what = format!("committing a transaction of {}", self.name);
        let flushed = native::flush(&self.producer, TRANSACTION_TIMEOUT);
        self.check_refused()?;
        flushed.map_err(|e| classify::at(Stage::Open, &format!("{what}: records not acknowledged"), &e))?;
        if !positions.is_empty() {
            let offsets = handle::offsets(positions)?;
            // Taken immediately before: an older generation would be refused, a newer one would be a lie.
            let member = group.metadata(positions)?;
            let send = |left| self.producer.send_offsets_to_transaction(&offsets, &member, left);
            retry(TRANSACTION_TIMEOUT, send).map_err(|failed| classify::at(Stage::Open, &what, &failed))?;
        }
        retry(TRANSACTION_TIMEOUT, |left| self.producer.commit_transaction(left))
            .map_err(|failed| classify::at(Stage::Commit, &what, &failed))
    }
}

/// Calls again while librdkafka says that this is safe, within `timeout` in total.
fn retry(timeout: Duration, mut call: impl FnMut(Duration) -> KafkaResult<()>) -> KafkaResult<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match call(left.max(Duration::from_millis(1))) {
            Err(failed) if classify::is_retriable(&failed) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

impl Producer for KafkaProducer {
    fn begin(&mut self) -> Result<(), BrokerError> {
        self.alive()?;
        self.transaction += 1;
        *self.reports() = Reports { transaction: self.transaction, ..Reports::default() };
        let begun = self.producer.begin_transaction();
        begun
            .map_err(|e| self.note(classify::at(Stage::Open, &format!("beginning a transaction of {}", self.name), &e)))
    }

    fn send(&mut self, record: OutRecord) -> Result<(), BrokerError> {
        self.alive()?;
        let headers =
            record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |all, (k, v)| {
                all.insert(Header { key: k, value: v.as_deref() })
            });
        let number = self.sent().map_or(self.transaction, Sent::begin);
        let mut out: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(&record.topic, number).headers(headers);
        out.partition = record.partition;
        out.key = record.key.as_deref();
        out.payload = record.value.as_deref();
        let deadline = Instant::now() + QUEUE_TIMEOUT;
        loop {
            match self.producer.send(out) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    out = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((failed, _)) => {
                    if let Some(sent) = self.sent() {
                        sent.end(number);
                    }
                    let what = format!("writing {} bytes to topic {}", record.bytes(), record.topic);
                    // A client that is finished says only that it is; why, it says when asked.
                    let error = match self.producer.client().fatal_error() {
                        Some((code, reason)) => classify::error(classify::kind(code), &what, &reason),
                        None => classify::at(self.stage(), &what, &failed),
                    };
                    return Err(self.note(error));
                }
            }
        }
    }

    fn commit(&mut self, positions: &[Position], group: &dyn GroupHandle) -> Result<(), BrokerError> {
        self.alive()?;
        let Some(group) = group.as_any().downcast_ref::<KafkaHandle>() else {
            return Err(classify::error(ErrorKind::Fatal, "committing", "the membership is of another broker"));
        };
        self.commit_within(positions, group).map_err(|error| self.note(error))?;
        self.keep_ends();
        Ok(())
    }

    fn abort(&mut self) -> Result<(), BrokerError> {
        self.alive()?;
        self.ends.clear();
        let aborted = retry(TRANSACTION_TIMEOUT, |left| self.producer.abort_transaction(left));
        let what = format!("aborting a transaction of {}", self.name);
        aborted.map_err(|e| self.note(classify::at(Stage::Open, &what, &e)))?;
        // A refused record leaves a hole in its partition's sequence numbers, on which librdkafka fails the next
        // transaction too. A new client of the same name has no such past.
        let refused = self.take_refused().is_some();
        if std::mem::take(&mut self.tainted) || refused {
            match connect(&self.settings, true, self.changelog.clone()) {
                Ok(producer) => self.producer = producer,
                Err(error) => return Err(self.dead.insert(error).clone()),
            }
        }
        Ok(())
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), BrokerError> {
        self.alive()?;
        let flushed = native::flush(&self.producer, timeout);
        self.check_refused()?;
        flushed.map_err(|e| classify::by_error("waiting for acknowledgements", &e))?;
        // In a transaction only its commit makes them count.
        if self.transaction == 0 {
            self.keep_ends();
        }
        Ok(())
    }

    fn deliveries(&self) -> Option<Box<dyn Deliveries>> {
        let number = self.sent()?.on_their_way().next;
        let log = Arc::clone(self.producer.client().context());
        Some(Box::new(SentBelow { log, number }))
    }

    fn log_ends(&mut self) -> Vec<(i32, i64)> {
        std::mem::take(&mut self.ends).into_iter().collect()
    }
}
