//! Sizes in bytes as people write them.

/// Reads `256MiB`, `1GiB`, `64KB`, `1048576`: a whole number and a unit, `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or `KB`,
/// `MB`, `GB`, `TB` (powers of 1000).
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The largest binary unit that is exact.
pub(super) fn format_bytes(bytes: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes) in [("256MiB", 256 << 20), ("1 GiB", 1 << 30), ("64KB", 64_000), ("0", 0), ("7B", 7)] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "1.5GiB", "-1", "12mb", "99999999999TiB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        assert_eq!(format_bytes(256 << 20), "256MiB");
        assert_eq!(format_bytes(1_000), "1000B");
        assert_eq!(format_bytes(0), "0B");
    }
}
