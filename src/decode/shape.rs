//! The memory of shapes: how the payloads of a stream go on, learned from those that came before.
//!
//! Between two values of an event stands text that is the same in many events: `","host":{"name":"`. A *stride* is such a
//! text with all that follows from it: which keys it holds, in which object the next value lies and where that value goes.
//! Each stride knows a few that came behind it before; where one of their texts stands again, one comparison of bytes takes
//! the place of scanning and looking up keys. So the strides are a graph that all shapes of a stream share: a field that
//! comes and goes costs one more edge, not another copy of the whole shape.
//!
//! A stride is bound to its [`ContextId`], the keys of the objects that are open where its text begins. That and the text decide
//! everything else, so nothing here can go out of date. What the walk has not met before it explores; what cannot be
//! remembered (no room, too long) it explores again each time.

use wide::u8x16;

use super::projection::{NodeId, Target};
use crate::event::stable_hash64;
use crate::limits::{SHAPE_CONTEXTS_MAX, SHAPE_KEPT_EVENTS, SHAPE_STRIDE_BYTES_MAX, SHAPE_STRIDES_MAX};

/// Bytes compared at once.
const LANES: usize = 16;

/// Most followers that a stride knows. The ways on from one place in a stream's events are few: a field that comes or not, the
/// fields of each category.
const FOLLOWERS: usize = 4;

/// An object that is open outside of arrays, by the keys that led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContextId(u32);

impl ContextId {
    /// Before the object that is the event.
    pub const OUTSIDE: ContextId = ContextId(0);

    /// As an index below [`SHAPE_CONTEXTS_MAX`].
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is known of a context.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    pub parent: ContextId,
    /// The edge of the key that led here; `None`: one that nobody wants.
    edge: Option<u32>,
    pub node: NodeId,
    /// How many containers are open in it.
    pub depth: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StrideId(u32);

impl StrideId {
    /// Before the payload: an empty stride that no text leads to.
    pub const START: StrideId = StrideId(0);
    /// The one that was explored last and not remembered.
    pub const UNKNOWN: StrideId = StrideId(1);
    const NONE: StrideId = StrideId(u32::MAX);
}

/// What stands behind a stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// A string, its opening quote included in the stride.
    Text,
    /// A digit or a minus.
    Number,
    /// An array, or an object that is wanted whole.
    Container,
    /// `true`, `false`, `null`, or no JSON.
    Word,
    /// Nothing: the event is complete.
    End,
}

impl Ahead {
    /// By the first byte of a value.
    #[inline]
    pub fn of(first: u8) -> Ahead {
        match first {
            b'"' => Ahead::Text,
            b'-' | b'0'..=b'9' => Ahead::Number,
            b'{' | b'[' => Ahead::Container,
            _ => Ahead::Word,
        }
    }
}

/// A wanted key within a stride.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crossed {
    pub edge: u32,
    /// The object it is a key of.
    pub context: ContextId,
    /// Its quote, from the beginning of the stride.
    pub offset: u32,
}

/// What follows from a stride's text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meaning {
    /// The object that the value behind it lies in.
    pub context: ContextId,
    /// Where the value leads.
    pub node: NodeId,
    pub ahead: Ahead,
    /// The first target of the node, and whether it has others.
    pub target: Option<Target>,
    pub more: bool,
}

impl Meaning {
    const END: Meaning =
        Meaning { context: ContextId::OUTSIDE, node: NodeId::NONE, ahead: Ahead::End, target: None, more: false };
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Stride {
    /// The first and the last bytes of the text; where it is shorter, `mask` tells which count.
    head: u8x16,
    tail: u8x16,
    /// The latest first.
    next: [StrideId; FOLLOWERS],
    mask: u32,
    pub len: u32,
    pub meaning: Meaning,
    crossed: (u32, u32),
    text: u32,
    from: ContextId,
}

/// The strides and contexts of one decoder.
#[derive(Debug)]
pub(super) struct Shapes {
    strides: Vec<Stride>,
    contexts: Vec<Context>,
    texts: Vec<u8>,
    /// Wanted keys within strides; beyond `kept` those of the stride that was explored last.
    crossed: Vec<Crossed>,
    kept: usize,
    /// Strides by context and text: open addressing, at most half full.
    table: Vec<StrideId>,
    /// Events since the memory was empty.
    events: u32,
    /// There was a stride for which no room was left.
    full: bool,
}

impl Shapes {
    /// An empty memory.
    pub fn new() -> Shapes {
        let mut shapes = Shapes {
            strides: Vec::with_capacity(SHAPE_STRIDES_MAX),
            contexts: Vec::with_capacity(SHAPE_CONTEXTS_MAX),
            texts: Vec::new(),
            crossed: Vec::new(),
            kept: 0,
            table: vec![StrideId::NONE; 2 * SHAPE_STRIDES_MAX],
            events: 0,
            full: false,
        };
        shapes.clear();
        shapes
    }

