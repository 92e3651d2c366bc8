//! What a seed stands for: the shape of the pipeline, the input in the order of its coming, and the faults.

use crate::faults::{Fault, Faults};
use crate::input::Input;
use crate::random::Random;
use crate::rules::RULES;

/// Names of input topics.
pub const TOPICS: [&str; 2] = ["in-a", "in-b"];

/// The wall clock when a simulation begins, in milliseconds since the epoch.
pub const BEGIN_MS: i64 = 1_700_000_000_000;

/// The shape of the pipeline and its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// `locality: partition`: each partition number is a task; else one task, one instance.
    pub by_partition: bool,
    /// Number of instances.
    pub instances: usize,
    /// Source threads of each.
    pub sources: usize,
    /// Shard threads of each.
    pub shards: usize,
    /// Partitions of each topic of [`TOPICS`]; 0: without the second.
    pub partitions: [i32; 2],
    /// The stream's tolerance.
    pub out_of_orderness_ms: i64,
    /// `idle_timeout`; `None`: partitions are never idle.
    pub idle_ms: Option<i64>,
    /// Alignment.
    pub max_skew_ms: i64,
    /// `delivery: at_least_once`: repeats are right, nothing else is.
    pub at_least_once: bool,
    /// Late events are dropped, else they are dead letters.
    pub drop_late: bool,
    /// Dedup window; 0: off.
    pub dedup_ms: i64,
    /// Bits of [`RULES`].
    pub rules: u16,
    /// Time between barriers.
    pub epoch_ms: u64,
    /// Bytes that state may take in memory; what is beyond lies on disk.
    pub memory: Option<usize>,
}

/// One simulation.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Where it all comes from; also seeds the schedule.
    pub seed: u64,
    /// The shape.
    pub setup: Setup,
    /// What producers do, one after the other.
    pub inputs: Vec<Input>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// All is written before anything runs, and one incarnation reads it to its end.
    pub one_shot: bool,
}

impl Scenario {
    /// The scenario of a seed, with faults of these kinds only.
    pub fn of(seed: u64, faults: Faults) -> Scenario {
        let mut random = Random::new(seed, 1);
        let one_shot = !faults.restarts || random.one_in(8);
        let setup = Setup::random(&mut random);
        let setup = Setup { memory: setup.memory.filter(|_| faults.tiers), ..setup };
        let inputs = crate::input::generate(&setup, one_shot, &mut random);
        let faults = crate::faults::generate(&setup, inputs.len(), faults, &mut random);
        Scenario { seed, setup, inputs, faults, one_shot }
    }
}

impl Setup {
    fn random(random: &mut Random) -> Setup {
        let by_partition = random.one_in(3);
        let first = random.between(1, 3) as i32;
        let second = match (by_partition, random.one_in(2)) {
            (true, true) => 0,
            (true, false) => first,
            (false, _) => random.between(1, 2) as i32,
        };
        let idle = random.one_in(3);
        let mut rules = 0;
        for _ in 0..random.between(2, 5) {
            rules |= 1 << random.below(RULES.len() as u64);
        }
        Setup {
            by_partition,
            instances: if by_partition { random.between(1, 2) as usize } else { 1 },
            sources: random.between(1, 3) as usize,
            shards: random.between(1, 3) as usize,
            partitions: [first, second],
            // With idle partitions an event counts as late if the clock went on before it was read; the tolerance is then far
            // above all delays of a simulation, so that what is late stays a function of the log.
            out_of_orderness_ms: if idle { 30_000 } else { random.pick(&[0, 500, 2_000, 5_000]) },
            idle_ms: idle.then(|| random.pick(&[1_000, 5_000])),
            max_skew_ms: if idle { 60_000 } else { random.pick(&[1_000, 10_000, 60_000]) },
            at_least_once: random.one_in(6),
            drop_late: random.one_in(4),
            dedup_ms: random.pick(&[0, 20_000, 3_600_000, 3_600_000]),
            rules,
            epoch_ms: if idle { random.pick(&[5, 50]) } else { random.pick(&[5, 50, 200, 1_000]) },
            // The last is far more than is ever held: keys are taken up one by one after a restart, and none leaves again.
            memory: random.pick(&[None, Some(0), Some(1_500), Some(6_000), Some(300_000)]),
        }
    }

    /// The input topics.
    pub fn topics(&self) -> Vec<&'static str> {
        TOPICS.into_iter().zip(self.partitions).filter(|(_, count)| *count > 0).map(|(topic, _)| topic).collect()
    }

    /// All partitions, as (index into [`TOPICS`], number).
    pub fn places(&self) -> Vec<(usize, i32)> {
        let of = |topic: usize| (0..self.partitions[topic]).map(move |partition| (topic, partition));
        of(0).chain(of(1)).collect()
    }
}
