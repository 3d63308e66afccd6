//! Writes and removes the files of one destination's spool.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{info, warn};

use super::directory::SpoolDirectory;
use super::file;
use super::name::{FileName, folder_of};
use super::quarantine::{QuarantineAllowance, fitting};
use super::reader::SpoolReader;
use super::work::{DiscardedFiles, RefusedPoints, WriteJob};
use basics::log_throttle::LogThrottle;
use model::PointRanges;

/// Where spools are, and the run of the daemon that writes them.
#[derive(Clone, Debug)]
pub struct SpoolPlace {
    /// The folder in which each destination has a folder.
    pub folder: PathBuf,
    /// Identifies the run of the daemon that flushed a window.
    pub instance: String,
}

/// A window in the form of a file that is not written yet.
#[derive(Debug)]
pub(crate) struct PackedWindow {
    pub(crate) seq: u64,
    pub(crate) name: FileName,
    bytes: Vec<u8>,
}

/// Writes and removes the files of one destination's spool. Knows nothing of the order of windows
/// and of their bounds.
///
/// The disk may be slow or hang: every access is on a thread for blocking tasks.
pub(crate) struct SpoolWriter {
    /// The destination's name.
    forwarder: String,
    root: PathBuf,
    instance: Arc<str>,
    directory: Arc<OnceLock<SpoolDirectory>>,
    allowance: QuarantineAllowance,
    quarantine_failures: LogThrottle,
}

impl SpoolWriter {
    /// Writes the spool of the destination `forwarder`.
    pub(crate) fn new(forwarder: String, place: &SpoolPlace) -> Self {
        Self {
            root: place.folder.join(folder_of(&forwarder)),
            forwarder,
            instance: place.instance.as_str().into(),
            directory: Arc::default(),
            allowance: QuarantineAllowance::new(Instant::now()),
            quarantine_failures: LogThrottle::default(),
        }
    }

    /// The destination's folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Reads the windows of the spool, once it is open.
    pub(crate) fn reader(&self) -> SpoolReader {
        SpoolReader::new(Arc::clone(&self.directory))
    }

    /// Opens the folder. Returns the windows that an earlier run left in it, in order.
    ///
    /// # Errors
    /// When the folder cannot be used: why, for the status.
    pub(crate) async fn open(&self) -> Result<Vec<FileName>, String> {
        let root = self.root.clone();
        let opened = spawn_blocking(move || SpoolDirectory::open(&root)).await;
        let opened = opened.map_err(|error| error.to_string())?;
        let (directory, found) = opened.map_err(|error| error.to_string())?;
        let (windows, folder) = (found.names.len(), self.root.display());
        let points: u64 = found.names.iter().map(|name| name.points).sum();
        if windows > 0 {
            info!(forwarder = self.forwarder, windows, points, %folder, "found in the spool");
        }
        if found.strangers > 0 {
            let files = found.strangers;
            warn!(forwarder = self.forwarder, files, %folder, "moved files that are not windows \
                from the spool to its quarantine");
        }
        // Opened once: a second directory could not have the lock.
        let _is_open = self.directory.set(directory);
        Ok(found.names)
    }

    /// Removes files and moves unusable ones to the quarantine.
    ///
    /// A file that cannot be removed is delivered again after a restart, and nothing else can be
    /// done about it.
    pub(crate) async fn remove(&self, files: DiscardedFiles) {
        let removed = self.blocking(move |directory| {
            let mut outcome = Ok(());
            for name in files.remove {
                outcome = directory.remove(name).and(outcome);
            }
            for (name, suffix) in files.set_aside {
                outcome = directory.set_aside(name, suffix).and(outcome);
            }
            outcome
        });
        if let Err(error) = removed.await {
            warn!(forwarder = self.forwarder, %error, "cannot remove a spooled window");
        }
    }

    /// Packs points of a window; `None` if the runtime is shutting down.
    pub(crate) async fn pack(&self, job: WriteJob) -> Option<PackedWindow> {
        let instance = Arc::clone(&self.instance);
        let WriteJob { seq, snapshot, points } = job;
        let packed = spawn_blocking(move || file::write(seq, &snapshot, &points, &instance)).await;
        packed.ok().map(|(name, bytes)| PackedWindow { seq, name, bytes })
    }

    /// Writes a window, if at least `min_free` bytes stay free on the disk.
    ///
    /// # Errors
    /// When it cannot be written: why, for the status.
    pub(crate) async fn write(&self, window: PackedWindow, min_free: u64) -> Result<(), String> {
        let PackedWindow { name, bytes, .. } = window;
        let written = self.blocking(move |directory| directory.write(name, &bytes, min_free));
        written.await.map_err(|error| format!("{}: {error}", self.root.display()))
    }

    /// Puts refused points into the quarantine, as many as it has room for. Returns how many.
    pub(crate) async fn quarantine(&mut self, refused: RefusedPoints, min_free: u64) -> u64 {
        let mut kept = 0;
        for (reason, points) in &refused.points {
            kept += self.put_aside(&refused, reason, points.clone(), min_free).await;
        }
        kept
    }

    async fn put_aside(
        &mut self,
        refused: &RefusedPoints,
        reason: &'static str,
        points: PointRanges,
        min_free: u64,
    ) -> u64 {
        let room = self.allowance.room(Instant::now());
        let (seq, snapshot) = (refused.seq, Arc::clone(&refused.snapshot));
        let instance = Arc::clone(&self.instance);
        let put = self.blocking(move |directory| {
            let file = fitting(seq, &snapshot, points, &instance, room);
            let Some((name, bytes)) = file else { return Ok(None) };
            directory.put_aside(name, reason, &bytes, min_free).map(|()| Some(name))
        });
        match put.await {
            Ok(Some(name)) => {
                self.allowance.used(name);
                name.points
            }
            Ok(None) => 0,
            Err(error) => {
                if let Some(times) = self.quarantine_failures.count(1) {
                    warn!(forwarder = self.forwarder, %error, times, "cannot put refused points \
                        into the quarantine");
                }
                0
            }
        }
    }

    /// The windows in the folder; `None` if it cannot be read or is not open.
    pub(crate) async fn list(&self) -> Option<HashSet<FileName>> {
        let names = self.blocking(SpoolDirectory::names).await.ok()?;
        Some(names.into_iter().collect())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        access: impl FnOnce(&SpoolDirectory) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let directory = Arc::clone(&self.directory);
        let outcome = spawn_blocking(move || match directory.get() {
            Some(directory) => access(directory),
            None => Err(io::Error::other("the spool is not open")),
        });
        outcome.await.unwrap_or_else(|error| Err(error.into()))
    }
}
