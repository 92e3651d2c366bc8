//! What the process says about itself: its log on stderr, its [`metrics`], whether its threads live, and what
//! it sends to OpenTelemetry ([`otlp`]).
//!
//! Owns the process-wide subscriber. May not be called per event: a message that an input can cause again and again goes
//! through [`RateLimit`], and numbers are counted by the batch.

pub mod liveness;
pub mod metrics;
pub mod otlp;
mod rate;

pub use rate::{First, RateLimit};

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The variable that sets the filter in full, e.g. `throughline::epoch=trace,info`; it wins over `-v` and `-q`.
pub const FILTER_VARIABLE: &str = "THROUGHLINE_LOG";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged: 0 is normal (info), each step up or down one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verbosity(pub i8);

impl Verbosity {
    /// The least severe level that is logged.
    pub fn level(self) -> LevelFilter {
        match self.0 {
            ..=-2 => LevelFilter::ERROR,
            -1 => LevelFilter::WARN,
            0 => LevelFilter::INFO,
            1 => LevelFilter::DEBUG,
            2.. => LevelFilter::TRACE,
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// [`FILTER_VARIABLE`] cannot be read.
    #[error(
        "{FILTER_VARIABLE}: {0}; write e.g. {FILTER_VARIABLE}=debug or {FILTER_VARIABLE}=throughline::epoch=trace,info"
    )]
    Filter(String),
    /// Another subscriber is installed already.
    #[error("logging is set up already")]
    Installed,
}

/// Sets up logging to stderr for the whole process. Called once, before threads start. Colour only on a terminal, and not with
/// `NO_COLOR`.
pub fn init_logging(format: LogFormat, verbosity: Verbosity) -> Result<(), LogError> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(text) if !text.trim().is_empty() => {
            EnvFilter::try_new(&text).map_err(|error| LogError::Filter(error.to_string()))?
        }
        _ => {
            let filter = EnvFilter::default().add_directive(verbosity.level().into());
            // The bindings trace every pointer and call an orderly close twice an error; what the client itself has to say
            // comes through our own context.
            match "rdkafka=off".parse() {
                Ok(directive) => filter.add_directive(directive),
                Err(_) => filter,
            }
        }
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Text => builder.with_ansi(colour_on(&std::io::stderr())).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|_| LogError::Installed)
}

/// Whether to colour what goes to `stream`: only a terminal, only if `NO_COLOR` is unset or empty
/// (<https://no-color.org>) and `TERM` is not `dumb`.
pub fn colour_on(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).unwrap_or_default();
    stream.is_terminal() && set("NO_COLOR").is_empty() && set("TERM") != "dumb"
}
