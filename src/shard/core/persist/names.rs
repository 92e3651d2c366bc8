//! Names that outlive a process: fields, steps, dimensions and topics as state knows them.
//!
//! Indices of a plan mean nothing to another plan. A field is named by the hash of its path, a step by its rule's content
//! hash and its place in the rule, a dimension by its hash, a topic by its name. A part carries each name that it uses once,
//! in front, and refers to it by number; so every part stands for itself, whatever was written before it. What the
//! present plan does not know any more reads as `None` and is left out.

use ahash::AHashMap;
use std::sync::Arc;

use crate::event::{DimensionId, FieldId, RuleIndex, StepId, TopicId, TopicTable, stable_hash64};
use crate::rules::plan::Plan;
use crate::store::codec::{Damaged, Reader, Writer};

/// Between the indices of a plan and names that last.
#[derive(Debug)]
pub(in super::super) struct Names {
    fields: Vec<u64>,
    field_of: AHashMap<u64, FieldId>,
    rules: Vec<u64>,
    rule_of: AHashMap<u64, RuleIndex>,
    /// For each step its rule's hash and its place among the rule's steps.
    steps: Vec<(u64, u32)>,
    /// Content hash of a rule → its first step and their number.
    steps_of: AHashMap<u64, (u32, u32)>,
    dimensions: Vec<u64>,
    dimension_of: AHashMap<u64, DimensionId>,
    topics: TopicTable,
    topic_names: AHashMap<TopicId, Arc<str>>,
}

impl Names {
    pub(in super::super) fn new(plan: &Plan, topics: TopicTable) -> Names {
        // The category has no path of its own; no field path contains a NUL.
        let field = |(at, path): (usize, &crate::rules::plan::FieldPath)| {
            stable_hash64(0, if at == FieldId::CATEGORY.index() { b"\0category" } else { path.0.as_bytes() })
        };
        let fields: Vec<u64> = plan.fields.iter().enumerate().map(field).collect();
        let rules: Vec<u64> = plan.rules.iter().map(|rule| rule.content_hash).collect();
        let dimensions: Vec<u64> = plan.dimensions.iter().map(|dimension| dimension.hash).collect();
        let mut steps = Vec::with_capacity(plan.steps.len());
        let mut steps_of: AHashMap<u64, (u32, u32)> = AHashMap::new();
        for (at, step) in plan.steps.iter().enumerate() {
            let hash = rules.get(step.rule.0 as usize).copied().unwrap_or(0);
            let (_, count) = steps_of.entry(hash).or_insert((at as u32, 0));
            steps.push((hash, *count));
            *count += 1;
        }
        Names {
            field_of: fields.iter().enumerate().map(|(at, hash)| (*hash, FieldId(at as u16))).collect(),
            fields,
            rule_of: rules.iter().enumerate().map(|(at, hash)| (*hash, RuleIndex(at as u32))).collect(),
            rules,
            steps,
            steps_of,
            dimension_of: dimensions.iter().enumerate().map(|(at, hash)| (*hash, DimensionId(at as u32))).collect(),
            dimensions,
            topics,
            topic_names: AHashMap::new(),
        }
    }

    /// The content hash of a rule.
    pub(in super::super) fn rule(&self, rule: RuleIndex) -> u64 {
        self.rules.get(rule.0 as usize).copied().unwrap_or(0)
    }

    /// The rule of this content, if the plan has it.
    pub(in super::super) fn rule_of(&self, hash: u64) -> Option<RuleIndex> {
        self.rule_of.get(&hash).copied()
    }

    /// The hash of a dimension.
    pub(in super::super) fn dimension(&self, dimension: DimensionId) -> u64 {
        self.dimensions.get(dimension.0 as usize).copied().unwrap_or(0)
    }

    /// The dimension of this hash, if the plan has it.
    pub(in super::super) fn dimension_of(&self, hash: u64) -> Option<DimensionId> {
        self.dimension_of.get(&hash).copied()
    }

    fn topic_name(&mut self, topic: TopicId) -> Arc<str> {
        Arc::clone(self.topic_names.entry(topic).or_insert_with(|| self.topics.name(topic)))
    }

    fn step_of(&self, rule: u64, place: u32) -> Option<StepId> {
        let (first, count) = self.steps_of.get(&rule).copied()?;
        (place < count).then_some(StepId(first + place))
    }
}

/// The names that a part uses, while it is being written.
#[derive(Debug, Default)]
pub(super) struct Used {
    topics: Vec<TopicId>,
    fields: Vec<FieldId>,
    steps: Vec<StepId>,
}

fn number<T: PartialEq>(list: &mut Vec<T>, item: T) -> u64 {
    let at = list.iter().position(|held| *held == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    });
    at as u64
}

impl Used {
    pub(super) fn topic(&mut self, topic: TopicId) -> u64 {
        number(&mut self.topics, topic)
    }

    pub(super) fn field(&mut self, field: FieldId) -> u64 {
        number(&mut self.fields, field)
    }

    pub(super) fn step(&mut self, step: StepId) -> u64 {
        number(&mut self.steps, step)
    }

    /// Writes the names and forgets them.
    pub(super) fn finish(&mut self, names: &mut Names, out: &mut Writer) {
        out.uint(self.topics.len() as u64);
        for topic in self.topics.drain(..) {
            out.blob(names.topic_name(topic).as_bytes());
        }
        out.uint(self.fields.len() as u64);
        for field in self.fields.drain(..) {
            out.fixed(names.fields.get(field.index()).copied().unwrap_or(0));
        }
        out.uint(self.steps.len() as u64);
        for step in self.steps.drain(..) {
            let (rule, place) = names.steps.get(step.0 as usize).copied().unwrap_or((0, 0));
            out.fixed(rule);
            out.uint(place.into());
        }
    }
}

/// The names in front of a part, as the present plan knows them.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) topics: Vec<TopicId>,
    pub(super) fields: Vec<Option<FieldId>>,
    pub(super) steps: Vec<Option<StepId>>,
}

impl Known {
    pub(super) fn read(names: &Names, reader: &mut Reader<'_>) -> Result<Known, Damaged> {
        let mut known = Known::default();
        for _ in 0..reader.count()? {
            let name = reader.text()?;
            let no_place = || Damaged::new(format!("no place left in the order of topics for {name}"));
            known.topics.push(names.topics.intern(name).ok_or_else(no_place)?);
        }
        for _ in 0..reader.count()? {
            known.fields.push(names.field_of.get(&reader.fixed()?).copied());
        }
        for _ in 0..reader.count()? {
            let rule = reader.fixed()?;
            known.steps.push(names.step_of(rule, reader.small()?));
        }
        Ok(known)
    }
}
