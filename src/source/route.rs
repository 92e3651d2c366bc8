//! Routing: from satisfied conditions to signals, one per (dimension, key), each for the shard that owns the key's hash.
//!
//! Never to another shard because one is full: order per key is a promise.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::detect::{fields_of, keys_of};
use crate::event::{
    DimensionId, Evidence, FieldId, Hash128, Key, KeyBuilder, Late, Origin, Projected, Signal, StepId, Task, Timestamp,
    TraceContext, shard_of,
};
use crate::limits::KEY_BYTES_MAX;
use crate::rules::plan::{ConditionId, KeyField, Plan};

/// What the router must know of an event beyond its fields. The closures are called only if there is a signal.
pub struct Arrival<'a> {
    /// Event time.
    pub time: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// Whose watermark orders it.
    pub task: Task,
    /// Its own id as text, if it has one.
    pub id: &'a dyn Fn() -> Option<String>,
    /// Hash of (stream, id).
    pub identity: &'a dyn Fn() -> Hash128,
    /// The trace it came with, if traces are wanted.
    pub trace: &'a dyn Fn() -> Option<Box<TraceContext>>,
    /// The mark if it is late; called with `true` for the signal that counts the event.
    pub late: &'a dyn Fn(bool) -> Option<Late>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// It goes to some shard.
    Somewhere,
    /// It satisfied no step for which it has a key.
    Nowhere,
    /// One of its keys has so many bytes, more than [`KEY_BYTES_MAX`]. It goes nowhere at all.
    KeyTooLarge(usize),
}

/// One list of key fields in one dimension.
struct KeyList {
    dimension: DimensionId,
    dimension_hash: u64,
    per_event: bool,
    fields: Vec<KeyField>,
}

/// Turns satisfied conditions into signals. One per source thread: it holds scratch space.
pub struct Router {
    plan: Arc<Plan>,
    shards: usize,
    /// For each condition: (key list, step), ascending.
    targets: Vec<Vec<(u32, StepId)>>,
    lists: Vec<KeyList>,
    hits: Vec<(u32, StepId)>,
    entries: Vec<(DimensionId, Key, SmallVec<[StepId; 4]>)>,
    fields: Vec<FieldId>,
    /// Some condition asks for the category: it is kept too, though no rule names it, for conditions written later.
    keeps_category: bool,
    builder: KeyBuilder,
    /// Events that satisfied a step but had no usable key for it.
    keyless: u64,
}

impl Router {
    /// A router for this many shards.
    pub fn new(plan: Arc<Plan>, shards: usize) -> Self {
        let mut lists: Vec<KeyList> = Vec::new();
        let mut targets = vec![Vec::new(); plan.conditions.len()];
        for (at, step) in plan.steps.iter().enumerate() {
            let known = lists.iter().position(|list| list.dimension == step.dimension && list.fields == step.key);
            let list = known.unwrap_or_else(|| {
                let dimension = &plan.dimensions[step.dimension.0 as usize];
                lists.push(KeyList {
                    dimension: step.dimension,
                    dimension_hash: dimension.hash,
                    per_event: dimension.per_event,
                    fields: step.key.clone(),
                });
                lists.len() - 1
            });
            targets[step.condition.0 as usize].push((list as u32, StepId(at as u32)));
        }
        let keeps_category =
            plan.conditions.iter().any(|condition| fields_of(&plan, condition).contains(&FieldId::CATEGORY));
        Router {
            plan,
            shards: shards.max(1),
            targets,
            lists,
            hits: Vec::new(),
            entries: Vec::new(),
            fields: Vec::new(),
            keeps_category,
            builder: KeyBuilder::default(),
            keyless: 0,
        }
    }

    /// Gives one signal per (dimension, key) to `emit`, with its shard.
    pub fn route(
        &mut self,
        event: &Projected,
        hits: &[ConditionId],
        arrival: &Arrival<'_>,
        mut emit: impl FnMut(usize, Signal),
    ) -> Routed {
        self.hits.clear();
        hits.iter().for_each(|condition| self.hits.extend_from_slice(&self.targets[condition.0 as usize]));
        if self.hits.is_empty() {
            return Routed::Nowhere;
        }
        self.hits.sort_unstable();
        self.place(event, arrival);
        if self.entries.is_empty() {
            self.keyless += 1;
            return Routed::Nowhere;
        }
        let largest = self.entries.iter().map(|(_, key, _)| key.bytes().len()).max().unwrap_or(0);
        if largest > KEY_BYTES_MAX {
            return Routed::KeyTooLarge(largest);
        }
        let identity = (arrival.identity)();
        let evidence = Arc::new(self.evidence(event, arrival));
        // The order of dimensions and keys decides which signal counts the event: the same in every process.
        self.entries.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for (at, (dimension, key, mut steps)) in self.entries.drain(..).enumerate() {
            steps.sort_unstable();
            steps.dedup();
            let counts = at == 0;
            let shard = shard_of(key.hash(), self.shards);
            let late = (arrival.late)(counts);
            let event = Arc::clone(&evidence);
            emit(shard, Signal { event, identity, dimension, key, task: arrival.task, steps, counts, late });
        }
        Routed::Somewhere
    }

    /// Events so far that satisfied a step but had a null in its key.
    pub fn keyless(&self) -> u64 {
        self.keyless
    }

