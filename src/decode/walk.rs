//! The one pass over a payload: follows the projection, stores what it names, skips the rest.
//!
//! Outside of arrays the pass goes from value to value. The text between two of them is a stride: it is recognised if the
//! memory of [`shape`](super::shape) holds it, else explored, key by key; what it means is the same either way.
//! Arrays, and objects that are wanted whole, are [containers](super::container).
//!
//! Text is never copied value by value: the payload as a whole stands at the start of the event's text arena, so a slot is
//! a range of it; only strings with escapes are written behind it.

use std::ops::Range;

use super::container::Gathering;
use super::projection::{Found, NodeId, Projection, Target};
use super::scan::{Fault, Scanner, StringSpan, number_slot, unescape};
use super::shape::{Ahead, ContextId, Crossed, Meaning, Shapes, StrideId};
use crate::event::{Projected, Slot};
use crate::limits;

/// The last use of an edge: in which object, at which byte.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    serial: u64,
    at: usize,
}

/// Scratch memory of the pass, reused from event to event, and the memory of shapes.
#[derive(Debug)]
pub(super) struct Walker {
    shapes: Shapes,
    /// Objects met so far, and as many as there may be contexts for each event.
    pub(super) serial: u64,
    seen: Vec<Seen>,
    /// Bytes of keys that a later, equal key of the same object replaces.
    superseded: Vec<usize>,
    key: String,
    pub(super) gathering: Gathering,
}

/// The payload under the pass, and where its values go.
pub(super) struct Pass<'a> {
    pub projection: &'a Projection,
    pub scanner: Scanner<'a>,
    pub payload: &'a str,
    pub event: &'a mut Projected,
}

