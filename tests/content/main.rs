//! The content that ships with Throughline, run on the engine: the starter rules, on fixtures and on real records, and the
//! generator, whose planted incidents those rules must find.

mod cloudtrail;
mod fixtures;
mod generated;
mod plain;
mod support;
