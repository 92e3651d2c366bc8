//! Colour, where it is wanted.

use crate::telemetry::colour_on;

/// Colours text, or leaves it alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    /// For stdout.
    pub(super) fn of_stdout() -> Self {
        Paint { on: colour_on(&std::io::stdout()) }
    }

    /// Without colour.
    #[cfg(test)]
    pub(super) fn off() -> Self {
        Paint { on: false }
    }

    /// For errors.
    pub(super) fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// For warnings.
    pub(super) fn yellow(self, text: &str) -> String {
        self.with("1;33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
