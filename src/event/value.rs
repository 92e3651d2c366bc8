//! Values of an event's fields, held flat: one arena of text, one of array elements, one slot per projected field.
//!
//! A [`Projected`] event is reused from record to record, so decoding allocates nothing once its buffers have grown. A
//! [`FieldSet`] is the owned, exact-size copy of a few of its fields: what a signal keeps as evidence.

/// Index of a field path in a plan's projection. [`FieldId::CATEGORY`] stands for the event's category, whatever path a
/// stream reads it from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u16);

impl FieldId {
    /// The pseudo field that holds the event category (a string, or an array of strings; absent: category `any` only).
    pub const CATEGORY: FieldId = FieldId(0);

    /// As an index into slot tables.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One field's value in storage form. Text and array elements live in the arenas of the owner.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Slot {
    /// The path is not in the event.
    #[default]
    Absent,
    /// The path is there with JSON `null` (or an empty array of nulls only).
    Null,
    /// A JSON boolean.
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above `i64::MAX` that fits `u64`.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// Text: byte range in the text arena, valid UTF-8.
    Str {
        /// First byte in the text arena.
        start: u32,
        /// Length in bytes.
        len: u32,
    },
    /// An object: its raw JSON text in the text arena (for null checks and evidence; it equals nothing).
    Object {
        /// First byte in the text arena.
        start: u32,
        /// Length in bytes.
        len: u32,
    },
    /// An array: range in the element arena. Elements are scalars or objects; nested arrays are flattened.
    Array {
        /// First element in the element arena.
        start: u32,
        /// Number of elements.
        len: u32,
    },
}

/// A field's value, borrowed from its owner.
#[derive(Debug, Clone, Copy)]
pub enum Val<'a> {
    /// The path is not in the event.
    Absent,
    /// JSON `null`.
    Null,
    /// A JSON boolean.
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above `i64::MAX` that fits `u64`.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// An object, as raw JSON text.
    Object(&'a str),
    /// An array of scalars and objects.
    Array(ArrayRef<'a>),
}

impl<'a> Val<'a> {
    /// Absent or null: the same to EQL.
    #[inline]
    pub fn is_null(&self) -> bool {
        matches!(self, Val::Absent | Val::Null)
    }

    /// The value as JSON, for evidence. Absent and null are `null`; a float that JSON cannot hold is `null`.
    pub fn to_json(&self) -> serde_json::Value {
        match *self {
            Val::Absent | Val::Null => serde_json::Value::Null,
            Val::Bool(b) => b.into(),
            Val::Int(i) => i.into(),
            Val::Uint(u) => u.into(),
            Val::Float(f) => serde_json::Number::from_f64(f).map_or(serde_json::Value::Null, Into::into),
            Val::Str(s) => s.into(),
            Val::Object(raw) => serde_json::from_str(raw).unwrap_or_else(|_| raw.into()),
            Val::Array(a) => a.iter().map(|v| v.to_json()).collect(),
        }
    }
}

/// The elements of an array field.
#[derive(Debug, Clone, Copy)]
pub struct ArrayRef<'a> {
    elements: &'a [Slot],
    text: &'a str,
}

impl<'a> ArrayRef<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// The elements in their order; never an array.
    pub fn iter(&self) -> impl Iterator<Item = Val<'a>> + use<'a> {
        let text = self.text;
        self.elements.iter().map(move |slot| resolve(*slot, text, &[]))
    }
}

#[inline(always)]
fn resolve<'a>(slot: Slot, text: &'a str, elements: &'a [Slot]) -> Val<'a> {
    let range = |start: u32, len: u32| &text[start as usize..start as usize + len as usize];
    match slot {
        Slot::Absent => Val::Absent,
        Slot::Null => Val::Null,
        Slot::Bool(b) => Val::Bool(b),
        Slot::Int(i) => Val::Int(i),
        Slot::Uint(u) => Val::Uint(u),
        Slot::Float(f) => Val::Float(f),
        Slot::Str { start, len } => Val::Str(range(start, len)),
        Slot::Object { start, len } => Val::Object(range(start, len)),
        Slot::Array { start, len } => {
            Val::Array(ArrayRef { elements: &elements[start as usize..start as usize + len as usize], text })
        }
    }
}

/// One decoded event: a slot for every path of the projection. Reused from record to record.
#[derive(Debug, Default, Clone)]
pub struct Projected {
    /// One slot per [`FieldId`] of the projection, [`Slot::Absent`] where the event lacks it.
    pub slots: Vec<Slot>,
    /// Elements of arrays.
    pub elements: Vec<Slot>,
    /// Text of strings and objects.
    pub text: String,
}

impl Projected {
    /// An event with room for `fields` slots, all absent.
    pub fn with_fields(fields: usize) -> Self {
        Projected { slots: vec![Slot::Absent; fields], elements: Vec::new(), text: String::new() }
    }

    /// Forgets all values, keeps the buffers.
    #[inline]
    pub fn clear(&mut self) {
        self.slots.fill(Slot::Absent);
        self.elements.clear();
        self.text.clear();
    }

