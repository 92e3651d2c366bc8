//! Rust sources as plain text: what is code in them, and where functions begin and end.

/// The words of a line.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// Line, name and length in lines of every function with a body of several lines, by rustfmt's indentation: it ends at
/// the first closing brace that is as far left as it begins.
pub(super) fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let text = line.trim_start();
        let qualifiers = text.split("fn ").next().unwrap_or_default();
        let declares = words(qualifiers).all(|word| {
            matches!(word, "" | "pub" | "crate" | "super" | "self" | "in" | "const" | "async" | "unsafe" | "extern")
        });
        if !declares || !text.contains("fn ") || text.ends_with('}') || text.ends_with(';') {
            continue;
        }
        let indent = line.len() - text.len();
        // Only a signature that goes on below this line may turn out to be a declaration.
        let (body, left) = (text.ends_with('{'), |line: &str| line.len() - line.trim_start().len());
        let ends = |line: &&str| {
            left(line) == indent && (line.trim_start().starts_with('}') || (!body && line.ends_with(';')))
        };
        let Some(length) = lines[at + 1..].iter().position(ends) else { continue };
        let name = text[qualifiers.len() + "fn ".len()..].split(['(', '<']).next().unwrap_or_default();
        found.push((at + 1, name.to_owned(), length + 2));
    }
    found
}

/// The text with comments, strings and characters replaced by spaces; line breaks stay.
pub(super) fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word_before = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest, 1),
            'r' | 'b' | 'c' if !word_before => literal(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[length..];
    }
    code
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0usize;
    for (at, _) in rest.char_indices() {
        if rest[at..].starts_with("/*") {
            depth += 1;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    rest.len()
}

/// The length of a string whose inside begins at `from`.
fn quoted(rest: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, c) in rest[from..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return from + at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a raw, byte or C string, 0 if this is none.
fn literal(rest: &str) -> usize {
    let kind = rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len();
    let hashes = rest[kind..].len() - rest[kind..].trim_start_matches('#').len();
    if kind > 2 || !rest[kind + hashes..].starts_with('"') {
        return 0;
    }
    if !rest[..kind].contains('r') {
        return if hashes == 0 { quoted(rest, kind + 1) } else { 0 };
    }
    let inside = kind + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    rest[inside..].find(&close).map_or(rest.len(), |at| inside + at + close.len())
}

/// The length of a character literal, 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(0, |at| at + 4),
        Some((at, c)) if rest[at + c.len_utf8()..].starts_with('\'') => at + c.len_utf8() + 1,
        _ => 0,
    }
}

#[test]
fn the_text_scanner_sees_what_it_must() {
    let kept = |text: &str| blank(text).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(kept("a /* x /* y */ z */ b // c\nd"), "a b d");
    assert_eq!(kept(r##"a "x\"y" b r#"x"y"# c b"\"" d br"\" e"##), "a b c d e");
    assert_eq!(kept(r"f::<'a>('x', '\'', '\u{1F}', b'y') g"), "f::<'a>( , , , b ) g");
    let body = "        let x = 1;\n".repeat(70);
    let code = format!(
        "impl T {{\n    pub(crate) async fn long(\n    ) {{\n{body}    }}\n}}\nfn short() {{\n}}\nfn none();\n"
    );
    assert_eq!(functions(&code), [(2, "long".to_owned(), 73), (76, "short".to_owned(), 2)]);
}
