//! Where one run of a pipeline happens: topics and a directory of its own, removed when it is over or interrupted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::load::TIMEOUT;
use super::{failed, no_thread};
use crate::broker::kafka::KafkaBroker;
use crate::cli::exit::{Exit, Failure};
use crate::cli::{note, service, state};
use crate::config::Settings;
use crate::epoch::Progress;
use crate::pipeline::{Control, PipelineError};
use crate::rules::plan::Plan;

/// Exit status of a process that was interrupted, as shells have it: 128 and the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// How often a directory is tried whose owner still writes to it.
const REMOVALS: u32 = 20;

/// What a bench has made and not removed yet.
#[derive(Debug, Default)]
struct Made {
    topics: BTreeSet<String>,
    directories: BTreeSet<PathBuf>,
}

/// Keeps account of it, and removes it when the process is told to end.
#[derive(Debug, Clone, Default)]
pub struct Account(Arc<Mutex<Made>>);

impl Account {
    /// Removes what there is and ends the process at the first signal.
    pub fn watch_signals(&self, settings: &Settings) -> Result<(), Failure> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(no_thread)?;
        let (account, broker) = (self.clone(), service::kafka(settings)?);
        let body = move || {
            if signals.forever().next().is_some() {
                note(format_args!("interrupted; removing what was made for this run"));
                account.remove_all(&broker);
                std::process::exit(INTERRUPTED);
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(body).map_err(no_thread)?;
        Ok(())
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A topic that is to go.
    pub fn topic(&self, name: &str) {
        self.made().topics.insert(name.to_owned());
    }

    /// Removes topics now.
    pub fn remove_topics(&self, broker: &KafkaBroker, names: &[&str]) -> Result<(), Failure> {
        broker.delete_topics(names, TIMEOUT).map_err(failed)?;
        let mut made = self.made();
        made.topics.retain(|topic| !names.contains(&topic.as_str()));
        Ok(())
    }

    fn remove_directory(&self, directory: &Path) -> std::io::Result<()> {
        std::fs::remove_dir_all(directory)?;
        self.made().directories.remove(directory);
        Ok(())
    }

    fn remove_all(&self, broker: &KafkaBroker) {
        let Made { topics, directories } = std::mem::take(&mut *self.made());
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        if let Err(error) = broker.delete_topics(&topics, TIMEOUT) {
            note(format_args!("these topics stay: {}: {}", topics.join(", "), error.message));
        }
        for directory in &directories {
            // The pipeline runs on meanwhile.
            let mut removals = (0..REMOVALS).map(|_| {
                std::thread::sleep(Duration::from_millis(10));
                self.remove_directory(directory)
            });
            if !removals.any(|removal| removal.is_ok()) && directory.exists() {
                note(format_args!("{} stays", directory.display()));
            }
        }
    }
}

/// The place of one run.
pub struct Place {
    /// An application of its own.
    pub settings: Settings,
    /// The input is its own too.
    pub open_loop: bool,
    account: Account,
}

impl Place {
    /// Makes its topics.
    pub fn new(settings: Settings, open_loop: bool, broker: &KafkaBroker, account: &Account) -> Result<Place, Failure> {
        let place = Place { settings, open_loop, account: account.clone() };
        {
            let mut made = account.made();
            made.topics.extend(place.topics());
            made.directories.insert(place.settings.state.directory.clone());
        }
        for topic in [&place.settings.output_topic, &place.settings.dead_letter_topic] {
            broker.create_topic(topic, 1, TIMEOUT).map_err(failed)?;
        }
        Ok(place)
    }

    fn topics(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut topics =
            vec![settings.output_topic.clone(), settings.dead_letter_topic.clone(), state::changelog(settings)];
        if self.open_loop {
            topics.extend(settings.inputs.iter().flat_map(|input| input.topics.clone()));
        }
        topics
    }

    /// Starts the pipeline on a thread.
    pub fn start(
        &self,
        plan: &Plan,
        until_end: bool,
        control: &Control,
    ) -> Result<JoinHandle<Result<Progress, PipelineError>>, Failure> {
        let (settings, plan, control) = (self.settings.clone(), plan.clone(), control.clone());
        let body = move || service::run_quietly(&settings, plan, until_end, &control);
        std::thread::Builder::new().name("pipeline".into()).spawn(body).map_err(no_thread)
    }

    /// Removes what the run left behind.
    pub fn clear(&self, broker: &KafkaBroker) -> Result<(), Failure> {
        let topics = self.topics();
        self.account.remove_topics(broker, &topics.iter().map(String::as_str).collect::<Vec<_>>())?;
        let directory = &self.settings.state.directory;
        self.account
            .remove_directory(directory)
            .map_err(|error| Failure::new(Exit::Unreachable, format!("cannot remove {}: {error}", directory.display())))
    }
}
