//! Holds the tree to its own rules: which room may import which, who may touch what is dangerous, how long things get.
//!
//! Works on the text of the sources with comments and literals blanked out, so that it needs no parser and no build. Each
//! check lists every place it objects to. The checks themselves are tested on small texts, at the end and in `scan`.

#[path = "tidy/scan.rs"]
mod scan;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use scan::{blank, functions, words};

/// The rooms under `src/`, by level. Within a level nothing is imported sideways, except along [`SIDEWAYS`].
const ROOMS: &[(&str, u8)] = &[
    ("event", 0),
    ("fault", 0),
    ("limits", 0),
    ("ring", 0),
    ("telemetry", 0),
    ("rules", 1),
    ("detect", 1),
    ("decode", 1),
    ("timeline", 1),
    ("generate", 1),
    ("store", 1),
    ("broker", 1),
    ("source", 2),
    ("shard", 2),
    ("sink", 2),
    ("epoch", 2),
    ("config", 3),
    ("topology", 3),
    ("control", 3),
    ("pipeline", 3),
    ("admin", 4),
    ("cli", 4),
];

/// What may be imported within a level (from, path). A bound may be a span of time; the compiled rules are what their
/// evaluators work from; the top rooms build on each other in one order.
const SIDEWAYS: &[(&str, &str)] = &[
    ("limits", "event"),
    ("detect", "rules::plan"),
    ("decode", "rules::plan"),
    ("timeline", "rules::plan"),
    ("store", "rules::plan"),
    ("broker", "rules::plan"),
    ("topology", "config"),
    ("control", "config"),
    ("control", "topology"),
    ("pipeline", "config"),
    ("pipeline", "topology"),
    ("pipeline", "control"),
    ("cli", "admin"),
];

/// Words that may stand only in the named places.
const CONFINED: &[(&str, &[&str])] = &[
    ("rdkafka", &["src/broker/kafka/", "src/broker/kafka.rs"]),
    ("rocksdb", &["src/store/", "src/store.rs"]),
    ("unsafe", &["src/broker/kafka/", "src/broker/kafka.rs", "src/ring/"]),
];

/// Tests are clients of the brokers that the crate talks to, so they may use the same library.
const CONFINED_IN_SRC_ONLY: &[&str] = &["rdkafka", "rocksdb"];

const FORBIDDEN: &[&str] = &["todo!", "unimplemented!", "#[ignore", "#[allow(", "#![allow("];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that may be longer, as (file, function, reason). One that is short enough again must go.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// A source file: its path from the root with `/`, as written, and with comments and literals blanked out.
struct Source {
    path: String,
    text: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        collect(&root.join(folder), &mut files);
    }
    files.sort();
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let path = file.strip_prefix(root).expect("under the root").to_str().expect("text").replace('\\', "/");
        Source { code: blank(&text), path, text }
    };
    let all: Vec<_> = files.into_iter().map(read).collect();
    assert!(all.iter().any(|source| source.path == "src/lib.rs"), "the sources were not found in {}", root.display());
    all
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("readable folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Fails with all objections at once.
fn accept(rule: &str, objections: Vec<String>) {
    let mut text = String::new();
    objections.iter().for_each(|objection| writeln!(text, "  {objection}").expect("memory"));
    assert!(objections.is_empty(), "{rule}:\n{text}");
}

#[test]
fn rooms_import_only_downwards() {
    let objections = sources().iter().flat_map(|source| wrong_imports(&source.path, &source.code)).collect();
    accept("a room imports only rooms of lower level (ARCHITECTURE.md, ROOMS and SIDEWAYS in this file)", objections);
}

#[test]
fn dangerous_things_have_one_home() {
    let mut objections = Vec::new();
    for source in sources() {
        for (word, homes) in CONFINED {
            let exempt = CONFINED_IN_SRC_ONLY.contains(word) && !source.path.starts_with("src/");
            if exempt || homes.iter().any(|home| source.path.starts_with(home)) {
                continue;
            }
            let lines = source.code.lines().enumerate().filter(|(_, line)| words(line).any(|w| w == *word));
            objections
                .extend(lines.map(|(at, _)| format!("{}:{}: `{word}` belongs to {homes:?}", source.path, at + 1)));
        }
    }
    accept("rdkafka, rocksdb and unsafe code are confined", objections);
}

#[test]
fn files_and_functions_stay_short() {
    let mut objections = Vec::new();
    let mut needed = Vec::new();
    for Source { path, text, code } in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            objections.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}: split it"));
        }
        for (line, name, length) in functions(&code).into_iter().filter(|(.., length)| *length > FUNCTION_LINES_MAX) {
            if LONG_FUNCTIONS.iter().any(|(file, function, _)| *file == path && *function == name) {
                needed.push((path.clone(), name));
            } else {
                objections.push(format!(
                    "{path}:{line}: `{name}` has {length} lines, at most {FUNCTION_LINES_MAX}: split it"
                ));
            }
        }
    }
    for (file, function, reason) in LONG_FUNCTIONS {
        assert!(!reason.is_empty(), "{file}: {function}: an exception needs a reason");
        if !needed.iter().any(|(path, name)| path == file && name == function) {
            objections.push(format!("{file}: `{function}` needs no exception any more: remove it from LONG_FUNCTIONS"));
        }
    }
    accept("files and functions stay short", objections);
}

