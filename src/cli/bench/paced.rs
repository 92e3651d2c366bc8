//! The open loop: events are sent at a steady rate while the pipeline, or a bare consumer, runs. What the two take of the
//! processors at the same rate can be compared, and how long outputs take, from when what decides them was due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::load::{self, Sent, TIMEOUT};
use super::process::Meter;
use super::report::{Quantiles, Run};
use super::watch::{self, End};
use super::{Bench, failed, join, no_thread, outcome};
use crate::broker::kafka::Bare;
use crate::broker::{Broker, BrokerError, Flow};
use crate::cli::exit::Failure;
use crate::cli::{note, service};
use crate::control::Control;
use crate::event::Span;

/// A sender that is further behind its schedule than this did not send what was asked for.
const LAG_MAX: Span = Span::from_millis(100);

/// A sender that waits for its start.
struct Sender {
    begin: Arc<AtomicBool>,
    thread: JoinHandle<Result<Sent, BrokerError>>,
}

impl Sender {
    /// Sends from now on. Returns when the warm-up is over.
    fn begin(&self, warm_up: Span) {
        self.begin.store(true, Ordering::Release);
        std::thread::sleep(warm_up.to_std());
    }

    fn finish(self) -> Result<Sent, Failure> {
        let sent = join(self.thread)?.map_err(failed)?;
        if sent.lag > LAG_MAX {
            note(format_args!("the sender could not keep up: it was {} behind at the end", sent.lag));
        }
        Ok(sent)
    }
}

impl Bench<'_> {
    /// An input topic of its own for a run.
    fn input(&self, number: usize) -> Result<String, Failure> {
        let topic = format!("{}-{number}-in", self.name);
        self.account.topic(&topic);
        self.broker.create_topic(&topic, self.args.partitions, TIMEOUT).map_err(failed)?;
        Ok(topic)
    }

    fn sender(&self, topic: &str) -> Result<Sender, Failure> {
        // A producer connects when it sends: its threads are there before anything is measured.
        let mut producer = self.broker.producer(false, None).map_err(failed)?;
        producer.flush(TIMEOUT).map_err(failed)?;
        std::thread::sleep(Duration::from_secs(1));
        let begin = Arc::new(AtomicBool::new(false));
        let (rate, args, topic, begun) =
            (self.args.rate.unwrap_or(1), self.args.clone(), topic.to_owned(), Arc::clone(&begin));
        let body = move || {
            while !begun.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
            load::send_paced(&mut *producer, &topic, rate, &args)
        };
        let thread = std::thread::Builder::new().name("load".into()).spawn(body).map_err(no_thread)?;
        Ok(Sender { begin, thread })
    }

    /// The pipeline runs while events are sent.
    pub(super) fn open_loop(&self, way: &str, number: usize) -> Result<(Run, Sent), Failure> {
        let topic = self.input(number)?;
        let place = self.place(&topic, way, number)?;
        let stop = End::default();
        let watcher = {
            let (stop, broker) = (stop.clone(), service::kafka(&self.settings)?);
            let topic = place.settings.output_topic.clone();
            let body = move || watch::follow(&broker, &topic, &stop);
            std::thread::Builder::new().name("watch".into()).spawn(body).map_err(no_thread)?
        };
        let sender = self.sender(&topic)?;
        let control = Control::default();
        let meter = Meter::start().map_err(no_thread)?;
        let running = place.start(&self.plan, false, &control)?;
        while control.assigned().len() < self.args.partitions.unsigned_abs() as usize && !running.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let begun = Instant::now();
        sender.begin(self.args.warm_up);
        meter.begin();
        let before = control.metrics().committer.processing.read();
        let sent = sender.finish()?;
        let seconds = begun.elapsed().as_secs_f64();
        let deadline = Instant::now() + TIMEOUT;
        while control.progress().records() < sent.records && Instant::now() < deadline && !running.is_finished() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let usage = meter.finish();
        // What the silence decides comes with the next epochs.
        std::thread::sleep(self.settings.epoch.to_std() * 3);
        control.drain();
        let progress = join(running)??;
        stop.set(self.end(&place)?.get());
        let seen = join(watcher)?.map_err(failed)?;
        let mut run = Run::new(way, seconds, sent.records as f64 / seconds, usage);
        let counts = |seen: &&watch::Seen| (sent.from..=sent.last).contains(&seen.decided);
        run.end_to_end_ms = Quantiles::of(seen.iter().filter(counts).map(watch::Seen::latency).collect());
        let processing = control.metrics().committer.processing.read();
        run.processing_ms = Some(Quantiles::from(&processing.since(&before)));
        run.outcome = Some(outcome(&progress, &sent, &seen));
        place.clear(&self.broker)?;
        Ok((run, sent))
    }

    /// A bare consumer runs while events are sent.
    pub(super) fn discard_paced(&self, number: usize) -> Result<(Run, Sent), Failure> {
        let topic = self.input(number)?;
        let sender = self.sender(&topic)?;
        let meter = Meter::start().map_err(no_thread)?;
        let end = End::default();
        let reader = {
            let (broker, topic, partitions) = (service::kafka(&self.settings)?, topic.clone(), self.args.partitions);
            let (end, mut read) = (end.clone(), 0);
            let body = move || {
                broker.read_bare(&topic, partitions, true, &mut |given| {
                    read += i64::from(matches!(given, Bare::Record(..)));
                    if read >= end.get() { Flow::Stop } else { Flow::Continue }
                })
            };
            std::thread::Builder::new().name("bare".into()).spawn(body).map_err(no_thread)?
        };
        let begun = Instant::now();
        sender.begin(self.args.warm_up);
        meter.begin();
        let sent = sender.finish()?;
        let seconds = begun.elapsed().as_secs_f64();
        end.set(i64::try_from(sent.records).unwrap_or(i64::MAX));
        // Its threads are there until it was measured: it ends with its next look at the topic.
        let usage = meter.finish();
        join(reader)?.map_err(failed)?;
        self.account.remove_topics(&self.broker, &[&topic])?;
        Ok((Run::new("bare", seconds, sent.records as f64 / seconds, usage), sent))
    }
}
