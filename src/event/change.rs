//! Changed parts of state on their way from a shard to the changelog and the store.

/// A changed part: where it belongs, its key, and its new value (`None`: it is gone).
pub type Changed<'a> = (u16, &'a [u8], Option<&'a [u8]>);

#[derive(Debug, Clone, Copy)]
struct Entry {
    partition: u16,
    key_end: usize,
    /// End of the value; `None`: a tombstone.
    value_end: Option<usize>,
}

impl Entry {
    fn end(&self) -> usize {
        self.value_end.unwrap_or(self.key_end)
    }
}

/// Changed parts of one epoch, back to back in one buffer, in the order in which they were added. Later ones win.
#[derive(Debug, Default)]
pub struct Changes {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Changes {
    /// Adds a part's new value. `partition` is the changelog partition that holds it.
    pub fn put(&mut self, partition: u16, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.entries.push(Entry { partition, key_end, value_end: Some(self.bytes.len()) });
    }

    /// Adds that a part is gone.
    pub fn delete(&mut self, partition: u16, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.entries.push(Entry { partition, key_end: self.bytes.len(), value_end: None });
    }

    /// Adds all of `other` behind what is here.
    pub fn append(&mut self, other: &Changes) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.entries.extend(other.entries.iter().map(|entry| Entry {
            key_end: base + entry.key_end,
            value_end: entry.value_end.map(|end| base + end),
            ..*entry
        }));
    }

    /// All changes in the order of their coming.
    pub fn iter(&self) -> impl Iterator<Item = Changed<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let changed = self.changed(start, entry);
            start = entry.end();
            changed
        })
    }

    /// The change that came as the `number`-th, from 0.
    pub fn get(&self, number: usize) -> Option<Changed<'_>> {
        let entry = self.entries.get(number)?;
        let start = number.checked_sub(1).map_or(0, |before| self.entries[before].end());
        Some(self.changed(start, entry))
    }

    fn changed(&self, start: usize, entry: &Entry) -> Changed<'_> {
        let value = entry.value_end.map(|end| &self.bytes[entry.key_end..end]);
        (entry.partition, &self.bytes[start..entry.key_end], value)
    }

    /// Number of changed parts.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all, keeps the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_as_they_went_in() {
        let mut changes = Changes::default();
        changes.put(1, b"a", b"one");
        changes.delete(2, b"bb");
        changes.put(3, b"", b"");
        let all: Vec<_> = changes.iter().collect();
        assert_eq!(all, [(1, &b"a"[..], Some(&b"one"[..])), (2, b"bb", None), (3, b"", Some(b""))]);
        assert_eq!((changes.len(), changes.bytes()), (3, 6));
        let mut twice = Changes::default();
        twice.put(9, b"first", b"");
        twice.append(&changes);
        assert_eq!(twice.iter().skip(1).collect::<Vec<_>>(), all);
        changes.clear();
        assert!(changes.is_empty());
    }
}
