//! `demo`: the whole pipeline on the embedded broker, live, in one terminal: no Kafka, no configuration.
//!
//! The same sources, shards and transactions as `run`; only the broker is the one in memory. Planted incidents are known
//! beforehand, so the end can say which were found.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::paint::Paint;
use super::{refuse, show};
use crate::broker::memory::MemoryBroker;
use crate::epoch::{Delivery, Progress};
use crate::event::{LatePolicy, OutcomeCounts, RawRecord, Span, Timestamp};
use crate::generate::{Expected, Generator, Kind, Options};
use crate::pipeline::{self, Control, Locality, PipelineError, Spec};
use crate::rules::{RuleFile, compile};
use crate::source::Stream;
use crate::topology::Placement;

const EVENTS: &str = "k8s-events";
const CORRELATIONS: &str = "correlations";
const DEAD_LETTERS: &str = "dead-letters";
const PARTITIONS: i32 = 4;

/// Records of the demo: some minutes of a cluster's life, a few seconds of work, about 100 MB in the embedded broker.
const RECORDS: u64 = 400_000;

/// Records a second that the demo's cluster produces: fast enough to impress, slow enough to read along.
const RATE: u64 = 50_000;

/// Event time that passes in quiet at the end: longer than any rule waits, so that what never happened is decided.
const QUIET: Span = Span::from_secs(15 * 60);

/// The Kubernetes starter rules, as shipped.
const RULES: [(&str, &str); 8] = [
    ("k8s-config-change-then-failures", include_str!("../../rules/kubernetes/k8s-config-change-then-failures.yaml")),
    ("k8s-crash-loop", include_str!("../../rules/kubernetes/k8s-crash-loop.yaml")),
    ("k8s-image-pull-never-started", include_str!("../../rules/kubernetes/k8s-image-pull-never-started.yaml")),
    ("k8s-node-disk-exhausted", include_str!("../../rules/kubernetes/k8s-node-disk-exhausted.yaml")),
    ("k8s-node-not-ready-evictions", include_str!("../../rules/kubernetes/k8s-node-not-ready-evictions.yaml")),
    ("k8s-oom-crash-loop", include_str!("../../rules/kubernetes/k8s-oom-crash-loop.yaml")),
    ("k8s-pods-unschedulable", include_str!("../../rules/kubernetes/k8s-pods-unschedulable.yaml")),
    ("k8s-service-without-endpoints", include_str!("../../rules/kubernetes/k8s-service-without-endpoints.yaml")),
];

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// The same seed plants the same incidents
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,
}

/// What the producing thread planted.
struct Planted {
    expected: Vec<Expected>,
    poison: u64,
    /// Records in all.
    sent: u64,
}

