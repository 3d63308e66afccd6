//! Console destination: writes one line per series to standard output.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::Deserialize;

use crate::config::{Common, DeliveryConfig, InvalidKey};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::SendError;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;
use crate::format::influx::{LineNaming, LineNamingStyle, TelegrafConfig};
use crate::format::{LineEncoding, LineFormat};
use crate::idle::{IdleConfig, IdleFor, IdleKeys, IdleRules};
use crate::output::forwarder::{LineForwarder, OutputProbe};
use crate::output::lines::Lines;
use crate::output::thread::{Output, OutputName, WriteError};
use crate::output::writer::LineWriter;
use crate::select::SelectConfig;

/// `forwarders.console`: the configuration of the console destination.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleConfig {
    /// Name of the destination in the ledger and the log. Defaults to `console`.
    pub name: Option<String>,
    /// Format of a line: `text`, `json` or `influx`. Defaults to `text`.
    pub format: LineFormat,
    /// `format: influx`: `tallyd`, the metric's name and tallyd's fields, or `telegraf`, the names, fields
    /// and types of Telegraf's statsd input, so that dashboards made for it keep working. Defaults to
    /// `tallyd`.
    pub naming: LineNamingStyle,
    /// Options of Telegraf's statsd input, for `naming: telegraf`.
    pub telegraf: TelegrafConfig,
    /// Which series are shown.
    pub select: SelectConfig,
    /// Points for live series without samples. Defaults to `none`.
    pub idle: Option<IdleConfig>,
    /// The time for which an idle series has points. Unlimited by default: as long as it is live.
    pub idle_for: Option<IdleFor>,
    /// `timeout`, `queue` and `retry` have an effect: a failed write to the terminal is retried.
    pub delivery: DeliveryConfig,
}

impl ForwarderSection for ConsoleConfig {
    const KIND: &'static str = "console";

    #[cfg(test)]
    const EXAMPLE: &'static str = "{}";

    fn idle(&self) -> IdleKeys<'_> {
        let rules = IdleRules::default();
        IdleKeys { idle: self.idle.as_ref(), idle_for: self.idle_for.as_ref(), rules }
    }

    fn check(&self) -> Result<(), InvalidKey> {
        let is_influx = self.format == LineFormat::Influx;
        self.naming.check(is_influx)
    }

    fn build(mut self, _: &BuildContext) -> Result<Vec<Destination>, String> {
        // Not settings of the forwarder: the registry applies them.
        (self.idle, self.idle_for) = (None, None);
        let name = self.name.as_deref();
        let common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let naming = LineNaming::new(self.naming, &self.telegraf);
        let encoding = LineEncoding::new(self.format, naming);
        let forwarder = Console::new(encoding, common.delivery.timeout.get());
        let settings = ForwarderSettings::new(self);
        Ok(vec![Destination::new(Self::KIND, common, settings, forwarder)])
    }
}

/// Writes each window to standard output.
pub type Console = LineForwarder<StdoutProbe>;

impl Console {
    /// Creates a forwarder that writes in this encoding and waits for a write for at most `patience`.
    #[must_use]
    pub(crate) fn new(encoding: LineEncoding, patience: Duration) -> Self {
        let writer = LineWriter::new(OutputName::Stdout, || Stdout, patience);
        Self::with(encoding, writer, StdoutProbe)
    }
}

/// Accepts standard output as it is: only a write shows whether it can be written.
#[derive(Debug)]
pub struct StdoutProbe;

#[async_trait]
impl OutputProbe for StdoutProbe {
    async fn probe(&mut self, _late: SendError) -> Result<(), SendError> {
        Ok(())
    }
}

/// Standard output, which is not used by anything else in the daemon.
struct Stdout;

impl Output for Stdout {
    fn write(&mut self, lines: &mut Lines) -> Result<(), WriteError> {
        write(lines).map_err(|error| match error {
            // The reader has closed the pipe for good: a retry cannot succeed.
            Errno::PIPE => WriteError::Refused("standard output has no reader"),
            error => WriteError::transient(&OutputName::Stdout, &error.into()),
        })
    }
}

/// Writes the rest of the lines. After an error, a retry continues within the line: text on a terminal
/// cannot be taken back.
fn write(lines: &mut Lines) -> Result<(), Errno> {
    // Not through the buffer of `io::Stdout`: a write that blocks would hold its lock, for which
    // the end of the process waits.
    let stdout = io::stdout();
    while !lines.rest().is_empty() {
        match rustix::io::write(&stdout, lines.rest()) {
            Ok(length) => lines.advance(length),
            Err(Errno::INTR) => {}
            // Another program that shares the terminal or the pipe has made it non-blocking.
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
