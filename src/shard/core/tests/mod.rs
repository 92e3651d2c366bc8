//! Tests of the core against the sentences of the rule semantics, on plans and signals made by hand.

mod aggregate;
mod dedup;
mod lab;
mod order;
mod sequence;
mod suppress;
