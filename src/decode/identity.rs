//! The identity of an event: the text of its id fields, and the hash of that text.
//!
//! One field is its text as it stands (a number as written in the payload, so that one of forty digits keeps them); several
//! are a JSON array of their values. An event without one of its parts has no identity. Called for signals only.

use std::io::Write;

use super::Decoder;
use crate::event::{Hash128, Projected, Val, stable_hash128};

impl Decoder {
    /// The event's own id; `None` if no id is configured or a part of it is null or absent.
    pub fn id_text(&self, event: &Projected) -> Option<String> {
        let mut text = Vec::new();
        self.write_id(event, &mut text)?;
        String::from_utf8(text).ok()
    }

    /// Hash of the text that [`Decoder::id_text`] gives, without allocating.
    pub fn id_hash(&mut self, event: &Projected, seed: u64) -> Option<Hash128> {
        let mut text = std::mem::take(&mut self.id_text);
        text.clear();
        let written = self.write_id(event, &mut text);
        let hash = stable_hash128(seed, &text);
        self.id_text = text;
        written.map(|()| hash)
    }

    fn write_id(&self, event: &Projected, out: &mut Vec<u8>) -> Option<()> {
        if let [field] = *self.id {
            return match event.get(field) {
                Val::Str(text) => out.write_all(text.as_bytes()).ok(),
                value => write_json(value, out),
            };
        }
        if self.id.is_empty() {
            return None;
        }
        for (at, field) in self.id.iter().enumerate() {
            out.push(if at == 0 { b'[' } else { b',' });
            write_json(event.get(*field), out)?;
        }
        out.push(b']');
        Some(())
    }
}

/// Appends a value as JSON; `None` if it is null. Numbers come as their raw text, in [`Val::Object`].
fn write_json(value: Val<'_>, out: &mut Vec<u8>) -> Option<()> {
    match value {
        Val::Absent | Val::Null => None,
        Val::Object(raw) => out.write_all(raw.as_bytes()).ok(),
        Val::Str(text) => serde_json::to_writer(out, text).ok(),
        Val::Array(elements) => {
            for (at, element) in elements.iter().enumerate() {
                out.push(if at == 0 { b'[' } else { b',' });
                if write_json(element, out).is_none() {
                    out.extend_from_slice(b"null");
                }
            }
            out.push(b']');
            Some(())
        }
        scalar => serde_json::to_writer(out, &scalar.to_json()).ok(),
    }
}
