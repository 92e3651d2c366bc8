//! The one pass over a payload: follows the projection, stores what it names, skips the rest.
//!
//! Text is never copied value by value: the payload as a whole stands at the start of the event's text arena, so a slot is
//! a range of it; only strings with escapes are written behind it. Values met inside an array are gathered, and dealt out
//! to their slots when the outermost array closes, because the fields of its objects come interleaved.

use super::projection::{NodeId, Projection};
use super::scan::{Fault, Scanner, number_slot, unescape};
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

/// The last use of an edge: in which object, at which byte.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    serial: u64,
    at: usize,
}

/// Scratch memory of the pass, reused from event to event.
#[derive(Debug, Default)]
pub(super) struct Walker {
    /// The innermost open container; without it the pass is before or behind the object.
    top: Option<Frame>,
    /// The containers around it.
    stack: Vec<Frame>,
    serial: u64,
    seen: Vec<Seen>,
    /// Bytes of keys that a later, equal key of the same object replaces.
    superseded: Vec<usize>,
    gathered: Vec<Gathered>,
    /// Per slot: the outermost array that reached it last, and how many elements it gave.
    reached: Vec<(u64, usize)>,
    /// The outermost open array: its serial, and how many containers are open while it is innermost.
    array: Option<(u64, usize)>,
    key: String,
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

/// The payload under the pass, and where its values go.
struct Pass<'a> {
    projection: &'a Projection,
    scanner: Scanner<'a>,
    payload: &'a str,
    event: &'a mut Projected,
}

impl Walker {
    pub fn new(projection: &Projection, slots: usize) -> Walker {
        Walker {
            stack: Vec::with_capacity(limits::JSON_DEPTH_MAX),
            seen: vec![Seen::default(); projection.edges()],
            reached: vec![(0, 0); slots],
            ..Walker::default()
        }
    }

    /// Fills `event`, whose text arena starts with `payload`, from the object that opens at byte `start`.
    ///
    /// A key that comes twice in one object counts where it comes last. That is known only afterwards, so the (rare) payload
    /// that has one is walked again without the replaced members.
    pub fn walk(
        &mut self,
        projection: &Projection,
        payload: &str,
        start: usize,
        event: &mut Projected,
    ) -> Result<(), Fault> {
        self.superseded.clear();
        self.pass(projection, payload, start, event)?;
        if !self.superseded.is_empty() {
            self.superseded.sort_unstable();
            event.slots.fill(Slot::Absent);
            event.elements.clear();
            event.text.truncate(payload.len());
            self.pass(projection, payload, start, event)?;
        }
        Ok(())
    }

    fn pass(
        &mut self,
        projection: &Projection,
        payload: &str,
        start: usize,
        event: &mut Projected,
    ) -> Result<(), Fault> {
        self.top = None;
        self.stack.clear();
        self.gathered.clear();
        self.array = None;
        let scanner = Scanner { bytes: payload.as_bytes(), at: start };
        let mut pass = Pass { projection, scanner, payload, event };
        let mut state = self.open(&mut pass, NodeId::ROOT, true)?;
        // Fields, not the frame: to load it whole right behind the writes of its parts would stall.
        while let Some(Frame { node, object, .. }) = self.top {
            pass.scanner.skip_space();
            match (state, pass.scanner.peek()) {
                (State::FirstKey, b'}') | (State::FirstElement, b']') => {
                    state = self.close(&mut pass);
                    continue;
                }
                (State::FirstKey | State::FirstElement, _) => {}
                (State::AfterValue, b',') => {
                    pass.scanner.at += 1;
                    pass.scanner.skip_space();
                }
                (State::AfterValue, b'}' | b']') if object == (pass.scanner.peek() == b'}') => {
                    state = self.close(&mut pass);
                    continue;
                }
                (State::AfterValue, _) => return pass.scanner.expected_end(object),
            }
            let mut wanted = node;
            if object {
                wanted = self.key(&mut pass, node)?;
                pass.scanner.skip_space();
            }
            state = self.value(&mut pass, wanted)?;
        }
        pass.scanner.skip_space();
        if pass.scanner.at < payload.len() {
            return pass.scanner.fault("something follows the object");
        }
        Ok(())
    }

