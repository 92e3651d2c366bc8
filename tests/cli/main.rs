//! The command line from the outside: the built binary, its output, its exit status. What is printed for machines, and help, has
//! golden files under `tests/golden/cli`; `THROUGHLINE_BLESS=1` writes them anew.

mod checks;
mod deploy;
mod manners;
mod reference;
mod settings;
mod topology;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run of the binary gave.
struct Run {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory of inputs for these tests, relative to the root of the repository.
fn fixture(name: &str) -> String {
    format!("tests/cli/fixtures/{name}")
}

/// The binary with arguments, in the root of the repository, and without whatever the environment sets for it.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("THROUGHLINE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(root()).env("COLUMNS", "100").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Run {
    finish(&mut command(arguments))
}

fn finish(command: &mut Command) -> Run {
    let output = command.output().expect("the binary runs");
    Run {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// Holds `actual` against the golden file `name`, or writes it.
#[track_caller]
fn golden(name: &str, actual: &str) {
    let path: PathBuf = root().join("tests/golden/cli").join(name);
    if std::env::var_os("THROUGHLINE_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("it has a parent")).expect("the directory can be made");
        std::fs::write(&path, actual).expect("the golden file can be written");
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run with THROUGHLINE_BLESS=1 to write it", path.display()));
    assert!(
        expected == actual,
        "{name} differs; if that is meant, run with THROUGHLINE_BLESS=1\n--- expected\n{expected}\n--- actual\n{actual}"
    );
}
