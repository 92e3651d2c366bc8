//! Cuts a stream of bytes into records: lines, or the elements of a JSON array.
//!
//! The first byte that is not white space decides: `[` begins an array. After its closing bracket another array may
//! follow; anything else is read as lines. So a text file whose first line happens to begin with `[` loses no more than
//! that line to the guess.
//!
//! The scanner of an array knows strings, escapes and nesting, nothing else; whether an element is JSON is for decoding
//! to say. A raw line break ends a string (JSON has none inside), so one missing quote does not swallow the rest of a
//! file. An element that is missing (`[1,,2]`, `[1,]`, a file cut off after a comma) is a record of no bytes.

use memchr::{memchr, memchr_iter, memchr3};

const BOM: &[u8] = &[0xef, 0xbb, 0xbf];

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A record and the 1-based line it begins on; cut to one byte more than the limit if it is longer than that.
    Record { bytes: &'a [u8], line: u64 },
    /// More bytes are wanted: read into [`Splitter::room`], or call [`Splitter::finish`].
    Wanting,
    /// That was all.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Before the first byte.
    Start,
    /// Lines; `false` once the rest of an overlong line is being skipped.
    Lines { keep: bool },
    /// Inside an array.
    Array(Element),
    /// Behind an array.
    Behind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Element {
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// A comma was seen before it, so it must not be missing.
    follows: bool,
    /// Its first bytes were delivered, the rest is skipped.
    skip: bool,
}

/// See the module.
pub(super) struct Splitter {
    limit: usize,
    buffer: Vec<u8>,
    /// First byte not yet given out.
    start: usize,
    /// Bytes before this were looked at.
    scanned: usize,
    mode: Mode,
    finished: bool,
    /// Line of `start`, from 1.
    line: u64,
}

/// What a scan found: the record's range and where the next begins.
struct Found {
    from: usize,
    to: usize,
    next: usize,
    deliver: bool,
}

impl Splitter {
    /// A splitter whose records are at most `limit` + 1 bytes.
    pub(super) fn new(limit: usize) -> Self {
        let mode = Mode::Start;
        Splitter { limit, buffer: Vec::new(), start: 0, scanned: 0, mode, finished: false, line: 1 }
    }

    /// Where more bytes are appended.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        &mut self.buffer
    }

    /// Gives the buffer's memory back, at the end.
    pub(super) fn release(&mut self) {
        (self.buffer, self.start, self.scanned) = (Vec::new(), 0, 0);
    }

    /// No more bytes will come.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// The next piece.
    pub(super) fn next(&mut self) -> Piece<'_> {
        loop {
            let found = match self.mode {
                Mode::Start => {
                    if !self.begin() {
                        return Piece::Wanting;
                    }
                    continue;
                }
                Mode::Behind => match self.first_visible() {
                    Some(at) => {
                        self.enter(at);
                        continue;
                    }
                    None => None,
                },
                Mode::Lines { keep } => self.line_end(keep),
                Mode::Array(element) => self.element_end(element),
            };
            let Some(Found { from, to, next, deliver }) = found else {
                return if self.finished { Piece::End } else { Piece::Wanting };
            };
            self.advance(from);
            let line = self.line;
            self.advance(next);
            if deliver {
                return Piece::Record { bytes: &self.buffer[from..to], line };
            }
        }
    }

    /// Gives out everything before `to`, counting its lines.
    fn advance(&mut self, to: usize) {
        self.line += memchr_iter(b'\n', &self.buffer[self.start..to]).count() as u64;
        self.start = to;
        self.scanned = self.scanned.max(to);
    }

    /// Skips a byte order mark and decides by the first visible byte. `false`: more bytes are wanted.
    fn begin(&mut self) -> bool {
        if !self.finished && self.buffer.len() < BOM.len() && BOM.starts_with(&self.buffer) {
            return false;
        }
        if self.buffer.starts_with(BOM) {
            self.advance(BOM.len());
        }
        match self.first_visible() {
            Some(at) => self.enter(at),
            None if self.finished => self.mode = Mode::Lines { keep: true },
            // A byte order mark was consumed by now; what follows is white space, which may be given out as well.
            None => self.mode = Mode::Behind,
        }
        true
    }

    /// Gives out white space up to the first byte that is none.
    fn first_visible(&mut self) -> Option<usize> {
        let ahead = &self.buffer[self.start..];
        let blank = ahead.iter().position(|byte| !is_blank(*byte));
        let to = self.start + blank.unwrap_or(ahead.len());
        self.advance(to);
        blank.map(|_| to)
    }

    /// An array or lines, by the byte at `at`.
    fn enter(&mut self, at: usize) {
        if self.buffer[at] == b'[' {
            self.advance(at + 1);
            self.mode = Mode::Array(Element::default());
        } else {
            self.mode = Mode::Lines { keep: true };
        }
    }

    fn line_end(&mut self, keep: bool) -> Option<Found> {
        let from = self.start;
        let end = memchr(b'\n', &self.buffer[self.scanned..]).map(|at| self.scanned + at);
        let (to, next) = match end {
            Some(at) => (at, at + 1),
            None if self.finished && from < self.buffer.len() => (self.buffer.len(), self.buffer.len()),
            None => {
                self.scanned = self.buffer.len();
                return self.overlong(from, keep).inspect(|_| self.mode = Mode::Lines { keep: false });
            }
        };
        self.mode = Mode::Lines { keep: true };
        let to = if to > from && self.buffer[to - 1] == b'\r' { to - 1 } else { to };
        let deliver = keep && (to - from > self.limit || self.buffer[from..to].iter().any(|byte| !is_blank(*byte)));
        Some(Found { from, to: to.min(from + self.limit + 1), next, deliver })
    }

    /// An unfinished record that is too long already, even if its last byte should belong to a line break: its first
    /// bytes, or nothing if they were delivered before.
    fn overlong(&self, from: usize, keep: bool) -> Option<Found> {
        let end = self.buffer.len();
        if keep && end - from > self.limit + 1 {
            return Some(Found { from, to: from + self.limit + 1, next: end, deliver: true });
        }
        (!keep && end > from).then_some(Found { from, to: end, next: end, deliver: false })
    }

    fn element_end(&mut self, mut element: Element) -> Option<Found> {
        let mut at = self.scanned;
        while at < self.buffer.len() {
            let byte = self.buffer[at];
            if element.in_string {
                if element.escaped {
                    element.escaped = false;
                    at += 1;
                    continue;
                }
                let Some(skip) = memchr3(b'"', b'\\', b'\n', &self.buffer[at..]) else { break };
                at += skip;
                match self.buffer[at] {
                    b'\\' => element.escaped = true,
                    _ => element.in_string = false,
                }
            } else {
                match byte {
                    b'"' => element.in_string = true,
                    b'{' | b'[' => element.depth += 1,
                    b'}' | b']' if element.depth > 0 => element.depth -= 1,
                    b',' | b']' if element.depth == 0 => return Some(self.element(element, at, byte == b',')),
                    _ => {}
                }
            }
            at += 1;
        }
        self.scanned = self.buffer.len();
        self.mode = Mode::Array(element);
        if self.finished {
            return self.cut_off(element);
        }
        // White space before an element is nobody's: without this a long run of it would look like a long element.
        let from = self.visible_from(self.buffer.len());
        if from == self.buffer.len() {
            self.advance(from);
            return None;
        }
        let found = self.overlong(from, !element.skip)?;
        self.mode = Mode::Array(Element { skip: true, ..element });
        Some(Found { to: self.trimmed(found.from, found.to), ..found })
    }

    /// An element that ends before the `,` or `]` at `at`.
    fn element(&mut self, element: Element, at: usize, comma: bool) -> Found {
        let from = self.visible_from(at);
        let missing = from == at;
        let deliver = !element.skip && (!missing || comma || element.follows);
        self.mode = if comma { Mode::Array(Element { follows: true, ..Element::default() }) } else { Mode::Behind };
        Found { from, to: self.trimmed(from, at), next: at + 1, deliver }
    }

    /// The input ended inside an array: what there is of the element.
    fn cut_off(&mut self, element: Element) -> Option<Found> {
        self.mode = Mode::Behind;
        let end = self.buffer.len();
        let from = self.visible_from(end);
        let deliver = !element.skip && (from < end || element.follows);
        Some(Found { from, to: self.trimmed(from, end), next: end, deliver })
    }

    /// The first byte from `start` that is not white space, or `end`.
    fn visible_from(&self, end: usize) -> usize {
        let blank = self.buffer[self.start..end].iter().position(|byte| !is_blank(*byte));
        blank.map_or(end, |offset| self.start + offset)
    }

    /// The end of `from..end`, cut to the limit, without white space behind it.
    fn trimmed(&self, from: usize, end: usize) -> usize {
        let cut = &self.buffer[from..end.min(from + self.limit + 1)];
        from + cut.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1)
    }
}

