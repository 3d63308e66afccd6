//! The forwarder of an output.

use async_trait::async_trait;

use super::writer::LineWriter;
use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::payload::Batch;
use crate::format::LineEncoding;
use model::Snapshot;

/// Writes each window to an output, a line for each series.
pub struct LineForwarder<P> {
    encoding: LineEncoding,
    writer: LineWriter,
    probe: P,
}

/// How `tallyd check --connect` finds out whether an output can be written.
#[async_trait]
pub trait OutputProbe: Send {
    /// Checks that the output can be written, without changing it. `late` is the error for a check
    /// that takes too long.
    ///
    /// # Errors
    /// When the output cannot be written.
    async fn probe(&mut self, late: SendError) -> Result<(), SendError>;
}

impl<P> LineForwarder<P> {
    /// Creates a forwarder that writes in this encoding.
    pub(crate) fn with(encoding: LineEncoding, writer: LineWriter, probe: P) -> Self {
        Self { encoding, writer, probe }
    }
}

#[async_trait]
impl<P: OutputProbe> Forwarder for LineForwarder<P> {
    fn wants_whole_window(&self, window: &Snapshot) -> bool {
        self.encoding.may_merge(window)
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.writer.begin();
        self.encoding.encode_lines(snapshot, batch);
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        self.writer.send(batch).await
    }

    async fn stop(&mut self, batch: &mut Batch) {
        self.writer.collect(batch).await;
    }

    async fn probe(&mut self) -> Result<(), SendError> {
        self.probe.probe(self.writer.late()).await
    }
}
