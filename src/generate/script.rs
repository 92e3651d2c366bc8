//! Planted incidents: what a script is, and the incidents under way.
//!
//! A script is a row of events about an entity of its own, each decided before the next is placed: step k+1 is due a gap
//! after the slot in which step k really went out. So the order of an incident's events, in event time as on the wire, is
//! the script's whatever the disorder, and what a rule must find is known without running one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::line::{Line, Name};
use super::random::Random;

/// Most events of one script.
pub(super) const STEPS_MAX: usize = 16;

/// Writes the event of one step, from where [`Line::open`] left it.
pub(super) type Step = fn(&mut Line<'_>, Planted);

/// What a step is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planted {
    /// Number of the entity; no other incident and no background event has it.
    pub(super) entity: u64,
    /// Index of the step in its script.
    pub(super) at: u64,
}

/// A row of events that a starter rule must report, or must not.
#[derive(Debug)]
pub(super) struct Script {
    /// Id of the starter rule.
    pub(super) rule: &'static str,
    /// The correlation's key.
    pub(super) key: &'static [(&'static str, Name)],
    /// The events.
    pub(super) steps: &'static [Step],
    /// Which steps stand in the correlation (`None`: a missing event); empty for a near miss.
    pub(super) reported: &'static [Option<usize>],
}

/// An incident under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incident {
    /// Its script.
    pub(super) script: &'static Script,
    /// Its entity.
    pub(super) entity: u64,
    /// The next step.
    pub(super) next: usize,
    /// Ids of the events that went out.
    pub(super) ids: [u64; STEPS_MAX],
}

/// The incidents under way, by the slot in which their next event is due.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    due: BinaryHeap<Reverse<(u64, usize)>>,
    incidents: Vec<Option<Incident>>,
    free: Vec<usize>,
}

impl Agenda {
    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    /// Begins a script with its first event in `slot`.
    pub(super) fn begin(&mut self, slot: u64, script: &'static Script, entity: u64) {
        let incident = Some(Incident { script, entity, next: 0, ids: [0; STEPS_MAX] });
        let at = match self.free.pop() {
            Some(at) => {
                self.incidents[at] = incident;
                at
            }
            None => {
                self.incidents.push(incident);
                self.incidents.len() - 1
            }
        };
        self.due.push(Reverse((slot, at)));
    }

    /// Takes the incident whose next event is due in or before `slot`.
    #[inline]
    pub(super) fn take(&mut self, slot: u64) -> Option<Incident> {
        let Reverse((due, at)) = *self.due.peek()?;
        if due > slot {
            return None;
        }
        self.due.pop();
        self.free.push(at);
        self.incidents[at].take()
    }

    /// Puts an incident back with its next event due in `slot`.
    pub(super) fn resume(&mut self, slot: u64, incident: Incident) {
        let at = self.free.pop().unwrap_or(self.incidents.len());
        if at == self.incidents.len() {
            self.incidents.push(None);
        }
        self.incidents[at] = Some(incident);
        self.due.push(Reverse((slot, at)));
    }
}

/// The distance between two events of an incident, in slots: random, so that incidents interleave, and beyond what
/// disorder can turn round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gaps {
    /// At least.
    pub(super) min: u64,
    /// At most.
    pub(super) max: u64,
}

impl Gaps {
    /// A gap.
    pub(super) fn draw(&self, random: &mut Random) -> u64 {
        self.min + random.below(self.max - self.min + 1)
    }
}