impl Walker {
    pub fn new(projection: &Projection, slots: usize) -> Walker {
        Walker {
            shapes: Shapes::new(),
            serial: 0,
            seen: vec![Seen::default(); projection.edges()],
            superseded: Vec::new(),
            key: String::new(),
            gathering: Gathering::new(slots),
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
        self.shapes.next_event();
        let scanner = Scanner { bytes: payload.as_bytes(), at: start };
        self.pass(&mut Pass { projection, scanner, payload, event }, true)?;
        if !self.superseded.is_empty() {
            self.superseded.sort_unstable();
            event.slots.fill(Slot::Absent);
            event.elements.clear();
            event.text.truncate(payload.len());
            let scanner = Scanner { bytes: payload.as_bytes(), at: start };
            self.pass(&mut Pass { projection, scanner, payload, event }, false)?;
        }
        Ok(())
    }

    /// `usual`: no member is left out, so strides mean what they always do.
    fn pass(&mut self, pass: &mut Pass<'_>, usual: bool) -> Result<(), Fault> {
        // Outside of arrays a context is one object, unless a key comes twice.
        let objects = self.serial + 1;
        self.serial += limits::SHAPE_CONTEXTS_MAX as u64;
        let mut id = StrideId::START;
        // A cursor of its own, which stays in a register.
        let mut scanner = Scanner { ..pass.scanner };
        loop {
            let start = scanner.at;
            let known = if usual { self.shapes.follow(id, scanner.bytes.get(start..)) } else { None };
            let (next, stride) = match known {
                Some(known) => known,
                None => {
                    pass.scanner.at = start;
                    let next = self.explore(pass, id, usual)?;
                    (next, self.shapes.stride(next))
                }
            };
            id = next;
            let meaning = &stride.meaning;
            let at = start + stride.len as usize;
            for key in self.shapes.crossed(stride) {
                let serial = objects + key.context.index() as u64;
                let at = start + key.offset as usize;
                see(&mut self.seen, &mut self.superseded, key.edge as usize, serial, at);
            }
            scanner.at = at;
            match meaning.ahead {
                Ahead::Text => {
                    let span = scanner.string()?;
                    pass.store(meaning, at..scanner.at, |pass| pass.text_slot(span));
                }
                Ahead::Number => {
                    let span = scanner.number()?;
                    pass.store(meaning, at..scanner.at, |pass| number_slot(pass.payload, span));
                }
                Ahead::Word => {
                    let value = scanner.literal()?;
                    pass.store(meaning, at..scanner.at, |_| value);
                }
                Ahead::Container => {
                    let (node, depth) = (meaning.node, self.shapes.context(meaning.context).depth);
                    pass.scanner.at = at;
                    self.container(pass, node, depth)?;
                    scanner.at = pass.scanner.at;
                }
                Ahead::End => return Ok(()),
            }
        }
    }

    /// From behind a value, or from the beginning, to the next value: all of the grammar, and the lookup of keys.
    #[inline(never)]
    fn explore(&mut self, pass: &mut Pass<'_>, behind: StrideId, usual: bool) -> Result<StrideId, Fault> {
        let start = pass.scanner.at;
        let from = self.shapes.stride(behind).meaning.context;
        self.shapes.explore();
        let mut context = from;
        let mut opened = from == ContextId::OUTSIDE;
        if opened {
            context = self.shapes.enter(from, None, NodeId::ROOT).unwrap_or(from);
            pass.scanner.at += 1;
        }
        let (node, ahead) = loop {
            pass.scanner.skip_space();
            match pass.scanner.peek() {
                b'}' => {
                    pass.scanner.at += 1;
                    context = self.shapes.context(context).parent;
                    opened = false;
                    if context == ContextId::OUTSIDE {
                        pass.scanner.end()?;
                        break (NodeId::NONE, Ahead::End);
                    }
                    continue;
                }
                _ if opened => {}
                b',' => {
                    pass.scanner.at += 1;
                    pass.scanner.skip_space();
                }
                _ => return pass.scanner.expected_end(true),
            }
            let at = pass.scanner.at;
            let found = self.key(pass, self.shapes.context(context).node)?;
            if let Some(found) = found {
                self.shapes.cross(Crossed { edge: found.edge as u32, context, offset: (at - start) as u32 });
            }
            let node = found.map_or(NodeId::NONE, |found| found.node);
            pass.scanner.skip_space();
            // An object that is wanted whole is a container.
            if pass.scanner.peek() == b'{' && pass.projection.targets(node).is_empty() {
                if self.shapes.context(context).depth >= limits::JSON_DEPTH_MAX {
                    return pass.scanner.too_deep();
                }
                if let Some(inner) = self.shapes.enter(context, found.map(|found| found.edge as u32), node) {
                    (context, opened) = (inner, true);
                    pass.scanner.at += 1;
                    continue;
                }
            }
            break (node, Ahead::of(pass.scanner.peek()));
        };
        pass.scanner.at += usize::from(ahead == Ahead::Text);
        let targets = pass.projection.targets(node);
        let meaning = Meaning { context, node, ahead, target: targets.first().copied(), more: targets.len() > 1 };
        let text = pass.scanner.bytes.get(start..pass.scanner.at).unwrap_or_default();
        Ok(if usual {
            self.shapes.remember(behind, from, text, meaning)
        } else {
            self.shapes.pass_by(text.len(), meaning)
        })
    }

    /// A key with its colon, and where it leads.
    // This and what it calls per key and value are inlined by force: their results are too wide for registers, and to pass
    // them through memory costs more than the work itself.
    #[inline(always)]
    fn key(&mut self, pass: &mut Pass<'_>, object: NodeId) -> Result<Option<Found>, Fault> {
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
        Ok(found.filter(|_| self.superseded.is_empty() || self.superseded.binary_search(&at).is_err()))
    }

    /// A key of an object in a container, and where it leads; the key stands in the object of this serial.
    #[inline(always)]
    pub(super) fn key_of(&mut self, pass: &mut Pass<'_>, object: NodeId, serial: u64) -> Result<NodeId, Fault> {
        let at = pass.scanner.at;
        let Some(found) = self.key(pass, object)? else { return Ok(NodeId::NONE) };
        see(&mut self.seen, &mut self.superseded, found.edge, serial, at);
        Ok(found.node)
    }
}

/// Notes that a key led along an edge; one that did so before in the same object is superseded.
#[inline(always)]
fn see(seen: &mut [Seen], superseded: &mut Vec<usize>, edge: usize, serial: u64, at: usize) {
    if let Some(seen) = seen.get_mut(edge) {
        if seen.serial == serial {
            superseded.push(seen.at);
        }
        *seen = Seen { serial, at };
    }
}

impl Pass<'_> {
    /// A string's value, with its escapes resolved.
    #[inline(always)]
    pub fn text_slot(&mut self, span: StringSpan) -> Slot {
        if span.escaped {
            let from = self.event.text.len();
            unescape(self.payload.get(span.start..span.end).unwrap_or_default(), &mut self.event.text);
            return Slot::Str { start: from as u32, len: (self.event.text.len() - from) as u32 };
        }
        Slot::Str { start: span.start as u32, len: (span.end - span.start) as u32 }
    }

    /// Stores the value behind a stride, which stands at these bytes, if somebody wants it.
    #[inline(always)]
    fn store(&mut self, meaning: &Meaning, at: Range<usize>, value: impl FnOnce(&mut Self) -> Slot) {
        let Some(target) = meaning.target else { return };
        let value = value(self);
        self.put(&target, value, at.clone());
        if meaning.more {
            for target in self.projection.targets(meaning.node) {
                self.put(target, value, at.clone());
            }
        }
    }

    /// Stores a value that stands at these bytes.
    #[inline(always)]
    pub fn put(&mut self, target: &Target, value: Slot, at: Range<usize>) {
        if let Some(slot) = self.event.slots.get_mut(target.slot as usize) {
            *slot = as_wanted(target, value, at);
        }
    }
}

/// The value as a target wants it: a number may have to stay as it is written.
#[inline(always)]
pub(super) fn as_wanted(target: &Target, value: Slot, at: Range<usize>) -> Slot {
    match value {
        Slot::Int(_) | Slot::Uint(_) | Slot::Float(_) if target.raw_numbers => {
            Slot::Object { start: at.start as u32, len: at.len() as u32 }
        }
        other => other,
    }
}
