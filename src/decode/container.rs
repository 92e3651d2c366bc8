//! Arrays and objects that are wanted whole: walked frame by frame, with no memory of their shape.
//!
//! Values met inside an array are gathered, and dealt out to their slots when the outermost array closes, because the fields
//! of its objects come interleaved.

use super::projection::NodeId;
use super::scan::{Fault, number_slot};
use super::walk::{Pass, Walker, as_wanted};
use crate::event::{Projected, Slot};
use crate::limits;

#[derive(Debug, Clone, Copy)]
struct Frame {
    node: NodeId,
    /// The byte of its bracket.
    start: usize,
    object: bool,
    /// Unique among all objects this walker ever met.
    serial: u64,
}

/// A value met inside an array.
#[derive(Debug, Clone, Copy)]
struct Gathered {
    slot: u32,
    order: u32,
    /// `Absent`: the slot was reached by an array, which may turn out empty.
    value: Slot,
}

/// Scratch memory of a container under the pass.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// How many containers are open around it.
    outer: usize,
    /// The innermost open container of its own.
    top: Option<Frame>,
    /// Those around that, down to the container itself.
    stack: Vec<Frame>,
    gathered: Vec<Gathered>,
    /// Per slot: the outermost array that reached it last, and how many elements it gave.
    reached: Vec<(u64, usize)>,
    /// The outermost open array: its serial, and how many containers are open while it is innermost.
    array: Option<(u64, usize)>,
}

/// Where the scanner stands in the innermost container.
#[derive(Clone, Copy)]
enum State {
    /// Behind `{`.
    FirstKey,
    /// Behind `[`.
    FirstElement,
    AfterValue,
}

impl Gathering {
    pub fn new(slots: usize) -> Gathering {
        Gathering {
            stack: Vec::with_capacity(limits::JSON_DEPTH_MAX),
            reached: vec![(0, 0); slots],
            ..Gathering::default()
        }
    }

    /// How many containers are open.
    #[inline]
    fn depth(&self) -> usize {
        self.outer + self.stack.len() + usize::from(self.top.is_some())
    }

    fn gather(&mut self, serial: u64, slot: u32, value: Slot) {
        let Some(reached) = self.reached.get_mut(slot as usize) else { return };
        if reached.0 != serial {
            *reached = (serial, 0);
        }
        if value != Slot::Absent {
            if reached.1 >= limits::ARRAY_ELEMENTS_MAX {
                return;
            }
            reached.1 += 1;
        }
        self.gathered.push(Gathered { slot, order: self.gathered.len() as u32, value });
    }

    /// Deals the gathered values out to their slots. An array without any value but null is null.
    fn deal(&mut self, event: &mut Projected) {
        self.gathered.sort_unstable_by_key(|g| (g.slot, g.order));
        for group in self.gathered.chunk_by(|a, b| a.slot == b.slot) {
            let Some(slot) = group.first().and_then(|g| event.slots.get_mut(g.slot as usize)) else { continue };
            let start = event.elements.len();
            event.elements.extend(group.iter().map(|g| g.value).filter(|v| *v != Slot::Absent));
            *slot = if event.elements.iter().skip(start).all(|v| *v == Slot::Null) {
                event.elements.truncate(start);
                Slot::Null
            } else {
                Slot::Array { start: start as u32, len: (event.elements.len() - start) as u32 }
            };
        }
        self.gathered.clear();
    }
}