    // This and what it calls per key and value are inlined by force: their results are too wide for registers, and to pass
    // them through memory costs more than the work itself.
    #[inline(always)]
    fn key(&mut self, pass: &mut Pass<'_>, object: NodeId) -> Result<NodeId, Fault> {
        let at = pass.scanner.at;
        pass.scanner.open_quote()?;
        let span = pass.scanner.string()?;
        pass.scanner.colon()?;
        let found = if span.escaped {
            self.key.clear();
            unescape(pass.payload.get(span.start..span.end).unwrap_or_default(), &mut self.key);
            pass.projection.find(object, self.key.as_bytes())
        } else {
            pass.projection.find(object, pass.scanner.bytes.get(span.start..span.end).unwrap_or_default())
        };
        let Some(found) = found else { return Ok(NodeId::NONE) };
        if !self.superseded.is_empty() && self.superseded.binary_search(&at).is_ok() {
            return Ok(NodeId::NONE);
        }
        let serial = self.top.as_ref().map_or(0, |top| top.serial);
        if let Some(seen) = self.seen.get_mut(found.edge) {
            if seen.serial == serial {
                self.superseded.push(seen.at);
            }
            *seen = Seen { serial, at };
        }
        Ok(found.node)
    }

    #[inline(always)]
    fn value(&mut self, pass: &mut Pass<'_>, node: NodeId) -> Result<State, Fault> {
        if !node.is_wanted() {
            pass.scanner.skip_value(self.depth())?;
            return Ok(State::AfterValue);
        }
        let start = pass.scanner.at;
        let value = match pass.scanner.peek() {
            b'"' => {
                pass.scanner.at += 1;
                let span = pass.scanner.string()?;
                if span.escaped && !pass.projection.targets(node).is_empty() {
                    let from = pass.event.text.len();
                    unescape(pass.payload.get(span.start..span.end).unwrap_or_default(), &mut pass.event.text);
                    Slot::Str { start: from as u32, len: (pass.event.text.len() - from) as u32 }
                } else {
                    Slot::Str { start: span.start as u32, len: (span.end - span.start) as u32 }
                }
            }
            b'-' | b'0'..=b'9' => number_slot(pass.payload, pass.scanner.number()?),
            b'{' if pass.projection.has_children(node) => return self.open(pass, node, true),
            b'{' => {
                pass.scanner.skip_container(self.depth())?;
                Slot::Object { start: start as u32, len: (pass.scanner.at - start) as u32 }
            }
            b'[' => return self.open(pass, node, false),
            _ => pass.scanner.literal()?,
        };
        self.store(pass, node, value, start);
        Ok(State::AfterValue)
    }

    fn open(&mut self, pass: &mut Pass<'_>, node: NodeId, object: bool) -> Result<State, Fault> {
        if self.depth() >= limits::JSON_DEPTH_MAX {
            return pass.scanner.too_deep();
        }
        self.serial += 1;
        self.stack.extend(self.top);
        self.top = Some(Frame { node, start: pass.scanner.at, object, serial: self.serial });
        pass.scanner.at += 1;
        if object {
            return Ok(State::FirstKey);
        }
        let depth = self.depth();
        let serial = self.array.get_or_insert((self.serial, depth)).0;
        for target in pass.projection.targets(node) {
            let unreached = self.reached.get(target.slot as usize).is_some_and(|r| r.0 != serial);
            if unreached {
                self.gather(serial, target.slot, Slot::Absent);
            }
        }
        Ok(State::FirstElement)
    }

    fn close(&mut self, pass: &mut Pass<'_>) -> State {
        let depth = self.depth();
        let Some(top) = std::mem::replace(&mut self.top, self.stack.pop()) else { return State::AfterValue };
        pass.scanner.at += 1;
        if top.object {
            let value = Slot::Object { start: top.start as u32, len: (pass.scanner.at - top.start) as u32 };
            self.store(pass, top.node, value, top.start);
        } else if self.array.is_some_and(|(_, outermost)| outermost == depth) {
            self.array = None;
            self.deal(pass.event);
        }
        State::AfterValue
    }

    /// How many containers are open.
    #[inline]
    fn depth(&self) -> usize {
        self.stack.len() + usize::from(self.top.is_some())
    }

    #[inline(always)]
    fn store(&mut self, pass: &mut Pass<'_>, node: NodeId, value: Slot, start: usize) {
        for target in pass.projection.targets(node) {
            let value = match value {
                Slot::Int(_) | Slot::Uint(_) | Slot::Float(_) if target.raw_numbers => {
                    Slot::Object { start: start as u32, len: (pass.scanner.at - start) as u32 }
                }
                other => other,
            };
            match self.array {
                Some((serial, _)) => self.gather(serial, target.slot, value),
                None => {
                    if let Some(slot) = pass.event.slots.get_mut(target.slot as usize) {
                        *slot = value;
                    }
                }
            }
        }
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