    fn clear(&mut self) {
        self.strides.clear();
        self.strides.extend([Stride::new(ContextId::OUTSIDE, b"", 0, (0, 0), Meaning::END); 2]);
        self.contexts.clear();
        let outside = Context { parent: ContextId::OUTSIDE, edge: None, node: NodeId::NONE, depth: 0 };
        self.contexts.push(outside);
        self.texts.clear();
        self.crossed.clear();
        self.kept = 0;
        self.table.fill(StrideId::NONE);
        (self.events, self.full) = (0, false);
    }

    /// Before each event. A memory that ran full of what comes once is emptied now and then, so that what has come to be usual
    /// finds room.
    #[inline]
    pub fn next_event(&mut self) {
        self.events = self.events.saturating_add(1);
        if self.full && self.events > SHAPE_KEPT_EVENTS {
            self.clear();
        }
    }

    /// The stride behind `from` that `rest` begins with.
    #[inline(always)]
    pub fn follow(&self, from: StrideId, rest: Option<&[u8]>) -> Option<(StrideId, &Stride)> {
        let (from, rest) = (self.strides.get(from.0 as usize)?, rest?);
        let Some(head) = rest.first_chunk::<LANES>() else { return self.follow_to_the_end(from, rest) };
        let head = u8x16::new(*head);
        for next in &from.next {
            let stride = self.strides.get(next.0 as usize)?;
            if head.simd_eq(stride.head).to_bitmask() & stride.mask == stride.mask
                && (stride.len as usize <= LANES || self.goes_on(stride, rest))
                && stride.is_followed(rest)
            {
                return Some((*next, stride));
            }
        }
        None
    }

    /// As [`Shapes::follow`], where less is left than is compared at once.
    #[inline(never)]
    fn follow_to_the_end(&self, from: &Stride, rest: &[u8]) -> Option<(StrideId, &Stride)> {
        let known = from.next.iter().filter_map(|next| Some((*next, self.strides.get(next.0 as usize)?)));
        let mut fitting = known.filter(|(_, stride)| rest.starts_with(self.text(stride)) && stride.is_followed(rest));
        fitting.next()
    }

    /// Whether `rest`, whose first bytes are the stride's, has the others too.
    #[inline]
    fn goes_on(&self, stride: &Stride, rest: &[u8]) -> bool {
        let len = stride.len as usize;
        let Some(tail) = rest.get(..len).and_then(|text| text.last_chunk::<LANES>()) else { return false };
        u8x16::new(*tail).simd_eq(stride.tail).to_bitmask() == u32::from(u16::MAX)
            && (len <= 2 * LANES || rest.starts_with(self.text(stride)))
    }

    fn text(&self, stride: &Stride) -> &[u8] {
        self.texts.get(stride.text as usize..(stride.text + stride.len) as usize).unwrap_or_default()
    }

    /// A stride; one that is not known ends the event.
    #[inline(always)]
    pub fn stride(&self, stride: StrideId) -> &Stride {
        const NOTHING: &Stride = &Stride {
            head: u8x16::new([0; LANES]),
            tail: u8x16::new([0; LANES]),
            next: [StrideId::NONE; FOLLOWERS],
            mask: 0,
            len: 0,
            meaning: Meaning::END,
            crossed: (0, 0),
            text: 0,
            from: ContextId::OUTSIDE,
        };
        self.strides.get(stride.0 as usize).unwrap_or(NOTHING)
    }

    /// The wanted keys in a stride.
    #[inline(always)]
    pub fn crossed(&self, stride: &Stride) -> &[Crossed] {
        self.crossed.get(stride.crossed.0 as usize..stride.crossed.1 as usize).unwrap_or_default()
    }

    /// What is known of a context.
    #[inline]
    pub fn context(&self, context: ContextId) -> Context {
        let outside = Context { parent: ContextId::OUTSIDE, edge: None, node: NodeId::NONE, depth: 0 };
        self.contexts.get(context.index()).copied().unwrap_or(outside)
    }