#[test]
fn nothing_is_left_undone_or_silenced() {
    let mut objections = Vec::new();
    for source in sources() {
        for (at, line) in source.code.lines().enumerate() {
            let hits = FORBIDDEN.iter().filter(|word| line.contains(**word));
            objections.extend(hits.map(|word| format!("{}:{}: `{word}`", source.path, at + 1)));
        }
    }
    accept("no stubs, no ignored tests, no `allow` (use `expect` with a reason)", objections);
}

#[test]
fn every_module_opens_with_what_it_is() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    accept("each file begins with a `//!` header", silent.map(|source| source.path).collect());
}

/// The room a file belongs to: the folder or file right under `src/`.
fn room_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/")?;
    let name = below.split('/').next()?.trim_end_matches(".rs");
    (name != "lib" && name != "main").then_some(name)
}

fn level(room: &str) -> Option<u8> {
    ROOMS.iter().find(|(name, _)| *name == room).map(|(_, level)| *level)
}

fn wrong_imports(path: &str, code: &str) -> Vec<String> {
    let Some(room) = room_of(path) else { return Vec::new() };
    let Some(own) = level(room) else {
        return vec![format!("{path}: `{room}` is no room of the table; give it a level")];
    };
    let mut wrong = Vec::new();
    for (line, import) in imports(path, code) {
        let target = import.split("::").next().unwrap_or_default();
        let sideways = SIDEWAYS.iter().any(|(from, to)| {
            *from == room && import.strip_prefix(to).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        // The admin page looks at what `control` shows it, and no deeper.
        let below =
            level(target).is_some_and(|level| level < own && (room != "admin" || level == 0 || target == "control"));
        if target != room && !below && !sideways {
            wrong.push(format!("{path}:{line}: `{room}` (level {own}) imports `{import}`"));
        }
    }
    wrong
}

/// Every path below the crate's root that the code names, with its line: `crate::a::b`, groups, and `super` chains that
/// leave the room.
fn imports(path: &str, code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let line_of = |at: usize| code[..at].matches('\n').count() + 1;
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        expand(&code[at + "crate::".len()..], "", &mut |import| found.push((line_of(at), import)));
    }
    // From a module this deep below the root, so many `super`s lead out of its room. Modules inside a file are deeper;
    // then the name decides.
    let depth = path.trim_start_matches("src/").trim_end_matches("/mod.rs").split('/').count();
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let rest = code[at..].trim_start_matches("super::");
        let chain = (code.len() - at - rest.len()) / "super::".len();
        if chain >= depth {
            expand(rest, "", &mut |import| {
                let target = import.split("::").next().unwrap_or_default();
                if level(target).is_some() {
                    found.push((line_of(at), import));
                }
            });
        }
    }
    found
}

/// The paths that `rest` begins with: one, or those of a `{...}` group.
fn expand(rest: &str, prefix: &str, found: &mut dyn FnMut(String)) {
    if let Some(inside) = rest.strip_prefix('{') {
        let (mut depth, mut from) = (0, 0);
        for (at, c) in inside.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' => {
                    let item = inside[from..at].trim();
                    if !item.is_empty() {
                        expand(item, prefix, found);
                    }
                    from = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let path = format!("{prefix}{}", &rest[..end]);
    match rest[end..].strip_prefix("::") {
        Some(more) if more.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{') => {
            expand(more, &format!("{path}::"), found);
        }
        _ => found(path),
    }
}

#[test]
fn the_import_check_sees_what_it_must() {
    let wrong = |path: &str, code: &str| wrong_imports(path, &blank(code)).len();
    assert_eq!(wrong("src/shard/core.rs", "use crate::event::Key;\nuse crate::rules::plan::{Plan, Rule};"), 0);
    assert_eq!(wrong("src/detect/index.rs", "use crate::rules::plan::Plan;\nuse crate::limits;"), 0);
    assert_eq!(wrong("src/detect/mod.rs", "use crate::{event::Key, rules::{plan, eql}};"), 1, "inside a group");
    assert_eq!(wrong("src/detect/mod.rs", "fn f() { crate::decode::g() }"), 1, "without `use`");
    assert_eq!(wrong("src/detect/mod.rs", "use super::decode;"), 1, "by `super`");
    assert_eq!(wrong("src/shard/core/step.rs", "use super::super::super::sink::Sink;"), 1, "by several");
    assert_eq!(wrong("src/shard/core/step.rs", "use super::super::timeline;"), 0, "its own module");
    assert_eq!(wrong("src/event/mod.rs", "use crate::limits::X;"), 1, "upwards or sideways");
    assert_eq!(wrong("src/pipeline/mod.rs", "use crate::control::C;"), 0);
    assert_eq!(wrong("src/control/mod.rs", "use crate::pipeline::P;"), 1, "against the order");
    assert_eq!(wrong("src/admin/mod.rs", "use crate::control::C;\nuse crate::shard::S;"), 1);
    assert_eq!(wrong("src/utils/mod.rs", ""), 1, "a room of no level");
    assert_eq!(wrong("src/event/mod.rs", "//! See [`crate::cli`].\nconst A: &str = r#\"crate::cli\"#;"), 0);
}
