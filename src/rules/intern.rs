//! The tables that the rules of a plan share: each distinct field path, atom, condition and dimension once.

use std::collections::HashMap;

use super::plan::{Atom, AtomId, Cond, ConditionId, Dimension, FieldPath};
use crate::event::{DimensionId, FieldId, stable_hash64};
use crate::limits;

/// Path of the pseudo field at index 0, for people; no rule's field, even one spelled so, gets that index.
const CATEGORY_PATH: &str = "@category";

/// The dimension of single-event rules without suppression.
const PER_EVENT: &str = "@event";

/// The dimension of rules without key fields.
const EVERYTHING: &str = "@all";

/// The tables while a plan is built.
#[derive(Debug)]
pub(super) struct Interner {
    pub fields: Vec<FieldPath>,
    by_path: HashMap<String, FieldId>,
    pub atoms: Vec<Atom>,
    atom_ids: HashMap<String, AtomId>,
    pub conditions: Vec<Cond>,
    condition_ids: HashMap<Cond, ConditionId>,
    pub dimensions: Vec<Dimension>,
    dimension_ids: HashMap<String, DimensionId>,
    /// More fields were named than ids exist.
    pub overflow: bool,
}

impl Interner {
    pub(super) fn new() -> Self {
        Interner {
            fields: vec![FieldPath(CATEGORY_PATH.to_string())],
            by_path: HashMap::new(),
            atoms: Vec::new(),
            atom_ids: HashMap::new(),
            conditions: Vec::new(),
            condition_ids: HashMap::new(),
            dimensions: Vec::new(),
            dimension_ids: HashMap::new(),
            overflow: false,
        }
    }

    /// The id of a path. Beyond the limit it sets `overflow`, and the plan will not be used.
    pub(super) fn field(&mut self, path: &str) -> FieldId {
        if let Some(id) = self.by_path.get(path) {
            return *id;
        }
        let id = match u16::try_from(self.fields.len()) {
            Ok(id) if self.fields.len() <= limits::RULE_FIELDS_MAX => FieldId(id),
            _ => {
                self.overflow = true;
                return FieldId::CATEGORY;
            }
        };
        self.fields.push(FieldPath(path.to_string()));
        self.by_path.insert(path.to_string(), id);
        id
    }

    /// The path of an id.
    pub(super) fn path(&self, id: FieldId) -> &str {
        self.fields.get(id.index()).map_or("", |path| &path.0)
    }

    pub(super) fn atom(&mut self, atom: Atom) -> AtomId {
        // Atoms hold floats, which have no `Eq`; their debug form tells them apart exactly.
        let key = format!("{atom:?}");
        let next = AtomId(self.atoms.len() as u32);
        let id = *self.atom_ids.entry(key).or_insert(next);
        if id == next {
            self.atoms.push(atom);
        }
        id
    }

    pub(super) fn condition(&mut self, condition: Cond) -> ConditionId {
        if let Some(id) = self.condition_ids.get(&condition) {
            return *id;
        }
        let id = ConditionId(self.conditions.len() as u32);
        self.conditions.push(condition.clone());
        self.condition_ids.insert(condition, id);
        id
    }

    /// The dimension of single events.
    pub(super) fn per_event(&mut self) -> DimensionId {
        self.dimension(PER_EVENT.to_string(), true)
    }

    /// The dimension of steps with these key fields (name and whether optional), step by step.
    pub(super) fn keyed(&mut self, lists: &[Vec<(String, bool)>]) -> DimensionId {
        let mut names: Vec<String> = Vec::new();
        for list in lists {
            let fields: Vec<String> = list.iter().map(|(path, optional)| field_name(path, *optional)).collect();
            let name = fields.join(",");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let name = names.join("|");
        self.dimension(if name.is_empty() { EVERYTHING.to_string() } else { name }, false)
    }

    fn dimension(&mut self, name: String, per_event: bool) -> DimensionId {
        let next = DimensionId(self.dimensions.len() as u32);
        let id = *self.dimension_ids.entry(name.clone()).or_insert(next);
        if id == next {
            let hash = stable_hash64(0, name.as_bytes());
            self.dimensions.push(Dimension { name, hash, per_event });
        }
        id
    }
}

/// A field in a dimension's name; what would make the name ambiguous is escaped.
fn field_name(path: &str, optional: bool) -> String {
    let mut name = String::with_capacity(path.len() + 1);
    if path == PER_EVENT || path == EVERYTHING {
        name.push('\\');
    }
    for c in path.chars() {
        if matches!(c, ',' | '|' | '?' | '\\') {
            name.push('\\');
        }
        name.push(c);
    }
    if optional {
        name.push('?');
    }
    name
}
