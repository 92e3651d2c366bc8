//! The whole service against a real Apache Kafka: what issues and users are promised, tried from the outside.

#[path = "../support/mod.rs"]
mod support;

/// The admin endpoint: health, metrics, states, who may ask.
mod admin;
/// One partition served slowly, and a backlog that must not fill memory.
mod alignment;
/// The broker away for longer than every timeout, under load.
mod attack_outage;
/// kill -9 at every point of the protocol where a crash may hit.
mod attack_points;
/// kill -9 at random moments: with the same directory, none, an old one, and a compacted changelog.
mod attack_random;
/// `at_least_once` under kill -9: repeats with the same id, and nothing else.
mod attack_repeats;
/// SIGSTOP until another has taken over, then SIGCONT; instances that die while partitions move.
mod attack_taken_over;
/// Changelog topics made by hand: refused, or adapted to.
mod changelog_topic;
/// Real CloudTrail records: Kafka against `backtest` against a computation written here; duplicates.
mod cloudtrail;
/// Disks that fill, fail, slow down or flip bytes under a running service.
mod disks;
/// What must not be there, must not be allowed or cannot be reached: one clear message.
mod faults;
/// State of a newer program.
mod formats;
/// Starting the real binary with a configuration of its own.
mod harness;
/// Two instances on one group; a restart under the same name.
mod instances;
/// kill -9 under load: nothing twice, no dead letter lost.
mod kill;
/// What must come out: the same topic, run once and uninterrupted.
mod oracle;
/// Rules of every kind, and an endless stream that they are fed with.
mod oracle_load;
/// Poison: every kind of bad record becomes a dead letter, and the partition goes on.
mod poison;
/// Starts on damaged, foreign, missing and altered state.
mod recovery;
/// Rules that change over a restart.
mod recovery_rules;
/// Rules read again while the service runs.
mod reload;
/// TLS, passwords, tokens and certificates: what works, and what is said when they are wrong.
mod security;
/// Absence and idle partitions: the watermark without traffic.
mod silence;
/// Threads that stand still.
mod stalls;
/// Spans and metrics to a collector.
mod traces;
/// `--until-end` on every kind of end.
mod until_end;
/// A running service that is asked over HTTP.
mod watched;
