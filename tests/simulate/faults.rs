//! What goes wrong, and when: after how many acts of the producers, and how many steps later.

use throughline::fault::POINTS;

use crate::random::Random;
use crate::scenario::Setup;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Not before the producers have done so many acts.
    pub after_inputs: usize,
    /// And so many steps later.
    pub after_steps: u64,
    /// The instance it hits.
    pub instance: usize,
    /// What.
    pub what: What,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The process dies between two steps, and comes back so many steps later.
    Crash {
        /// Steps until it is started again.
        back_after: u64,
    },
    /// The process dies at the nth passing of a point from now on.
    CrashAt {
        /// Index into [`POINTS`].
        point: usize,
        /// Counted from 1.
        nth: u32,
        /// Steps until it is started again.
        back_after: u64,
    },
    /// The reply to the next commit is lost.
    LostReply {
        /// The commit took effect.
        applied: bool,
    },
    /// The next commit fails and can be aborted.
    CommitAborted,
    /// The next record is refused.
    SendRefused,
    /// The next record never arrives.
    Undelivered,
    /// The session times out while the process lives; it runs on, frozen for so many steps.
    SessionLost {
        /// Steps in which none of its parts runs.
        frozen: u64,
    },
    /// The transaction times out: it is aborted, and its producer fenced.
    TransactionLost,
    /// A clean stop; the instance comes back so many steps later.
    Leave {
        /// Steps until it is started again.
        back_after: u64,
    },
    /// The next writes of its store fail.
    WritesFail {
        /// How many.
        writes: u64,
    },
    /// The process dies and its disk is lost.
    DiskLost {
        /// Steps until it is started again.
        back_after: u64,
    },
    /// Its disk is copied, for [`What::DiskStale`].
    DiskCopied,
    /// The process dies and comes back with the copy of its disk.
    DiskStale {
        /// Steps until it is started again.
        back_after: u64,
    },
    /// From its next start on the process has other numbers of threads.
    Reshape {
        /// Sources.
        sources: usize,
        /// Shards.
        shards: usize,
    },
    /// The broker compacts the changelog.
    Compaction,
    /// The wall clock of the process jumps by so much.
    WallStep {
        /// Milliseconds, forward or back.
        by_ms: i64,
    },
}

/// The names of what goes wrong, apart from the points at which a process dies.
pub const NAMES: &[&str] = &[
    "Crash",
    "CrashAt",
    "LostReply",
    "CommitAborted",
    "SendRefused",
    "Undelivered",
    "SessionLost",
    "TransactionLost",
    "Leave",
    "WritesFail",
    "DiskLost",
    "DiskCopied",
    "DiskStale",
    "Reshape",
    "Compaction",
    "WallStep",
    "OffsetsExpired",
];

/// Which kinds may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Everything that makes a process start again: crashes, lost replies, lost sessions, clean stops.
    pub restarts: bool,
    /// Wall-clock steps.
    pub clock: bool,
    /// Disks that fail, are lost, or are replaced by an old copy; the changelog compacted.
    pub disks: bool,
    /// State that does not fit into memory.
    pub tiers: bool,
}

impl Faults {
    /// All of them.
    pub const ALL: Faults = Faults { restarts: true, clock: true, disks: true, tiers: true };
}

/// Random faults for a scenario with so many inputs.
pub fn generate(setup: &Setup, inputs: usize, allowed: Faults, random: &mut Random) -> Vec<Fault> {
    let mut faults = Vec::new();
    for _ in 0..random.below(9) {
        let what = match random.below(18) {
            0 | 1 if allowed.restarts => What::Crash { back_after: pause(random) },
            2..=4 if allowed.restarts => crash_at(setup, random),
            5 if allowed.restarts => What::LostReply { applied: random.one_in(2) },
            6 if allowed.restarts => random.pick(&[What::CommitAborted, What::SendRefused, What::Undelivered]),
            7 if allowed.restarts => What::SessionLost { frozen: random.below(400) },
            8 if allowed.restarts => What::TransactionLost,
            9 if allowed.restarts => What::Leave { back_after: pause(random) },
            // With idle partitions the wall clock drives the watermark: a clock that runs ahead decides what is late.
            10 | 11 if allowed.clock && setup.idle_ms.is_none() => {
                What::WallStep { by_ms: random.between(-100_000, 100_000) }
            }
            12 if allowed.disks => What::WritesFail { writes: random.pick(&[1, 3, u64::MAX / 2]) },
            13 if allowed.disks => What::DiskLost { back_after: pause(random) },
            14 if allowed.disks => What::DiskCopied,
            15 if allowed.disks => What::DiskStale { back_after: pause(random) },
            16 if allowed.disks => What::Compaction,
            17 if allowed.restarts => {
                What::Reshape { sources: random.between(1, 3) as usize, shards: random.between(1, 4) as usize }
            }
            _ => continue,
        };
        faults.push(Fault {
            after_inputs: random.below(inputs as u64 + 1) as usize,
            after_steps: random.below(60),
            instance: random.below(setup.instances as u64) as usize,
            what,
        });
    }
    faults
}

/// Any point at any passing; where there are revocations, which are few, often the next of those.
fn crash_at(setup: &Setup, random: &mut Random) -> What {
    let revocations: Vec<usize> = (0..POINTS.len()).filter(|at| POINTS[*at].starts_with("revoke.")).collect();
    let (point, nth) = if setup.instances > 1 && random.one_in(2) {
        (random.pick(&revocations), 1)
    } else {
        (random.below(POINTS.len() as u64) as usize, random.between(1, 4) as u32)
    };
    What::CrashAt { point, nth, back_after: pause(random) }
}

/// Back at once, soon, or after the session has timed out.
fn pause(random: &mut Random) -> u64 {
    random.pick(&[0, 5, 40, 600])
}
