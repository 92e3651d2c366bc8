//! The projection: which paths to extract, compiled so that one look at a JSON key decides.
//!
//! Paths are split at their dots into a tree. A JSON key may itself contain dots (`{"user.name": ..}`), so each node knows
//! *all* its descendants by their relative path: the key `a.b` finds in one step what `a` then `b` would. Most keys of an
//! event are wanted by nobody; to find that out costs two loads, two multiplications and one look at an empty bucket.

use std::collections::BTreeMap;

/// A node of the tree; [`NodeId::NONE`] is "nothing below here is wanted".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(u32);

impl NodeId {
    pub const NONE: NodeId = NodeId(u32::MAX);
    pub const ROOT: NodeId = NodeId(0);

    #[inline]
    pub fn is_wanted(self) -> bool {
        self != NodeId::NONE
    }
}

/// A slot that the value at a path goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub slot: u32,
    /// Keep numbers as their JSON text (the stream's own time and id, which must stay exact).
    pub raw_numbers: bool,
}

/// What a key leads to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub node: NodeId,
    /// The edge's index, for noticing a key that comes twice.
    pub edge: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    targets: (u32, u32),
    /// First bucket and number of buckets − 1; all zeros where there are no edges.
    buckets: u32,
    mask: u32,
    edges: u32,
}

/// A key in the form it is compared in. Up to 16 bytes, `first`, `last` and `len` are the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    first: u64,
    last: u64,
    len: u32,
}

/// A place of a hash table: the key and where it leads, side by side, so that a hit costs one load.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    packed: Packed,
    edge: u32,
    /// [`NodeId::NONE`]: empty.
    node: NodeId,
}

const EMPTY: Bucket = Bucket { packed: Packed { first: 0, last: 0, len: 0 }, edge: 0, node: NodeId::NONE };

#[derive(Debug, Default)]
pub(super) struct Projection {
    nodes: Vec<Node>,
    /// The key of each edge.
    edges: Vec<Box<[u8]>>,
    /// Open addressing, at most a quarter full.
    buckets: Vec<Bucket>,
    targets: Vec<Target>,
}

#[derive(Debug, Default)]
struct Draft {
    children: BTreeMap<String, Draft>,
    targets: Vec<Target>,
}

#[inline]
fn pack(key: &[u8]) -> Packed {
    let (first, last) = if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
        (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
    } else {
        let byte = |at: usize| u64::from(key.get(at).copied().unwrap_or(0));
        (byte(0) | byte(1) << 8 | byte(2) << 16, 0)
    };
    // Longer keys than 4 GiB are not in a payload.
    Packed { first, last, len: key.len() as u32 }
}

impl Packed {
    #[inline]
    fn hash(self) -> u32 {
        let mixed = self.first ^ self.last.rotate_left(29) ^ u64::from(self.len) << 56;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }
}

impl Projection {
    /// From dotted paths and where each goes. The same path may come several times.
    pub fn new<'a>(paths: impl Iterator<Item = (&'a str, Target)>) -> Projection {
        let mut root = Draft::default();
        for (path, target) in paths {
            let mut at = &mut root;
            for segment in path.split('.') {
                at = at.children.entry(segment.to_owned()).or_default();
            }
            at.targets.push(target);
        }
        let mut projection = Projection::default();
        projection.add(&root);
        projection
    }

    /// Adds a node and all below it; returns the descendants by relative path.
    fn add(&mut self, draft: &Draft) -> (NodeId, Vec<(String, NodeId)>) {
        let id = self.nodes.len();
        let first_target = self.targets.len() as u32;
        self.targets.extend(&draft.targets);
        self.nodes.push(Node { targets: (first_target, self.targets.len() as u32), ..Node::default() });
        let mut descendants = Vec::new();
        for (segment, child) in &draft.children {
            let (child, below) = self.add(child);
            descendants.push((segment.clone(), child));
            descendants.extend(below.into_iter().map(|(path, node)| (format!("{segment}.{path}"), node)));
        }
        let count = if descendants.is_empty() { 0 } else { (descendants.len() * 4).next_power_of_two() };
        let first = self.buckets.len();
        self.buckets.resize(first + count, EMPTY);
        for (key, node) in &descendants {
            let packed = pack(key.as_bytes());
            let mut bucket = packed.hash() as usize & (count - 1);
            while self.buckets[first + bucket].node.is_wanted() {
                bucket = (bucket + 1) & (count - 1);
            }
            self.buckets[first + bucket] = Bucket { packed, edge: self.edges.len() as u32, node: *node };
            self.edges.push(key.as_bytes().into());
        }
        let node = &mut self.nodes[id];
        (node.buckets, node.mask, node.edges) =
            (first as u32, count.saturating_sub(1) as u32, descendants.len() as u32);
        (NodeId(id as u32), descendants)
    }

    /// Where a key of an object at `node` leads.
    #[inline(always)]
    pub fn find(&self, node: NodeId, key: &[u8]) -> Option<Found> {
        let node = self.nodes.get(node.0 as usize)?;
        if node.edges == 0 {
            return None;
        }
        let packed = pack(key);
        let mut bucket = packed.hash() & node.mask;
        loop {
            let found = self.buckets.get((node.buckets + bucket) as usize)?;
            if !found.node.is_wanted() {
                return None;
            }
            let edge = found.edge as usize;
            if found.packed == packed && (packed.len <= 16 || self.edges.get(edge).is_some_and(|e| **e == *key)) {
                return Some(Found { node: found.node, edge });
            }
            bucket = (bucket + 1) & node.mask;
        }
    }

    /// The slots that the value at this node itself goes to.
    #[inline]
    pub fn targets(&self, node: NodeId) -> &[Target] {
        let Some(node) = self.nodes.get(node.0 as usize) else { return &[] };
        self.targets.get(node.targets.0 as usize..node.targets.1 as usize).unwrap_or_default()
    }

    /// Whether anything below this node is wanted.
    #[inline]
    pub fn has_children(&self, node: NodeId) -> bool {
        self.nodes.get(node.0 as usize).is_some_and(|n| n.edges != 0)
    }

    /// Number of edges.
    pub fn edges(&self) -> usize {
        self.edges.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_length_are_told_apart() {
        let paths: Vec<String> = (1..40).flat_map(|n| ["a", "b"].map(|c| c.repeat(n))).collect();
        let targets = (0u32..).map(|slot| Target { slot, raw_numbers: false });
        let projection = Projection::new(paths.iter().map(String::as_str).zip(targets));
        for (slot, path) in paths.iter().enumerate() {
            let found = projection.find(NodeId::ROOT, path.as_bytes()).unwrap_or_else(|| panic!("{path} is there"));
            assert_eq!(projection.targets(found.node)[0].slot, slot as u32, "{path}");
            for other in [format!("{path}c"), format!("c{path}"), path.replacen(['a', 'b'], "c", 1)] {
                assert!(projection.find(NodeId::ROOT, other.as_bytes()).is_none(), "{other}");
            }
        }
        let middle = format!("{}x{}", "a".repeat(9), "a".repeat(10));
        assert!(projection.find(NodeId::ROOT, middle.as_bytes()).is_none());
        assert!(projection.find(NodeId::ROOT, b"").is_none());
    }
}
