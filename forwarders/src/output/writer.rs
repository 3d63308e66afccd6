//! The forwarders' side of an output.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::lines::Lines;
use super::thread::{Output, OutputName, OutputThread, WriteError, WriteOutcome};
use crate::delivery::forwarder::SendError;
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;

/// Writes the payloads of a batch to an output, one after the other, and waits for each with a
/// timeout.
pub(crate) struct LineWriter {
    name: OutputName,
    /// Creates the output for a new thread.
    output: Box<dyn Fn() -> Box<dyn Output> + Send>,
    /// How long one call of [`LineWriter::send`] waits for a write (`delivery.timeout`).
    patience: Duration,
    /// `None` before the first write.
    thread: Option<Arc<OutputThread>>,
    /// The write of the first pending payload.
    write: WriteState,
}

/// The state of a payload's write.
enum WriteState {
    /// It has not been started.
    New,
    /// The thread writes.
    UnderWay(oneshot::Receiver<WriteOutcome>),
    /// It failed, and these lines are left.
    Failed(Lines),
}

impl LineWriter {
    /// Creates a writer; the first write starts the thread.
    pub(crate) fn new<O: Output>(
        name: OutputName,
        output: impl Fn() -> O + Send + 'static,
        patience: Duration,
    ) -> Self {
        let output = Box::new(move || Box::new(output()) as Box<dyn Output>);
        Self { name, output, patience, thread: None, write: WriteState::New }
    }

    /// Begins a batch. A write of the previous one that is still under way will not be counted.
    pub(crate) fn begin(&mut self) {
        self.write = WriteState::New;
    }

    /// Writes the pending payloads. If the future is dropped, or the time is up, the next call waits
    /// for the same write.
    ///
    /// # Errors
    /// When a write fails, or takes longer than the timeout.
    pub(crate) async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        while let Some(payload) = batch.first_pending() {
            let (id, patience) = (payload.id, self.patience);
            match timeout(patience, self.write(payload.bytes)).await {
                Ok(Ok(())) => batch.delivered(id),
                Ok(Err(WriteError::Refused(words))) => batch.refused(id, reason::REFUSED, words),
                Ok(Err(WriteError::Failed(error))) => return Err(error),
                Err(_) => return Err(self.late()),
            }
        }
        Ok(())
    }

    /// Waits for the write that is under way and counts it. May be dropped at any await.
    pub(crate) async fn collect(&mut self, batch: &mut Batch) {
        let Some(id) = batch.first_pending().map(|payload| payload.id) else { return };
        if self.is_writing() && self.outcome().await.is_ok() {
            batch.delivered(id);
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if !self.is_writing() {
            self.start_write(bytes).await?;
        }
        self.outcome().await
    }

    fn is_writing(&self) -> bool {
        matches!(self.write, WriteState::UnderWay(_))
    }

    /// Waits for the write that is under way.
    async fn outcome(&mut self) -> Result<(), WriteError> {
        let WriteState::UnderWay(outcome) = &mut self.write else { return Ok(()) };
        let outcome = outcome.await;
        self.write = WriteState::New;
        let Ok((lines, outcome)) = outcome else { return Err(self.without_thread()) };
        if let Err(WriteError::Failed(_)) = &outcome {
            self.write = WriteState::Failed(lines);
        }
        outcome
    }

    async fn start_write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let Some(turn) = self.thread()?.turn().await else { return Err(self.without_thread()) };
        // Taken only after the await above: if the future is dropped there, nothing is lost.
        let lines = match std::mem::replace(&mut self.write, WriteState::New) {
            WriteState::Failed(lines) => lines,
            WriteState::New | WriteState::UnderWay(_) => Lines::new(bytes),
        };
        self.write = WriteState::UnderWay(turn.write(lines));
        Ok(())
    }

    fn thread(&mut self) -> Result<Arc<OutputThread>, WriteError> {
        if let Some(thread) = &self.thread {
            return Ok(Arc::clone(thread));
        }
        let thread = OutputThread::of(&self.name, &*self.output)
            .map_err(|error| WriteError::transient(&self.name, &error))?;
        self.thread = Some(Arc::clone(&thread));
        Ok(thread)
    }

    /// The thread has ended by a bug; the next attempt starts another.
    fn without_thread(&mut self) -> WriteError {
        self.thread = None;
        WriteError::transient(&self.name, &io::Error::other("its thread has ended"))
    }

    /// The error about a write that takes too long.
    pub(crate) fn late(&self) -> SendError {
        let (name, patience) = (&self.name, self.patience);
        SendError::transient(format!(
            "{name}: a write has not returned within {patience:?} (delivery.timeout)"
        ))
    }
}
