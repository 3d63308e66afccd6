//! Does the work on disk that the backlog of one destination asks for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::delivery::backlog::{Backlog, DebtStep, SpoolWork};
use crate::delivery::shared_backlog::SharedBacklog;
use crate::delivery::spool_clock::SpoolClock;
use crate::spool::{
    DiscardOutcome, DiscardedFiles, FileName, FoundWindows, PackedWindow, RefusedPoints,
    SpoolWriteError, SpoolWriter, WriteEnd, WriteJob,
};
use basics::log_throttle::LogThrottle;

/// The pause after a failure of the disk, and the interval of checks for windows that expired or
/// were removed.
const PAUSE: Duration = Duration::from_secs(10);
/// Files that take longer to be removed are recorded as settled.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(1);
/// The same after the end of delivery.
const LAST_REMOVAL_PATIENCE: Duration = Duration::from_millis(100);
/// Windows are delivered from memory if opening the folder takes longer.
const OPENING_PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of files that are moved or removed in one step of tidying up. Between two steps,
/// windows can be written.
const TIDIED_AT_ONCE: usize = 256;

/// Does the work on disk that a backlog asks for. It runs concurrently with the delivery loop, so a
/// slow disk delays no attempt, and a slow attempt delays no write.
pub(crate) struct SpoolLoop {
    /// The destination's name.
    forwarder: String,
    writer: SpoolWriter,
    backlog: Arc<SharedBacklog>,
    /// The end of the pause after the latest failure.
    may_write_at: Instant,
    /// Whether delivery has ended: windows that are left in memory are written without waiting for
    /// the disk.
    is_last: bool,
    /// The windows that were written so.
    unsynced: Vec<FileName>,
    next_check: Instant,
    clock: SpoolClock,
    /// Whether the latest write, or opening the folder, failed.
    is_failing: bool,
    /// A removal that takes longer than [`REMOVAL_PATIENCE`].
    slow_removal: Option<JoinHandle<DiscardOutcome>>,
    /// A record of settled windows that the end of delivery has interrupted.
    recording: Option<JoinHandle<io::Result<()>>>,
    /// The removal of settled windows, which no write waits for.
    cleanup: Option<JoinHandle<()>>,
    drops: LogThrottle,
    stuck: LogThrottle,
}

impl SpoolLoop {
    /// A loop for the backlog of the destination `forwarder`.
    pub(crate) fn new(forwarder: String, writer: SpoolWriter, backlog: Arc<SharedBacklog>) -> Self {
        Self {
            forwarder,
            clock: SpoolClock::new(writer.host().clocks()),
            writer,
            backlog,
            may_write_at: Instant::now(),
            is_last: false,
            unsynced: Vec::new(),
            next_check: Instant::now() + PAUSE,
            is_failing: false,
            slow_removal: None,
            recording: None,
            cleanup: None,
            drops: LogThrottle::default(),
            stuck: LogThrottle::default(),
        }
    }

    /// Runs until the delivery loop has ended and every window that can be on disk is there.
    pub(crate) async fn run(mut self) {
        loop {
            // The last chance to keep windows, also on a disk that failed a moment ago.
            if !self.is_last && self.backlog.read(Backlog::has_ended) {
                self.is_last = true;
                self.may_write_at = Instant::now();
            }
            if self.slow_removal.as_ref().is_some_and(JoinHandle::is_finished) {
                let outcome = ended(&mut self.slow_removal).await;
                self.removal_ended(outcome);
            }
            let may_write = Instant::now() >= self.may_write_at;
            match self.backlog.apply(|backlog| backlog.next_spool_work(may_write)) {
                SpoolWork::Open => self.open().await,
                SpoolWork::Discard(step) => self.discard(step).await,
                SpoolWork::Write(job) => self.write(job).await,
                SpoolWork::Quarantine(refused) => self.quarantine(refused).await,
                SpoolWork::Tidy => self.tidy().await,
                SpoolWork::Probe => self.probe().await,
                SpoolWork::Wait => self.wait().await,
                SpoolWork::End => return self.end().await,
            }
            if Instant::now() >= self.next_check {
                self.check().await;
            }
        }
    }

    async fn wait(&mut self) {
        let now = Instant::now();
        // No event announces the end of the pause, so the wait has to end with it.
        let pause = Some(self.may_write_at).filter(|at| *at > now);
        let until = pause.map_or(self.next_check, |at| at.min(self.next_check));
        tokio::select! {
            // In a fixed order, so that a simulation can be repeated.
            biased;
            () = self.backlog.spool_work_changed() => {}
            () = sleep_until(until) => {}
            outcome = ended(&mut self.slow_removal) => self.removal_ended(outcome),
            outcome = ended(&mut self.recording) => self.record_ended(outcome),
            _ = ended(&mut self.cleanup) => self.cleanup_ended(),
        }
    }

