//! Does the work on disk that the backlog of one destination asks for.

mod checks;
mod end;
mod removal;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::delivery::backlog::{Backlog, SpoolWork};
use crate::delivery::shared_backlog::SharedBacklog;
use crate::delivery::spool_clock::SpoolClock;
use crate::spool::{
    FileName, FoundWindows, PackedWindow, RefusedPoints, SpoolWriteError, SpoolWriter, WriteEnd,
    WriteJob,
};
use basics::log_throttle::LogThrottle;
use removal::RunningRemoval;

/// The pause after a failure of the disk, and the interval of checks for windows that expired or
/// were removed.
const PAUSE: Duration = Duration::from_secs(10);
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
    next_check: Instant,
    clock: SpoolClock,
    /// Whether the latest write, or opening the folder, failed.
    is_failing: bool,
    /// A removal that takes long, or that the end of delivery has interrupted.
    removal: Option<RunningRemoval>,
    /// A record of settled windows that the end of delivery has interrupted.
    recording: Option<JoinHandle<io::Result<()>>>,
    /// Whether records of settled windows have no sync yet.
    is_record_unsynced: bool,
    /// The removal of recorded windows, which no write waits for.
    cleanup: Option<JoinHandle<()>>,
    /// The sync of windows that an earlier run left.
    found_sync: Option<JoinHandle<io::Result<()>>>,
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
            next_check: Instant::now() + PAUSE,
            is_failing: false,
            removal: None,
            recording: None,
            is_record_unsynced: false,
            cleanup: None,
            found_sync: None,
            drops: LogThrottle::default(),
            stuck: LogThrottle::default(),
        }
    }

    /// The folder of the spool.
    pub(crate) fn folder(&self) -> &Path {
        self.writer.root()
    }

    /// Runs until the delivery loop has ended and every window that can be on disk is there.
    pub(crate) async fn run(mut self) {
        loop {
            self.collect_ended().await;
            let may_write = Instant::now() >= self.may_write_at;
            let work = self.backlog.apply(|backlog| {
                (!backlog.has_ended()).then(|| backlog.next_spool_work(may_write))
            });
            let Some(work) = work else { return self.end().await };
            match work {
                SpoolWork::Open => self.open().await,
                SpoolWork::Discard(step) => self.discard(step).await,
                SpoolWork::Write(job) => self.write(job).await,
                SpoolWork::Quarantine(refused) => self.quarantine(refused).await,
                SpoolWork::Tidy => self.tidy().await,
                SpoolWork::Probe => self.probe().await,
                SpoolWork::Wait => self.wait().await,
                // Only after the end of delivery.
                SpoolWork::Sync(_) | SpoolWork::End => {}
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
            outcome = removal::ended(&mut self.removal) => self.removal_ended(outcome),
            outcome = ended(&mut self.recording) => self.record_ended(outcome),
            outcome = ended(&mut self.found_sync) => self.found_synced(&outcome),
            _ = ended(&mut self.cleanup) => self.cleanup_ended(),
        }
    }

    /// Records the outcomes of tasks that have ended since the last wait.
    async fn collect_ended(&mut self) {
        if self.removal.as_ref().is_some_and(RunningRemoval::is_finished) {
            let outcome = removal::ended(&mut self.removal).await;
            self.removal_ended(outcome);
        }
        if self.recording.as_ref().is_some_and(JoinHandle::is_finished) {
            let outcome = ended(&mut self.recording).await;
            self.record_ended(outcome);
        }
        if self.found_sync.as_ref().is_some_and(JoinHandle::is_finished) {
            let outcome = ended(&mut self.found_sync).await;
            self.found_synced(&outcome);
        }
        if self.cleanup.as_ref().is_some_and(JoinHandle::is_finished) {
            self.cleanup_ended();
        }
    }

    // ---- Opening ------------------------------------------------------------------------------

    async fn open(&mut self) {
        match self.open_patiently().await {
            Ok(found) => {
                self.backlog.apply(|backlog| backlog.opened(&found));
                self.found_sync = Some(self.writer.sync_found(found.has_old_records));
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

    fn found_synced(&mut self, outcome: &Result<io::Result<()>, JoinError>) {
        self.found_sync = None;
        let is_synced = matches!(outcome, Ok(Ok(())));
        self.backlog.apply(|backlog| backlog.found_synced(is_synced));
    }

    // ---- Writing ------------------------------------------------------------------------------

    async fn write(&mut self, job: WriteJob) {
        let seq = job.seq;
        let written = match self.pack(job).await {
            Ok(window) => self.write_packed(window).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            self.may_write_at = Instant::now() + PAUSE;
            self.write_failed(seq, error);
        }
    }

    async fn write_packed(&mut self, window: PackedWindow) -> Result<(), SpoolWriteError> {
        let (seq, name) = (window.seq, window.name);
        // Removed before the write, which may need their space.
        self.remove_discarded().await;
        let min_free = self.backlog.read(Backlog::spool_limits).min_free.get();
        let end = self.backlog.delivery_ended();
        match self.writer.write(window, min_free, end).await? {
            // The window is written again, with the others that are left.
            WriteEnd::GivenUp => {}
            WriteEnd::Unsynced => self.written(seq, name, false),
            WriteEnd::Synced => self.written(seq, name, true),
        }
        Ok(())
    }

    /// Packs a window, and makes room for it.
    async fn pack(&mut self, job: WriteJob) -> Result<PackedWindow, SpoolWriteError> {
        self.clock.look(self.writer.host().clocks());
        let failed = |words| SpoolWriteError { words, left_behind: None };
        let packed = self.writer.pack(job).await;
        let window = packed.ok_or_else(|| failed("cannot pack a window".to_owned()))?;
        let (bytes, limits) = (window.name.bytes, self.backlog.read(Backlog::spool_limits));
        // Before room is made: a file that can never fit would empty the spool for nothing.
        if bytes > limits.max_bytes.get() {
            return Err(failed(format!(
                "a window takes {bytes} bytes on disk, and delivery.spool.max_bytes is {}",
                limits.max_bytes
            )));
        }
        let dropped = self.backlog.apply(|backlog| backlog.make_room(bytes));
        self.log_dropped(dropped, "the spool is full, the oldest windows were dropped");
        Ok(window)
    }

    fn written(&mut self, seq: u64, name: FileName, is_synced: bool) {
        // Even if the window was delivered during the write: the backlog then discards the file.
        self.backlog.apply(|backlog| backlog.written(seq, name, is_synced));
        self.recovered();
    }

    async fn quarantine(&mut self, refused: RefusedPoints) {
        // Failures here do not count as failures of the spool: the points are dropped already.
        let all: u64 = refused.points.values().map(model::PointRanges::count).sum();
        let min_free = self.backlog.read(Backlog::spool_limits).min_free.get();
        let backlog = Arc::clone(&self.backlog);
        let kept = match self.backlog.read(Backlog::has_ended) {
            true => Some(self.writer.quarantine(refused, min_free).await),
            false => until_end(&backlog, self.writer.quarantine(refused, min_free)).await,
        };
        // Without an answer they count as not kept. They may be there nevertheless.
        let kept = kept.unwrap_or(0);
        self.backlog.apply(|backlog| backlog.quarantined(kept, all - kept));
    }

    // ---- Failures -----------------------------------------------------------------------------

    /// Pauses writing after a failure; windows wait in memory until the next attempt.
    fn failed(&mut self, error: SpoolWriteError) {
        self.may_write_at = Instant::now() + PAUSE;
        self.log_failure(&error);
        let SpoolWriteError { words, left_behind } = error;
        self.backlog.spool_failed(words, |backlog| backlog.write_failed(left_behind));
    }

    fn write_failed(&mut self, seq: u64, error: SpoolWriteError) {
        self.log_failure(&error);
        let SpoolWriteError { words, left_behind } = error;
        self.backlog.spool_failed(words, |backlog| backlog.write_of_failed(seq, left_behind));
    }

    /// Logs the first of several failures in a row.
    fn log_failure(&mut self, SpoolWriteError { words, .. }: &SpoolWriteError) {
        if !std::mem::replace(&mut self.is_failing, true) {
            warn!(
                forwarder = self.forwarder,
                error = words,
                "spool unusable: undelivered points wait in memory only"
            );
        }
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            info!(forwarder = self.forwarder, "the spool works again");
        }
    }

    fn log_dropped(&mut self, points: u64, message: &str) {
        if let Some(points) = self.drops.count(points) {
            warn!(forwarder = self.forwarder, points, "{message}");
        }
    }
}

/// Waits for the disk until delivery ends: the windows that are left in memory come first then.
async fn until_end<T>(backlog: &SharedBacklog, access: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        outcome = access => Some(outcome),
        () = backlog.delivery_ended() => None,
    }
}

/// Waits for the end of a task; without a task, forever.
async fn ended<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}
