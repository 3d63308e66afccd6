//! The forwarder that replaces every destination's forwarder in `debug_mode` and writes to the log.

use async_trait::async_trait;
use tracing::info;

use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;
use crate::format::LineFormat;
use model::Snapshot;

/// Logs each point's name, value and tags instead of sending it.
#[derive(Debug)]
pub struct DebugForwarder {
    /// The name of the replaced destination.
    name: String,
}

impl DebugForwarder {
    /// Creates the replacement for the destination `name`.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name }
    }
}

#[async_trait]
impl Forwarder for DebugForwarder {
    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        for point in &snapshot.points {
            batch.push(1, |_| (), |out| LineFormat::Text.write_line(out, snapshot, point));
        }
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        let mut logged = Vec::new();
        for payload in batch.pending() {
            let point = String::from_utf8_lossy(payload.bytes);
            info!(forwarder = self.name, "debug_mode, not sent: {}", point.trim_end());
            logged.push(payload.id);
        }
        for id in logged {
            batch.set_aside(id, reason::DEBUG_MODE);
        }
        Ok(())
    }
}
