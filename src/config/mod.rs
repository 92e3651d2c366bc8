//! The configuration, in two stages: as typed by the user ([`typed`]), then resolved ([`Settings`]), valid by construction.
//!
//! Layers, later ones win: defaults, the file, `THROUGHLINE_*` variables (`__` between levels), `--set KEY=VALUE`. Each is
//! a source for config-rs, which merges them and deserialises the result. Beside it runs what config-rs does not do: every
//! part's place (file, line, column) is kept by its path, and the merged values are held against the schema, so that all
//! mistakes are told at once, each with its place, also those that are only found when the settings are resolved.
//!
//! What keys exist is written once, in [`typed`]: its JSON schema is what `config schema` prints and what the layers are
//! checked against.
//!
//! Owns nothing at run time. Invariants: a [`Settings`] needs no further check by whoever holds it; a secret does not leave
//! through [`Settings::to_yaml`]. Imported by no room below.

mod check;
mod layers;
mod places;
mod problem;
mod properties;
mod resolve;
mod settings;
mod shape;
mod show;
mod tree;
pub mod typed;
mod units;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use problem::{Problem, ProblemCode};
pub use settings::{
    Admin, Delivery, Input, Kafka, Locality, Pin, Settings, State, Token, Workers, topic_matches, topic_pattern_regex,
};

/// The file that is read when none is named and it exists in the working directory.
pub const DEFAULT_FILE: &str = "throughline.yaml";

/// The variable that names the file where no `-c` does.
pub const FILE_VARIABLE: &str = "THROUGHLINE_CONFIG";

/// Where the settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file (`-c`). `None`: [`FILE_VARIABLE`], else [`DEFAULT_FILE`] if it exists, else no file.
    pub file: Option<PathBuf>,
    /// Variables of the environment, all of them; those that are not ours are passed over.
    pub environment: Vec<(String, String)>,
    /// `--set`, each `KEY=VALUE`, in their order.
    pub overrides: Vec<String>,
}

impl Sources {
    /// `-c` and `--set` with the environment of this process.
    pub fn of_process(file: Option<PathBuf>, overrides: Vec<String>) -> Self {
        // Variables that are not Unicode cannot be ours: their names start with ASCII and their values are YAML.
        let environment =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
        Sources { file, environment, overrides }
    }

    /// The file that will be read, if any.
    pub fn path(&self) -> Option<PathBuf> {
        let named = || {
            let (_, path) = self.environment.iter().find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())?;
            Some(PathBuf::from(path))
        };
        let default = || Path::new(DEFAULT_FILE).is_file().then(|| PathBuf::from(DEFAULT_FILE));
        self.file.clone().or_else(named).or_else(default)
    }
}

/// Reads, lays over, checks and resolves: the settings, or everything that is wrong with them.
pub fn load(sources: &Sources) -> Result<Settings, Vec<Problem>> {
    let (settings, problems) = read(sources);
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

/// Where the rules are, as far as that can be told from a configuration that may be wrong elsewhere: so that a check reports
/// the mistakes of both at once.
pub fn rule_paths(sources: &Sources) -> Vec<PathBuf> {
    read(sources).0.rule_paths
}

fn read(sources: &Sources) -> (Settings, Vec<Problem>) {
    let shape = shape::Shape::of_config();
    let mut layers = layers::Layers::new(&shape);
    if let Some(path) = sources.path() {
        let name = path.display().to_string();
        match std::fs::read(&path) {
            Err(error) => layers.problems.push(Problem::of_file(
                &name,
                ProblemCode::Unreadable,
                format!("cannot be read: {error}"),
                Some("name the configuration file with -c FILE".into()),
            )),
            Ok(bytes) => match yaml::parse_file(&name, &bytes) {
                Ok(file) => layers.file(file),
                Err(problem) => layers.problems.push(problem),
            },
        }
    }
    layers.environment(&sources.environment);
    layers.overrides(&sources.overrides);
    let merged = layers.merge();
    let layers::Layers { places, mut problems, .. } = layers;
    // What could be read is resolved even if some of it is wrong, so that all errors are told at once.
    let typed = merged.and_then(|mut merged| {
        merged.cache = check::check(&merged.cache, &shape, &places, &mut problems);
        merged.try_deserialize::<typed::Config>()
    });
    let typed = typed.unwrap_or_else(|error| {
        // The shape was checked above, so this is a value that fits the schema but not the type.
        problems.push(Problem::at(places.find::<&str>(&[]), ProblemCode::BadValue, error.to_string(), None));
        typed::Config::default()
    });
    let settings = resolve::resolve(&typed, &places, &mut problems);
    problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    problems.dedup();
    (settings, problems)
}

/// The JSON schema of the configuration file.
pub fn schema() -> serde_json::Value {
    shape::schema().to_value()
}
