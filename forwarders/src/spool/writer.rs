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

/// The location of all spools, and the run of the daemon that writes to them.
#[derive(Clone, Debug)]
pub struct SpoolPlace {
    /// The folder that contains one folder for each destination.
    pub folder: PathBuf,
    /// Identifies this run of the daemon in the windows that it flushes.
    pub instance: String,
}

/// The content of a spool file that is not written yet.
#[derive(Debug)]
pub(crate) struct PackedWindow {
    pub(crate) seq: u64,
    pub(crate) name: FileName,
    bytes: Vec<u8>,
}

/// Writes and removes the files of one destination's spool. The caller decides which files.
///
/// Every access to the disk runs on a thread for blocking tasks, because the disk may be slow or
/// hang.
pub(crate) struct SpoolWriter {
    /// The destination's name.
    forwarder: String,
    root: PathBuf,
    instance: Arc<str>,
    /// Empty until [`SpoolWriter::open`] succeeds. Shared with the readers.
    directory: Arc<OnceLock<SpoolDirectory>>,
    allowance: QuarantineAllowance,
    quarantine_failures: LogThrottle,
}

impl SpoolWriter {
    /// A writer for the spool of the destination `forwarder`. Accesses no file.
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

    /// A reader for the windows of the spool. It fails until the spool is open.
    pub(crate) fn reader(&self) -> SpoolReader {
        SpoolReader::new(Arc::clone(&self.directory))
    }

    /// Opens the folder. Returns the windows that an earlier run left in it, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be used. The error is the text for the status.
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
        // Cannot be set already: its directory would hold the lock, and opening would have failed.
        let _is_open = self.directory.set(directory);
        Ok(found.names)
    }

    /// Removes files and moves unusable files to the quarantine.
    ///
    /// A failure is only logged. A file that cannot be removed is delivered again after a restart.
    pub(crate) async fn remove(&self, files: DiscardedFiles) {
        let removed = self.blocking(move |directory| {
            let mut outcome = Ok(());
            // Continues after an error: each file that stays would be delivered twice.
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
        // Compressing a large window takes long enough to delay other tasks of the runtime.
        let packed = spawn_blocking(move || file::write(seq, &snapshot, &points, &instance)).await;
        packed.ok().map(|(name, bytes)| PackedWindow { seq, name, bytes })
    }

    /// Writes a window, provided that at least `min_free` bytes stay free on the disk.
    ///
    /// # Errors
    /// When the window cannot be written. The error is the text for the status.
    pub(crate) async fn write(&self, window: PackedWindow, min_free: u64) -> Result<(), String> {
        let PackedWindow { name, bytes, .. } = window;
        let written = self.blocking(move |directory| directory.write(name, &bytes, min_free));
        written.await.map_err(|error| format!("{}: {error}", self.root.display()))
    }

    /// Moves refused points into the quarantine, within its limits per minute and as long as
    /// `min_free` bytes stay free on the disk. Returns the number of points that it stored.
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
            // Only a successful write uses up the allowance: a full disk is not worn.
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

    /// The windows in the folder; `None` if the folder is not open or cannot be read.
    pub(crate) async fn list(&self) -> Option<HashSet<FileName>> {
        let names = self.blocking(SpoolDirectory::names).await.ok()?;
        Some(names.into_iter().collect())
    }

    /// Accesses the open folder on a thread for blocking tasks.
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
