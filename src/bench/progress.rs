//! A line on the terminal that tells how far it is.

use super::sender::Sent;
use crate::client::terminal::ProgressLine;

/// The line; nothing where standard error is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    line: ProgressLine,
    /// Messages of a payload.
    batch: u64,
}

impl Progress {
    /// For payloads of so many messages.
    pub(super) fn new(batch: u32) -> Self {
        Self { line: ProgressLine::new(), batch: u64::from(batch) }
    }

    /// While sending.
    pub(super) fn sending(&mut self, sent: &Sent) {
        self.line.show(|| {
            let messages = sent.payloads * self.batch;
            let seconds = sent.elapsed.as_secs_f64();
            let rate = if seconds > 0.0 { messages as f64 / seconds } else { 0.0 };
            format!("sending: {messages} messages in {seconds:.1} s, {rate:.0} a second")
        });
    }

    /// While the daemon reads what was sent.
    pub(super) fn waiting(&mut self, messages: u64) {
        self.line
            .show(|| format!("waiting: the daemon has not accounted for {messages} messages yet"));
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        self.line.clear();
    }
}
