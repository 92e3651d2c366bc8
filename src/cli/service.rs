//! The service behind `run`: a configuration made into a pipeline, and what it says of itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::broker::kafka::{Assignment, KafkaBroker, KafkaSettings};
use crate::config::{self, Settings};
use crate::control::{Control, ReadRules};
use crate::epoch::{Delivery, Progress};
use crate::event::{Outcome, OutcomeCounts};
use crate::limits::{STATE_GAPS_SHARE, STORE_CACHE_SHARE, STORE_WRITE_BUFFER_SHARE};
use crate::pipeline::{self, Locality, PipelineError, Spec, Stage};
use crate::rules::Diagnostic;
use crate::rules::plan::Plan;
use crate::source::Stream;
use crate::topology::{PinRequest, Placement, PlanError, Request, Topology};

use super::note;

/// Time between two lines of rates.
const RATES_EVERY: Duration = Duration::from_secs(10);

/// Time between two looks whether a process that stays may leave.
const STAY_LOOKS: Duration = Duration::from_millis(100);

/// How long a broker may stay silent at the start before the process gives up: longer than a broker's restart.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a broker may take to say whether the topics of other rules exist.
const RELOAD_ASKS_FOR: Duration = Duration::from_secs(10);

/// Runs the service until it is told to stop, or with `until_end` until every partition reached the end it had at the start.
pub fn run(settings: &Settings, plan: Plan, until_end: bool, control: &Control) -> Result<Progress, PipelineError> {
    let mut spec = spec(settings, plan, until_end)?;
    announce(settings, &spec);
    control.set_rules_reader(rules_reader(settings, &spec));
    // Before anything that takes long, so that whoever asks is answered while it starts.
    let server = super::admin::start(settings, control)?;
    let exporter = super::admin::export(settings, control)?;
    let started = Instant::now();
    let reporter = Reporter::start(control.clone());
    let result = keep_state(settings, &mut spec, control);
    reporter.finish();
    // Whoever drained it by request may look at it until the process is told to leave.
    while result.is_ok() && control.stays() {
        std::thread::sleep(STAY_LOOKS);
    }
    drop((server, exporter));
    let progress = result?;
    print_totals(&progress, started.elapsed());
    Ok(progress)
}

/// The same, saying nothing.
pub fn run_quietly(
    settings: &Settings,
    plan: Plan,
    until_end: bool,
    control: &Control,
) -> Result<Progress, PipelineError> {
    let mut spec = spec(settings, plan, until_end)?;
    keep_state(settings, &mut spec, control)
}

/// Runs the pipeline on the state on disk. State that turns out to be damaged is set aside at the next open and rebuilt from
/// the changelog; if that cannot be read either, nothing here can help.
fn keep_state(settings: &Settings, spec: &mut Spec, control: &Control) -> Result<Progress, PipelineError> {
    let mut rebuilt = false;
    loop {
        let home = super::state::open(settings, spec)?;
        spec.state = Some(home);
        let result = pipeline::run(spec, control);
        // The directory is given free before it is opened again.
        spec.state = None;
        match result {
            Err(error) if error.stage == Stage::State && !std::mem::replace(&mut rebuilt, true) => {
                tracing::error!(%error, "state on disk is damaged; it is set aside and rebuilt from the changelog");
            }
            result => return result,
        }
    }
}

/// Reads the rules of a configuration again, and asks the broker for the topics that they name: rules that could not start must not
/// take the place of those that run.
fn rules_reader(settings: &Settings, spec: &Spec) -> ReadRules {
    let (paths, broker) = (settings.rule_paths.clone(), Arc::clone(&spec.broker));
    let name = format!("broker {}", settings.kafka.brokers);
    Box::new(move || {
        let plan = super::compile(&paths)?;
        let found = pipeline::check_outputs(&*broker, &plan, RELOAD_ASKS_FOR);
        found.map_err(|error| vec![Diagnostic::of_whole(&*name, "E0701", error.message, None)])?;
        Ok(plan)
    })
}