    /// Begins a stride that is not known.
    pub fn explore(&mut self) {
        self.crossed.truncate(self.kept);
    }

    /// A wanted key of the stride being explored.
    pub fn cross(&mut self, crossed: Crossed) {
        self.crossed.push(crossed);
    }

    /// The object behind a key of another; `None`: there is no room for one more.
    pub fn enter(&mut self, parent: ContextId, edge: Option<u32>, node: NodeId) -> Option<ContextId> {
        let known = self.contexts.iter().position(|c| (c.parent, c.edge, c.node) == (parent, edge, node));
        if let Some(known) = known {
            return Some(ContextId(known as u32));
        }
        if self.contexts.len() >= SHAPE_CONTEXTS_MAX {
            self.full = true;
            return None;
        }
        self.contexts.push(Context { parent, edge, node, depth: self.context(parent).depth + 1 });
        Some(ContextId(self.contexts.len() as u32 - 1))
    }

    /// Ends the stride being explored, without a memory of it.
    pub fn pass_by(&mut self, len: usize, meaning: Meaning) -> StrideId {
        let crossed = (self.kept as u32, self.crossed.len() as u32);
        if let Some(unknown) = self.strides.get_mut(StrideId::UNKNOWN.0 as usize) {
            *unknown = Stride { len: len as u32, ..Stride::new(ContextId::OUTSIDE, b"", 0, crossed, meaning) };
        }
        StrideId::UNKNOWN
    }

    /// Ends the stride being explored: `text`, which begins in the context `from`, came behind the stride `behind`.
    pub fn remember(&mut self, behind: StrideId, from: ContextId, text: &[u8], meaning: Meaning) -> StrideId {
        if text.len() > SHAPE_STRIDE_BYTES_MAX {
            return self.pass_by(text.len(), meaning);
        }
        let mut bucket = stable_hash64(u64::from(from.0), text) as usize % self.table.len();
        let stride = loop {
            let Some(&id) = self.table.get(bucket) else { return self.pass_by(text.len(), meaning) };
            match self.strides.get(id.0 as usize) {
                Some(s) if s.from == from && s.meaning.ahead == meaning.ahead && self.text(s) == text => break id,
                Some(_) => bucket = (bucket + 1) % self.table.len(),
                None if self.strides.len() < SHAPE_STRIDES_MAX => break self.add(bucket, from, text, meaning),
                None => {
                    self.full = true;
                    return self.pass_by(text.len(), meaning);
                }
            }
        };
        if behind != StrideId::UNKNOWN
            && let Some(behind) = self.strides.get_mut(behind.0 as usize)
        {
            behind.next.rotate_right(1);
            behind.next[0] = stride;
        }
        stride
    }

    fn add(&mut self, bucket: usize, from: ContextId, text: &[u8], meaning: Meaning) -> StrideId {
        let id = StrideId(self.strides.len() as u32);
        let crossed = (self.kept as u32, self.crossed.len() as u32);
        self.strides.push(Stride::new(from, text, self.texts.len() as u32, crossed, meaning));
        self.texts.extend_from_slice(text);
        self.kept = self.crossed.len();
        if let Some(place) = self.table.get_mut(bucket) {
            *place = id;
        }
        id
    }
}

impl Stride {
    fn new(from: ContextId, text: &[u8], at: u32, crossed: (u32, u32), meaning: Meaning) -> Stride {
        let mut head = [0; LANES];
        head.iter_mut().zip(text).for_each(|(to, byte)| *to = *byte);
        let tail = text.last_chunk::<LANES>().copied().unwrap_or_default();
        Stride {
            head: u8x16::new(head),
            tail: u8x16::new(tail),
            mask: (1 << text.len().min(LANES)) - 1,
            len: text.len() as u32,
            text: at,
            crossed,
            from,
            meaning,
            next: [StrideId::NONE; FOLLOWERS],
        }
    }

    /// Whether behind the stride, which `rest` begins with, stands what is expected.
    #[inline]
    fn is_followed(&self, rest: &[u8]) -> bool {
        match self.meaning.ahead {
            Ahead::Text => true,
            Ahead::End => rest.len() == self.len as usize,
            // White space, which a stride ends with, is no value, nor is what is no JSON: that is for the walk to say.
            Ahead::Word => matches!(rest.get(self.len as usize), Some(b't' | b'f' | b'n')),
            ahead => rest.get(self.len as usize).is_some_and(|first| Ahead::of(*first) == ahead),
        }
    }
}