    /// Makes the last changes on disk before the end.
    async fn end(mut self) {
        // Files that were removed since the latest check are not spooled: the final ledger must not
        // count them as such.
        self.drop_missing().await;
        if self.writer.sync(&self.unsynced).await {
            self.backlog.apply(|backlog| backlog.set_unsynced(0));
        }
        if self.backlog.read(Backlog::has_debt) {
            let folder = self.writer.root().display();
            error!(
                forwarder = self.forwarder,
                %folder,
                "cannot remove delivered windows from the spool: the next start delivers them again"
            );
        }
    }

    async fn open(&mut self) {
        match self.open_patiently().await {
            Ok(found) => {
                self.backlog.apply(|backlog| backlog.opened(&found));
                self.publish_unremoved();
                self.recovered();
            }
            Err(words) => self.failed(SpoolWriteError { words, left_behind: None }),
        }
    }

    /// Opens the folder. If that takes long, windows are delivered from memory until it is open.
    async fn open_patiently(&self) -> Result<FoundWindows, String> {
        let opening = self.writer.open();
        tokio::pin!(opening);
        if let Ok(opened) = timeout(OPENING_PATIENCE, &mut opening).await {
            return opened;
        }
        let words = format!("{}: opening takes long", self.writer.root().display());
        self.backlog.spool_failed(words, |backlog| backlog.write_failed(None));
        opening.await
    }

    // ---- Removal ------------------------------------------------------------------------------

    async fn discard(&mut self, step: DebtStep) {
        match step {
            DebtStep::Remove(files) => self.remove(files).await,
            DebtStep::Record(files) => self.record(files).await,
        }
    }

    async fn remove(&mut self, files: DiscardedFiles) {
        let mut removal = self.writer.discard(files);
        // A window that gave way to newer ones is written under the same name at the end.
        let is_urgent = !self.backlog.read(Backlog::awaits_removal);
        let is_short = self.is_last && is_urgent;
        let patience = if is_short { LAST_REMOVAL_PATIENCE } else { REMOVAL_PATIENCE };
        let ended = timeout(patience, &mut removal);
        match until_end(&self.backlog, self.is_last || !is_urgent, ended).await {
            Some(Ok(outcome)) => self.removal_ended(outcome),
            _ => {
                self.slow_removal = Some(removal);
                self.backlog.apply(Backlog::removal_is_slow);
            }
        }
    }

    fn removal_ended(&mut self, outcome: Result<DiscardOutcome, JoinError>) {
        self.slow_removal = None;
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
        let mut recording = self.writer.record(files);
        match self.until_end(&mut recording).await {
            Some(outcome) => self.record_ended(outcome),
            None => self.recording = Some(recording),
        }
    }

