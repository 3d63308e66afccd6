//! Measures the real disk while the daemon stops. The daemon has to write its windows within
//! `shutdown_timeout`, which a disk that other programs keep busy may not allow.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A disk that takes longer to write a few bytes may lose windows at a stop: the spool has at least
/// 750 ms for them, and writes each one with two such steps.
const SLOW: Duration = Duration::from_millis(150);

/// A thread that writes to a file until the end of the measurement.
pub(crate) struct SyncProbe {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl SyncProbe {
    pub(crate) fn start(path: PathBuf) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut slowest = Duration::ZERO;
            while !seen.load(Ordering::SeqCst) {
                slowest = slowest.max(write_and_sync(&path));
            }
            slowest
        });
        Self { is_over, thread }
    }

    /// Ends the measurement; returns the longest time if it was too long for the daemon.
    pub(crate) fn slowness(self) -> Option<Duration> {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().map(|slowest| Some(slowest).filter(|slowest| *slowest > SLOW)).unwrap()
    }
}

fn write_and_sync(path: &PathBuf) -> Duration {
    let began = Instant::now();
    let mut file = File::create(path).unwrap();
    file.write_all(b"probe").unwrap();
    file.sync_all().unwrap();
    let took = began.elapsed();
    // The measurement must not keep the disk busy itself.
    thread::sleep(Duration::from_millis(50));
    took
}
