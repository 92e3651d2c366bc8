//! Kind `22`: a segment of a key's timeline. Value, version 1: `names · (offset from the first position, evidence, steps)…`,
//! by position. Events that nobody held any more when it was written are left out.

use std::sync::Arc;

use super::evidence;
use super::names::{Known, Names, Used};
use crate::event::{Evidence, StepId};
use crate::store::codec::{Damaged, Reader, Writer};
use crate::timeline::Timeline;

pub(super) const VERSION: u8 = 1;

pub(super) fn write<'a>(
    events: &mut dyn Iterator<Item = (u64, &'a Arc<Evidence>, &'a [StepId])>,
    used: &mut Used,
    body: &mut Writer,
) {
    for (offset, event, steps) in events {
        body.uint(offset);
        evidence::write(event, used, body);
        evidence::write_steps(steps, used, body);
    }
}

pub(super) fn read(names: &Names, value: &[u8], first: u64, timeline: &mut Timeline) -> Result<(), Damaged> {
    let mut reader = Reader::new(value);
    reader.version(VERSION)?;
    let known = Known::read(names, &mut reader)?;
    while !reader.is_empty() {
        let offset = reader.uint()?;
        let event = evidence::read(&known, &mut reader)?;
        let steps = evidence::read_steps(&known, &mut reader)?;
        timeline.restore(first, offset, event, steps);
    }
    timeline.restored(first);
    Ok(())
}
