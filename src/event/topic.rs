//! Topics as small numbers whose order is the order of their names.
//!
//! The total order of events is (time, topic, partition, offset); comparing names on every tie would be slow, so an id is
//! given such that ids compare as names do. Ids are spread out, so that a topic found later still fits between two others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A topic; compares as the topic's name does. Only meaningful with the [`TopicTable`] that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u32);

/// Distance between neighbours when ids are given in ascending order.
const STEP: u32 = 1 << 16;

/// The topics of one process, shared by all threads. Locked only when an assignment changes or an output is written.
#[derive(Debug, Default, Clone)]
pub struct TopicTable {
    by_id: Arc<Mutex<BTreeMap<u32, Arc<str>>>>,
}

impl TopicTable {
    /// Gives all `names` ids at once (sorted, so that any number of them fits).
    pub fn intern_all<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<()> {
        let mut sorted: Vec<&str> = names.into_iter().collect();
        sorted.sort_unstable();
        sorted.into_iter().try_for_each(|name| self.intern(name).map(|_| ()))
    }

    /// The id of `name`, new or known. `None` when no number is left between its neighbours: restart with all topics
    /// known, then they are spread evenly again.
    pub fn intern(&self, name: &str) -> Option<TopicId> {
        let mut topics = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut below, mut above) = (None, None);
        for (&id, known) in topics.iter() {
            match (**known).cmp(name) {
                std::cmp::Ordering::Equal => return Some(TopicId(id)),
                std::cmp::Ordering::Less => below = Some(id),
                std::cmp::Ordering::Greater => {
                    above = Some(id);
                    break;
                }
            }
        }
        let id = match (below, above) {
            (None, None) => u32::MAX / 2,
            (Some(b), None) => b.checked_add(STEP)?,
            (None, Some(a)) => a.checked_sub(STEP)?,
            (Some(b), Some(a)) if a - b > 1 => b + (a - b) / 2,
            _ => return None,
        };
        topics.insert(id, name.into());
        Some(TopicId(id))
    }

    /// The name of a topic.
    pub fn name(&self, topic: TopicId) -> Arc<str> {
        let topics = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        topics.get(&topic.0).cloned().unwrap_or_else(|| "?".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_compare_as_names_do_whatever_the_order_of_discovery() {
        let table = TopicTable::default();
        let names = ["m", "a", "z", "c", "b", "x", "y", "aa", "ab"];
        for name in names {
            table.intern(name).expect("room");
        }
        let mut sorted = names;
        sorted.sort_unstable();
        let ids: Vec<_> = sorted.iter().map(|n| table.intern(n).expect("known")).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        assert_eq!(&*table.name(ids[1]), "aa");
    }
}
