//! What `search` and `backtest` share: rules over files and stdin, through the same pipeline as `run`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use serde_json::Value;

use super::args::FileInput;
use crate::broker::file::{FileBroker, LINE_HEADER};
use crate::broker::{BrokerError, ErrorKind, OutRecord};
use crate::epoch::{Delivery, Progress};
use crate::event::{FieldId, LatePolicy, Outcome, OutcomeCounts, Span};
use crate::pipeline::{self, Control, Locality, PipelineError, Spec};
use crate::rules;
use crate::rules::plan::{Atom, FieldPath, Plan};
use crate::sink::DEAD_LETTER_HEADERS;
use crate::source::{FieldsSeen, Stream};
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
    /// Fields that the rules read and no event has, and what may have been meant.
    pub missing: Vec<(String, Option<String>)>,
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
    let fields = Fields::of(&plan, &input.category);
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let (outputs, received) = crossbeam_channel::unbounded();
    let broker = FileBroker::new(names.clone(), outputs)?;
    let first = broker.first_record()?.and_then(|first| serde_json::from_slice(&first).ok());
    let time = match &input.time {
        Some(field) => TimeSource::Field(field.clone()),
        None => find_time(first.as_ref()),
    };
    let bar = super::progress::FileBar::start(broker.progress());
    let mut spec = spec(plan, names, input, time, broker);
    let control = Control::default();
    let sorter = std::thread::Builder::new().name("outlet".into()).spawn(move || collect(&received));
    let result = pipeline::run(&mut spec, &control);
    bar.finish();
    // The last sender goes with the broker: the collector then ends.
    let seen = spec.fields_seen.take();
    drop(spec);
    let mut correlations = match sorter {
        Ok(thread) => thread.join().unwrap_or_default(),
        Err(error) => {
            return Err(BrokerError::new(ErrorKind::Fatal, format!("cannot start a thread: {error}")).into());
        }
    };
    let limit = input.limit.and_then(|limit| usize::try_from(limit).ok());
    correlations.truncate(limit.unwrap_or(usize::MAX));
    let missing = seen.map_or_else(Vec::new, |seen| fields.missing(&seen, first.as_ref()));
    Ok(FileResult { correlations, progress: result?, elapsed: started.elapsed(), missing })
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
    let fields = plan.fields.len();
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
        fields_seen: Some(Arc::new(FieldsSeen::new(fields))),
        startup_timeout: Duration::from_secs(5),
    }
}

/// The fields that rules read, by name.
struct Fields {
    names: Vec<String>,
    /// Written `?field` somewhere: that it occurs in no event was thought of.
    optional: Vec<bool>,
}

impl Fields {
    fn of(plan: &Plan, category: &str) -> Fields {
        let mut optional = vec![false; plan.fields.len()];
        for atom in &plan.atoms {
            if let Atom::Field { field, optional: true, .. } = atom {
                optional[field.index()] = true;
            }
        }
        let of_category = |atom: &Atom| matches!(atom, Atom::Field { field: FieldId::CATEGORY, .. });
        let name = |(id, path): (FieldId, &FieldPath)| match id {
            FieldId::CATEGORY => category.to_owned(),
            _ => path.0.clone(),
        };
        // Queries of `any` category do not look at it.
        optional.iter_mut().take(1).for_each(|optional| *optional = !plan.atoms.iter().any(of_category));
        Fields { names: (0..).map(FieldId).zip(&plan.fields).map(name).collect(), optional }
    }

    /// Those that no event has, each with a field of the first event that may have been meant.
    fn missing(&self, seen: &FieldsSeen, first: Option<&Value>) -> Vec<(String, Option<String>)> {
        let mut there = Vec::new();
        first.into_iter().for_each(|event| paths_of(event, "", &mut there));
        let missing = seen.missing().map(|field| field.index()).filter(|field| !self.optional[*field]);
        let meant = |name: &str| rules::nearest(name, there.iter().map(String::as_str)).map(str::to_owned);
        missing.map(|field| (self.names[field].clone(), meant(&self.names[field]))).collect()
    }
}

/// The dotted paths of an object.
fn paths_of(value: &Value, prefix: &str, out: &mut Vec<String>) {
    let Value::Object(members) = value else { return };
    for (name, value) in members {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        paths_of(value, &path, out);
        out.push(path);
    }
}

/// Looks at the first event for a time field and says what was found.
fn find_time(first: Option<&Value>) -> TimeSource {
    let Some(first) = first else { return TimeSource::Index };
    let found = TIME_FIELDS.iter().find(|field| first.get(**field).is_some());
    match found {
        Some(field) => {
            super::note(format_args!("time field: {field} (of the first event; --time FIELD for another)"));
            TimeSource::Field((*field).to_owned())
        }
        None => {
            super::note(format_args!(
                "the first event has none of {}: events are taken one millisecond apart, in their order (--time FIELD)",
                TIME_FIELDS.join(", ")
            ));
            TimeSource::Index
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

/// Fields that are named one by one when no event has them.
const MISSING_NAMED: usize = 5;

/// Says which fields no event has: misspelt, most often.
fn print_missing(missing: &[(String, Option<String>)]) {
    if missing.is_empty() {
        return;
    }
    let named = missing.iter().take(MISSING_NAMED).map(|(name, meant)| match meant {
        Some(meant) => format!("{name} (did you mean {meant}?)"),
        None => name.clone(),
    });
    let named: Vec<String> = named.collect();
    let more = match missing.len().saturating_sub(MISSING_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    super::note(format_args!("in no event: {}{more}", named.join(", ")));
}

/// The counts that `search` and `backtest` print at the end, on stderr.
pub fn print_counts(result: &FileResult, shown: usize) {
    let mut total = OutcomeCounts::default();
    result.progress.counts.values().for_each(|counts| total.merge(counts));
    // Of no events nothing can be said.
    if total.total() > 0 {
        print_missing(&result.missing);
    }
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
