//! How a command ends.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::Problem;
use crate::pipeline::{PipelineError, Stage};

/// The exit status. The numbers are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: the check or test that was asked for failed.
    CheckFailed,
    /// 2: wrong usage, configuration or rules.
    Usage,
    /// 3: a broker or disk is unreachable or failed.
    Unreachable,
}

impl Exit {
    /// The number.
    pub fn status(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::CheckFailed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.status())
    }
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Writing the command's output failed.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The configuration is wrong.
    #[error("{}", report_of(.0))]
    Configuration(Vec<Problem>),
    /// Rules are wrong: all diagnostics, as text.
    #[error("{0}")]
    Rules(String),
    /// Anything else.
    #[error("{message}")]
    Other {
        /// The status to end with.
        exit: Exit,
        /// For people: what, where and what to do.
        message: String,
    },
}

impl Failure {
    /// A failure with its status.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure::Other { exit, message: message.into() }
    }

    /// The status to end with. Whoever reads our output may stop whenever it likes (`throughline ... | head`): a closed pipe
    /// is a quiet end, not an error.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Failure::Output(_) => Exit::Unreachable,
            Failure::Configuration(_) | Failure::Rules(_) => Exit::Usage,
            Failure::Other { exit, .. } => *exit,
        }
    }

    /// Tells people on `stderr`, and returns the status.
    pub fn report(&self, stderr: &mut dyn Write) -> Exit {
        let exit = self.exit();
        // If stderr is closed too, the status is all that can be said.
        let _ = match (self, exit) {
            (Failure::Output(_), Exit::Done) => Ok(()),
            (Failure::Configuration(_) | Failure::Rules(_), _) => writeln!(stderr, "{self}"),
            _ => writeln!(stderr, "error: {self}"),
        };
        exit
    }
}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Failure {
        let exit = match error.stage {
            Stage::Setup => Exit::Usage,
            Stage::Running | Stage::State => Exit::Unreachable,
        };
        Failure::new(exit, error.message)
    }
}

fn report_of(problems: &[Problem]) -> String {
    let blocks: Vec<String> =
        problems.iter().map(|problem| super::report::diagnostic_of(problem).to_string()).collect();
    blocks.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_a_quiet_end_and_a_full_disk_is_not() {
        let mut stderr = Vec::new();
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).report(&mut stderr), Exit::Done);
        assert!(stderr.is_empty());
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).report(&mut stderr), Exit::Unreachable);
        assert!(String::from_utf8_lossy(&stderr).starts_with("error: cannot write the output: "));
    }

    #[test]
    fn the_statuses_are_those_of_the_interface() {
        let all = [Exit::Done, Exit::CheckFailed, Exit::Usage, Exit::Unreachable];
        assert_eq!(all.map(Exit::status), [0, 1, 2, 3]);
    }
}
