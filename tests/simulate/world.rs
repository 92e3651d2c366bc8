//! The scheduler: everything of all processes, the broker, the producers and the clock, on one thread, one step at a time.
//!
//! Who steps next is drawn from the seed. A step of a group that waits in a revocation lets the others go on from within
//! (the pump); the world is therefore shared and all of it is behind cells.

/// What is looked at while it runs.
mod look;
/// What goes wrong.
mod trouble;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use throughline::broker::Broker;
use throughline::broker::memory::MemoryBroker;
use throughline::event::{ManualClock, Timestamp};
use throughline::fault::{Armed, Bug, Crash, arm};
use throughline::pipeline::stepped::{Part, Pump};

use crate::faults::Fault;
use crate::input::{Act, Place};
use crate::instance::{Did, Instance, Life};
use crate::random::Random;
use crate::scenario::{BEGIN_MS, Scenario};
use crate::setup::{APPLICATION, CHANGELOG, changelog_partitions, spec};
use crate::writer::Writer;

/// Steps without which the world must have come to its end: a pipeline that stands still is a failure (INV-LIVE).
const STEPS_MAX: u64 = 150_000;

/// Starts in a row that may fail.
const FAILURES_MAX: u32 = 50;

/// Weights of the actors are drawn anew after so many steps: who is slow changes.
const MOOD_STEPS: u64 = 300;

/// Who may step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actor {
    Writer,
    Clock,
    Part(usize, Part),
}

/// A point that will kill a process.
struct Trap {
    instance: usize,
    point: &'static str,
    left: u32,
    back_after: u64,
}

/// What was committed at one moment, for the checks that need to know what was visible when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Committed offsets, in the order of `Setup::places`.
    pub committed: Vec<i64>,
    /// Visible dead letters.
    pub dead_letters: usize,
}

