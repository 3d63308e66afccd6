//! A line on the terminal that tells how far it is.

use std::time::Duration;

use super::options::Amount;
use super::sender::SentLoad;
use crate::commands::client::numbers::grouped;
use crate::commands::client::terminal::ProgressLine;

/// The line; nothing where standard error is no terminal.
#[derive(Debug)]
pub(super) struct BenchProgress {
    line: ProgressLine,
    /// Messages of a payload.
    batch: u64,
    amount: Amount,
}

impl BenchProgress {
    /// For this amount of payloads of so many messages.
    pub(super) fn new(batch: u32, amount: Amount) -> Self {
        Self { line: ProgressLine::new(), batch: u64::from(batch), amount }
    }

    /// While sending.
    pub(super) fn sending(&mut self, sent: &SentLoad) {
        self.line.show(|| {
            let messages = sent.payloads * self.batch;
            let seconds = sent.elapsed.as_secs_f64();
            let rate = if seconds > 0.0 { messages as f64 / seconds } else { 0.0 };
            let share = share(self.amount, sent.payloads, sent.elapsed) * 100.0;
            format!(
                "sending: {} messages, {share:.0} %, {} a second",
                grouped(messages),
                grouped(rate as u64)
            )
        });
    }

    /// While the daemon reads what was sent.
    pub(super) fn waiting(&mut self, messages: u64) {
        self.line.show(|| {
            let messages = grouped(messages);
            format!("waiting: the daemon has not accounted for {messages} messages yet")
        });
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        self.line.clear();
    }
}

/// Which part of the amount is out, from 0 to 1.
fn share(amount: Amount, payloads: u64, elapsed: Duration) -> f64 {
    let share = match amount {
        Amount::Time(time) => elapsed.as_secs_f64() / time.as_secs_f64(),
        Amount::Payloads(all) => payloads as f64 / all as f64,
    };
    if share.is_finite() { share.min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_the_time_or_of_the_messages() {
        let second = Duration::from_secs(1);
        assert_eq!(share(Amount::Time(4 * second), 7, second), 0.25);
        assert_eq!(share(Amount::Time(second), 7, 2 * second), 1.0);
        assert_eq!(share(Amount::Payloads(10), 5, second), 0.5);
        assert_eq!(share(Amount::Payloads(0), 0, second), 1.0);
    }
}
