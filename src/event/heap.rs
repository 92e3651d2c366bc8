//! What values take on the heap: for budgets of memory, which count what an allocator hands out, not what was asked for.

use super::signal::Evidence;

/// What an allocator gives for a request: jemalloc's size classes (four to a doubling above 128 bytes).
#[inline]
pub fn allotted(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2)),
    }
}

/// An event's evidence behind its shared pointer.
pub fn evidence_bytes(event: &Evidence) -> usize {
    // Two counters stand in front of what is shared.
    allotted(16 + std::mem::size_of::<Evidence>())
        + event.fields.heap_bytes()
        + event.id.as_ref().map_or(0, |id| allotted(id.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_jemallocs_classes() {
        let classes =
            [(1, 8), (8, 8), (9, 16), (100, 112), (128, 128), (129, 160), (192, 192), (193, 224), (1025, 1280)];
        for (asked, given) in classes {
            assert_eq!(allotted(asked), given, "{asked}");
        }
    }
}
