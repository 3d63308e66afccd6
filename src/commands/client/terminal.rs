//! Output for terminals: colours, and a progress line.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Least time between two versions of the line.
const PAUSE: Duration = Duration::from_millis(200);

/// Whether text for a stream has colours: if it is a terminal and `NO_COLOR` is unset or empty.
pub(crate) fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A line on standard error that is overwritten; nothing where standard error is no terminal.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    is_on: bool,
    shown: Option<Instant>,
}

impl ProgressLine {
    /// A line that is not shown yet.
    pub(crate) fn new() -> Self {
        Self { is_on: io::stderr().is_terminal(), shown: None }
    }

    /// Shows a text, unless the previous one is too recent.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.is_on && self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE) {
            write(&text());
            self.shown = Some(Instant::now());
        }
    }

    /// Clears the line.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            write("");
        }
    }
}

/// Overwrites the line; ignores a terminal that is gone.
fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    let _nobody_looks = write!(stderr, "\r\x1b[K{text}");
    let _nobody_looks = stderr.flush();
}
