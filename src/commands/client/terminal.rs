//! What only a terminal gets: colours, and a line that tells how far it is.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Pause between two versions of the line.
const PAUSE: Duration = Duration::from_millis(200);

/// Whether text for this stream may have colours: a terminal, and no `NO_COLOR` that says something.
pub(crate) fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A line on standard error that is written over; nothing where that is no terminal.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    is_on: bool,
    shown: Option<Instant>,
}

impl ProgressLine {
    /// Not shown yet.
    pub(crate) fn new() -> Self {
        Self { is_on: io::stderr().is_terminal(), shown: None }
    }

    /// Shows a text, unless the one before it is too new.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.is_on && self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE) {
            write(&text());
            self.shown = Some(Instant::now());
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            write("");
        }
    }
}

/// Writes over the line; a terminal that is gone is nobody's loss.
fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    let _nobody_looks = write!(stderr, "\r\x1b[K{text}");
    let _nobody_looks = stderr.flush();
}
