//! Layout of an event's evidence inside other parts.
//!
//! `time int · topic # · partition · offset · id? · fields: count, (field #, value)…`, where `#` is a number in the part's names
//! (see [`super::names`]). A value is a tag byte and its payload; an array has its length and then its elements.

use std::sync::Arc;

use super::names::{Known, Used};
use crate::event::{Evidence, FieldId, FieldSet, Origin, Slot, StepId, Timestamp, Val};
use crate::store::codec::{Damaged, Reader, Writer};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const UINT: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const OBJECT: u8 = 7;
const ARRAY: u8 = 8;

pub(super) fn write(event: &Evidence, used: &mut Used, out: &mut Writer) {
    out.int(event.time.0);
    out.uint(used.topic(event.origin.topic));
    out.uint(event.origin.partition as u32 as u64);
    out.int(event.origin.offset);
    out.option(event.id.as_deref(), |out, id| out.blob(id.as_bytes()));
    out.uint(event.fields.iter().count() as u64);
    for (field, value) in event.fields.iter() {
        out.uint(used.field(field));
        write_value(value, out);
    }
}

fn write_value(value: Val<'_>, out: &mut Writer) {
    match value {
        Val::Absent | Val::Null => out.byte(NULL),
        Val::Bool(b) => out.byte(if b { TRUE } else { FALSE }),
        Val::Int(i) => {
            out.byte(INT);
            out.int(i);
        }
        Val::Uint(u) => {
            out.byte(UINT);
            out.uint(u);
        }
        Val::Float(f) => {
            out.byte(FLOAT);
            out.fixed(f.to_bits());
        }
        Val::Str(text) => {
            out.byte(TEXT);
            out.blob(text.as_bytes());
        }
        Val::Object(raw) => {
            out.byte(OBJECT);
            out.blob(raw.as_bytes());
        }
        Val::Array(array) => {
            out.byte(ARRAY);
            out.uint(array.len() as u64);
            array.iter().for_each(|element| write_value(element, out));
        }
    }
}

pub(super) fn read(known: &Known, reader: &mut Reader<'_>) -> Result<Arc<Evidence>, Damaged> {
    let time = Timestamp(reader.int()?);
    let topic = reader.small::<usize>()?;
    let topic = *known.topics.get(topic).ok_or_else(|| Damaged::new(format!("topic number {topic} without a name")))?;
    let partition = reader.small::<u32>()? as i32;
    let origin = Origin { topic, partition, offset: reader.int()? };
    let id = reader.option(|reader| Ok(reader.text()?.into()))?;
    let count = reader.count()?;
    // The texts of all values are no longer than what is left.
    let text = String::with_capacity(reader.rest().len().min(TEXT_AT_FIRST));
    let mut fields = Fields { elements: Vec::new(), text };
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let number = reader.small::<usize>()?;
        let field =
            *known.fields.get(number).ok_or_else(|| Damaged::new(format!("field number {number} without a name")))?;
        let slot = fields.read(reader, true)?;
        entries.extend(field.map(|field: FieldId| (field, slot)));
    }
    let fields = FieldSet::from_parts(entries, fields.elements, fields.text);
    Ok(Arc::new(Evidence { time, origin, id, fields, trace: None }))
}

/// Room for texts that most events do with.
const TEXT_AT_FIRST: usize = 256;

/// Arenas of the values being read.
struct Fields {
    elements: Vec<Slot>,
    text: String,
}

impl Fields {
    fn read(&mut self, reader: &mut Reader<'_>, array_allowed: bool) -> Result<Slot, Damaged> {
        Ok(match reader.byte()? {
            NULL => Slot::Null,
            FALSE => Slot::Bool(false),
            TRUE => Slot::Bool(true),
            INT => Slot::Int(reader.int()?),
            UINT => Slot::Uint(reader.uint()?),
            FLOAT => Slot::Float(f64::from_bits(reader.fixed()?)),
            TEXT => {
                let (start, len) = self.text(reader)?;
                Slot::Str { start, len }
            }
            OBJECT => {
                let (start, len) = self.text(reader)?;
                Slot::Object { start, len }
            }
            ARRAY if array_allowed => {
                let len = reader.count()?;
                let elements: Vec<Slot> = (0..len).map(|_| self.read(reader, false)).collect::<Result<_, _>>()?;
                let start = self.elements.len() as u32;
                self.elements.extend(elements);
                Slot::Array { start, len: len as u32 }
            }
            tag => return Err(Damaged::new(format!("value tag {tag}"))),
        })
    }

    fn text(&mut self, reader: &mut Reader<'_>) -> Result<(u32, u32), Damaged> {
        let text = reader.text()?;
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Ok((start, text.len() as u32))
    }
}

/// Steps, by number.
pub(super) fn write_steps(steps: &[StepId], used: &mut Used, out: &mut Writer) {
    out.uint(steps.len() as u64);
    steps.iter().for_each(|step| out.uint(used.step(*step)));
}

/// The steps that the present plan knows, ascending.
pub(super) fn read_steps(known: &Known, reader: &mut Reader<'_>) -> Result<smallvec::SmallVec<[StepId; 4]>, Damaged> {
    let mut steps = smallvec::SmallVec::new();
    for _ in 0..reader.count()? {
        let number = reader.small::<usize>()?;
        let step =
            known.steps.get(number).ok_or_else(|| Damaged::new(format!("step number {number} without a name")))?;
        steps.extend(*step);
    }
    steps.sort_unstable();
    Ok(steps)
}