/// White space of JSON.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All records of `input`, fed `chunk` bytes at a time.
    fn split(input: &[u8], limit: usize, chunk: usize) -> Vec<(Vec<u8>, u64)> {
        let mut splitter = Splitter::new(limit);
        let mut chunks = input.chunks(chunk.max(1));
        let mut records = Vec::new();
        loop {
            match splitter.next() {
                Piece::Record { bytes, line } => records.push((bytes.to_vec(), line)),
                Piece::End => return records,
                Piece::Wanting => match chunks.next() {
                    Some(chunk) => splitter.room().extend_from_slice(chunk),
                    None => splitter.finish(),
                },
            }
        }
    }

    fn texts(input: &str) -> Vec<(String, u64)> {
        let whole = split(input.as_bytes(), 1 << 20, input.len());
        whole.into_iter().map(|(bytes, line)| (String::from_utf8(bytes).expect("text"), line)).collect()
    }

    fn owned(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(text, line)| ((*text).to_owned(), *line)).collect()
    }

    #[test]
    fn lines_are_cut_at_line_breaks_and_blank_ones_are_no_records() {
        let cases: [(&str, &[(&str, u64)]); 6] = [
            ("", &[]),
            (" \n\r\n", &[]),
            ("{\"a\":1}\n\n{\"a\":2}", &[("{\"a\":1}", 1), ("{\"a\":2}", 3)]),
            ("\u{feff}{}\r\n \t\r\n {} \n", &[("{}", 1), (" {} ", 3)]),
            ("\n\nx\n[1]\n", &[("x", 3), ("[1]", 4)]),
            ("\u{feff}\n{}", &[("{}", 2)]),
        ];
        for (input, expected) in cases {
            assert_eq!(texts(input), owned(expected), "{input:?}");
        }
    }

    #[test]
    fn arrays_are_cut_at_their_own_commas() {
        let cases: [(&str, &[(&str, u64)]); 8] = [
            ("[]", &[]),
            (" [ ]\n", &[]),
            ("[{\"a\":[1,2]},\n {\"b\":\"],\\\"}\"} ]\n", &[("{\"a\":[1,2]}", 1), ("{\"b\":\"],\\\"}\"}", 2)]),
            ("[\n  {\n \"a\": 1\n  },\n  2\n]", &[("{\n \"a\": 1\n  }", 2), ("2", 5)]),
            ("[1,,2,]", &[("1", 1), ("", 1), ("2", 1), ("", 1)]),
            ("[1,2][3]\n[4]\n{}\n", &[("1", 1), ("2", 1), ("3", 1), ("4", 2), ("{}", 3)]),
            ("[WARN] text\n{\"a\":1}\n", &[("WARN", 1), ("text", 1), ("{\"a\":1}", 2)]),
            ("[{\"a\":\"no quote},\n{\"a\":1}]", &[("{\"a\":\"no quote},\n{\"a\":1}]", 1)]),
        ];
        for (input, expected) in cases {
            assert_eq!(texts(input), owned(expected), "{input:?}");
        }
    }

    #[test]
    fn an_array_that_is_cut_off_gives_what_there_is_of_its_last_element() {
        assert_eq!(texts("[{\"a\":1},{\"a\""), owned(&[("{\"a\":1}", 1), ("{\"a\"", 1)]));
        assert_eq!(texts("[1,\n"), owned(&[("1", 1), ("", 2)]));
        assert_eq!(texts("[1"), owned(&[("1", 1)]));
    }

    #[test]
    fn what_is_too_long_is_cut_to_one_byte_more_than_the_limit_and_the_next_record_is_whole() {
        for chunk in [1, 3, 100] {
            let lines = split(b"0123456789abcdef\n{}\n0123456789", 10, chunk);
            assert_eq!(lines, [(b"0123456789a".to_vec(), 1), (b"{}".to_vec(), 2), (b"0123456789".to_vec(), 3)]);
            let elements = split(b"[ \"0123456789,bcdef\" ,\n{}]", 10, chunk);
            assert_eq!(elements, [(b"\"0123456789".to_vec(), 1), (b"{}".to_vec(), 2)], "chunks of {chunk}");
        }
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_does_not_matter(
            input in r#"[\[\]{}", \\\n\r\tax]{0,60}"#,
            bom in any::<bool>(),
            chunk in 1usize..9,
            limit in 1usize..20,
        ) {
            let input = [if bom { BOM } else { &[] }, input.as_bytes()].concat();
            prop_assert_eq!(split(&input, limit, chunk), split(&input, limit, input.len()));
        }

        #[test]
        fn lines_agree_with_the_plain_definition(input in "[^\\[]{0,5}[a{}\\n\\r ]{0,60}") {
            let plain: Vec<_> = input
                .split('\n')
                .enumerate()
                .map(|(at, line)| (line.strip_suffix('\r').unwrap_or(line), at as u64 + 1))
                .filter(|(line, _)| line.bytes().any(|byte| !is_blank(byte)))
                .collect();
            // White space in front of the first record belongs to none.
            let first = |(at, (line, number)): (usize, &(&str, u64))| {
                (if at == 0 { line.trim_start_matches([' ', '\t', '\r']) } else { *line }.to_owned(), *number)
            };
            let plain: Vec<_> = plain.iter().enumerate().map(first).collect();
            prop_assume!(!input.starts_with('\u{feff}'));
            prop_assert_eq!(texts(&input), plain);
        }
    }
}
