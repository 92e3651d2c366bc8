//! Where each part of the merged configuration was written. config-rs merges values and forgets their places; this keeps
//! them beside it, by path.
//!
//! Invariant: what it holds is what the merge holds. So a list or a scalar forgets what stood below it, as it replaces that.

use std::collections::BTreeMap;

use super::tree::Place;

/// The place of every part that was written, by its path of keys and list indices.
#[derive(Debug)]
pub(super) struct Places {
    root: Place,
    written: BTreeMap<Vec<String>, Place>,
}

impl Places {
    /// Nothing was written yet: everything is at `root`.
    pub(super) fn new(root: Place) -> Self {
        Places { root, written: BTreeMap::new() }
    }

    /// The place of the whole, and of what nobody wrote.
    pub(super) fn set_root(&mut self, place: Place) {
        self.root = place;
    }

    /// A part was written, over what may have stood there.
    pub(super) fn write(&mut self, path: &[String], place: Place) {
        self.written.insert(path.to_vec(), place);
    }

    /// A part exists because something below it was written; if it was there before, its place holds.
    pub(super) fn imply(&mut self, path: &[String], place: &Place) {
        self.written.entry(path.to_vec()).or_insert_with(|| place.clone());
    }

    /// What stood below `path` was replaced.
    pub(super) fn forget_below(&mut self, path: &[String]) {
        self.written.retain(|at, _| at.len() <= path.len() || !at.starts_with(path));
    }

    /// How many elements the list at `path` has; 0 if there is none.
    pub(super) fn items(&self, path: &[String]) -> usize {
        let mut at = path.to_vec();
        (0..)
            .take_while(|index: &usize| {
                at.truncate(path.len());
                at.push(index.to_string());
                self.written.contains_key(&at)
            })
            .count()
    }

    /// The place of a path; that of the nearest part of it that was written.
    pub(super) fn find<S: AsRef<str>>(&self, path: &[S]) -> &Place {
        let mut at: Vec<String> = path.iter().map(|part| part.as_ref().to_owned()).collect();
        while !at.is_empty() {
            if let Some(place) = self.written.get(&at) {
                return place;
            }
            at.pop();
        }
        &self.root
    }
}

/// A path as it is written in messages: `input[0].late`.
pub(super) fn display<S: AsRef<str>>(path: &[S]) -> String {
    path.iter().map(AsRef::as_ref).fold(String::new(), |shown, part| match part.parse::<usize>() {
        Ok(index) => format!("{shown}[{index}]"),
        Err(_) if shown.is_empty() => part.to_owned(),
        Err(_) => format!("{shown}.{part}"),
    })
}
