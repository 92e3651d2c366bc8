//! `generate`: a seeded event stream with planted incidents, to stdout or to a topic.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::Global;
use super::exit::{Exit, Failure};
use super::{note, service};
use crate::broker::{Broker, BrokerError, OutRecord};
use crate::event::{Span, Timestamp};
use crate::generate::{Expected, Kind, Options, Summary, run, run_into};
use crate::pipeline::PipelineError;

/// Which events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Pods, nodes, services
    Kubernetes,
    /// Logins and sessions
    Security,
    /// Cards and transfers
    Payments,
}

/// Arguments of `generate`.
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// Which events
    #[arg(long, value_enum)]
    pub kind: KindArg,
    /// How many; without it, until interrupted
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Events a second, open loop; without it, as fast as possible
    #[arg(long, value_name = "N")]
    pub rate: Option<u64>,
    /// Number of entities (pods, users, cards)
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub keys: u64,
    /// The same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Time of the first event, RFC 3339, or `now`
    #[arg(long, value_name = "TIME", default_value = "2026-01-01T00:00:00Z")]
    pub start: String,
    /// How far out of order events may arrive
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = |text: &str| Span::parse(text))]
    pub disorder: Span,
    /// Duplicates per thousand events
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub duplicates: u32,
    /// Send to this topic of the configured brokers instead of stdout
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Write the correlations that the starter rules must find to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub expected: Option<PathBuf>,
}

impl GenerateArgs {
    fn options(&self) -> Result<Options, Failure> {
        let start = match self.start.as_str() {
            "now" => Timestamp::now(),
            text => crate::event::parse_time_text(text)
                .map_err(|error| Failure::new(Exit::Usage, format!("--start {text}: {error}")))?,
        };
        let kind = match self.kind {
            KindArg::Kubernetes => Kind::Kubernetes,
            KindArg::Security => Kind::Security,
            KindArg::Payments => Kind::Payments,
        };
        let (count, rate, keys, seed) = (self.count, self.rate, self.keys, self.seed);
        Ok(Options {
            kind,
            count,
            rate,
            keys,
            seed,
            start,
            disorder: self.disorder,
            duplicates_per_mille: self.duplicates,
        })
    }
}

/// Generates.
pub(super) fn execute(global: &Global, args: &GenerateArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let options = args.options()?;
    let summary = match &args.topic {
        None => run(options, out)?,
        Some(topic) => to_topic(global, options, topic)?,
    };
    if let Some(path) = &args.expected {
        write_expected(path, &summary.expected)
            .map_err(|e| Failure::new(Exit::Unreachable, format!("{}: cannot write: {e}", path.display())))?;
    }
    note(format_args!(
        "{} events ({} duplicates), {:.1} MB, {} incidents planted",
        summary.records,
        summary.duplicates,
        summary.bytes as f64 / 1e6,
        summary.expected.len()
    ));
    Ok(Exit::Done)
}

fn to_topic(global: &Global, options: Options, topic: &str) -> Result<Summary, Failure> {
    let settings = global.settings()?;
    let broker = service::kafka(&settings)?;
    let failed = |error: BrokerError| Failure::from(PipelineError::from(error));
    let timeout = std::time::Duration::from_secs(30);
    if broker.topics(&[topic.to_owned()], timeout).map_err(failed)?.is_empty() {
        return Err(Failure::new(Exit::Unreachable, format!("topic {topic} does not exist; create it first")));
    }
    let mut producer = broker.producer(false, None).map_err(failed)?;
    let target: std::sync::Arc<str> = topic.into();
    let summary = run_into(options, |step| match step {
        Some(record) => producer.send(OutRecord {
            topic: std::sync::Arc::clone(&target),
            partition: None,
            key: Some(record.key.to_vec()),
            value: Some(record.value.to_vec()),
            headers: Vec::new(),
            order: None,
        }),
        None => Ok(()),
    })
    .map_err(failed)?;
    producer.flush(timeout).map_err(failed)?;
    Ok(summary)
}

fn write_expected(path: &std::path::Path, expected: &[Expected]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for correlation in expected {
        writeln!(file, "{}", correlation.to_json())?;
    }
    file.flush()
}
