//! Does the work on disk that the backlog of one destination asks for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::delivery::backlog::{Backlog, SpoolWork};
use crate::delivery::shared_backlog::SharedBacklog;
use crate::delivery::spool_clock::SpoolClock;
use crate::spool::{RefusedPoints, SpoolWriter, WriteJob};
use basics::clocks::ClockReading;
use basics::log_throttle::LogThrottle;

/// The pause after a failure of the disk, and the interval of checks for windows that expired or
/// were removed.
const PAUSE: Duration = Duration::from_secs(10);

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
    drops: LogThrottle,
}

impl SpoolLoop {
    /// A loop for the backlog of the destination `forwarder`.
    pub(crate) fn new(forwarder: String, writer: SpoolWriter, backlog: Arc<SharedBacklog>) -> Self {
        Self {
            forwarder,
            writer,
            backlog,
            may_write_at: Instant::now(),
            next_check: Instant::now() + PAUSE,
            clock: SpoolClock::new(read_clocks()),
            is_failing: false,
            drops: LogThrottle::default(),
        }
    }

    /// Runs until the delivery loop has ended and every window that can be on disk is there.
    pub(crate) async fn run(mut self) {
        loop {
            let may_write = Instant::now() >= self.may_write_at;
            match self.backlog.apply(|backlog| backlog.next_spool_work(may_write)) {
                SpoolWork::Open => self.open().await,
                SpoolWork::Remove(files) => self.writer.remove(files).await,
                SpoolWork::Write(job) => self.write(job).await,
                SpoolWork::Quarantine(refused) => self.quarantine(refused).await,
                SpoolWork::Wait => self.wait().await,
                // Files that were removed since the latest check are not spooled: the final ledger
                // must not count them as such.
                SpoolWork::End => return self.drop_missing().await,
            }
            if Instant::now() >= self.next_check {
                self.check().await;
            }
        }
    }

    async fn wait(&self) {
        let now = Instant::now();
        // No event announces the end of the pause, so the wait has to end with it.
        let pause = Some(self.may_write_at).filter(|at| *at > now);
        let until = pause.map_or(self.next_check, |at| at.min(self.next_check));
        tokio::select! {
            () = self.backlog.spool_work_changed() => {}
            () = sleep_until(until) => {}
        }
    }

    async fn open(&mut self) {
        match self.writer.open().await {
            Ok(found) => {
                self.backlog.apply(|backlog| backlog.opened(&found));
                self.recovered();
            }
            Err(words) => self.failed(words),
        }
    }

    async fn write(&mut self, job: WriteJob) {
        self.clock.look(read_clocks());
        let Some(window) = self.writer.pack(job).await else { return };
        let limits = self.backlog.read(Backlog::spool_limits);
        let (seq, name) = (window.seq, window.name);
        // Before room is made: a file that can never fit would empty the spool for nothing.
        if name.bytes > limits.max_bytes.get() {
            return self.failed(format!(
                "a window takes {} bytes on disk, and delivery.spool.max_bytes is {}",
                name.bytes, limits.max_bytes
            ));
        }
        let dropped = self.backlog.apply(|backlog| backlog.make_room(name.bytes));
        self.log_dropped(dropped, "the spool is full, the oldest windows were dropped");
        // Removed before the write, which may need their space.
        if let Some(files) = self.backlog.apply(Backlog::take_discarded) {
            self.writer.remove(files).await;
        }
        match self.writer.write(window, limits.min_free.get()).await {
            Ok(()) => {
                // Even if the window was delivered during the write: the backlog then discards the
                // file.
                self.backlog.apply(|backlog| backlog.written(seq, name));
                self.recovered();
            }
            Err(words) => self.failed(words),
        }
    }

    async fn quarantine(&mut self, refused: RefusedPoints) {
        // Failures here do not count as failures of the spool: the points are dropped already.
        let all: u64 = refused.points.values().map(model::PointRanges::count).sum();
        let min_free = self.backlog.read(Backlog::spool_limits).min_free.get();
        let kept = self.writer.quarantine(refused, min_free).await;
        self.backlog.apply(|backlog| backlog.quarantined(kept, all - kept));
    }

    /// Drops windows that expired or were removed.
    async fn check(&mut self) {
        self.next_check = Instant::now() + PAUSE;
        let max_age = self.backlog.read(Backlog::spool_limits).max_age.get();
        if let Some(now_ms) = self.clock.expiry_now_ms(read_clocks(), max_age) {
            let expired = self.backlog.apply(|backlog| backlog.expire(now_ms));
            self.log_dropped(
                expired,
                "windows were in the spool for longer than max_age and were dropped",
            );
        }
        self.drop_missing().await;
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
    fn failed(&mut self, words: String) {
        self.may_write_at = Instant::now() + PAUSE;
        if !std::mem::replace(&mut self.is_failing, true) {
            warn!(
                forwarder = self.forwarder,
                error = words,
                "no spool at the moment: what cannot be delivered waits in memory only"
            );
        }
        self.backlog.spool_failed(words);
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

/// Both clocks; the monotonic one is that of the runtime, which tests let run ahead.
fn read_clocks() -> ClockReading {
    ClockReading { monotonic: Instant::now().into_std(), ..ClockReading::now() }
}
