//! A rule's version: a hash of everything that changes what it finds or says.
//!
//! It must not see layout, comments, the description or the place of the rule, and must see everything else; what state is
//! kept by is `content_hash`. It is taken from the rule as written (tokens, not the plan), so that it does not depend on
//! the other rules of the set.

use super::correlation::CorrelationDraft;
use super::native::{Body, Draft};
use crate::event::stable_hash64;

/// Changed whenever the same text comes to mean something else.
const SEMANTICS: &str = "throughline rule 1";

/// The version: 16 hex digits.
pub(super) fn of(draft: &Draft<'_>) -> String {
    let mut digest = Digest::default();
    digest.part(SEMANTICS);
    digest.part(&draft.id);
    digest.part(&draft.name);
    digest.part(draft.severity.name());
    digest.list(draft.tags.iter().map(String::as_str));
    match &draft.body {
        Body::Query(eql) => {
            digest.part("query");
            digest.part(&eql.canonical);
        }
        Body::Correlation(correlation) => digest.correlation(correlation),
    }
    match &draft.suppress {
        Some(suppress) => {
            digest.part("suppress");
            digest.part(&suppress.window.0.to_string());
            digest.list(suppress.by.iter().flatten().map(String::as_str));
        }
        None => digest.part("no suppress"),
    }
    let mut evidence: Vec<&str> = draft.evidence.iter().map(String::as_str).collect();
    evidence.sort_unstable();
    digest.list(evidence.into_iter());
    digest.part(draft.summary.as_ref().map_or("", |summary| &summary.text));
    digest.part(draft.output_topic.as_deref().unwrap_or(""));
    digest.part(draft.output_key.as_deref().unwrap_or(""));
    format!("{:016x}", digest.hash())
}

/// Parts with their lengths, so that no two lists of parts give the same bytes.
#[derive(Debug, Default)]
pub(super) struct Digest(Vec<u8>);

impl Digest {
    /// The hash of all parts so far.
    pub(super) fn hash(&self) -> u64 {
        stable_hash64(0, &self.0)
    }

    pub(super) fn part(&mut self, part: &str) {
        self.0.extend((part.len() as u64).to_le_bytes());
        self.0.extend(part.as_bytes());
    }

    fn list<'a>(&mut self, parts: impl Iterator<Item = &'a str>) {
        let parts: Vec<&str> = parts.collect();
        self.part(&parts.len().to_string());
        for part in parts {
            self.part(part);
        }
    }

    fn correlation(&mut self, correlation: &CorrelationDraft) {
        self.part("correlation");
        self.part(&format!("{:?}", correlation.kind));
        self.part(&correlation.references.len().to_string());
        for ((name, eql), key) in correlation.references.iter().zip(&correlation.group_by) {
            self.part(name);
            self.part(&eql.canonical);
            self.list(key.iter().map(String::as_str));
        }
        self.part(&correlation.timespan.0.to_string());
        self.list(correlation.value_fields.iter().map(String::as_str));
        self.part(&correlation.percentile.to_string());
        for threshold in &correlation.thresholds {
            self.part(&format!("{threshold:?}"));
        }
        self.part(&format!("{:?} {:?}", correlation.temporal, correlation.refire));
    }
}
