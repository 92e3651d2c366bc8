//! Bytes to projected event: one pass over a payload that extracts only the paths that a plan and its stream name.
//!
//! Total: any bytes give an event or a [`DecodeError`] that becomes a dead letter. What it promises:
//!
//! - A path `a.b.c` is reached through nested objects, through objects inside arrays (the values are collected into one
//!   array) and through keys that contain dots (`{"a.b": {"c": 1}}`). Where several of these lead to one path, the later
//!   one in the payload wins. A key that comes twice in one object counts where it comes last, with all that is in it.
//! - An array is flat (arrays in arrays are unpacked), at most `limits::ARRAY_ELEMENTS_MAX` elements long, and null if it
//!   holds nothing but nulls. A path that ends at an object gives the object's raw text; one that only a dotted key passes
//!   through (`a` in `{"a.b": 1}`) is absent.
//! - Numbers are exact as `i64` or `u64`, else the nearest `f64`; the time and id of the stream are read from the number's
//!   own text. A lone surrogate is U+FFFD. All of the payload is held to the JSON grammar, extracted or not.
//!
//! May not panic, log, read the clock, or allocate once its buffers have grown. Owns no state that outlives an event.

mod container;
mod identity;
mod projection;
mod scan;
mod shape;
#[cfg(test)]
mod tests;
mod walk;

use crate::event::{DeadCode, FieldId, Projected, Slot, Timestamp, Val, parse_time_number, parse_time_text};
use crate::limits;
use crate::rules::plan::Plan;
use projection::{Projection, Target};
use scan::{Fault, Scanner};
use walk::Walker;

/// The fields that a stream reads for itself: dotted paths as in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamFields {
    /// Where the event time is; `None`: the record's timestamp is used.
    pub time: Option<String>,
    /// Where the event's own id is; several fields are one tuple; empty: it has none.
    pub id: Vec<String>,
    /// Where the event category is; empty: events have none.
    pub category: String,
}

/// What decode says about an event besides its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The event time; `None` if the stream takes the record's timestamp.
    pub time: Option<Timestamp>,
}

/// Why a payload is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// The reason, for machines.
    pub code: DeadCode,
    /// The reason, for people: what, and at which byte or field.
    pub message: String,
    /// The event time, if it could be read before the payload failed.
    pub time: Option<Timestamp>,
}

/// Decodes the payloads of one stream for one plan. One per source thread: it holds the compiled projection and scratch
/// memory.
#[derive(Debug)]
pub struct Decoder {
    projection: Projection,
    walker: Walker,
    slots: usize,
    time: Option<(FieldId, String)>,
    /// Slots of the stream's id fields.
    id: Vec<FieldId>,
    id_text: Vec<u8>,
}

impl Decoder {
    /// Compiles the projection of a plan and a stream. The stream's own time and id have slots behind the plan's, even
    /// where a rule names the same path.
    pub fn new(plan: &Plan, stream: &StreamFields) -> Decoder {
        let fields = plan.fields.len().max(1);
        let named = plan.fields.iter().enumerate().skip(1).map(|(slot, path)| (path.0.as_str(), slot, false));
        let category = (!stream.category.is_empty()).then_some((stream.category.as_str(), 0, false));
        let own = stream.time.iter().chain(&stream.id).map(String::as_str);
        let own = own.enumerate().map(|(at, path)| (path, fields + at, true));
        let paths = category.into_iter().chain(named).chain(own);
        let target = |(path, slot, raw_numbers)| (path, Target { slot: slot as u32, raw_numbers });
        let projection = Projection::new(paths.map(target));

        // Field ids are 16 bits wide; the rules compiler keeps a plan's far below.
        let field = |slot: usize| FieldId(u16::try_from(slot).unwrap_or(u16::MAX));
        let first_id = fields + usize::from(stream.time.is_some());
        let slots = first_id + stream.id.len();
        Decoder {
            walker: Walker::new(&projection, slots),
            projection,
            slots,
            time: stream.time.clone().map(|path| (field(fields), path)),
            id: (first_id..slots).map(field).collect(),
            id_text: Vec::new(),
        }
    }

