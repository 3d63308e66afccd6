//! Removes the files of settled windows, or records that they are settled.

use std::io;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{PAUSE, SpoolLoop, until_end};
use crate::delivery::backlog::{Backlog, DebtStep};
use crate::spool::{DiscardOutcome, DiscardedFiles};

/// Files that take longer to be removed are recorded as settled.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(1);

/// A removal that nothing waits for.
pub(super) struct RunningRemoval {
    task: JoinHandle<DiscardOutcome>,
    pub(super) began: Instant,
    /// Whether its files have to be recorded.
    pub(super) is_slow: bool,
}

impl RunningRemoval {
    fn new(task: JoinHandle<DiscardOutcome>) -> Self {
        Self { task, began: Instant::now(), is_slow: false }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

/// Waits for the end of a removal; without one, forever.
pub(super) async fn ended(
    removal: &mut Option<RunningRemoval>,
) -> Result<DiscardOutcome, JoinError> {
    match removal {
        Some(removal) => (&mut removal.task).await,
        None => std::future::pending().await,
    }
}

impl SpoolLoop {
    /// Takes the next step for files that are no longer needed. Waits until the files are removed or
    /// recorded, or until the disk turns out to be slow.
    pub(super) async fn discard(&mut self, step: DebtStep) {
        match step {
            DebtStep::Remove(files) => self.remove(files).await,
            DebtStep::Record(files) => self.record(files).await,
        }
    }

    /// Removes or records all files that are no longer needed.
    pub(super) async fn remove_discarded(&mut self) {
        while let Some(step) = self.backlog.apply(|backlog| backlog.next_debt_step(false)) {
            self.discard(step).await;
        }
    }

    /// Begins the next step without waiting for its end.
    pub(super) fn begin(&mut self, step: DebtStep) {
        match step {
            DebtStep::Remove(files) => {
                self.removal = Some(RunningRemoval::new(self.writer.discard(files)));
            }
            DebtStep::Record(files) => {
                self.is_record_unsynced = true;
                self.recording = Some(self.writer.record(files));
            }
        }
    }

    async fn remove(&mut self, files: DiscardedFiles) {
        self.begin(DebtStep::Remove(files));
        let removal = timeout(REMOVAL_PATIENCE, ended(&mut self.removal));
        match until_end(&self.backlog, removal).await {
            Some(Ok(outcome)) => self.removal_ended(outcome),
            Some(Err(_)) => self.removal_is_slow(),
            None => {}
        }
    }

    /// Has the files of the removal in progress recorded.
    pub(super) fn removal_is_slow(&mut self) {
        if let Some(removal) = &mut self.removal {
            removal.is_slow = true;
            self.backlog.apply(Backlog::removal_is_slow);
        }
    }

    pub(super) fn removal_ended(&mut self, outcome: Result<DiscardOutcome, JoinError>) {
        self.removal = None;
        let (left, error) = match outcome {
            Ok(DiscardOutcome { left, error }) => (Some(left), error),
            Err(error) => (None, Some(io::Error::from(error))),
        };
        let is_done = left.as_ref().is_some_and(DiscardedFiles::is_empty);
        match &error {
            // If all are done in spite of an error, they are recorded instead of removed.
            Some(error) if !is_done => {
                let folder = self.writer.root().display();
                let words = format!("{folder}: cannot remove delivered windows: {error}");
                self.may_write_at = Instant::now() + PAUSE;
                self.backlog.spool_failed(words, |backlog| backlog.removal_ended(left));
            }
            _ => self.backlog.apply(|backlog| backlog.removal_ended(left)),
        }
        self.publish_unremoved();
        if let Some(error) = error
            && let Some(times) = self.stuck.count(1)
        {
            warn!(forwarder = self.forwarder, %error, times, "cannot remove windows from the spool");
        }
    }

    async fn record(&mut self, files: DiscardedFiles) {
        self.begin(DebtStep::Record(files));
        if let Some(outcome) = until_end(&self.backlog, super::ended(&mut self.recording)).await {
            let outcome = match outcome {
                Ok(Ok(())) => self.sync_record().await,
                failed => failed,
            };
            self.record_ended(outcome);
        }
    }

    /// Syncs the record. The end of delivery does not wait for that: the record survives the end of
    /// the process.
    async fn sync_record(&mut self) -> Result<io::Result<()>, JoinError> {
        let synced = until_end(&self.backlog, self.writer.sync_record()).await;
        self.is_record_unsynced = !matches!(synced, Some(Ok(Ok(()))));
        synced.unwrap_or(Ok(Ok(())))
    }

    pub(super) fn record_ended(&mut self, outcome: Result<io::Result<()>, JoinError>) {
        self.recording = None;
        match outcome.unwrap_or_else(|error| Err(error.into())) {
            Ok(()) => self.backlog.apply(|backlog| backlog.record_ended(true)),
            Err(error) => {
                let words = format!("{}/settled: {error}", self.writer.root().display());
                self.may_write_at = Instant::now() + PAUSE;
                self.backlog.spool_failed(words, |backlog| backlog.record_ended(false));
            }
        }
        self.publish_unremoved();
    }

    pub(super) fn publish_unremoved(&self) {
        let unremoved = self.writer.unremoved();
        self.backlog.apply(|backlog| backlog.set_unremoved(unremoved));
    }
}
