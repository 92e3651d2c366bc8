//! Outputs: correlations and dead letters as records. Encodes; never begins, sends or commits.

mod correlation;
mod dead_letter;
mod summary;
#[cfg(test)]
mod tests;

pub use correlation::{CorrelationEncoder, Encoded};
pub use dead_letter::{DeadLetterEncoder, HEADERS as DEAD_LETTER_HEADERS};
