//! From a match to a [`Correlation`]: suppression, the id, and which of its events are kept.

use std::fmt::Write as _;
use std::sync::Arc;

use ahash::AHashMap;

use super::suppress::{Repeats, Unplaced};
use super::{Output, Settings};
use crate::event::{
    Correlation, Evidence, FieldId, Hash128, Key, KeyBuilder, MatchedEvent, Measure, MeasuredValue, RuleIndex, Seldom,
    Timestamp, TopicId, TopicTable, Val, stable_hash128,
};
use crate::limits;
use crate::rules::plan::{Plan, Rule};

/// An event of a match with the name of the step it stands for; `None` for a missing event.
pub(super) type Matched<'a> = Option<(u16, &'a Arc<Evidence>)>;

/// What a rule found, before suppression.
pub(super) struct Finding<'a> {
    pub(super) rule: RuleIndex,
    pub(super) key: &'a Key,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// Absence or a tumbling window decided: `end` is part of the id.
    pub(super) decided: bool,
    /// Folded in by the rule itself (refire).
    pub(super) folded: u64,
    pub(super) values: Vec<(Measure, MeasuredValue)>,
}

/// Builds correlations; its buffers and names are reused.
#[derive(Debug)]
pub(super) struct Reporter {
    plan: Arc<Plan>,
    topics: TopicTable,
    /// The table is behind a lock; names are asked once.
    names: AHashMap<TopicId, Arc<str>>,
    bytes: Vec<u8>,
    text: String,
    values: KeyBuilder,
}

impl Reporter {
    pub(super) fn new(plan: Arc<Plan>, topics: TopicTable) -> Reporter {
        Reporter {
            plan,
            topics,
            names: AHashMap::new(),
            bytes: Vec::new(),
            text: String::new(),
            values: KeyBuilder::default(),
        }
    }

    /// Reports a finding over `events` (all of them, in order), or counts it as suppressed. What suppression remembers of it expires
    /// at the time that comes back.
    pub(super) fn report<'e>(
        &mut self,
        finding: Finding<'_>,
        events: impl Iterator<Item = Matched<'e>> + Clone,
        (repeats, unplaced): (&mut Seldom<Repeats>, &mut Unplaced),
        settings: &Settings,
        out: &mut Output,
    ) -> Option<Timestamp> {
        let plan = Arc::clone(&self.plan);
        let rule = plan.rules.get(finding.rule.0 as usize)?;
        let (mut folded, mut until) = (finding.folded, None);
        if let Some(suppress) = &rule.suppress {
            let repeat = self.repeat(rule, finding.key, &suppress.by, events.clone());
            let found = (finding.end, folded, suppress.window);
            let verdict = repeats.admit(repeat, unplaced.take(repeat), found, settings.retention);
            until = Some(verdict.until);
            let Some(counted) = verdict.reported else {
                out.suppressed += 1;
                return until;
            };
            folded = counted;
        }
        let (id, total) = self.id(rule, &finding, events.clone());
        out.correlations.push(Correlation {
            rule: finding.rule,
            key: finding.key.clone(),
            id,
            window_start: finding.start,
            window_end: finding.end,
            events: kept(events, total),
            values: finding.values,
            suppressed: folded,
        });
        until
    }

    /// What makes two correlations repeats: rule, key, and the values of the `by` fields.
    fn repeat<'e>(
        &mut self,
        rule: &Rule,
        key: &Key,
        by: &[FieldId],
        events: impl Iterator<Item = Matched<'e>> + Clone,
    ) -> Hash128 {
        self.bytes.clear();
        push_text(&mut self.bytes, rule.id.as_bytes());
        push_text(&mut self.bytes, key.bytes());
        for &field in by {
            self.values.clear();
            let mut present =
                events.clone().flatten().map(|(_, event)| event.fields.get(field)).filter(|v| !v.is_null());
            match present.next() {
                Some(Val::Array(elements)) => elements.iter().for_each(|element| self.values.push(element)),
                Some(value) => self.values.push(value),
                None => self.values.push(Val::Null),
            }
            push_text(&mut self.bytes, self.values.bytes());
        }
        stable_hash128(0, &self.bytes).of_key(key.hash())
    }

    /// The correlation's id, and how many places its events take. Each part is tagged and text is preceded by its
    /// length, so that no two different findings give the same bytes.
    fn id<'e>(
        &mut self,
        rule: &Rule,
        finding: &Finding<'_>,
        events: impl Iterator<Item = Matched<'e>>,
    ) -> (Hash128, usize) {
        const MISSING: u8 = 0;
        const OWN_ID: u8 = 1;
        const ORIGIN: u8 = 2;
        const DECIDED: u8 = 3;
        self.bytes.clear();
        push_text(&mut self.bytes, rule.id.as_bytes());
        push_text(&mut self.bytes, finding.key.bytes());
        let mut total = 0;
        for event in events {
            total += 1;
            match event {
                None => self.bytes.push(MISSING),
                Some((_, event)) => match &event.id {
                    Some(id) => {
                        self.bytes.push(OWN_ID);
                        push_text(&mut self.bytes, id.as_bytes());
                    }
                    None => {
                        let origin = event.origin;
                        let name = self.names.entry(origin.topic).or_insert_with(|| self.topics.name(origin.topic));
                        self.text.clear();
                        // Writing to a String cannot fail.
                        let _ = write!(self.text, "{name}/{}/{}", origin.partition, origin.offset);
                        self.bytes.push(ORIGIN);
                        push_text(&mut self.bytes, self.text.as_bytes());
                    }
                },
            }
        }
        if finding.decided {
            self.bytes.push(DECIDED);
            self.bytes.extend_from_slice(&finding.end.0.to_le_bytes());
        }
        (stable_hash128(0, &self.bytes), total)
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text);
}

/// The first and last halves of `limits::CORRELATION_EVENTS_MAX`, or all.
fn kept<'e>(events: impl Iterator<Item = Matched<'e>>, total: usize) -> Vec<Option<MatchedEvent>> {
    let half = limits::CORRELATION_EVENTS_MAX / 2;
    let cut = if total > limits::CORRELATION_EVENTS_MAX { half..total - half } else { 0..0 };
    let mut kept = Vec::with_capacity(total.min(limits::CORRELATION_EVENTS_MAX));
    for (at, event) in events.enumerate() {
        if !cut.contains(&at) {
            kept.push(event.map(|(step, event)| MatchedEvent { step, event: Arc::clone(event) }));
        }
    }
    kept
}
