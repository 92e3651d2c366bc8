//! Events as the oracle sees them: a kind, four fields, a place in the total order. Nothing here is shared with the engine;
//! [`Event::to_json`] is the only way over.

use std::fmt;

/// Event times in tests are milliseconds after this instant (seconds since the epoch). Neither a whole minute nor a
/// multiple of 7 s, so that windows aligned to the epoch begin at odd places.
pub const BASE_SECONDS: i64 = 1_700_000_003;

/// The topics of these tests, in the order of their names.
pub const TOPICS: [&str; 2] = ["alpha", "beta"];

/// Nanoseconds since the epoch of a test time.
pub fn nanos(time_ms: i64) -> i64 {
    (BASE_SECONDS * 1000 + time_ms) * 1_000_000
}

/// A scalar. Numbers are held in halves, so that sums and means of them are exact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scalar {
    /// Text.
    Text(String),
    /// A number, `halves / 2`; written with a decimal point if asked for (`1.0` and `1` are one value).
    Number {
        /// Twice the value.
        halves: i64,
        /// Written as a float also where it is whole.
        decimal: bool,
    },
}

impl Scalar {
    /// The value without the way it is written: equal exactly when EQL calls the values equal.
    pub fn canonical(&self) -> Scalar {
        match self {
            Scalar::Text(text) => Scalar::Text(text.clone()),
            Scalar::Number { halves, .. } => Scalar::Number { halves: *halves, decimal: false },
        }
    }

    /// As JSON, whole numbers without a decimal point unless asked for.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Scalar::Text(text) => text.as_str().into(),
            Scalar::Number { halves, decimal: false } if halves % 2 == 0 => (halves / 2).into(),
            Scalar::Number { halves, .. } => (*halves as f64 / 2.0).into(),
        }
    }
}

/// A field of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Not in the event.
    Absent,
    /// There, with null.
    Null,
    /// A scalar.
    One(Scalar),
    /// An array, nulls included.
    Many(Vec<Option<Scalar>>),
}

impl Value {
    /// The only scalar, if it is one.
    pub fn scalar(&self) -> Option<&Scalar> {
        match self {
            Value::One(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The value of a number in halves, if it is one.
    pub fn halves(&self) -> Option<i64> {
        match self.scalar() {
            Some(Scalar::Number { halves, .. }) => Some(*halves),
            _ => None,
        }
    }

    fn to_json(&self) -> Option<serde_json::Value> {
        match self {
            Value::Absent => None,
            Value::Null => Some(serde_json::Value::Null),
            Value::One(scalar) => Some(scalar.to_json()),
            Value::Many(all) => {
                Some(all.iter().map(|one| one.as_ref().map_or(serde_json::Value::Null, Scalar::to_json)).collect())
            }
        }
    }
}

/// The fields that test rules may name, beside the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The usual key.
    K,
    /// A second key.
    J,
    /// Something to count.
    U,
    /// Something to measure.
    V,
}

impl Field {
    /// The name in rules and events.
    pub fn name(self) -> &'static str {
        match self {
            Field::K => "k",
            Field::J => "j",
            Field::U => "u",
            Field::V => "v",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Event time in milliseconds after [`BASE_SECONDS`].
    pub time_ms: i64,
    /// Its topic, an index into [`TOPICS`].
    pub topic: usize,
    /// Its partition there.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Its id: unique, unless it is a duplicate.
    pub id: String,
    /// What kind of event it is: field `t`.
    pub kind: char,
    /// Field `k`.
    pub k: Value,
    /// Field `j`.
    pub j: Value,
    /// Field `u`.
    pub u: Value,
    /// Field `v`.
    pub v: Value,
}

impl Event {
    /// One of its fields.
    pub fn get(&self, field: Field) -> &Value {
        match field {
            Field::K => &self.k,
            Field::J => &self.j,
            Field::U => &self.u,
            Field::V => &self.v,
        }
    }

    /// Its place in the total order of events.
    pub fn order(&self) -> (i64, usize, i32, i64) {
        (self.time_ms, self.topic, self.partition, self.offset)
    }

    /// The payload.
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        object.insert("ts".into(), nanos(self.time_ms).into());
        object.insert("id".into(), self.id.as_str().into());
        object.insert("t".into(), self.kind.to_string().into());
        for field in [Field::K, Field::J, Field::U, Field::V] {
            if let Some(value) = self.get(field).to_json() {
                object.insert(field.name().into(), value);
            }
        }
        object.into()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} ms  {}/{}/{}  {:<5}", self.time_ms, TOPICS[self.topic], self.partition, self.offset, self.id)?;
        for field in [Field::K, Field::J, Field::U, Field::V] {
            if let Some(value) = self.get(field).to_json() {
                write!(f, " {}={value}", field.name())?;
            }
        }
        Ok(())
    }
}
