//! Saves the aggregator's part of the restart state.

use std::cell::OnceCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use basics::time::unix_ms;
use engine::aggregator::restart::RestartStore;
use forwarders::restart::{
    RestartFolder, RestartPart, RestartPlace, encode_levels, encode_windows,
};
use model::{GaugeLevel, SetSeed, UnfinishedWindows};
use tracing::{debug, error, warn};

use crate::runtime::restart::RestartStats;

/// Maximum time for writing a part: destinations wait for their last window until then.
const WRITE_TIME: Duration = Duration::from_secs(2);

/// A write whose outcome is open.
const OPEN: u8 = 0;
/// The file is about to become visible.
const COMMITTED: u8 = 1;
/// The write took too long: its caller has given up, and the file must not become visible.
const ABANDONED: u8 = 2;

/// Saves into a folder.
pub(super) struct FolderStore<F> {
    place: Arc<RestartPlace>,
    /// The folder of the place, once it was requested; `None` in it if the folder cannot be used.
    folder: OnceCell<Option<Arc<RestartFolder>>>,
    /// Whether a destination needs the restart state.
    is_needed: bool,
    stats: Arc<RestartStats>,
    /// Returns the maximum size of a file, in bytes; a reload may change it.
    max: F,
    set_seed: SetSeed,
}

impl<F: Fn() -> u64> FolderStore<F> {
    pub(super) fn new(
        place: Arc<RestartPlace>,
        is_needed: bool,
        stats: Arc<RestartStats>,
        max: F,
        set_seed: SetSeed,
    ) -> Self {
        Self { place, folder: OnceCell::new(), is_needed, stats, max, set_seed }
    }

    /// The maximum size of a file; 0, which saves nothing, until the start has succeeded: a failed
    /// start leaves the existing state to the next one.
    fn max_now(&self) -> u64 {
        if self.place.has_begun() { (self.max)() } else { 0 }
    }

    /// The folder, which may have become usable since the start.
    fn folder(&self) -> Option<Arc<RestartFolder>> {
        self.folder
            .get_or_init(|| self.open().map_err(|reason| self.log_failure(&reason)).ok())
            .clone()
    }

    fn open(&self) -> Result<Arc<RestartFolder>, String> {
        let place = Arc::clone(&self.place);
        let (done, is_done) = channel();
        let opening = move || done.send(place.for_saving());
        let opener = thread::Builder::new().name("save".to_owned()).spawn(opening);
        opener.map_err(|error| error.to_string())?;
        let too_late = |_| Err("the disk did not answer".to_owned());
        is_done.recv_timeout(WRITE_TIME).unwrap_or_else(too_late)
    }

    fn log_failure(&self, reason: &str) {
        if self.is_needed {
            self.stats.failed(&RestartPart::Windows);
            error!(
                reason,
                "cannot save the restart state; the next run will not continue the open window"
            );
        } else {
            debug!(reason, "cannot save the restart state");
        }
    }

    fn write_windows(
        &self,
        folder: Arc<RestartFolder>,
        unfinished: &UnfinishedWindows,
    ) -> io::Result<()> {
        let (bytes, max) = (encode_windows(unfinished, &self.set_seed), (self.max)());
        if bytes.len() as u64 > max {
            let words = format!("{} bytes, and restart_state.max_bytes is {max}", bytes.len());
            return Err(io::Error::new(io::ErrorKind::StorageFull, words));
        }
        let outcome = Arc::new(AtomicU8::new(OPEN));
        let committed = Arc::clone(&outcome);
        let (done, is_done) = channel();
        // On a separate thread: a disk that hangs must not delay the last window on its way to the
        // destinations.
        thread::Builder::new().name("save".to_owned()).spawn(move || {
            let commit = || settle(&committed, COMMITTED);
            let now_ms = unix_ms(SystemTime::now());
            let _nobody_waits =
                done.send(folder.write(&RestartPart::Windows, now_ms, &bytes, commit));
        })?;
        wait(&is_done, &outcome)
    }
}

/// Waits for the write. If it takes too long, its file must not become visible later: the window is
/// then delivered as complete, and the next run must not continue it.
fn wait(is_done: &Receiver<io::Result<()>>, outcome: &AtomicU8) -> io::Result<()> {
    match is_done.recv_timeout(WRITE_TIME) {
        Ok(written) => written,
        Err(RecvTimeoutError::Timeout) if settle(outcome, ABANDONED) => {
            Err(io::ErrorKind::TimedOut.into())
        }
        // Only the last step is left.
        Err(_) => {
            is_done.recv_timeout(WRITE_TIME).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    }
}

/// Settles the outcome of a write. Returns false if the other side has already settled it.
fn settle(outcome: &AtomicU8, word: u8) -> bool {
    outcome.compare_exchange(OPEN, word, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

impl<F: Fn() -> u64 + Send> RestartStore for FolderStore<F> {
    fn save_windows(&mut self, unfinished: UnfinishedWindows) -> bool {
        if self.max_now() == 0 {
            return false;
        }
        let Some(folder) = self.folder() else { return false };
        let written = self.write_windows(folder, &unfinished);
        if let Err(error) = &written {
            self.stats.failed(&RestartPart::Windows);
            error!(%error, "cannot save the open window; the next run will not continue it");
        }
        written.is_ok()
    }

    fn save_levels(&mut self, levels: Vec<GaugeLevel>) {
        let max = self.max_now();
        if max == 0 {
            return;
        }
        let Some(folder) = self.folder() else { return };
        let stats = Arc::clone(&self.stats);
        let (done, is_done) = channel();
        let saving = thread::Builder::new().name("save".to_owned()).spawn(move || {
            save_levels(&levels, &folder, &stats, max);
            let _nobody_waits = done.send(());
        });
        if saving.is_err() || is_done.recv_timeout(WRITE_TIME).is_err() {
            self.stats.failed(&RestartPart::Levels);
            error!("cannot save the values of gauges: the disk did not answer");
        }
    }

    fn remove_windows(&mut self) {
        let place = Arc::clone(&self.place);
        // A window whose end has passed is not continued, so nothing depends on the removal.
        let removing = thread::Builder::new().name("save".to_owned()).spawn(move || {
            let remove = |folder: Arc<RestartFolder>| folder.remove(&RestartPart::Windows);
            let removed =
                place.open().and_then(|folder| remove(folder).map_err(|error| error.to_string()));
            if let Err(reason) = removed {
                warn!(reason, "cannot remove the continued window of an earlier run");
            }
        });
        drop(removing);
    }
}

/// Encodes and writes levels.
fn save_levels(levels: &[GaugeLevel], folder: &RestartFolder, stats: &RestartStats, max: u64) {
    let (bytes, kept) = encode_levels(levels, max);
    if kept < levels.len() {
        stats.failed(&RestartPart::Levels);
        warn!(
            gauges = levels.len() - kept,
            "values of gauges beyond restart_state.max_bytes start from 0 after the restart"
        );
    }
    let written = folder.write(&RestartPart::Levels, unix_ms(SystemTime::now()), &bytes, || true);
    if let Err(error) = written {
        stats.failed(&RestartPart::Levels);
        error!(%error, "cannot save the values of gauges; they start from 0 after the restart");
    }
}