/// The pipeline of a configuration; its state is not open yet.
pub fn spec(settings: &Settings, plan: Plan, until_end: bool) -> Result<Spec, PipelineError> {
    if settings.inputs.is_empty() {
        let message = "nothing to consume: name at least one topic under `input:` in the configuration".to_owned();
        return Err(PipelineError { stage: Stage::Setup, message });
    }
    let locality = match settings.locality {
        config::Locality::Instance => Locality::Instance,
        config::Locality::Partition => Locality::Partition,
        config::Locality::Repartition => {
            let message = "`locality: repartition` is not built yet; use `instance` or `partition`".to_owned();
            return Err(PipelineError { stage: Stage::Setup, message });
        }
    };
    let broker: Arc<dyn Broker> = Arc::new(kafka(settings)?);
    let (topology, placement) = place(settings)?;
    if let Some(reason) = &placement.unpinned_because {
        tracing::info!(reason, "threads are not pinned");
    }
    for line in topology.table(&placement).to_string().lines() {
        tracing::debug!("topology: {line}");
    }
    Ok(Spec {
        plan: Arc::new(plan),
        streams: settings.inputs.iter().map(stream).collect(),
        broker,
        instance: settings.instance.clone(),
        output_topic: settings.output_topic.clone(),
        dead_letter_topic: settings.dead_letter_topic.clone(),
        check_outputs: true,
        delivery: match settings.delivery {
            config::Delivery::ExactlyOnce => Delivery::ExactlyOnce,
            config::Delivery::AtLeastOnce => Delivery::AtLeastOnce,
        },
        epoch: settings.epoch.to_std(),
        locality,
        state: None,
        state_memory: Some(hot_memory(settings.state.memory_bytes)),
        dedup_window: settings.dedup_window,
        retention: settings.state.cold_ttl,
        placement,
        topology: Some(Arc::new(topology)),
        until_end,
        stamp: true,
        fields_seen: None,
        startup_timeout: STARTUP_TIMEOUT,
    })
}

/// The machine, and where a configuration puts threads on it.
pub fn place(settings: &Settings) -> Result<(Topology, Placement), PipelineError> {
    let topology = Topology::detect();
    let request = Request { sources: settings.workers.sources, shards: settings.workers.shards, pin: pin(settings) };
    let setup = |error: PlanError| PipelineError { stage: Stage::Setup, message: error.to_string() };
    let placement = topology.plan(&request).map_err(setup)?;
    Ok((topology, placement))
}

/// What is left of the memory for state beside what the store takes, epochs under way and what the allocator cannot use.
fn hot_memory(bytes: usize) -> usize {
    bytes - bytes / STORE_CACHE_SHARE - bytes / STORE_WRITE_BUFFER_SHARE - bytes / STATE_GAPS_SHARE
}

/// The way to the configured brokers.
pub fn kafka(settings: &Settings) -> Result<KafkaBroker, PipelineError> {
    let topics: usize = settings.inputs.iter().map(|input| input.topics.len()).sum();
    let pattern = settings.inputs.iter().flat_map(|input| &input.topics).any(|topic| topic.starts_with('^'));
    // Several topics that meet in one task must give equal partition numbers to the same instance: only `range` does.
    let together = settings.locality == config::Locality::Partition && (topics > 1 || pattern);
    Ok(KafkaBroker::new(KafkaSettings {
        brokers: settings.kafka.brokers.clone(),
        properties: settings.kafka.properties.clone(),
        application_id: settings.application_id.clone(),
        instance: settings.instance.clone(),
        assignment: if together { Assignment::Range } else { Assignment::CooperativeSticky },
    })?)
}

fn pin(settings: &Settings) -> PinRequest {
    match &settings.workers.pin {
        config::Pin::Auto => PinRequest::Auto,
        config::Pin::Off => PinRequest::Off,
        config::Pin::List(cpus) => PinRequest::List(cpus.clone()),
    }
}

fn stream(input: &config::Input) -> Stream {
    Stream {
        topics: input.topics.clone(),
        time: input.time_field.clone(),
        id: input.id_fields.clone(),
        category: input.category_field.clone(),
        out_of_orderness: input.out_of_orderness,
        idle_timeout: (input.idle_timeout != crate::event::Span::ZERO).then_some(input.idle_timeout),
        late: input.late,
        max_skew: input.max_skew,
        max_future: input.max_future,
    }
}