    /// An event with as many slots as [`Decoder::decode`] fills.
    pub fn new_event(&self) -> Projected {
        Projected::with_fields(self.slots)
    }

    /// Decodes one payload into `event`, which is cleared first.
    ///
    /// # Errors
    /// Whatever is wrong with the payload, as a dead letter's code and message. `event` then holds nothing of use.
    pub fn decode(&mut self, payload: &[u8], event: &mut Projected) -> Result<Header, DecodeError> {
        event.clear();
        event.slots.resize(self.slots, Slot::Absent);
        let (payload, start) = readable(payload)?;
        event.text.push_str(payload);
        if let Err(fault) = self.walker.walk(&self.projection, payload, start, event) {
            return Err(DecodeError { time: self.time(event).ok().flatten(), ..fault.into() });
        }
        Ok(Header { time: self.time(event)? })
    }

    fn time(&self, event: &Projected) -> Result<Option<Timestamp>, DecodeError> {
        let Some((field, path)) = &self.time else { return Ok(None) };
        let value = match event.get(*field) {
            Val::Array(elements) => elements.iter().next().unwrap_or(Val::Null),
            value => value,
        };
        let (text, parsed) = match value {
            Val::Absent | Val::Null => {
                let how = if matches!(value, Val::Null) { "null" } else { "absent" };
                let message = format!("the time field `{path}` is {how}");
                return Err(DecodeError { code: DeadCode::MissingTime, message, time: None });
            }
            Val::Str(text) => (text, parse_time_text(text)),
            // An object, or a number as it stands in the payload.
            Val::Object(text) => (text, parse_time_number(text)),
            Val::Bool(true) => ("true", parse_time_number("true")),
            _ => ("false", parse_time_number("false")),
        };
        parsed.map(Some).map_err(|error| {
            let message = format!("the time field `{path}` holds `{}`: {error}", excerpt(text));
            DecodeError { code: DeadCode::InvalidTime, message, time: None }
        })
    }
}

/// The payload as text, and where its object starts.
fn readable(payload: &[u8]) -> Result<(&str, usize), DecodeError> {
    if payload.len() > limits::PAYLOAD_BYTES_MAX {
        let message = format!("{} bytes; at most {} are decoded", payload.len(), limits::PAYLOAD_BYTES_MAX);
        return Err(DecodeError { code: DeadCode::TooLarge, message, time: None });
    }
    let mut scanner = Scanner::new(payload);
    scanner.skip_space();
    if scanner.at == payload.len() {
        let what = "the value has no content";
        return Err(Fault { code: DeadCode::EmptyValue, at: 0, what }.into());
    }
    let text = simdutf8::compat::from_utf8(payload).map_err(|error| {
        let what = "bytes that are not UTF-8";
        DecodeError::from(Fault { code: DeadCode::InvalidUtf8, at: error.valid_up_to(), what })
    })?;
    if scanner.peek() != b'{' {
        return Err(not_an_object(scanner).into());
    }
    Ok((text, scanner.at))
}

/// Tells a JSON value that is no object from what is no JSON.
fn not_an_object(mut scanner: Scanner<'_>) -> Fault {
    let at = scanner.at;
    if let Err(fault) = scanner.skip_value(0) {
        return fault;
    }
    scanner.skip_space();
    if scanner.at < scanner.bytes.len() {
        let what = "something follows the value";
        return Fault { code: DeadCode::InvalidJson, at: scanner.at, what };
    }
    Fault { code: DeadCode::NotAnObject, at, what: "JSON, but not an object" }
}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> Self {
        DecodeError { code: fault.code, message: format!("{}, at byte {}", fault.what, fault.at), time: None }
    }
}

/// The first characters of a value, for a message.
fn excerpt(text: &str) -> String {
    const CHARS: usize = 40;
    let mut short: String = text.chars().take(CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
