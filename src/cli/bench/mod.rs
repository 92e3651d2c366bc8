//! `bench`: load on the whole pipeline from a real broker, and what it took, in one process and one run, so that ratios mean
//! something on a machine that is shared.
//!
//! Without `--rate` a topic is filled first and then drained; with it, events are sent open-loop while the pipeline runs
//! ([`paced`]), and latencies count from the time at which an event was due, not from when it was sent. Every run's outputs are compared with
//! what the generator planted; a run with wrong outputs fails the command, however fast it was.

mod load;
mod paced;
mod place;
mod process;
mod report;
mod watch;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use self::load::{Sent, TIMEOUT};
use self::place::{Account, Place};
use self::process::Meter;
use self::report::{Load, Outcome, Report, Run};
use self::watch::End;
use super::args::{Global, ListFormat};
use super::exit::{Exit, Failure};
use super::{note, refuse, service};
use crate::broker::kafka::{Bare, KafkaBroker};
use crate::broker::{Broker, BrokerError, Flow};
use crate::config::{Delivery, Input, Settings};
use crate::epoch::Progress;
use crate::event::{Outcome as RecordOutcome, OutcomeCounts, Span, Timestamp};
use crate::pipeline::{Control, PipelineError};
use crate::rules::plan::Plan;
use crate::rules::{RuleFile, compile};

/// How long a broker may take to answer at all.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// What to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BaselineArg {
    /// A consumer with the same settings that discards everything
    Bare,
}

/// Which guarantee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeliveryArg {
    /// As configured: exactly_once by default
    Configured,
    /// Transactions
    #[value(name = "exactly_once")]
    ExactlyOnce,
    /// Outputs at once
    #[value(name = "at_least_once")]
    AtLeastOnce,
    /// Each in turn
    Both,
}

/// Arguments of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// How many events
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    pub events: u64,
    /// Events a second, open loop; without it, a full topic is drained
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// With --rate: how long events are sent, and their outputs checked, before latencies and CPU count
    #[arg(long, value_name = "SPAN", default_value = "3s", value_parser = warm_up)]
    pub warm_up: Span,
    /// Number of entities (users)
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub keys: u64,
    /// Number of rules; the starter rules for authentication are among them
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub rules: usize,
    /// One rule more, of which every event begins a match for its entity: as many live keys as entities
    #[arg(long)]
    pub hold: bool,
    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=1024))]
    pub partitions: i32,
    /// Events a second of event time, in a full topic
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub density: u64,
    /// Duplicates per thousand events
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub duplicates: u32,
    /// The same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// What a crash may do to the output
    #[arg(long, value_enum, default_value_t = DeliveryArg::Configured)]
    pub delivery: DeliveryArg,
    /// Run this too, in the same process
    #[arg(long, value_enum)]
    pub baseline: Option<BaselineArg>,
    /// How often each way is run, in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Keep the filled topic for the next time
    #[arg(long)]
    pub keep: bool,
    /// An earlier report (`-o json`) to compare with
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Form of the report
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: ListFormat,
}

/// A broker that was just started compiles itself while it runs, and connections are made with the first records.
fn warm_up(text: &str) -> Result<Span, String> {
    let span: Span = Span::parse(text).map_err(|error| error.to_string())?;
    if (Span::ZERO..=Span::from_secs(600)).contains(&span) { Ok(span) } else { Err("at most 10m".into()) }
}

/// Runs it. Exit status 1: outputs were wrong.
pub(super) fn execute(global: &Global, args: &BenchArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let before = args.compare.as_ref().map(read_report).transpose()?;
    let bench = Bench::new(global, args)?;
    let report = bench.run()?;
    match args.output {
        ListFormat::Text => report.write_text(out)?,
        ListFormat::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report).unwrap_or_default())?,
    }
    if let Some(before) = before {
        report.write_comparison(&before, out)?;
    }
    Ok(if report.is_right() { Exit::Done } else { Exit::CheckFailed })
}

