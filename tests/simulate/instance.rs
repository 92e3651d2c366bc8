//! One process of the simulation: its incarnations, its clock, its deaths.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use throughline::broker::{BrokerError, ErrorKind};
use throughline::epoch::Notice;
use throughline::event::{Clock, ManualClock, Span, Timestamp};
use throughline::fault::Crash;
use throughline::pipeline::stepped::{Part, Pump, Stepped};
use throughline::pipeline::{Control, Spec};
use throughline::ring::Step;
use throughline::store::StoreErrorKind;
use throughline::store::memory::{Image, MemoryStore};

/// A process's clock: the world's, with a wall clock that may be wrong.
pub struct ProcessClock {
    world: Arc<ManualClock>,
    wrong_by_ms: AtomicI64,
}

impl Clock for ProcessClock {
    fn instant(&self) -> Instant {
        self.world.instant()
    }

    fn wall(&self) -> Timestamp {
        self.world.wall() + Span::from_millis(self.wrong_by_ms.load(Ordering::Relaxed))
    }
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Not running; started at this step. `u64::MAX`: not again.
    Down(u64),
    /// Running.
    Up,
    /// Asked to drain; down after, for so many steps.
    Draining(u64),
    /// Told to stop: its group is about to leave; down after, for so many steps.
    Stopping(u64),
    /// It died while a step of its group is still on the stack: nothing of it runs any more.
    Dying(u64),
}

/// What a step of one part came to.
pub enum Did {
    /// It ran, and did something.
    Ran,
    /// It found nothing to do.
    Nothing,
    /// The process died in it.
    Crashed,
    /// A bug: the text of the panic.
    Panicked(String),
}

/// What a process finds when it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// Its disk.
    Same,
    /// An empty one.
    Empty,
    /// An old copy.
    Copy,
}

/// One process.
pub struct Instance {
    /// `instance` of its configuration.
    pub name: String,
    /// What it does.
    pub life: Cell<Life>,
    /// No part runs before this step.
    pub frozen_until: Cell<u64>,
    /// The end of a bounded input is committed.
    pub finished: Cell<bool>,
    /// Starts after a failure since the last success.
    pub failures: Cell<u32>,
    /// What it was told to run.
    pub spec: RefCell<Spec>,
    clock: Arc<ProcessClock>,
    control: RefCell<Control>,
    /// Its disk; survives it.
    pub disk: RefCell<Arc<MemoryStore>>,
    /// An old copy of it.
    copy: RefCell<Option<Image>>,
    /// The disk that it finds at its next start; `None`: its own, with its faults.
    next_disk: Cell<Option<Disk>>,
    stepped: RefCell<Option<Rc<Stepped>>>,
    /// Steps of its group on the stack.
    in_group: Cell<u32>,
}

impl Instance {
    /// A process that is started at the first step.
    pub fn new(name: &str, spec: Spec, world: &Arc<ManualClock>) -> Self {
        Instance {
            name: name.to_owned(),
            life: Cell::new(Life::Down(0)),
            frozen_until: Cell::new(0),
            finished: Cell::new(false),
            failures: Cell::new(0),
            spec: RefCell::new(spec),
            clock: Arc::new(ProcessClock { world: Arc::clone(world), wrong_by_ms: AtomicI64::new(0) }),
            control: RefCell::default(),
            disk: RefCell::default(),
            copy: RefCell::default(),
            next_disk: Cell::new(None),
            stepped: RefCell::new(None),
            in_group: Cell::new(0),
        }
    }

    /// Whether its parts may be stepped.
    pub fn runs(&self) -> bool {
        matches!(self.life.get(), Life::Up | Life::Draining(_) | Life::Stopping(_))
    }

    /// What can be stepped of it.
    pub fn parts(&self) -> Vec<Part> {
        self.stepped.borrow().as_ref().map(|stepped| stepped.parts()).unwrap_or_default()
    }