    /// Computes the keys of each key list that was hit and files the steps under them.
    fn place(&mut self, event: &Projected, arrival: &Arrival<'_>) {
        self.entries.clear();
        let mut at = 0;
        while at < self.hits.len() {
            let list_at = self.hits[at].0;
            let run = self.hits[at..].iter().take_while(|hit| hit.0 == list_at).count();
            let steps: SmallVec<[StepId; 4]> = self.hits[at..at + run].iter().map(|hit| hit.1).collect();
            at += run;
            let list = &self.lists[list_at as usize];
            let entries = &mut self.entries;
            let mut file = |key: Key| match entries.iter_mut().find(|e| e.0 == list.dimension && e.1 == key) {
                Some(entry) => entry.2.extend_from_slice(&steps),
                None => entries.push((list.dimension, key, steps.clone())),
            };
            if list.per_event {
                file(Key::of_event((arrival.identity)()));
            } else {
                keys_of(event, &list.fields, list.dimension_hash, &mut self.builder, &mut file);
            }
        }
    }

    fn evidence(&mut self, event: &Projected, arrival: &Arrival<'_>) -> Evidence {
        self.fields.clear();
        self.fields.extend(self.keeps_category.then_some(FieldId::CATEGORY));
        for (_, step) in &self.hits {
            let rule = self.plan.steps[step.0 as usize].rule;
            self.fields.extend_from_slice(&self.plan.rules[rule.0 as usize].fields);
        }
        self.fields.sort_unstable();
        self.fields.dedup();
        Evidence {
            time: arrival.time,
            origin: arrival.origin,
            id: (arrival.id)().map(String::into_boxed_str),
            fields: event.extract(&self.fields),
            trace: (arrival.trace)(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{RuleIndex, Slot, TopicId, stable_hash128};
    use crate::limits::KEYS_PER_EVENT_MAX;
    use crate::rules::plan::*;

    fn plan(key: &[(u16, bool)]) -> Arc<Plan> {
        let key: Vec<KeyField> = key.iter().map(|&(f, optional)| KeyField { field: FieldId(f), optional }).collect();
        let step = |role| Step {
            rule: RuleIndex(0),
            role,
            condition: ConditionId(0),
            dimension: DimensionId(0),
            key: key.clone(),
            name: 0,
        };
        let rule = Rule {
            id: "r".into(),
            name: "r".into(),
            version: String::new(),
            content_hash: 0,
            severity: Severity::Low,
            tags: vec![],
            description: String::new(),
            pattern: Pattern::Event,
            dimension: DimensionId(0),
            key_names: vec![],
            step_names: vec!["1".into()],
            fields: vec![FieldId(1)],
            suppress: None,
            summary: None,
            output_topic: None,
            output_key: None,
            backfill: false,
            place: String::new(),
        };
        Arc::new(Plan {
            fields: vec![FieldPath("c".into()), FieldPath("a".into()), FieldPath("b".into())],
            conditions: vec![Cond::Const(Some(true))],
            steps: vec![step(Role::State { first: 0, count: 1 }), step(Role::Until)],
            dimensions: vec![Dimension { name: "d".into(), hash: 7, per_event: false }],
            rules: vec![rule],
            atoms: vec![],
        })
    }

    fn keys(plan: &Arc<Plan>, event: &Projected) -> Vec<(String, bool, usize)> {
        let mut router = Router::new(Arc::clone(plan), 4);
        let mut keys = Vec::new();
        let arrival = Arrival {
            time: Timestamp(1),
            origin: Origin { topic: TopicId(1), partition: 0, offset: 5 },
            task: 0,
            id: &|| None,
            identity: &|| stable_hash128(0, b"x"),
            late: &|_| None,
            trace: &|| None,
        };
        router.route(event, &[ConditionId(0)], &arrival, |shard, signal| {
            assert!(shard < 4);
            let parts: Vec<String> = signal.key.parts().iter().map(|p| p.to_json().to_string()).collect();
            keys.push((parts.join(","), signal.counts, signal.steps.len()));
        });
        keys
    }

    fn event_with_array(elements: &[&str]) -> Projected {
        let mut event = Projected::with_fields(3);
        event.set_str(FieldId(1), "x");
        for element in elements {
            let start = event.text.len() as u32;
            event.text.push_str(element);
            event.elements.push(Slot::Str { start, len: element.len() as u32 });
        }
        event.elements.push(Slot::Null);
        event.slots[2] = Slot::Array { start: 0, len: elements.len() as u32 + 1 };
        event
    }

    #[test]
    fn one_signal_per_key_carries_all_steps_and_exactly_one_counts() {
        let keys = keys(&plan(&[(1, false), (2, false)]), &event_with_array(&["p", "q", "p"]));
        assert_eq!(keys, [("\"x\",\"p\"".to_owned(), true, 2), ("\"x\",\"q\"".to_owned(), false, 2)]);
    }

    #[test]
    fn a_null_key_is_no_key_unless_optional() {
        let mut event = Projected::with_fields(3);
        event.set_str(FieldId(1), "x");
        assert!(keys(&plan(&[(2, false)]), &event).is_empty());
        assert_eq!(keys(&plan(&[(2, true)]), &event), [("null".to_owned(), true, 2)]);
        assert!(keys(&plan(&[(2, false)]), &event_with_array(&[])).is_empty());
    }

    #[test]
    fn a_key_too_large_for_its_state_goes_nowhere() {
        let plan = plan(&[(2, false)]);
        let large = "x".repeat(KEY_BYTES_MAX + 1);
        assert!(keys(&plan, &event_with_array(&["p", &large])).is_empty());
        assert_eq!(keys(&plan, &event_with_array(&["p", &large[..KEY_BYTES_MAX / 2]])).len(), 2);
    }

    #[test]
    fn a_repeated_element_takes_no_place_under_the_limit() {
        let mut elements = vec!["p"; KEYS_PER_EVENT_MAX + 1];
        elements.push("q");
        let keys = keys(&plan(&[(2, false)]), &event_with_array(&elements));
        assert_eq!(keys, [("\"p\"".to_owned(), true, 2), ("\"q\"".to_owned(), false, 2)]);
    }
}
