//! Writes the high-water mark of signed datagrams, see `forwarders::restart`.

use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use basics::log_throttle::LogThrottle;
use basics::time::unix_ms;
use engine::listener::signature::mark::MARK_AHEAD;
use engine::listener::signature::windows::ReplayWindows;
use forwarders::restart::{MarkFile, RestartFolder, RestartPart, RestartPlace, SignedUntil};
use tracing::{error, info};

use crate::runtime::restart::RestartStats;

/// Writes the mark into the folder of the restart state.
pub(super) struct MarkWriter<F> {
    place: Arc<RestartPlace>,
    stats: Arc<RestartStats>,
    /// Returns the seconds by which a datagram may be ahead of the clock.
    window: F,
    /// `None` until it could be created.
    file: Option<(Arc<RestartFolder>, MarkFile)>,
    has_failed: bool,
    throttle: LogThrottle,
}

impl<F: Fn() -> u64> MarkWriter<F> {
    pub(super) fn new(place: Arc<RestartPlace>, stats: Arc<RestartStats>, window: F) -> Self {
        let throttle = LogThrottle::new();
        Self { place, stats, window, file: None, has_failed: false, throttle }
    }

    /// Writes the first mark. Returns the mark that the disk has. A failure is no problem yet: no signed
    /// datagram was accepted, and perhaps no listener has a secret.
    fn begin(&mut self, second: u64) -> u64 {
        self.try_write(second).map_or(0, |()| second)
    }

    /// Writes the mark. Returns whether the disk has it. Logs and counts failures.
    fn write(&mut self, second: u64) -> bool {
        match self.try_write(second) {
            Ok(()) => {
                if std::mem::take(&mut self.has_failed) {
                    info!("recording the time up to which signed datagrams are accepted again");
                }
                true
            }
            Err(reason) => {
                let has_failed = std::mem::replace(&mut self.has_failed, true);
                if self.throttle.count(1).is_some() {
                    log(&reason);
                }
                if !has_failed {
                    self.stats.failed(&RestartPart::Signatures);
                }
                false
            }
        }
    }

    fn try_write(&mut self, second: u64) -> Result<(), String> {
        let window = (self.window)().saturating_add(MARK_AHEAD);
        let mark = SignedUntil { second, window };
        if let Some((folder, file)) = &self.file {
            // If the system cannot tell, the write decides.
            if folder.is_in_place().unwrap_or(true) && file.is_in_place().unwrap_or(true) {
                return file.write(mark).map_err(|error| error.to_string());
            }
            self.file = None;
            self.stats.failed(&RestartPart::Signatures);
            log("the file was removed or its folder replaced during the run; creating it again");
            let folder = self.place.for_saving()?;
            return self.create(folder, mark);
        }
        // Removes the mark of an earlier run as well, once.
        self.place.clear()?;
        let folder = self.place.for_saving()?;
        self.create(folder, mark)
    }

    fn create(&mut self, folder: Arc<RestartFolder>, mark: SignedUntil) -> Result<(), String> {
        let file = folder.create_mark(mark).map_err(|error| error.to_string())?;
        self.file = Some((folder, file));
        Ok(())
    }
}

/// Writes the mark whenever listeners raise it, on a separate thread: a disk that hangs must not keep them
/// from receiving.
pub(super) fn spawn<F: Fn() -> u64 + Send + 'static>(
    mut writer: MarkWriter<F>,
    windows: Arc<ReplayWindows>,
) {
    let stats = Arc::clone(&writer.stats);
    windows.mark().begin();
    let given_up = Arc::clone(&windows);
    let keeping = move || {
        // A clock that is behind leaves seconds of an earlier run far ahead. A mark that is as far ahead
        // would not count in the next run, and would not be raised in this one.
        let most = unix_ms(SystemTime::now()) / 1_000 + (writer.window)() + MARK_AHEAD;
        let kept = writer.begin(windows.newest().min(most));
        windows.mark().keep(kept, |second| writer.write(second));
    };
    let thread = thread::Builder::new().name("mark".to_owned());
    if let Err(error) = thread.spawn(keeping) {
        given_up.mark().give_up();
        stats.failed(&RestartPart::Signatures);
        log(&error.to_string());
    }
}

fn log(reason: &str) {
    error!(
        reason,
        "cannot record the time up to which signed datagrams are accepted; after a crash, the next run may \
         accept some of them again"
    );
}
