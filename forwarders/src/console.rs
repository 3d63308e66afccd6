//! Console destination: writes one line per series to standard output.

use std::io;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::io::{AsyncWriteExt, Stdout, stdout};

use crate::config::{Common, DeliveryConfig};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;
use crate::delivery::stats::reason;
use crate::format::LineFormat;
use crate::select::SelectConfig;
use model::Snapshot;

/// `forwarders.console`: the configuration of the console destination.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleConfig {
    /// Name of the destination in the ledger and the log. Defaults to `console`.
    pub name: Option<String>,
    /// Format of a line: `text`, `json` or `influx`. Defaults to `text`.
    pub format: LineFormat,
    /// Which series are shown.
    pub select: SelectConfig,
    /// Only `queue` and `retry` have an effect: a failed write to the terminal is retried.
    pub delivery: DeliveryConfig,
}

impl ForwarderSection for ConsoleConfig {
    const KIND: &'static str = "console";

    #[cfg(test)]
    const EXAMPLE: &'static str = "{}";

    fn build(mut self, _: &BuildContext) -> Result<Vec<Destination>, String> {
        let name = self.name.as_deref();
        let common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let forwarder = Console::new(self.format);
        let settings = ForwarderSettings::new(self);
        Ok(vec![Destination::new(Self::KIND, common, settings, forwarder)])
    }
}

/// Writes each window to standard output.
#[derive(Debug)]
pub struct Console {
    format: LineFormat,
    stdout: Stdout,
}

impl Console {
    /// Creates a forwarder that writes in `format`.
    #[must_use]
    pub fn new(format: LineFormat) -> Self {
        Self { format, stdout: stdout() }
    }
}

#[async_trait]
impl Forwarder for Console {
    fn wants_whole_window(&self, window: &Snapshot) -> bool {
        self.format.may_merge(window)
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.format.encode_lines(snapshot, batch);
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        while let Some(payload) = batch.first_pending() {
            let id = payload.id;
            match write(&mut self.stdout, payload.bytes).await {
                Ok(()) => batch.delivered(id),
                // The reader has closed the pipe for good: a retry cannot succeed.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    batch.refused(id, reason::REFUSED, "standard output has no reader");
                }
                Err(error) => return Err(SendError::transient(error)),
            }
        }
        Ok(())
    }
}

async fn write(stdout: &mut Stdout, bytes: &[u8]) -> io::Result<()> {
    stdout.write_all(bytes).await?;
    stdout.flush().await
}
