//! `backtest`: rules over files. The same pipeline as `run`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::FileInput;
use super::exit::{Exit, Failure};
use super::{compile_or_fail, files, note, show};
use crate::broker::OutRecord;

/// Arguments of `backtest`.
#[derive(Debug, Clone, Args)]
pub struct BacktestArgs {
    /// A rule file, or a directory that is searched for them; may be repeated
    #[arg(long, value_name = "PATH", required = true)]
    pub rules: Vec<PathBuf>,
    /// NDJSON or a JSON array, also gzip or zstd; `-` is stdin
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Compare with an earlier `-o json`; exit status 1 if they differ
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// How the files are read and correlations printed.
    #[command(flatten)]
    pub input: FileInput,
}

/// Runs the rules and prints what they find.
pub(super) fn execute(args: &BacktestArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let plan = compile_or_fail(&args.rules)?;
    let result = files::run(plan, &args.files, &args.input)?;
    show::write(&result.correlations, args.input.output, out)?;
    out.flush()?;
    files::print_counts(&result, result.correlations.len());
    match &args.baseline {
        None => Ok(Exit::Done),
        Some(path) => compare(path, &result.correlations),
    }
}

/// Holds the correlations against an earlier `-o json`, as multisets of lines.
fn compare(path: &Path, now: &[OutRecord]) -> Result<Exit, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Usage, format!("{}: cannot read the baseline: {error}", path.display())))?;
    let mut balance: BTreeMap<&[u8], i64> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        *balance.entry(line.as_bytes()).or_default() -= 1;
    }
    for record in now {
        *balance.entry(record.value.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let (mut gone, mut new) = (0, 0);
    for (line, n) in balance.into_iter().filter(|(_, n)| *n != 0) {
        let (sign, count) = if n < 0 { ('-', &mut gone) } else { ('+', &mut new) };
        *count += n.unsigned_abs();
        note(format_args!("{sign} {}", String::from_utf8_lossy(line)));
    }
    if gone + new == 0 {
        note(format_args!("the same as {}", path.display()));
        return Ok(Exit::Done);
    }
    note(format_args!("differs from {}: {gone} gone, {new} new", path.display()));
    Ok(Exit::CheckFailed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BacktestArgs,
    }

    #[test]
    fn rules_are_named_one_by_one_and_files_after_them() {
        let line = ["backtest", "--rules", "a", "--rules", "b", "x.json", "y.json", "--baseline", "z"];
        let args = Line::try_parse_from(line).expect("parsed").args;
        assert_eq!((args.rules.len(), args.files.len()), (2, 2));
        assert_eq!(args.baseline, Some(PathBuf::from("z")));
        assert!(Line::try_parse_from(["backtest", "x.json"]).is_err(), "rules are needed");
    }
}
