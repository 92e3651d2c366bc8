//! A scenario from its first step to the verdict.

use std::collections::BTreeSet;
use std::time::Duration;

use throughline::event::stable_hash64;
use throughline::fault::Bug;

use crate::input::sleepers;
use crate::instance::Life;
use crate::quiet::Quiet;
use crate::random::Random;
use crate::scenario::Scenario;
use crate::setup::{APPLICATION, OUTPUTS};
use crate::world::World;
use crate::{check, oracle};

/// Longer than a member that is gone keeps its partitions, and its transaction stays open.
const TIMEOUTS: Duration = Duration::from_secs(11);

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Hash of everything that came out, and of when it did: the same seed gives the same.
    pub digest: u64,
    /// Steps taken.
    pub steps: u64,
    /// What it shows: rules that found something, outcomes of records, what went wrong.
    pub shown: BTreeSet<String>,
}

/// Plays a scenario. `Err`: what is wrong.
pub fn play(scenario: &Scenario, bug: Option<Bug>) -> Result<Outcome, String> {
    let _quiet = Quiet::begin();
    let world = World::new(scenario.clone());
    let _stage = world.enter(bug);
    let mut random = Random::new(scenario.seed, 3);
    if scenario.one_shot {
        world.write_all();
    } else {
        let level = random.one_in(2);
        world.run_until(|world| world.is_played() && (!level || world.is_level()))?;
    }
    world.heal()?;
    stop_all(&world, &mut random);
    world.run_until(|world| world.instances.iter().all(|instance| instance.life.get() == Life::Down(u64::MAX)))?;
    pass_timeouts(&world);
    let last = &world.instances[0];
    if !scenario.one_shot && random.one_in(10) {
        // And again after a short life, in which many a partition brings nothing.
        world.expire_offsets();
        last.life.set(Life::Down(0));
        let upto = world.steps.get() + random.below(400);
        world.run_until(|world| world.steps.get() >= upto)?;
        last.die(u64::MAX);
        world.run_until(|world| world.instances[0].life.get() == Life::Down(u64::MAX))?;
        pass_timeouts(&world);
        world.expire_offsets();
    }
    last.spec.borrow_mut().until_end = true;
    last.life.set(Life::Down(0));
    world.run_until(|world| {
        let last = &world.instances[0];
        last.finished.get() && last.life.get() == Life::Down(u64::MAX)
    })?;
    world.snapshot();
    if !world.is_level() {
        return Err("the end came before all was committed".to_owned());
    }
    let expected = oracle::expect(&scenario.setup, &world.broker, sleepers(&scenario.inputs), &world.quiets.borrow());
    check::all(&scenario.setup, &expected, &world.broker, &world.snapshots.borrow())?;
    let mut shown = expected.shown();
    shown.append(&mut world.happened.borrow_mut());
    Ok(Outcome { digest: digest(&world), steps: world.steps.get(), shown })
}

/// So much time passes that nothing is left of those who are gone.
fn pass_timeouts(world: &World) {
    world.clock.advance(TIMEOUTS);
    world.instances.iter().for_each(|instance| world.broker.expire_transaction(APPLICATION, &instance.name));
}

/// Every process ends: by a clean stop, or by dying. What was on its way down does not come back.
fn stop_all(world: &World, random: &mut Random) {
    for instance in &world.instances {
        instance.frozen_until.set(0);
        match instance.life.get() {
            Life::Up if random.one_in(2) => instance.die(u64::MAX),
            Life::Up => instance.drain(u64::MAX),
            Life::Down(_) => instance.life.set(Life::Down(u64::MAX)),
            Life::Draining(_) => instance.life.set(Life::Draining(u64::MAX)),
            Life::Stopping(_) => instance.life.set(Life::Stopping(u64::MAX)),
            Life::Dying(_) => instance.life.set(Life::Dying(u64::MAX)),
        }
    }
}

fn digest(world: &World) -> u64 {
    let mut digest = world.steps.get();
    let mut add = |bytes: &[u8]| digest = stable_hash64(digest, bytes);
    for topic in OUTPUTS {
        for stored in world.broker.records(topic, false) {
            add(&stored.offset.to_le_bytes());
            add(stored.record.key.as_deref().unwrap_or_default());
            add(stored.record.value.as_deref().unwrap_or_default());
            add(&stored.record.timestamp_ms.unwrap_or_default().to_le_bytes());
        }
    }
    for (topic, partition) in world.scenario.setup.places() {
        let committed = world.broker.committed(APPLICATION, crate::scenario::TOPICS[topic], partition);
        add(format!("{committed:?}").as_bytes());
    }
    digest
}
