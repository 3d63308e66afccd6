//! The terminal: one line a series on standard output.

use async_trait::async_trait;
use serde::Deserialize;
use tokio::io::{AsyncWriteExt, Stdout, stdout};

use crate::config::DeliveryConfig;
use crate::format::LineFormat;
use crate::forwarder::{Forwarder, SendError};
use crate::model::Snapshot;
use crate::payload::Batch;
use crate::select::SelectConfig;

/// `forwarders.console`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleConfig {
    /// What ledger and log call it. Defaults to `console`.
    pub name: Option<String>,
    /// `text`, `json` or `influx`. Defaults to `text`.
    pub format: LineFormat,
    /// Which series are shown.
    pub select: SelectConfig,
    /// Only `queue` matters: a terminal is never retried.
    pub delivery: DeliveryConfig,
}

/// Writes each window to standard output.
#[derive(Debug)]
pub struct Console {
    format: LineFormat,
    stdout: Stdout,
}

impl Console {
    /// Writes in this format.
    #[must_use]
    pub fn new(format: LineFormat) -> Self {
        Self { format, stdout: stdout() }
    }
}

#[async_trait]
impl Forwarder for Console {
    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.format.encode_window(snapshot, batch);
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        while let Some(payload) = batch.first_pending() {
            let id = payload.id;
            self.stdout.write_all(payload.bytes).await.map_err(SendError::transient)?;
            self.stdout.flush().await.map_err(SendError::transient)?;
            batch.delivered(id);
        }
        Ok(())
    }
}
