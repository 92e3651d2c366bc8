//! Shards: dedup, order, match. [`core`] is a pure step over a batch, [`worker`] the thread around it.
//!
//! A shard owns a hash range of keys: their timelines, dedup sets and rule state. It shares no state and is never async.

pub mod core;
pub mod fetch;
pub mod restore;
pub mod worker;