    fn record_ended(&mut self, outcome: Result<io::Result<()>, JoinError>) {
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

    fn publish_unremoved(&self) {
        let unremoved = self.writer.unremoved();
        self.backlog.apply(|backlog| backlog.set_unremoved(unremoved));
    }

    // ---- Writing ------------------------------------------------------------------------------

    async fn write(&mut self, job: WriteJob) {
        self.clock.look(self.writer.host().clocks());
        let Some(window) = self.writer.pack(job).await else { return };
        let limits = self.backlog.read(Backlog::spool_limits);
        let (seq, name) = (window.seq, window.name);
        // Before room is made: a file that can never fit would empty the spool for nothing.
        if name.bytes > limits.max_bytes.get() {
            let words = format!(
                "a window takes {} bytes on disk, and delivery.spool.max_bytes is {}",
                name.bytes, limits.max_bytes
            );
            return self.failed(SpoolWriteError { words, left_behind: None });
        }
        let dropped = self.backlog.apply(|backlog| backlog.make_room(name.bytes));
        self.log_dropped(dropped, "the spool is full, the oldest windows were dropped");
        let written = if self.is_last {
            self.write_last(window, limits.min_free.get()).await
        } else {
            // Removed before the write, which may need their space.
            self.remove_discarded().await;
            let end = self.backlog.delivery_ended();
            self.writer.write(window, limits.min_free.get(), end).await
        };
        match written {
            // The window is written again, with the others that are left.
            Ok(WriteEnd::GivenUp) => {}
            Ok(end) => {
                self.unsynced.extend((end == WriteEnd::Unsynced).then_some(name));
                let unsynced = self.unsynced.len() as u64;
                // Even if the window was delivered during the write: the backlog then discards the
                // file.
                self.backlog.apply(|backlog| {
                    backlog.written(seq, name);
                    backlog.set_unsynced(unsynced);
                });
                self.recovered();
            }
            Err(error) => self.failed(error),
        }
    }

    /// Writes a window that is left at the end, without waiting for the disk.
    async fn write_last(
        &mut self,
        window: PackedWindow,
        min_free: u64,
    ) -> Result<WriteEnd, SpoolWriteError> {
        if self.backlog.read(|backlog| backlog.is_tight(window.name.bytes)) {
            self.remove_discarded().await;
        }
        match self.writer.write_unsynced(&window, min_free).await {
            Err(_) if self.backlog.read(Backlog::has_debt) => {
                // The disk may be full of files that are no longer needed.
                self.remove_discarded().await;
                self.writer.write_unsynced(&window, min_free).await
            }
            written => written,
        }
    }

    async fn remove_discarded(&mut self) {
        while let Some(step) = self.backlog.apply(|backlog| backlog.next_debt_step(false)) {
            self.discard(step).await;
        }
    }

    async fn quarantine(&mut self, refused: RefusedPoints) {
        // Failures here do not count as failures of the spool: the points are dropped already.
        let all: u64 = refused.points.values().map(model::PointRanges::count).sum();
        let min_free = self.backlog.read(Backlog::spool_limits).min_free.get();
        let (backlog, is_last) = (Arc::clone(&self.backlog), self.is_last);
        let kept = until_end(&backlog, is_last, self.writer.quarantine(refused, min_free)).await;
        // Without an answer they count as not kept. They may be there nevertheless.
        let kept = kept.unwrap_or(0);
        self.backlog.apply(|backlog| backlog.quarantined(kept, all - kept));
    }

    async fn tidy(&mut self) {
        // A part at a time: windows can be written in between.
        if self.until_end(self.writer.tidy(TIDIED_AT_ONCE)).await == Some(true) {
            self.backlog.apply(Backlog::is_untidy);
        }
    }

    async fn probe(&mut self) {
        let min_free = self.backlog.read(Backlog::spool_limits).min_free.get();
        match self.until_end(self.writer.probe(min_free)).await {
            None => {}
            Some(Ok(())) => {
                self.backlog.apply(Backlog::probed);
                self.recovered();
            }
            Some(Err(words)) => self.failed(SpoolWriteError { words, left_behind: None }),
        }
    }

    // ---- Checks -------------------------------------------------------------------------------

    /// Drops windows that expired or were removed, and retries to remove settled windows.
    async fn check(&mut self) {
        self.next_check = Instant::now() + PAUSE;
        let max_age = self.backlog.read(Backlog::spool_limits).max_age.get();
        if let Some(now_ms) = self.clock.expiry_now_ms(self.writer.host().clocks(), max_age) {
            let expired = self.backlog.apply(|backlog| backlog.expire(now_ms));
            self.log_dropped(
                expired,
                "windows were in the spool for longer than max_age and were dropped",
            );
        }
        self.drop_missing().await;
        // The loop may have been too busy to wait for the end of the removal.
        if self.cleanup.as_ref().is_some_and(JoinHandle::is_finished) {
            self.cleanup_ended();
        }
        let is_disk_busy = self.slow_removal.is_some() || self.cleanup.is_some();
        if self.writer.unremoved() > 0 && !is_disk_busy {
            self.cleanup = Some(self.writer.retry_settled(TIDIED_AT_ONCE));
        }
    }

    fn cleanup_ended(&mut self) {
        self.cleanup = None;
        self.publish_unremoved();
    }

    async fn drop_missing(&mut self) {
        // This loop is the only writer, so no file can appear between the list and its use. If the
        // folder cannot be read, no window counts as removed.
        if let Some(present) = self.writer.list().await {
            let removed = self.backlog.apply(|backlog| backlog.files_listed(&present));
            self.log_dropped(removed, "windows were removed from the spool");
        }
    }

    /// Pauses writing after a failure; windows wait in memory until the next attempt. Logs the
    /// first of several failures in a row.
    fn failed(&mut self, error: SpoolWriteError) {
        let SpoolWriteError { words, left_behind } = error;
        self.may_write_at = Instant::now() + PAUSE;
        if !std::mem::replace(&mut self.is_failing, true) {
            warn!(
                forwarder = self.forwarder,
                error = words,
                "no spool at the moment: what cannot be delivered waits in memory only"
            );
        }
        self.backlog.spool_failed(words, |backlog| backlog.write_failed(left_behind));
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            info!(forwarder = self.forwarder, "the spool works again");
        }
    }

    /// Waits for the disk, until delivery ends.
    async fn until_end<T>(&self, access: impl Future<Output = T>) -> Option<T> {
        until_end(&self.backlog, self.is_last, access).await
    }

    fn log_dropped(&mut self, points: u64, message: &str) {
        if let Some(points) = self.drops.count(points) {
            warn!(forwarder = self.forwarder, points, "{message}");
        }
    }
}

/// Waits for the disk, until delivery ends: the windows that are left in memory come first then. Waits
/// to the end if it `is_last`.
async fn until_end<T>(
    backlog: &SharedBacklog,
    is_last: bool,
    access: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        outcome = access => Some(outcome),
        () = backlog.delivery_ended(), if !is_last => None,
    }
}

/// Waits for the end of a task; without a task, forever.
async fn ended<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}
