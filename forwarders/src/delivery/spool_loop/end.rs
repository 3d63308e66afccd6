//! The work on disk after the end of delivery, when the time may be short.
//!
//! The most important work comes first, and nothing waits for an access to the disk that something
//! else does not need: the removal of settled windows begins, the windows in memory get their files,
//! settled windows that are still there are recorded, and the files are synced together. A sync or a
//! removal that takes long costs no window.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::{SpoolLoop, ended, removal};
use crate::delivery::backlog::{Backlog, SpoolWork};
use crate::spool::{FileName, SpoolWriteError, WriteJob};

/// Files that take longer to be removed are recorded as settled.
const LAST_REMOVAL_PATIENCE: Duration = Duration::from_millis(25);
/// The same for all removals together. Writes wait no longer for the space of removed files.
const LAST_REMOVALS_PATIENCE: Duration = Duration::from_millis(250);

type LastSync = Pin<Box<dyn Future<Output = Vec<FileName>> + Send>>;

/// The end of a spool loop.
struct LastWork {
    spool: SpoolLoop,
    began: Instant,
    /// The time that writes have waited for the space of removed files.
    waited: Duration,
    sync: Option<LastSync>,
    has_listed: bool,
}

impl SpoolLoop {
    /// Writes the windows that are left in memory, and ends.
    pub(super) async fn end(mut self) {
        let began = Instant::now();
        // The last chance to keep windows, also on a disk that failed a moment ago.
        self.may_write_at = began;
        let waited = Duration::ZERO;
        LastWork { spool: self, began, waited, sync: None, has_listed: false }.run().await;
    }
}

impl LastWork {
    async fn run(mut self) {
        while self.step().await {}
        self.list_once().await;
        let writer = &self.spool.writer;
        let names = writer.sync_names();
        if self.spool.is_record_unsynced {
            let _as_far_as_possible = writer.sync_record().await;
        }
        let _as_far_as_possible = names.await;
    }

    /// Does the next work. Returns false if none is left.
    async fn step(&mut self) -> bool {
        self.spool.collect_ended().await;
        self.record_if_slow();
        let may_retry = Instant::now() >= self.spool.may_write_at;
        match self.spool.backlog.apply(|backlog| backlog.next_spool_work(may_retry)) {
            SpoolWork::Open => self.spool.open().await,
            SpoolWork::Discard(step) => self.spool.begin(step),
            SpoolWork::Write(job) => self.write(job).await,
            SpoolWork::Sync(files) => {
                self.list_once().await;
                self.sync = Some(Box::pin(self.spool.writer.sync(files)));
            }
            SpoolWork::Quarantine(refused) => self.spool.quarantine(refused).await,
            SpoolWork::Wait => self.wait().await,
            // A removal of recorded files may be in the way of a window with the same name.
            SpoolWork::End => {
                let may_help = self.spool.backlog.read(Backlog::has_failed_writes);
                if self.spool.cleanup.is_none() || !may_help {
                    return false;
                }
                self.wait().await;
            }
            SpoolWork::Tidy | SpoolWork::Probe => {}
        }
        true
    }

    async fn wait(&mut self) {
        let slow_at = self.slow_at();
        let spool = &mut self.spool;
        tokio::select! {
            // In a fixed order, so that a simulation can be repeated.
            biased;
            outcome = removal::ended(&mut spool.removal) => spool.removal_ended(outcome),
            outcome = ended(&mut spool.recording) => spool.record_ended(outcome),
            failed = synced(&mut self.sync) => {
                self.sync = None;
                spool.backlog.apply(|backlog| backlog.sync_ended(&failed));
            }
            outcome = ended(&mut spool.found_sync) => spool.found_synced(&outcome),
            _ = ended(&mut spool.cleanup) => spool.cleanup_ended(),
            () = sleep_until(slow_at.unwrap_or(self.began)), if slow_at.is_some() => {}
        }
    }

    // ---- Removal ------------------------------------------------------------------------------

    /// When the files of the removal in progress have to be recorded.
    fn slow_at(&self) -> Option<Instant> {
        let removal = self.spool.removal.as_ref().filter(|removal| !removal.is_slow)?;
        let all = self.began + LAST_REMOVALS_PATIENCE;
        Some(all.min(removal.began + LAST_REMOVAL_PATIENCE))
    }

    fn record_if_slow(&mut self) {
        if self.slow_at().is_some_and(|at| at <= Instant::now()) {
            self.spool.removal_is_slow();
        }
    }

    /// Drops windows whose files were removed since the latest check: the final ledger must not count
    /// them as spooled.
    async fn list_once(&mut self) {
        if !std::mem::replace(&mut self.has_listed, true) {
            self.spool.drop_missing().await;
        }
    }

    // ---- Writing ------------------------------------------------------------------------------

    async fn write(&mut self, job: WriteJob) {
        let seq = job.seq;
        if let Err(error) = self.write_unsynced(job).await {
            self.spool.write_failed(seq, error);
        }
    }

    async fn write_unsynced(&mut self, job: WriteJob) -> Result<(), SpoolWriteError> {
        let window = self.spool.pack(job).await?;
        self.wait_for_room(window.name.bytes).await;
        let min_free = self.spool.backlog.read(Backlog::spool_limits).min_free.get();
        self.spool.writer.write_unsynced(&window, min_free).await?;
        self.spool.written(window.seq, window.name, false);
        Ok(())
    }

    /// Waits for the removal of files if the spool exceeds its limits with them, unless that takes
    /// long. The write then exceeds them, until the files are gone.
    async fn wait_for_room(&mut self, bytes: u64) {
        while self.spool.backlog.read(|backlog| backlog.is_tight(bytes)) {
            let step = self.spool.backlog.apply(|backlog| backlog.next_debt_step(false));
            if let Some(step) = step {
                self.spool.begin(step);
                continue;
            }
            let patience = LAST_REMOVALS_PATIENCE.saturating_sub(self.waited);
            let is_slow = self.spool.removal.as_ref().is_none_or(|removal| removal.is_slow);
            if is_slow || patience.is_zero() {
                return;
            }
            self.wait_for_removal(patience.min(LAST_REMOVAL_PATIENCE)).await;
        }
    }

    async fn wait_for_removal(&mut self, patience: Duration) {
        let began = Instant::now();
        match timeout(patience, removal::ended(&mut self.spool.removal)).await {
            Ok(outcome) => self.spool.removal_ended(outcome),
            Err(_) => self.spool.removal_is_slow(),
        }
        self.waited += began.elapsed();
    }
}

/// Waits for the end of a sync; without one, forever. Returns the files that are not synced.
async fn synced(sync: &mut Option<LastSync>) -> Vec<FileName> {
    match sync {
        Some(sync) => sync.await,
        None => std::future::pending().await,
    }
}
