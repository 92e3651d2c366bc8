//! What `search` and `backtest` share: rules over files and stdin, through the same pipeline as `run`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::args::FileInput;
use crate::broker::file::{FileBroker, LINE_HEADER};
use crate::broker::{BrokerError, ErrorKind, OutRecord};
use crate::epoch::{Delivery, Progress};
use crate::event::{LatePolicy, Outcome, OutcomeCounts, Span};
use crate::pipeline::{self, Control, Locality, PipelineError, Spec};
use crate::rules::plan::Plan;
use crate::sink::DEAD_LETTER_HEADERS;
use crate::source::Stream;
use crate::topology::Placement;

/// Fields that hold the time, in the order in which they are looked for.
const TIME_FIELDS: [&str; 5] = ["@timestamp", "timestamp", "time", "ts", "eventTime"];

/// Topics of the file pipeline's outlet; no file is named so.
const CORRELATIONS: &str = "\u{0}correlations";
const DEAD_LETTERS: &str = "\u{0}dead-letters";

/// What came of it.
pub struct FileResult {
    /// Correlations in the order of the window's end, then of the first event.
    pub correlations: Vec<OutRecord>,
    /// Outcomes, by file.
    pub progress: Progress,
    /// Wall-clock time.
    pub elapsed: Duration,
}

/// Where the event time of files comes from.
enum TimeSource {
    Field(String),
    /// Records are one millisecond apart, in their order.
    Index,
}

/// Runs `plan` over the files. Dead letters and notes go to stderr as they come.
pub fn run(plan: Plan, paths: &[PathBuf], input: &FileInput) -> Result<FileResult, PipelineError> {
    let started = Instant::now();
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let (outputs, received) = crossbeam_channel::unbounded();
    let broker = FileBroker::new(names.clone(), outputs)?;
    let time = match &input.time {
        Some(field) => TimeSource::Field(field.clone()),
        None => find_time(&broker)?,
    };
    let bar = super::progress::FileBar::start(broker.progress());
    let mut spec = spec(plan, names, input, time, broker);
    let control = Control::default();
    let sorter = std::thread::Builder::new().name("outlet".into()).spawn(move || collect(&received));
    let result = pipeline::run(&mut spec, &control);
    bar.finish();
    // The last sender goes with the broker: the collector then ends.
    drop(spec);
    let mut correlations = match sorter {
        Ok(thread) => thread.join().unwrap_or_default(),
        Err(error) => {
            return Err(BrokerError::new(ErrorKind::Fatal, format!("cannot start a thread: {error}")).into());
        }
    };
    let limit = input.limit.and_then(|limit| usize::try_from(limit).ok());
    correlations.truncate(limit.unwrap_or(usize::MAX));
    Ok(FileResult { correlations, progress: result?, elapsed: started.elapsed() })
}

fn spec(plan: Plan, names: Vec<String>, input: &FileInput, time: TimeSource, broker: FileBroker) -> Spec {
    let time = match time {
        TimeSource::Field(field) => Some(field),
        TimeSource::Index => {
            broker.stamp_by_index();
            None
        }
    };
    let stream = Stream {
        topics: names,
        time,
        id: input.id.clone(),
        category: input.category.clone(),
        out_of_orderness: input.out_of_orderness(),
        idle_timeout: None,
        late: LatePolicy::Dlq,
        max_skew: Span::MAX,
        max_future: Span::MAX,
    };
    Spec {
        plan: Arc::new(plan),
        streams: vec![stream],
        broker: Arc::new(broker),
        instance: "files".into(),
        output_topic: CORRELATIONS.into(),
        dead_letter_topic: DEAD_LETTERS.into(),
        check_outputs: false,
        delivery: Delivery::AtLeastOnce,
        epoch: Duration::from_millis(200),
        locality: Locality::Instance,
        state: None,
        state_memory: None,
        dedup_window: if input.id.is_empty() { Span::ZERO } else { Span::MAX },
        retention: Span::MAX,
        placement: Placement { sources: vec![None], shards: vec![None], unpinned_because: None },
        topology: None,
        until_end: true,
        stamp: false,
        startup_timeout: Duration::from_secs(5),
    }
}

/// Looks at the first event for a time field and says what was found.
fn find_time(broker: &FileBroker) -> Result<TimeSource, PipelineError> {
    let Some(first) = broker.first_record()? else { return Ok(TimeSource::Index) };
    let event: Option<serde_json::Value> = serde_json::from_slice(&first).ok();
    let found = TIME_FIELDS.iter().find(|field| event.as_ref().is_some_and(|event| event.get(**field).is_some()));
    match found {
        Some(field) => {
            super::note(format_args!("time field: {field} (of the first event; --time FIELD for another)"));
            Ok(TimeSource::Field((*field).to_owned()))
        }
        None => {
            super::note(format_args!(
                "the first event has none of {}: events are taken one millisecond apart, in their order (--time FIELD)",
                TIME_FIELDS.join(", ")
            ));
            Ok(TimeSource::Index)
        }
    }
}

/// Takes everything that the pipeline puts out: prints dead letters, keeps correlations and sorts them.
fn collect(received: &Receiver<OutRecord>) -> Vec<OutRecord> {
    let mut correlations = Vec::new();
    for record in received {
        if &*record.topic == DEAD_LETTERS {
            print_dead_letter(&record);
        } else {
            correlations.push(record);
        }
    }
    correlations.sort_by(|a, b| a.order.cmp(&b.order).then_with(|| a.value.cmp(&b.value)));
    correlations
}

fn print_dead_letter(record: &OutRecord) {
    let header = |name: &str| {
        let found = record.headers.iter().rev().find(|(header, _)| header == name);
        found.and_then(|(_, value)| value.as_deref()).map(String::from_utf8_lossy).unwrap_or_default()
    };
    let [_, message, topic, _, offset, code, ..] = DEAD_LETTER_HEADERS;
    let line = header(LINE_HEADER);
    let place = if line.is_empty() { format!("record {}", header(offset)) } else { line.into_owned() };
    super::note(format_args!("{}:{place}: {}: {}", header(topic), header(code), header(message)));
}

/// The counts that `search` and `backtest` print at the end, on stderr.
pub fn print_counts(result: &FileResult, shown: usize) {
    let mut total = OutcomeCounts::default();
    result.progress.counts.values().for_each(|counts| total.merge(counts));
    let seconds = result.elapsed.as_secs_f64();
    let dead: u64 = result.progress.dead_letters_total();
    let reasons: Vec<String> = result.progress.dead_letters.iter().map(|(code, n)| format!("{n} {code}")).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let duplicates = match total.get(Outcome::Duplicate) {
        0 => String::new(),
        n => format!(", {n} duplicates"),
    };
    super::note(format_args!(
        "{} events in {seconds:.2} s ({:.0}/s), {dead} dead letters{reasons}{duplicates}, {shown} correlations",
        total.total(),
        total.total() as f64 / seconds.max(1e-9),
    ));
}
