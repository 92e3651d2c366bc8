//! An incarnation without threads: whoever holds it steps its parts one at a time, in any order. What simulations run.
//!
//! A part that is being stepped is away from its place, so a part may step the others from within (the group's, while it
//! waits in a revocation): a step of one that is away does nothing. A part that unwinds is gone, as after a crash.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use super::parts::{GroupParts, Hand, Parts};
use super::spec::Spec;
use crate::broker::BrokerError;
use crate::control::Control;
use crate::epoch::{Committer, Notice, Order};
use crate::event::Clock;
use crate::ring::Step;
use crate::shard::fetch::Fetcher;
use crate::shard::worker::Worker;
use crate::source::{Phase, Source};

pub use super::membership::Pump;

/// One of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The group thread's.
    Group,
    /// A source's.
    Source(usize),
    /// A shard's.
    Shard(usize),
    /// The committer's.
    Committer,
    /// Who reads the disk for the shards.
    Fetcher,
}

/// See the module.
pub struct Stepped {
    sources: Vec<RefCell<Option<Source>>>,
    shards: Vec<RefCell<Option<Worker>>>,
    committer: RefCell<Option<Committer>>,
    fetcher: RefCell<Option<Fetcher>>,
    group: RefCell<Option<GroupParts>>,
    hand: Hand,
    /// Answers when what was read before the drain is committed.
    draining: Cell<Option<crossbeam_channel::Receiver<()>>>,
}

impl Stepped {
    /// Builds everything; nothing has run yet. `pump` is called while the group waits for the others.
    pub fn start(spec: &Spec, control: &Control, clock: Arc<dyn Clock>, pump: Pump) -> Result<Self, BrokerError> {
        let Parts { sources, shards, committer, transactor, fetcher, group, hand, .. } =
            Parts::new(spec, control, clock, pump)?;
        Ok(Stepped {
            sources: sources.into_iter().map(|seed| RefCell::new(Some(seed()))).collect(),
            shards: shards.into_iter().map(|parts| RefCell::new(Some(parts.build()))).collect(),
            committer: RefCell::new(Some(Committer::in_one(committer, transactor))),
            fetcher: RefCell::new(fetcher),
            group: RefCell::new(Some(group)),
            hand,
            draining: Cell::new(None),
        })
    }

    /// All parts.
    pub fn parts(&self) -> Vec<Part> {
        let sources = (0..self.sources.len()).map(Part::Source);
        let shards = (0..self.shards.len()).map(Part::Shard);
        sources.chain(shards).chain([Part::Committer, Part::Fetcher, Part::Group]).collect()
    }

    /// Steps one part. One that is done, or away in a step of its own, is idle.
    pub fn step(&self, part: Part) -> Step {
        match part {
            Part::Source(at) => self.sources.get(at).map_or(Step::Idle, |slot| step(slot, Source::step)),
            Part::Shard(at) => self.shards.get(at).map_or(Step::Idle, |slot| step(slot, Worker::step)),
            Part::Committer => step(&self.committer, Committer::step),
            Part::Fetcher => step(&self.fetcher, |fetcher| if fetcher.step() { Step::Busy } else { Step::Idle }),
            Part::Group => {
                step(&self.group, |parts| parts.membership.step(&mut *parts.group, &parts.requests, Duration::ZERO))
            }
        }
    }

    /// What the parts have told, oldest first.
    pub fn notice(&self) -> Option<Notice> {
        self.hand.notices.try_recv().ok()
    }

    /// Asks for a drain: nothing more is read; [`Stepped::is_drained`] tells when all is committed.
    pub fn drain(&self) {
        self.hand.phase.set(Phase::Drain);
        let (answer, done) = crossbeam_channel::bounded(1);
        drop(self.hand.orders.send(Order::Flush(answer)));
        self.draining.set(Some(done));
    }

    /// Whether a drain was asked for and is done.
    pub fn is_drained(&self) -> bool {
        let done = self.draining.take();
        let drained = done.as_ref().is_some_and(|done| done.try_recv().is_ok());
        self.draining.set(done.filter(|_| !drained));
        drained
    }

    /// Tells all parts to stop; the group leaves at its next step.
    pub fn stop(&self) {
        self.hand.phase.set(Phase::Stop);
    }
}

fn step<T>(slot: &RefCell<Option<T>>, step: impl FnOnce(&mut T) -> Step) -> Step {
    let Some(mut part) = slot.take() else { return Step::Idle };
    let did = step(&mut part);
    if did != Step::Done {
        slot.replace(Some(part));
    }
    did
}
