//! INV-COUNT: every record has one outcome, the first that holds.

/// What became of one input record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// A record without a value.
    Tombstone,
    /// Sent to the dead-letter topic (other than for being late).
    DeadLetter,
    /// Satisfied no step of any rule, or had no usable key.
    Unmatched,
    /// Seen before within the dedup window.
    Duplicate,
    /// Behind the watermark and not processed (policy `dlq` or `drop`).
    Late,
    /// Taken into at least one timeline, or reported by a single-event rule.
    Matched,
}

impl Outcome {
    /// All outcomes, in the order in which the first that holds is taken.
    pub const ALL: [Outcome; 6] = [
        Outcome::Tombstone,
        Outcome::DeadLetter,
        Outcome::Unmatched,
        Outcome::Duplicate,
        Outcome::Late,
        Outcome::Matched,
    ];

    /// The name in metrics, logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Tombstone => "tombstone",
            Outcome::DeadLetter => "dead_letter",
            Outcome::Unmatched => "unmatched",
            Outcome::Duplicate => "duplicate",
            Outcome::Late => "late",
            Outcome::Matched => "matched",
        }
    }
}

/// How many records had each outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutcomeCounts([u64; 6]);

impl OutcomeCounts {
    /// Counts `n` records.
    #[inline]
    pub fn add(&mut self, outcome: Outcome, n: u64) {
        self.0[outcome as usize] += n;
    }

    /// Records with this outcome.
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &OutcomeCounts) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// All records.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}
