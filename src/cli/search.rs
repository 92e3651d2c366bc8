//! `search`: one EQL query over files or stdin. The same pipeline as `run`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::args::FileInput;
use super::exit::{Exit, Failure};
use super::{files, refuse, show};
use crate::rules;

/// Arguments of `search`.
#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    /// EQL: an event query, a sequence or a sample
    #[arg(value_name = "QUERY")]
    pub query: String,
    /// NDJSON or a JSON array, also gzip or zstd; `-` is stdin
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How the files are read and correlations printed.
    #[command(flatten)]
    pub input: FileInput,
}

/// Searches and prints.
pub(super) fn execute(args: &SearchArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let compiled = rules::compile_query(&args.query).map_err(|errors| refuse(&errors))?;
    let result = files::run(compiled.plan, &args.files, &args.input)?;
    show::write(&result.correlations, args.input.output, out)?;
    files::print_counts(&result, result.correlations.len());
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::RecordFormat;
    use crate::event::Span;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SearchArgs,
    }

    #[test]
    fn files_are_read_whole_unless_told_otherwise() {
        let args = Line::try_parse_from(["search", "any where true", "a.json", "-"]).expect("parsed").args;
        assert_eq!(args.files, [PathBuf::from("a.json"), PathBuf::from("-")]);
        assert_eq!(args.input.out_of_orderness(), Span::MAX);
        assert_eq!(args.input.output, RecordFormat::Text);
        let line =
            ["search", "q", "f", "--out-of-orderness", "5s", "--id", "a", "--id", "b", "--limit", "3", "-o", "json"];
        let args = Line::try_parse_from(line).expect("parsed").args;
        assert_eq!(args.input.out_of_orderness(), Span::from_secs(5));
        assert_eq!((args.input.id.len(), args.input.limit), (2, Some(3)));
        assert!(Line::try_parse_from(["search", "q"]).is_err(), "a file is needed");
        assert!(Line::try_parse_from(["search", "q", "f", "--out-of-orderness", "5"]).is_err());
    }
}
