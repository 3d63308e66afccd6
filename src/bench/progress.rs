//! A line on the terminal that tells how far it is.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::sender::Sent;

/// Pause between two versions of the line.
const PAUSE: Duration = Duration::from_millis(200);

/// The line; nothing where standard error is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    is_on: bool,
    /// Messages of a payload.
    batch: u64,
    shown: Option<Instant>,
}

impl Progress {
    /// For payloads of so many messages.
    pub(super) fn new(batch: u32) -> Self {
        Self { is_on: io::stderr().is_terminal(), batch: u64::from(batch), shown: None }
    }

    /// While sending.
    pub(super) fn sending(&mut self, sent: &Sent) {
        self.show(|batch| {
            let messages = sent.payloads * batch;
            let seconds = sent.elapsed.as_secs_f64();
            let rate = if seconds > 0.0 { messages as f64 / seconds } else { 0.0 };
            format!("sending: {messages} messages in {seconds:.1} s, {rate:.0} a second")
        });
    }

    /// While the daemon reads what was sent.
    pub(super) fn waiting(&mut self, messages: u64) {
        self.show(|_| format!("waiting: the daemon has not accounted for {messages} messages yet"));
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if self.shown.take().is_some() {
            write("");
        }
    }

    fn show(&mut self, text: impl FnOnce(u64) -> String) {
        if self.is_on && self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE) {
            write(&text(self.batch));
            self.shown = Some(Instant::now());
        }
    }
}

/// Writes over the line; a terminal that is gone is nobody's loss.
fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    let _nobody_looks = write!(stderr, "\r\x1b[K{text}");
    let _nobody_looks = stderr.flush();
}