/// Runs the demo.
pub(super) fn execute(args: &DemoArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let paint = Paint::of_stdout();
    let broker = MemoryBroker::new();
    broker.create_topic(EVENTS, PARTITIONS);
    broker.create_topic(CORRELATIONS, 1);
    broker.create_topic(DEAD_LETTERS, 1);
    let files: Vec<RuleFile> =
        RULES.iter().map(|(name, text)| RuleFile { path: format!("{name}.yaml"), text: (*text).into() }).collect();
    let plan = compile(&files).map_err(|errors| refuse(&errors))?.plan;
    let mut spec = spec(plan, &broker);
    writeln!(
        out,
        "A cluster of 2,000 pods sends {RATE} events a second to topic {EVENTS} ({PARTITIONS} partitions, the embedded broker):\n\
         out of order by up to 2 s, 5 in 1,000 sent twice, a few of them broken. {} rules watch. Incidents are planted.\n",
        RULES.len()
    )?;
    out.flush()?;

    let started = Instant::now();
    let producer = broker.clone();
    let seed = args.seed;
    let cannot = |error: std::io::Error| Failure::new(Exit::Unreachable, format!("cannot start a thread: {error}"));
    let planting =
        std::thread::Builder::new().name("cluster".into()).spawn(move || produce(&producer, seed)).map_err(cannot)?;
    let control = Control::default();
    let running = {
        let control = control.clone();
        let run = move || pipeline::run(&mut spec, &control);
        std::thread::Builder::new().name("pipeline".into()).spawn(run).map_err(cannot)?
    };
    let mut shown = Shown::default();
    let mut planted = None;
    let mut planting = Some(planting);
    while !running.is_finished() {
        follow(&broker, &mut shown, paint, out)?;
        if planting.as_ref().is_some_and(std::thread::JoinHandle::is_finished)
            && let Some(thread) = planting.take()
        {
            planted = thread.join().ok();
        }
        if let Some(planted) = &planted
            && settled(&broker, planted, &control.progress())
        {
            control.drain();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let died = || Failure::new(Exit::Unreachable, "the pipeline's thread died");
    let progress = running.join().map_err(|_| died())?.map_err(|error: PipelineError| Failure::from(error))?;
    follow(&broker, &mut shown, paint, out)?;
    let planted = planted.ok_or_else(died)?;
    conclude(&broker, &shown, &planted, &progress, started.elapsed(), out)
}

fn spec(plan: crate::rules::plan::Plan, broker: &MemoryBroker) -> Spec {
    let stream = Stream {
        topics: vec![EVENTS.into()],
        time: Some("@timestamp".into()),
        id: vec!["event.id".into()],
        category: "event.category".into(),
        out_of_orderness: Span::from_secs(3),
        idle_timeout: Some(Span::from_secs(1)),
        late: LatePolicy::Dlq,
        max_skew: Span::from_secs(60),
        max_future: Span::MAX,
    };
    Spec {
        plan: Arc::new(plan),
        streams: vec![stream],
        broker: Arc::new(broker.client("demo", "demo")),
        instance: "demo".into(),
        output_topic: CORRELATIONS.into(),
        dead_letter_topic: DEAD_LETTERS.into(),
        check_outputs: true,
        delivery: Delivery::ExactlyOnce,
        epoch: Duration::from_millis(200),
        locality: Locality::Instance,
        state: None,
        state_memory: None,
        dedup_window: Span::from_secs(3600),
        retention: Span::from_secs(86_400),
        placement: Placement { sources: vec![None], shards: vec![None], unpinned_because: None },
        topology: None,
        until_end: false,
        stamp: true,
        fields_seen: None,
        startup_timeout: Duration::from_secs(5),
    }
}

/// The cluster: paced by the wall clock, every 10,000th record broken. Event time starts far enough back to end about now.
fn produce(broker: &MemoryBroker, seed: u64) -> Planted {
    let options = Options {
        kind: Kind::Kubernetes,
        count: Some(RECORDS),
        keys: 2000,
        seed,
        disorder: Span::from_secs(2),
        duplicates_per_mille: 5,
        ..Options::default()
    };
    let mut generator = Generator::new(options);
    let mut line = Vec::with_capacity(512);
    let (started, mut sent, mut poison, mut time) = (Instant::now(), 0u64, 0u64, Timestamp::MIN);
    loop {
        line.clear();
        let Some(meta) = generator.next(&mut line) else { break };
        time = meta.time;
        let key: Box<[u8]> = line.get(meta.key.clone()).unwrap_or_default().into();
        let partition = (crate::event::stable_hash64(0, &key) % PARTITIONS as u64) as i32;
        send(broker, partition, Some(key), &line);
        sent += 1;
        if sent.is_multiple_of(10_000) {
            send(broker, partition, None, &line[..line.len() / 2]);
            poison += 1;
        }
        if sent.is_multiple_of(500) {
            let due = started + Duration::from_secs_f64(sent as f64 / RATE as f64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    let last = time + QUIET;
    for partition in 0..PARTITIONS {
        let quiet =
            format!(r#"{{"@timestamp":"{last}","event":{{"id":"quiet-{partition}","category":"kubernetes"}}}}"#);
        send(broker, partition, None, quiet.as_bytes());
        sent += 1;
    }
    Planted { expected: generator.take_expected(), poison, sent: sent + poison }
}

fn send(broker: &MemoryBroker, partition: i32, key: Option<Box<[u8]>>, value: &[u8]) {
    let record = RawRecord { key, value: Some(value.into()), headers: Vec::new(), timestamp_ms: None };
    // The topic was made above, and has this many partitions.
    let _ = broker.append(EVENTS, partition, record);
}

/// What was shown so far.
#[derive(Default)]
struct Shown {
    seen: usize,
    /// Rules of which one correlation was shown; the others are counted.
    rules: BTreeSet<String>,
}

/// Shows the first correlation of each rule as it is committed.
fn follow(broker: &MemoryBroker, shown: &mut Shown, paint: Paint, out: &mut dyn Write) -> Result<(), Failure> {
    let found = broker.records(CORRELATIONS, true);
    for record in found.iter().skip(shown.seen) {
        if let Ok(value) = serde_json::from_slice::<Value>(record.record.value.as_deref().unwrap_or_default())
            && shown.rules.insert(value["rule"]["id"].to_string())
        {
            show::block(&value, paint, out)?;
        }
    }
    shown.seen = found.len();
    out.flush()?;
    Ok(())
}

/// Everything was read, and what is planted was found (or has had its time).
fn settled(broker: &MemoryBroker, planted: &Planted, progress: &Progress) -> bool {
    let waited = progress.last_commit.is_some_and(|at| Timestamp::now() - at > Span::from_secs(2));
    progress.records() >= planted.sent && (missing(broker, planted).is_empty() || waited)
}

/// The planted incidents for which there is no correlation yet, as rule and key.
fn missing(broker: &MemoryBroker, planted: &Planted) -> Vec<String> {
    let found: BTreeSet<String> = broker
        .records(CORRELATIONS, true)
        .iter()
        .filter_map(|record| serde_json::from_slice::<Value>(record.record.value.as_deref()?).ok())
        .map(|correlation| name(correlation["rule"]["id"].as_str().unwrap_or_default(), &correlation["key"]))
        .collect();
    let expected = planted.expected.iter().map(|expected| {
        let json = expected.to_json();
        name(json["rule"].as_str().unwrap_or_default(), &json["key"])
    });
    expected.filter(|name| !found.contains(name)).collect()
}

fn name(rule: &str, key: &Value) -> String {
    let values: Vec<String> =
        key.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{rule} {}", values.join(" "))
}

fn conclude(
    broker: &MemoryBroker,
    shown: &Shown,
    planted: &Planted,
    progress: &Progress,
    elapsed: Duration,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut total = OutcomeCounts::default();
    progress.counts.values().for_each(|counts| total.merge(counts));
    let more = shown.seen - shown.rules.len();
    writeln!(out, "One of each rule is shown; {more} more correlations are on topic {CORRELATIONS}.\n")?;
    let missing = missing(broker, planted);
    let incidents = planted.expected.len();
    writeln!(out, "{} events in {:.1} s: {}", total.total(), elapsed.as_secs_f64(), super::service::outcomes(&total))?;
    writeln!(out, "incidents planted: {incidents}, found: {}", incidents - missing.len())?;
    for incident in &missing {
        writeln!(out, "  not found: {incident}")?;
    }
    writeln!(
        out,
        "dead letters: {} ({} broken records were planted), each with its reason in the headers",
        progress.dead_letters_total(),
        planted.poison
    )?;
    writeln!(
        out,
        "\nWhat next\n  \
         your own events:    throughline search 'sequence by user.name with maxspan=1m [any where event.outcome == \"failure\"] with runs=3 \
         [any where event.outcome == \"success\"]' events.jsonl\n  \
         these rules:        rules/kubernetes, and cloudtrail, authentication, payments beside it\n  \
         your own rules:     throughline validate my-rules/ && throughline backtest --rules my-rules/ events.jsonl\n  \
         your own Kafka:     edit config/throughline.yaml, then throughline -c config/throughline.yaml run"
    )?;
    Ok(if missing.is_empty() { Exit::Done } else { Exit::CheckFailed })
}