    /// Moves its wall clock.
    pub fn step_wall(&self, by_ms: i64) {
        self.clock.wrong_by_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Starts an incarnation.
    pub fn start(&self, pump: Pump) -> Result<(), BrokerError> {
        let clock: Arc<dyn Clock> = Arc::<ProcessClock>::clone(&self.clock);
        self.change_disk();
        let disk: Arc<MemoryStore> = Arc::clone(&self.disk.borrow());
        self.spec.borrow_mut().state = Some(crate::setup::state(disk));
        let stepped = Stepped::start(&self.spec.borrow(), &self.control.borrow(), clock, pump)?;
        self.stepped.replace(Some(Rc::new(stepped)));
        self.life.set(Life::Up);
        Ok(())
    }

    /// The process dies here and now: what it had in memory is gone, and it said goodbye to nobody.
    pub fn die(&self, back_at: u64) {
        self.control.replace(Control::default());
        self.life.set(Life::Dying(back_at));
        self.bury();
    }

    /// Takes a dead process away once none of its steps is on the stack.
    pub fn bury(&self) {
        if let Life::Dying(back_at) = self.life.get()
            && self.in_group.get() == 0
        {
            drop(self.stepped.take());
            self.life.set(Life::Down(back_at));
        }
    }

    /// The next writes to its disk fail.
    pub fn fail_writes(&self, writes: u64) {
        let disk = self.disk.borrow();
        disk.fail_writes(disk.writes()..disk.writes() + writes, StoreErrorKind::Io);
    }

    /// Its disk is copied.
    pub fn copy_disk(&self) {
        self.copy.replace(Some(self.disk.borrow().snapshot()));
    }

    /// The next start finds this disk, and it works.
    pub fn replace_disk(&self, with: Disk) {
        self.next_disk.set(Some(with));
    }

    fn change_disk(&self) {
        let image = match self.next_disk.take() {
            None => return,
            Some(Disk::Same) => self.disk.borrow().snapshot(),
            Some(Disk::Empty) => Image::default(),
            Some(Disk::Copy) => self.copy.borrow().clone().unwrap_or_default(),
        };
        self.disk.replace(Arc::new(MemoryStore::from_snapshot(image)));
    }

    /// What whoever runs the process does about an error that ends it: a disk that failed is made to work, one that cannot
    /// be read is set aside. `false`: such an error must not happen here.
    pub fn is_mended(&self, kind: ErrorKind) -> bool {
        match kind {
            ErrorKind::File => self.replace_disk(Disk::Same),
            ErrorKind::State => self.replace_disk(Disk::Empty),
            ErrorKind::Authentication
            | ErrorKind::Authorization
            | ErrorKind::TopicMissing
            | ErrorKind::TooLarge
            | ErrorKind::Setting => return false,
            _ => {}
        }
        true
    }

    /// Asks for a clean stop.
    pub fn drain(&self, back_after: u64) {
        if let Some(stepped) = &*self.stepped.borrow() {
            stepped.drain();
            self.life.set(Life::Draining(back_after));
        }
    }

    fn stop(&self, back_after: u64) {
        if let Some(stepped) = &*self.stepped.borrow() {
            stepped.stop();
            self.life.set(Life::Stopping(back_after));
        }
    }

    /// Steps one part, and does what the pipeline's own thread would do after.
    pub fn step(&self, part: Part, now: u64) -> (Did, Option<BrokerError>) {
        let Some(stepped) = self.stepped.borrow().clone() else { return (Did::Nothing, None) };
        let in_group = u32::from(part == Part::Group);
        self.in_group.set(self.in_group.get() + in_group);
        let stepping = catch_unwind(AssertUnwindSafe(|| stepped.step(part)));
        self.in_group.set(self.in_group.get() - in_group);
        let step = match stepping {
            Ok(step) => step,
            Err(payload) if payload.is::<Crash>() => return (Did::Crashed, None),
            Err(payload) => return (Did::Panicked(text_of(&*payload)), None),
        };
        let error = self.after_step(&stepped);
        if step == Step::Done && part == Part::Group {
            // It left, or failed for good: the process is done with this incarnation.
            drop(stepped);
            drop(self.stepped.take());
            let pause = if let Life::Stopping(pause) = self.life.get() { pause } else { 0 };
            self.life.set(Life::Down(now.saturating_add(pause)));
        }
        (if step == Step::Idle { Did::Nothing } else { Did::Ran }, error)
    }

    /// Reads the notices; an error is returned if it may not pass.
    fn after_step(&self, stepped: &Stepped) -> Option<BrokerError> {
        while let Some(notice) = stepped.notice() {
            let failed = match notice {
                Notice::Finished => {
                    self.finished.set(true);
                    self.stop(u64::MAX);
                    continue;
                }
                Notice::Failed(error) => error,
            };
            if !self.is_mended(failed.kind) {
                return Some(failed);
            }
            match self.life.get() {
                Life::Up => self.stop(0),
                Life::Draining(back_after) => self.stop(back_after),
                _ => {}
            }
        }
        if let Life::Draining(back_after) = self.life.get()
            && stepped.is_drained()
        {
            self.stop(back_after);
        }
        None
    }
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    let place = crate::quiet::last_place();
    format!("{}{place}", text.unwrap_or("a panic without words"))
}