fn read_report(path: &PathBuf) -> Result<Report, Failure> {
    let wrong = |what: String| Failure::new(Exit::Usage, format!("--compare {}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(format!("not a report of `bench -o json`: {error}")))
}

fn failed(error: BrokerError) -> Failure {
    PipelineError::from(error).into()
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::new(Exit::Unreachable, format!("cannot start a thread: {error}"))
}

struct Bench<'a> {
    args: &'a BenchArgs,
    settings: Settings,
    broker: KafkaBroker,
    plan: Plan,
    /// Names topics and groups of this process.
    name: String,
    account: Account,
}

impl<'a> Bench<'a> {
    fn new(global: &Global, args: &'a BenchArgs) -> Result<Bench<'a>, Failure> {
        let settings = global.settings()?;
        let files: Vec<RuleFile> = crate::generate::rule_set(args.rules, args.hold)
            .into_iter()
            .map(|(path, text)| RuleFile { path, text })
            .collect();
        let plan = compile(&files).map_err(|errors| refuse(&errors))?.plan;
        let broker = service::kafka(&settings)?;
        // Whether there is a broker at all shows at once, not when a topic is long in coming.
        broker.topics(&[], ANSWER_WAIT).map_err(failed)?;
        let account = Account::default();
        account.watch_signals(&settings)?;
        let name = format!("throughline-bench-{}-{}", std::process::id(), Timestamp::now().as_millis());
        Ok(Bench { args, settings, broker, plan, name, account })
    }

    fn run(&self) -> Result<Report, Failure> {
        let args = self.args;
        let date = Timestamp::now().to_string();
        let ways = self.ways();
        let mut runs = Vec::new();
        let (topic, sent) = match args.rate {
            Some(_) => (String::new(), None),
            None => {
                let topic = load::topic_of(args);
                note(format_args!("filling topic {topic} with {} events", args.events));
                if !args.keep {
                    self.account.topic(&topic);
                }
                load::fill(&self.broker, &topic, args).map_err(failed)?;
                (topic, Some(load::expected_of(load::stream(args))))
            }
        };
        let (mut records, mut bytes) = sent.as_ref().map_or((0, 0), |sent| (sent.records, sent.bytes));
        for round in 0..args.rounds {
            for way in &ways {
                note(format_args!("round {} of {}: {way}", round + 1, args.rounds));
                let run = match (&sent, *way) {
                    (Some(_), "bare") => self.discard(&topic)?,
                    (Some(sent), way) => self.drain(&topic, sent, way, runs.len())?,
                    (None, way) => {
                        let (run, sent) = match way {
                            "bare" => self.discard_paced(runs.len())?,
                            way => self.open_loop(way, runs.len())?,
                        };
                        (records, bytes) = (sent.records, sent.bytes);
                        run
                    }
                };
                runs.push(run);
            }
        }
        if !args.keep && !topic.is_empty() {
            self.account.remove_topics(&self.broker, &[&topic])?;
        }
        let mut report = Report {
            version: env!("CARGO_PKG_VERSION").into(),
            date,
            machine: process::machine(),
            load: self.load(records, bytes),
            runs,
            ratios: BTreeMap::new(),
            cpu_percent_over_bare: BTreeMap::new(),
        };
        report.compute_ratios();
        Ok(report)
    }

    fn load(&self, events: u64, bytes: u64) -> Load {
        let args = self.args;
        Load {
            events,
            bytes,
            keys: args.keys,
            duplicates: u64::from(args.duplicates),
            density: args.rate.unwrap_or(args.density),
            rate: args.rate,
            warm_up: args.rate.map(|_| args.warm_up.to_string()),
            rules: self.plan.rules.len(),
            hold: args.hold,
            partitions: args.partitions,
            epoch: self.settings.epoch.to_string(),
            state_memory: self.settings.state.memory_bytes,
        }
    }

    fn ways(&self) -> Vec<&'static str> {
        let configured = match self.settings.delivery {
            Delivery::ExactlyOnce => "exactly_once",
            Delivery::AtLeastOnce => "at_least_once",
        };
        let ways = match self.args.delivery {
            DeliveryArg::Configured => vec![configured],
            DeliveryArg::ExactlyOnce => vec!["exactly_once"],
            DeliveryArg::AtLeastOnce => vec!["at_least_once"],
            DeliveryArg::Both => vec!["exactly_once", "at_least_once"],
        };
        self.args.baseline.map(|BaselineArg::Bare| "bare").into_iter().chain(ways).collect()
    }

    /// The settings of one run: an application of its own that reads `topic`, with its state in `directory`.
    fn settings(&self, topic: &str, way: &str, name: &str, directory: PathBuf) -> Settings {
        let mut settings = self.settings.clone();
        let mut input = Input::of_topics(vec![topic.to_owned()]);
        input.time_field = Some("@timestamp".into());
        input.id_fields = vec!["event.id".into()];
        input.out_of_orderness = Span::ZERO;
        settings.inputs = vec![input];
        settings.application_id = name.to_owned();
        settings.output_topic = format!("{name}-out");
        settings.dead_letter_topic = format!("{name}-dlq");
        settings.delivery = if way == "at_least_once" { Delivery::AtLeastOnce } else { Delivery::ExactlyOnce };
        settings.state.directory = directory;
        settings
    }

    /// A bare consumer drains the topic.
    fn discard(&self, topic: &str) -> Result<Run, Failure> {
        let meter = Meter::start().map_err(no_thread)?;
        let (events, begun) = (self.args.events, Instant::now());
        let (topic, broker, partitions) = (topic.to_owned(), service::kafka(&self.settings)?, self.args.partitions);
        let read = move || {
            let (mut left, mut first) = (events, None);
            let result = broker.read_bare(&topic, partitions, true, &mut |record| {
                if let Bare::Record(..) = record {
                    left -= 1;
                    first.get_or_insert_with(Instant::now);
                }
                if left == 0 { Flow::Stop } else { Flow::Continue }
            });
            result.map(|()| first.unwrap_or(begun).elapsed())
        };
        // On a thread of its own, so that it is measured.
        let thread = std::thread::Builder::new().name("bare".into()).spawn(read).map_err(no_thread)?;
        while !thread.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let usage = meter.finish();
        let taken = join(thread)?.map_err(failed)?.as_secs_f64();
        Ok(Run::new("bare", begun.elapsed().as_secs_f64(), events as f64 / taken, usage))
    }

    /// The pipeline drains the topic.
    fn drain(&self, topic: &str, sent: &Sent, way: &str, number: usize) -> Result<Run, Failure> {
        let place = self.place(topic, way, number)?;
        let meter = Meter::start().map_err(no_thread)?;
        let begun = Instant::now();
        let control = Control::default();
        let running = place.start(&self.plan, true, &control)?;
        let rate = watch::rate(&control, sent.records, || running.is_finished());
        let usage = meter.finish();
        let progress = join(running)??;
        let seconds = begun.elapsed().as_secs_f64();
        let seen = watch::follow(&self.broker, &place.settings.output_topic, &self.end(&place)?);
        let mut run = Run::new(way, seconds, rate, usage);
        run.outcome = Some(outcome(&progress, sent, &seen.map_err(failed)?));
        place.clear(&self.broker)?;
        Ok(run)
    }

    /// Where the outputs of a run that is over end.
    fn end(&self, place: &Place) -> Result<End, Failure> {
        let bounds = self.broker.log_bounds(&place.settings.output_topic, &[0], TIMEOUT).map_err(failed)?;
        let end = End::default();
        end.set(bounds.first().map_or(0, |(_, end)| *end));
        Ok(end)
    }

    /// Topics and a directory for one run.
    fn place(&self, topic: &str, way: &str, number: usize) -> Result<Place, Failure> {
        let name = format!("{}-{number}", self.name);
        let directory = self.settings.state.directory.join(&name);
        let settings = self.settings(topic, way, &name, directory);
        Place::new(settings, self.args.rate.is_some(), &self.broker, &self.account)
    }
}

fn join<T>(thread: std::thread::JoinHandle<T>) -> Result<T, Failure> {
    thread.join().map_err(|_| Failure::new(Exit::Unreachable, "a thread of the bench died"))
}

fn outcome(progress: &Progress, sent: &Sent, seen: &[watch::Seen]) -> Outcome {
    let mut total = OutcomeCounts::default();
    progress.counts.values().for_each(|counts| total.merge(counts));
    let (missing, unexpected) = watch::differences(&sent.expected, seen);
    Outcome {
        counts: RecordOutcome::ALL.iter().map(|outcome| (outcome.name().to_owned(), total.get(*outcome))).collect(),
        found: sent.expected.len() as u64 - missing,
        missing,
        unexpected,
        uncounted: sent.records as i64 - total.total() as i64,
    }
}