/// See the module.
pub struct World {
    /// What is played.
    pub scenario: Scenario,
    /// True time.
    pub clock: Arc<ManualClock>,
    /// The broker.
    pub broker: MemoryBroker,
    /// The processes.
    pub instances: Vec<Instance>,
    /// The log ends at each [`Act::Quiet`], in the order of `Setup::places`.
    pub quiets: RefCell<Vec<Vec<i64>>>,
    /// What was committed, now and then.
    pub snapshots: RefCell<Vec<Snapshot>>,
    /// Steps so far.
    pub steps: Cell<u64>,
    /// What went wrong, by name.
    pub happened: RefCell<BTreeSet<String>>,
    places: Vec<Place>,
    writer: RefCell<Writer>,
    written: Cell<usize>,
    random: RefCell<Random>,
    /// Waits for partitions to fall asleep.
    lulls: Cell<u64>,
    actors: RefCell<(Vec<(u64, Actor)>, u64)>,
    pending: RefCell<Vec<Fault>>,
    due: RefCell<Vec<(u64, Fault)>>,
    traps: Rc<RefCell<Vec<Trap>>>,
    /// Whose step is on top of the stack.
    current: Rc<Cell<Option<usize>>>,
    committed: RefCell<Vec<i64>>,
    failure: RefCell<Option<String>>,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// Keeps the world within the pump's reach, and the thread armed.
pub struct Stage(Armed);

impl Drop for Stage {
    fn drop(&mut self) {
        WORLD.set(None);
    }
}

impl World {
    /// A world before its first step.
    pub fn new(scenario: Scenario) -> Rc<World> {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(BEGIN_MS)));
        let broker = MemoryBroker::with_clock(Arc::<ManualClock>::clone(&clock));
        for (topic, partitions) in scenario.setup.topics().into_iter().zip(scenario.setup.partitions) {
            broker.create_topic(topic, partitions);
        }
        if scenario.setup.topics().len() > 1 && scenario.setup.by_partition {
            broker.assign_by_range(APPLICATION);
        }
        crate::setup::OUTPUTS.iter().for_each(|topic| broker.create_topic(topic, 2));
        let log = broker.client(APPLICATION, "setup").prepare_log(
            CHANGELOG,
            changelog_partitions(&scenario.setup).into(),
            Duration::ZERO,
        );
        log.expect("the broker takes a changelog");
        broker.set_log_patience(Duration::ZERO);
        let instance = |at: usize| {
            let name = format!("node-{at}");
            Instance::new(&name, spec(&scenario.setup, &broker, &name), &clock)
        };
        let places = scenario.setup.places();
        Rc::new(World {
            instances: (0..scenario.setup.instances).map(instance).collect(),
            quiets: RefCell::default(),
            snapshots: RefCell::default(),
            steps: Cell::new(0),
            happened: RefCell::default(),
            writer: RefCell::new(Writer::new(&broker).expect("the broker takes producers")),
            written: Cell::new(0),
            random: RefCell::new(Random::new(scenario.seed, 2)),
            lulls: Cell::new(0),
            actors: RefCell::default(),
            pending: RefCell::new(scenario.faults.clone()),
            due: RefCell::default(),
            traps: Rc::default(),
            current: Rc::default(),
            committed: RefCell::new(vec![0; places.len()]),
            failure: RefCell::default(),
            places,
            scenario,
            clock,
            broker,
        })
    }

    /// Brings the world within the reach of its pumps and traps, with a bug planted in all of its processes.
    pub fn enter(self: &Rc<Self>, bug: Option<Bug>) -> Stage {
        WORLD.set(Some(Rc::clone(self)));
        let (traps, current) = (Rc::clone(&self.traps), Rc::clone(&self.current));
        let hook = move |point: &'static str| {
            let mut traps = traps.borrow_mut();
            let met = |trap: &&mut Trap| Some(trap.instance) == current.get() && trap.point == point;
            traps.iter_mut().find(met).is_some_and(|trap| {
                trap.left -= 1;
                trap.left == 0
            })
        };
        Stage(arm(Box::new(hook), bug))
    }

    /// Says what happens, where somebody wants to know (`SIMULATE_TRACE`, one seed).
    fn say(&self, what: impl FnOnce() -> String) {
        if crate::quiet::is_traced() {
            println!("{:>6} {:>8} ms  {}", self.steps.get(), self.now_ms(), what());
        }
    }

    /// Records that the world cannot go on; the first reason counts.
    fn fail(&self, why: String) {
        self.failure.borrow_mut().get_or_insert(why);
    }

    /// Steps until `done`, or until something is wrong.
    pub fn run_until(&self, done: impl Fn(&World) -> bool) -> Result<(), String> {
        while !done(self) {
            self.step();
            if let Some(failure) = &*self.failure.borrow() {
                return Err(failure.clone());
            }
            if self.steps.get() > STEPS_MAX {
                return Err(format!("INV-LIVE: no end after {STEPS_MAX} steps: {}", self.standing()));
            }
        }
        Ok(())
    }

    /// One step of somebody.
    fn step(&self) {
        let now = self.steps.get() + 1;
        self.steps.set(now);
        self.hit(now);
        self.wake(now);
        if now % MOOD_STEPS == 1 {
            self.draw_weights();
        }
        match self.draw() {
            Actor::Writer => self.write(),
            Actor::Clock => self.tick(),
            Actor::Part(instance, part) => self.step_part(instance, part),
        }
    }

    /// Called while a process's group waits for the others.
    fn pump(&self, instance: usize) {
        self.step();
        let dying = matches!(self.instances[instance].life.get(), Life::Dying(_));
        if dying || self.failure.borrow().is_some() || self.steps.get() > STEPS_MAX {
            std::panic::resume_unwind(Box::new(Crash("pump")));
        }
    }

    fn step_part(&self, at: usize, part: Part) {
        let instance = &self.instances[at];
        let now = self.steps.get();
        if !instance.runs() || instance.frozen_until.get() > now {
            return;
        }
        let (above, before) = (self.current.replace(Some(at)), instance.life.get());
        let (did, error) = instance.step(part, now);
        self.current.set(above);
        if before != instance.life.get() {
            self.say(|| format!("{}: {before:?} -> {:?} after {part:?}", instance.name, instance.life.get()));
        }
        if part == Part::Committer && !matches!(did, Did::Nothing) {
            self.see_committed();
            self.see_disk(instance);
        }
        match did {
            Did::Ran | Did::Nothing => {}
            Did::Crashed => {
                let mut traps = self.traps.borrow_mut();
                let sprung = traps.iter().position(|trap| trap.left == 0);
                let back_after = sprung.map_or(0, |trap| {
                    let trap = traps.swap_remove(trap);
                    self.happened.borrow_mut().insert(trap.point.to_owned());
                    trap.back_after
                });
                self.say(|| format!("{} crashed in {part:?}", instance.name));
                drop(traps);
                if !matches!(instance.life.get(), Life::Dying(_)) {
                    instance.die(now.saturating_add(back_after));
                }
                instance.bury();
                self.snapshot();
            }
            Did::Panicked(text) => self.fail(format!("{} panicked in {part:?}: {text}", instance.name)),
        }
        if let Some(error) = error {
            self.fail(format!("{} ended in {part:?}: {error}", instance.name));
        }
    }

    /// Starts the processes whose time has come.
    fn wake(&self, now: u64) {
        for (at, instance) in self.instances.iter().enumerate() {
            let Life::Down(wake) = instance.life.get() else { continue };
            if wake > now {
                continue;
            }
            let pump: Pump = Arc::new(move || {
                let world = WORLD.with_borrow(Clone::clone);
                world.expect("a pump is only called on its stage").pump(at);
            });
            let above = self.current.replace(Some(at));
            let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| instance.start(pump)));
            self.current.set(above);
            self.say(|| format!("{} starts: {:?}", instance.name, started.as_ref().map(|s| s.as_ref().err())));
            match started {
                Ok(Ok(())) => {
                    instance.failures.set(0);
                    self.draw_weights();
                }
                Ok(Err(error)) if instance.failures.get() < FAILURES_MAX && instance.is_mended(error.kind) => {
                    instance.failures.set(instance.failures.get() + 1);
                    instance.life.set(Life::Down(now + 20));
                }
                Ok(Err(error)) => self.fail(format!("{} does not start: {error}", instance.name)),
                Err(payload) if payload.is::<Crash>() => self.step_crashed_start(instance, now),
                Err(_) => self.fail(format!("{} panicked at its start{}", instance.name, crate::quiet::last_place())),
            }
        }
    }

    fn step_crashed_start(&self, instance: &Instance, now: u64) {
        let sprung: Vec<Trap> = self.traps.borrow_mut().extract_if(.., |trap| trap.left == 0).collect();
        self.happened.borrow_mut().extend(sprung.into_iter().map(|trap| trap.point.to_owned()));
        instance.die(now + 5);
    }

    /// How likely each actor is to be next: some are slow for a while.
    fn draw_weights(&self) {
        let mut random = self.random.borrow_mut();
        let mut actors = vec![Actor::Writer, Actor::Clock];
        for (at, instance) in self.instances.iter().enumerate() {
            actors.extend(instance.parts().into_iter().map(|part| Actor::Part(at, part)));
        }
        let mut total = 0;
        let weigh = |actor| {
            total += random.pick(&[1, 4, 8, 8]);
            (total, actor)
        };
        let weighed: Vec<_> = actors.into_iter().map(weigh).collect();
        *self.actors.borrow_mut() = (weighed, total);
    }

    fn draw(&self) -> Actor {
        let (actors, total) = &*self.actors.borrow();
        let drawn = self.random.borrow_mut().below(*total);
        let at = actors.partition_point(|(upto, _)| *upto <= drawn);
        actors.get(at).map_or(Actor::Clock, |(_, actor)| *actor)
    }

    /// A little time passes.
    fn tick(&self) {
        let millis = self.random.borrow_mut().below(20);
        self.clock.advance(Duration::from_millis(millis));
    }

    fn now_ms(&self) -> i64 {
        use throughline::event::Clock;
        self.clock.wall().as_millis() - BEGIN_MS
    }

    /// The next act of the producers, if its time can come.
    fn write(&self) {
        let at = self.written.get();
        let Some(input) = self.scenario.inputs.get(at) else { return };
        if input.act == Act::Quiet && !self.is_level() {
            return;
        }
        if let Act::Asleep { watermark_ms } = input.act
            && !self.is_asleep(watermark_ms)
        {
            return self.lull();
        }
        let ahead = input.at_ms - self.now_ms();
        if ahead > 0 {
            // With idle partitions time must not pass over what was written and is not read yet: it decides what is late.
            if self.scenario.setup.idle_ms.is_some() && !self.is_level() {
                return;
            }
            let piece = if self.scenario.setup.idle_ms.is_some() { ahead.min(2_000) } else { ahead };
            self.clock.advance(Duration::from_millis(piece as u64));
            return;
        }
        if input.act == Act::Quiet {
            self.quiets.borrow_mut().push(self.ends());
        }
        self.say(|| format!("{:?}", input.act));
        if let Err(error) = self.writer.borrow_mut().act(&input.act) {
            self.fail(format!("the producers failed: {error}"));
        }
        self.written.set(at + 1);
    }

    /// Writes the whole input, each record at its time.
    pub fn write_all(&self) {
        for input in &self.scenario.inputs {
            let ahead = input.at_ms - self.now_ms();
            self.clock.advance(Duration::from_millis(ahead.max(0) as u64));
            if let Err(error) = self.writer.borrow_mut().act(&input.act) {
                self.fail(format!("the producers failed: {error}"));
            }
        }
        self.written.set(self.scenario.inputs.len());
    }

    /// Whether the producers and the faults have had their say.
    pub fn is_played(&self) -> bool {
        self.written.get() == self.scenario.inputs.len()
            && self.pending.borrow().is_empty()
            && self.due.borrow().is_empty()
    }

    /// No fault comes any more; what the producers left open is aborted.
    pub fn heal(&self) -> Result<(), String> {
        self.traps.borrow_mut().clear();
        self.pending.borrow_mut().clear();
        self.due.borrow_mut().clear();
        self.writer.borrow_mut().finish().map_err(|error| format!("the producers failed: {error}"))
    }
}