    /// The value of a field; [`Val::Absent`] for an id beyond the projection.
    #[inline]
    pub fn get(&self, field: FieldId) -> Val<'_> {
        let slot = self.slots.get(field.index()).copied().unwrap_or_default();
        resolve(slot, &self.text, &self.elements)
    }

    /// Sets a text value (for tests and synthetic events; decoders write the arenas themselves).
    pub fn set_str(&mut self, field: FieldId, value: &str) {
        let start = self.text.len() as u32;
        self.text.push_str(value);
        self.slots[field.index()] = Slot::Str { start, len: value.len() as u32 };
    }

    /// Takes the values of an event that was kept; what it lacks is absent.
    pub fn load(&mut self, kept: &FieldSet) {
        self.clear();
        self.text.push_str(&kept.text);
        self.elements.extend_from_slice(&kept.elements);
        for (field, slot) in &kept.entries {
            if let Some(place) = self.slots.get_mut(field.index()) {
                *place = *slot;
            }
        }
    }

    /// An owned copy of the named fields that are present.
    pub fn extract(&self, fields: &[FieldId]) -> FieldSet {
        let mut set = FieldSetBuilder::default();
        for &field in fields {
            let slot = self.slots.get(field.index()).copied().unwrap_or_default();
            if slot != Slot::Absent {
                let copied = set.copy(slot, &self.text, &self.elements);
                set.entries.push((field, copied));
            }
        }
        set.entries.sort_unstable_by_key(|e| e.0);
        set.entries.dedup_by_key(|e| e.0);
        FieldSet {
            entries: set.entries.into_boxed_slice(),
            elements: set.elements.into_boxed_slice(),
            text: set.text.into_boxed_str(),
        }
    }
}

#[derive(Default)]
struct FieldSetBuilder {
    entries: Vec<(FieldId, Slot)>,
    elements: Vec<Slot>,
    text: String,
}

impl FieldSetBuilder {
    fn copy(&mut self, slot: Slot, text: &str, elements: &[Slot]) -> Slot {
        let mut copy_text = |start: u32, len: u32| {
            let at = self.text.len() as u32;
            self.text.push_str(&text[start as usize..(start + len) as usize]);
            at
        };
        match slot {
            Slot::Str { start, len } => Slot::Str { start: copy_text(start, len), len },
            Slot::Object { start, len } => Slot::Object { start: copy_text(start, len), len },
            Slot::Array { start, len } => {
                let copied: Vec<Slot> = elements[start as usize..(start + len) as usize]
                    .iter()
                    .map(|element| self.copy(*element, text, elements))
                    .collect();
                let at = self.elements.len() as u32;
                self.elements.extend(copied);
                Slot::Array { start: at, len }
            }
            scalar => scalar,
        }
    }
}

/// An owned, exact-size copy of some fields of one event, sorted by field id.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct FieldSet {
    entries: Box<[(FieldId, Slot)]>,
    elements: Box<[Slot]>,
    text: Box<str>,
}

impl FieldSet {
    /// The value of a field; [`Val::Absent`] if it was not kept.
    #[inline]
    pub fn get(&self, field: FieldId) -> Val<'_> {
        match self.entries.binary_search_by_key(&field, |e| e.0) {
            Ok(at) => resolve(self.entries[at].1, &self.text, &self.elements),
            Err(_) => Val::Absent,
        }
    }

    /// The fields that are present, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (FieldId, Val<'_>)> {
        self.entries.iter().map(|(field, slot)| (*field, resolve(*slot, &self.text, &self.elements)))
    }

    /// From slots whose ranges lie within these arenas; the entries in any order.
    pub fn from_parts(mut entries: Vec<(FieldId, Slot)>, elements: Vec<Slot>, text: String) -> FieldSet {
        entries.sort_unstable_by_key(|entry| entry.0);
        entries.dedup_by_key(|entry| entry.0);
        FieldSet {
            entries: entries.into_boxed_slice(),
            elements: elements.into_boxed_slice(),
            text: text.into_boxed_str(),
        }
    }

    /// Heap bytes held.
    pub fn heap_bytes(&self) -> usize {
        let FieldSet { entries, elements, text } = self;
        [size_of_val(&**entries), size_of_val(&**elements), text.len()].into_iter().map(super::allotted).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extract_copies_text_and_arrays_and_leaves_absent_fields_out() {
        let mut event = Projected::with_fields(4);
        event.set_str(FieldId(1), "alpha");
        event.set_str(FieldId(3), "beta");
        let start = event.elements.len() as u32;
        event.elements.push(event.slots[3]);
        event.elements.push(Slot::Int(7));
        event.slots[3] = Slot::Array { start, len: 2 };
        let set = event.extract(&[FieldId(3), FieldId(2), FieldId(1), FieldId(1)]);
        assert_eq!(set.get(FieldId(1)).to_json(), serde_json::json!("alpha"));
        assert_eq!(set.get(FieldId(3)).to_json(), serde_json::json!(["beta", 7]));
        assert!(matches!(set.get(FieldId(2)), Val::Absent));
        let mut back = event.clone();
        back.load(&set);
        assert_eq!(back.get(FieldId(3)).to_json(), serde_json::json!(["beta", 7]));
        let json = |set: &FieldSet| set.iter().map(|(field, value)| (field, value.to_json())).collect::<Vec<_>>();
        assert_eq!(json(&back.extract(&[FieldId(1), FieldId(2), FieldId(3)])), json(&set));
        assert!(matches!(event.get(FieldId(99)), Val::Absent));
    }
}
