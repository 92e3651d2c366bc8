//! What text is held against: wildcard patterns, regular expressions, address blocks, compiled from their constants.

use std::net::IpAddr;

use super::plan::{CidrBlock, WildcardPattern, WildcardPiece};

/// `*` and `?` out of a pattern's text. There is no escape, as in EQL: a backslash is a backslash.
pub(super) fn wildcard(text: &str) -> WildcardPattern {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    for c in text.chars() {
        let piece = match c {
            '*' => WildcardPiece::Any,
            '?' => WildcardPiece::One,
            _ => {
                plain.push(c);
                continue;
            }
        };
        push_text(&mut pieces, std::mem::take(&mut plain));
        if piece != WildcardPiece::Any || pieces.last() != Some(&WildcardPiece::Any) {
            pieces.push(piece);
        }
    }
    push_text(&mut pieces, plain);
    WildcardPattern(pieces)
}

/// Whether text means more than itself as a pattern.
pub(super) fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// A pattern of literal text with anything before it, behind it, or both.
pub(super) fn around(any_before: bool, text: &str, any_behind: bool) -> WildcardPattern {
    let mut pieces = Vec::new();
    if any_before {
        pieces.push(WildcardPiece::Any);
    }
    push_text(&mut pieces, text.to_string());
    if any_behind && pieces.last() != Some(&WildcardPiece::Any) {
        pieces.push(WildcardPiece::Any);
    }
    WildcardPattern(pieces)
}

fn push_text(pieces: &mut Vec<WildcardPiece>, text: String) {
    if !text.is_empty() {
        pieces.push(WildcardPiece::Text(text));
    }
}

/// A regular expression that matches whole values; `.` also takes a line break, as in Lucene.
///
/// # Errors
/// What the regex crate says, on one line.
pub(super) fn regex(text: &str, ignore_case: bool) -> Result<String, String> {
    let anchored = format!("^(?s:{text})$");
    match regex::RegexBuilder::new(&anchored).case_insensitive(ignore_case).build() {
        Ok(_) => Ok(anchored),
        Err(regex::Error::Syntax(why)) => {
            let reason = why.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
            Err(reason.unwrap_or("not a regular expression").to_string())
        }
        Err(regex::Error::CompiledTooBig(limit)) => Err(format!("compiles to more than {limit} bytes")),
        Err(why) => Err(why.to_string()),
    }
}

/// An address block such as `10.0.0.0/8`, or one address; host bits are cleared.
pub(super) fn cidr(text: &str) -> Option<CidrBlock> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) if !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit()) => {
            (address, Some(prefix.parse::<u8>().ok()?))
        }
        Some(_) => return None,
        None => (text, None),
    };
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(v4) => {
            let prefix = prefix.unwrap_or(32);
            let mask = if prefix == 0 { 0 } else { u32::MAX.checked_shl(32u32.checked_sub(u32::from(prefix))?)? };
            Some(CidrBlock { address: IpAddr::V4((u32::from(v4) & mask).into()), prefix })
        }
        IpAddr::V6(v6) => {
            let prefix = prefix.unwrap_or(128);
            let mask = if prefix == 0 { 0 } else { u128::MAX.checked_shl(128u32.checked_sub(u32::from(prefix))?)? };
            Some(CidrBlock { address: IpAddr::V6((u128::from(v6) & mask).into()), prefix })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_cut_into_pieces_without_escapes() {
        use WildcardPiece::{Any, One, Text};
        assert_eq!(wildcard("?:\\**x").0, [One, Text(":\\".into()), Any, Text("x".into())]);
        assert_eq!(wildcard("").0, []);
        assert_eq!(around(true, "", true).0, [Any]);
    }

    #[test]
    fn blocks_lose_their_host_bits() {
        let block = cidr("10.1.2.3/8").expect("block");
        assert_eq!((block.address.to_string().as_str(), block.prefix), ("10.0.0.0", 8));
        assert_eq!(cidr("0.0.0.0/0").map(|b| b.prefix), Some(0));
        assert_eq!(cidr("fe80::1/64").map(|b| b.address.to_string()), Some("fe80::".to_string()));
        for wrong in ["10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "::/129", "x", ""] {
            assert_eq!(cidr(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_wrong_regex_is_told_in_one_line() {
        assert_eq!(regex("a|b", false).as_deref(), Ok("^(?s:a|b)$"));
        let why = regex("a(", false).expect_err("unclosed");
        assert!(why.contains("unclosed group") && !why.contains('\n'), "{why}");
    }
}