/// Says what runs: inputs, rules, outputs.
fn announce(settings: &Settings, spec: &Spec) {
    note(format_args!(
        "throughline {} · {} · instance {} · brokers {}",
        env!("CARGO_PKG_VERSION"),
        settings.application_id,
        settings.instance,
        settings.kafka.brokers
    ));
    for stream in &spec.streams {
        let time = stream.time.as_deref().unwrap_or("the record's timestamp");
        let id = if stream.id.is_empty() { "topic, partition, offset".to_owned() } else { stream.id.join(", ") };
        note(format_args!(
            "  consumes  {} (time: {time}, id: {id}, out of order by up to {})",
            stream.topics.join(", "),
            stream.out_of_orderness
        ));
    }
    let (plan, shards, sources) = (&spec.plan, spec.placement.shards.len(), spec.placement.sources.len());
    note(format_args!(
        "  rules     {} ({} steps, {} conditions, {} fields) on {} shard{} and {} source{}",
        plan.rules.len(),
        plan.steps.len(),
        plan.conditions.len(),
        plan.fields.len().saturating_sub(1),
        shards,
        if shards == 1 { "" } else { "s" },
        sources,
        if sources == 1 { "" } else { "s" },
    ));
    let delivery = match spec.delivery {
        Delivery::ExactlyOnce => "exactly once",
        Delivery::AtLeastOnce => "at least once",
    };
    let own: String = plan.output_topics().into_iter().map(|topic| format!(", {topic}")).collect();
    note(format_args!(
        "  produces  {}{own} ({delivery}, every {}); dead letters to {}",
        spec.output_topic, settings.epoch, spec.dead_letter_topic
    ));
    note(format_args!(
        "  state     in {} and topic {}",
        settings.state.directory.display(),
        super::state::changelog(settings)
    ));
}

/// A line of rates every 10 s, on its own thread.
struct Reporter {
    done: crossbeam_channel::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reporter {
    fn start(control: Control) -> Self {
        let (done, stopped) = crossbeam_channel::bounded::<()>(1);
        let body = move || {
            let (mut before, mut at) = (control.progress(), Instant::now());
            while stopped.recv_timeout(RATES_EVERY) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                let now = control.progress();
                let seconds = at.elapsed().as_secs_f64().max(1e-9);
                at = Instant::now();
                note(format_args!("{}", rates(&before, &now, seconds, control.assigned().len())));
                before = now;
            }
        };
        // Without this thread the service runs all the same, only silently.
        let thread = std::thread::Builder::new().name("rates".into()).spawn(body).ok();
        Reporter { done, thread }
    }

    fn finish(mut self) {
        // The thread may have ended already.
        let _ = self.done.send(());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn rates(before: &Progress, now: &Progress, seconds: f64, partitions: usize) -> String {
    let events = now.records() - before.records();
    format!(
        "{:.0} events/s · {:.1} MB/s · {} correlations · {} dead letters · {partitions} partitions · {} events in all",
        events as f64 / seconds,
        (now.bytes - before.bytes) as f64 / seconds / 1e6,
        now.correlations_total() - before.correlations_total(),
        now.dead_letters_total() - before.dead_letters_total(),
        now.records(),
    )
}

/// The last lines: what became of every record, by topic (INV-COUNT).
fn print_totals(progress: &Progress, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    for (topic, counts) in &progress.counts {
        note(format_args!("{topic}: {} records: {}", counts.total(), outcomes(counts)));
    }
    note(format_args!(
        "{} events in {seconds:.1} s ({:.0}/s), {} correlations, {} dead letters",
        progress.records(),
        progress.records() as f64 / seconds,
        progress.correlations_total(),
        progress.dead_letters_total(),
    ));
}

/// Outcomes with their counts, in their order.
pub fn outcomes(counts: &OutcomeCounts) -> String {
    Outcome::ALL.map(|outcome| format!("{} {}", counts.get(outcome), outcome.name())).join(", ")
}