impl Walker {
    /// From the bracket of a container to behind it, inside `depth` others.
    pub(super) fn container(&mut self, pass: &mut Pass<'_>, node: NodeId, depth: usize) -> Result<(), Fault> {
        let gathering = &mut self.gathering;
        (gathering.outer, gathering.top, gathering.array) = (depth, None, None);
        gathering.stack.clear();
        gathering.gathered.clear();
        let mut state = self.value(pass, node)?;
        // Fields, not the frame: to load it whole right behind the writes of its parts would stall.
        while let Some(Frame { node, object, serial, .. }) = self.gathering.top {
            pass.scanner.skip_space();
            match (state, pass.scanner.peek()) {
                (State::FirstKey, b'}') | (State::FirstElement, b']') => {
                    state = self.close(pass);
                    continue;
                }
                (State::FirstKey | State::FirstElement, _) => {}
                (State::AfterValue, b',') => {
                    pass.scanner.at += 1;
                    pass.scanner.skip_space();
                }
                (State::AfterValue, b'}' | b']') if object == (pass.scanner.peek() == b'}') => {
                    state = self.close(pass);
                    continue;
                }
                (State::AfterValue, _) => return pass.scanner.expected_end(object),
            }
            let mut wanted = node;
            if object {
                wanted = self.key_of(pass, node, serial)?;
                pass.scanner.skip_space();
            }
            state = self.value(pass, wanted)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn value(&mut self, pass: &mut Pass<'_>, node: NodeId) -> Result<State, Fault> {
        if !node.is_wanted() {
            pass.scanner.skip_value(self.gathering.depth())?;
            return Ok(State::AfterValue);
        }
        let start = pass.scanner.at;
        let value = match pass.scanner.peek() {
            b'"' => {
                pass.scanner.at += 1;
                let span = pass.scanner.string()?;
                if pass.projection.targets(node).is_empty() { Slot::Null } else { pass.text_slot(span) }
            }
            b'-' | b'0'..=b'9' => number_slot(pass.payload, pass.scanner.number()?),
            b'{' if pass.projection.has_children(node) => return self.open(pass, node, true),
            b'{' => {
                pass.scanner.skip_container(self.gathering.depth())?;
                Slot::Object { start: start as u32, len: (pass.scanner.at - start) as u32 }
            }
            b'[' => return self.open(pass, node, false),
            _ => pass.scanner.literal()?,
        };
        self.store(pass, node, value, start);
        Ok(State::AfterValue)
    }

    fn open(&mut self, pass: &mut Pass<'_>, node: NodeId, object: bool) -> Result<State, Fault> {
        let gathering = &mut self.gathering;
        if gathering.depth() >= limits::JSON_DEPTH_MAX {
            return pass.scanner.too_deep();
        }
        self.serial += 1;
        gathering.stack.extend(gathering.top);
        gathering.top = Some(Frame { node, start: pass.scanner.at, object, serial: self.serial });
        pass.scanner.at += 1;
        if object {
            return Ok(State::FirstKey);
        }
        let depth = gathering.depth();
        let serial = gathering.array.get_or_insert((self.serial, depth)).0;
        for target in pass.projection.targets(node) {
            let unreached = gathering.reached.get(target.slot as usize).is_some_and(|r| r.0 != serial);
            if unreached {
                gathering.gather(serial, target.slot, Slot::Absent);
            }
        }
        Ok(State::FirstElement)
    }

    fn close(&mut self, pass: &mut Pass<'_>) -> State {
        let gathering = &mut self.gathering;
        let depth = gathering.depth();
        let Some(top) = std::mem::replace(&mut gathering.top, gathering.stack.pop()) else { return State::AfterValue };
        pass.scanner.at += 1;
        if top.object {
            let value = Slot::Object { start: top.start as u32, len: (pass.scanner.at - top.start) as u32 };
            self.store(pass, top.node, value, top.start);
        } else if gathering.array.is_some_and(|(_, outermost)| outermost == depth) {
            gathering.array = None;
            gathering.deal(pass.event);
        }
        State::AfterValue
    }

    #[inline(always)]
    fn store(&mut self, pass: &mut Pass<'_>, node: NodeId, value: Slot, start: usize) {
        for target in pass.projection.targets(node) {
            match self.gathering.array {
                Some((serial, _)) => {
                    let value = as_wanted(target, value, start..pass.scanner.at);
                    self.gathering.gather(serial, target.slot, value);
                }
                None => pass.put(target, value, start..pass.scanner.at),
            }
        }
    }
}
