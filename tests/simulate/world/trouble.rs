//! What goes wrong while the world runs, at the step at which it is due.

use throughline::broker::memory::Fault as BrokerFault;
use throughline::fault::POINTS;

use super::{Trap, World};
use crate::faults::{Fault, What};
use crate::instance::{Disk, Life};
use crate::setup::{APPLICATION, CHANGELOG};

impl World {
    /// Faults that are due now.
    pub(super) fn hit(&self, now: u64) {
        let written = self.written.get();
        let mut pending = self.pending.borrow_mut();
        let mut due = self.due.borrow_mut();
        pending.retain(|fault| {
            let begun = fault.after_inputs <= written;
            if begun {
                due.push((now + fault.after_steps, fault.clone()));
            }
            !begun
        });
        let hits: Vec<Fault> = due.extract_if(.., |(at, _)| *at <= now).map(|(_, fault)| fault).collect();
        drop((pending, due));
        hits.into_iter().for_each(|fault| self.inject(&fault, now));
    }

    fn inject(&self, fault: &Fault, now: u64) {
        let Some(instance) = self.instances.get(fault.instance) else { return };
        self.say(|| format!("fault {:?} hits {} ({:?})", fault.what, instance.name, instance.life.get()));
        if instance.runs() {
            let name = format!("{:?}", fault.what);
            let name = name.split(' ').next().unwrap_or_default();
            self.happened.borrow_mut().insert(name.to_owned());
        }
        let broker = |fault| self.broker.inject(APPLICATION, &instance.name, fault);
        match fault.what {
            What::Crash { back_after } if instance.runs() => {
                instance.die(now + back_after);
                self.snapshot();
            }
            What::CrashAt { point, nth, back_after } => self.traps.borrow_mut().push(Trap {
                instance: fault.instance,
                point: POINTS[point],
                left: nth,
                back_after,
            }),
            What::LostReply { applied } => broker(BrokerFault::CommitUncertain { applied }),
            What::CommitAborted => broker(BrokerFault::CommitAborted),
            What::SendRefused => broker(BrokerFault::SendRefused),
            What::Undelivered => broker(BrokerFault::Undelivered),
            What::SessionLost { frozen } => {
                instance.frozen_until.set(now + frozen);
                self.broker.expire_member(APPLICATION, &instance.name);
            }
            What::TransactionLost => self.broker.expire_transaction(APPLICATION, &instance.name),
            What::Leave { back_after } if instance.life.get() == Life::Up => instance.drain(back_after),
            What::WallStep { by_ms } => instance.step_wall(by_ms),
            What::WritesFail { writes } => instance.fail_writes(writes),
            What::DiskCopied => instance.copy_disk(),
            What::DiskLost { back_after } | What::DiskStale { back_after } => {
                let disk = if matches!(fault.what, What::DiskLost { .. }) { Disk::Empty } else { Disk::Copy };
                instance.replace_disk(disk);
                if instance.runs() {
                    instance.die(now + back_after);
                    self.snapshot();
                }
            }
            What::Reshape { sources, shards } => {
                let mut spec = instance.spec.borrow_mut();
                spec.placement.sources = vec![None; sources];
                spec.placement.shards = vec![None; shards];
            }
            What::Compaction => self.broker.compact(CHANGELOG),
            // It is down already.
            What::Crash { .. } | What::Leave { .. } => {}
        }
    }
}
