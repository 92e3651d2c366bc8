//! Throughline finds the line that runs through many events: a stream processor beside Kafka that keeps a timeline for
//! every entity and evaluates correlation rules over event time, exactly once.
//!
//! The rooms and their levels are in `ARCHITECTURE.md`; `tests/tidy.rs` holds the imports to it.

pub mod admin;
pub mod broker;
pub mod cli;
pub mod config;
pub mod control;
pub mod decode;
pub mod detect;
pub mod epoch;
pub mod event;
pub mod fault;
pub mod generate;
pub mod limits;
pub mod pipeline;
pub mod ring;
pub mod rules;
pub mod shard;
pub mod sink;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod timeline;
pub mod topology;
