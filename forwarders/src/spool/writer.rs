//! Writes and removes the files of one destination's spool.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::select;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::directory::SpoolDirectory;
use super::file;
use super::host::Host;
use super::name::{FileName, first_seq, folder_of};
use super::quarantine::QuarantineAllowance;
use super::reader::SpoolReader;
use super::removal::DiscardOutcome;
use super::work::{DiscardedFiles, FoundWindows, WriteJob};
use super::writing::FailedWrite;
use basics::log_throttle::LogThrottle;

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
    bytes: Arc<[u8]>,
}

/// How far a window is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteEnd {
    /// The window is on disk.
    Synced,
    /// The window has its file, which a power failure may still damage.
    Unsynced,
    /// The window has no file.
    GivenUp,
}

/// Why a window could not be written.
#[derive(Debug)]
pub(crate) struct SpoolWriteError {
    /// The text for the status.
    pub(crate) words: String,
    /// The file, if it exists nevertheless.
    pub(crate) left_behind: Option<FileName>,
}

/// Writes and removes the files of one destination's spool. The caller decides which files.
///
/// Every access to the disk runs on a thread for blocking tasks, because the disk may be slow or
/// hang.
pub(crate) struct SpoolWriter {
    /// The destination's name.
    pub(super) forwarder: String,
    root: PathBuf,
    pub(super) instance: Arc<str>,
    host: Host,
    /// Empty until [`SpoolWriter::open`] succeeds. Shared with the readers.
    directory: Arc<OnceLock<SpoolDirectory>>,
    pub(super) allowance: QuarantineAllowance,
    pub(super) quarantine_failures: LogThrottle,
}

impl SpoolWriter {
    /// A writer for the spool of the destination `forwarder`. Accesses no file.
    pub(crate) fn new(forwarder: String, place: &SpoolPlace, host: Host) -> Self {
        Self {
            root: place.folder.join(folder_of(&forwarder)),
            forwarder,
            instance: place.instance.as_str().into(),
            host,
            directory: Arc::default(),
            allowance: QuarantineAllowance::new(Instant::now()),
            quarantine_failures: LogThrottle::default(),
        }
    }

    /// The destination's folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The host whose disk the spool is on.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// A reader for the windows of the spool. It fails until the spool is open.
    pub(crate) fn reader(&self) -> SpoolReader {
        SpoolReader::new(Arc::clone(&self.directory), self.host.clone())
    }

    /// Opens the folder. Returns the windows that an earlier run left in it.
    ///
    /// # Errors
    /// When the folder cannot be used. The error is the text for the status.
    pub(crate) async fn open(&self) -> Result<FoundWindows, String> {
        let (root, host) = (self.root.clone(), self.host.clone());
        let opened = self.host.spawn_blocking(move || host.open_spool(&root)).await;
        let opened = opened.map_err(|error| error.to_string())?;
        let (directory, mut found) = opened.map_err(|error| error.to_string())?;
        let highest = found.windows.iter().chain(&found.damaged).map(|name| name.seq).max();
        let now_ms = self.host.clocks().wall_ms();
        found.first_seq = first_seq(now_ms, self.host.random() as u32, highest);
        self.log_found(&found, directory.unremoved());
        // Cannot be set already: its directory would hold the lock, and opening would have failed.
        let _is_open = self.directory.set(directory);
        Ok(found)
    }

    fn log_found(&self, found: &FoundWindows, settled: u64) {
        let (forwarder, folder) = (&self.forwarder, self.root.display());
        let windows = found.windows.len();
        let points: u64 = found.windows.iter().map(|name| name.points).sum();
        if windows > 0 {
            info!(forwarder, windows, points, %folder, "found in the spool");
        }
        if !found.damaged.is_empty() {
            let windows = found.damaged.len();
            let points: u64 = found.damaged.iter().map(|name| name.points).sum();
            warn!(forwarder, windows, points, %folder, "dropped damaged spool files: their size \
                differs from their name; they are moved to the quarantine");
        }
        if !found.replaced.is_empty() {
            let files = found.replaced.len();
            info!(forwarder, files, %folder, "ignored spool files of which only a part was left to \
                deliver, which is in another file");
        }
        if settled > 0 {
            info!(forwarder, files = settled, %folder, "ignored spool files that an earlier run \
                delivered and could not remove");
        }
        if found.strangers > 0 {
            let files = found.strangers;
            warn!(forwarder, files, %folder, "the spool contains files that are not windows; they \
                are moved to its quarantine if it has room");
        }
    }

    /// Removes files and moves unusable files to the quarantine. Files that stay are recorded as
    /// settled. Returns the files that are neither removed nor recorded, and the latest error.
    pub(crate) fn discard(&self, files: DiscardedFiles) -> JoinHandle<DiscardOutcome> {
        let directory = Arc::clone(&self.directory);
        self.host.spawn_blocking(move || match directory.get() {
            Some(directory) => directory.discard(&files),
            None => DiscardOutcome { left: files, error: None },
        })
    }

    /// Records files as settled, so that the next run does not deliver them. The record survives the
    /// end of the process, and a power failure after [`SpoolWriter::sync_record`].
    pub(crate) fn record(&self, files: DiscardedFiles) -> JoinHandle<io::Result<()>> {
        self.spawn(move |directory| directory.record(&files))
    }

    /// Retries to remove up to `count` files that are recorded as settled.
    pub(crate) fn retry_settled(&self, count: usize) -> JoinHandle<()> {
        let directory = Arc::clone(&self.directory);
        self.host.spawn_blocking(move || {
            // A failure leaves the record longer than necessary, which has no effect.
            let _too_long = directory.get().map(|directory| directory.retry_settled(count));
        })
    }

    /// The number of files that are recorded as settled.
    pub(crate) fn unremoved(&self) -> u64 {
        self.directory.get().map_or(0, SpoolDirectory::unremoved)
    }

    /// Moves up to `count` files that are not windows to the quarantine. Returns whether another
    /// call may move more.
    pub(crate) async fn tidy(&self, count: usize) -> bool {
        self.blocking(move |directory| directory.tidy(count)).await.unwrap_or(false)
    }

    /// Writes and removes a small file, to find out whether the disk can be written.
    ///
    /// # Errors
    /// When it cannot. The error is the text for the status.
    pub(crate) async fn probe(&self, min_free: u64) -> Result<(), String> {
        let probed = self.blocking(move |directory| directory.probe(min_free)).await;
        probed.map_err(|error| format!("{}: {error}", self.root.display()))
    }

    /// Packs points of a window; `None` if the runtime is shutting down.
    pub(crate) async fn pack(&self, job: WriteJob) -> Option<PackedWindow> {
        let instance = Arc::clone(&self.instance);
        let WriteJob { seq, snapshot, points } = job;
        // Compressing a large window takes long enough to delay other tasks of the runtime.
        let pack = move || file::write(seq, &snapshot, &points, &instance);
        let packed = self.host.spawn_blocking(pack).await;
        packed.ok().map(|(name, bytes)| PackedWindow { seq, name, bytes: bytes.into() })
    }

    /// Writes a window, provided that at least `min_free` bytes stay free on the disk. Waits for the
    /// disk until `hurry` completes.
    ///
    /// # Errors
    /// When the window cannot be written.
    pub(crate) async fn write(
        &self,
        window: PackedWindow,
        min_free: u64,
        hurry: impl Future<Output = ()>,
    ) -> Result<WriteEnd, SpoolWriteError> {
        let PackedWindow { name, bytes, .. } = window;
        tokio::pin!(hurry);
        let prepared = self.blocking(move |directory| directory.prepare(name, &bytes, min_free));
        select! {
            // In a fixed order, so that a simulation can be repeated.
            biased;
            prepared = prepared => prepared.map_err(|error| self.write_error(name, error))?,
            () = &mut hurry => return Ok(WriteEnd::GivenUp),
        }
        // To the end, also in a hurry: otherwise the file could appear after its window was settled.
        let placed = self.blocking(move |directory| directory.place(name)).await;
        placed.map_err(|error| self.write_error(name, error))?;
        let synced = select! {
            biased;
            synced = self.blocking(SpoolDirectory::sync) => synced,
            () = hurry => return Ok(WriteEnd::Unsynced),
        };
        let Err(error) = synced else { return Ok(WriteEnd::Synced) };
        let failed = self.blocking(move |directory| Ok(directory.take_back(name, error))).await;
        let failed = failed.unwrap_or_else(|error: io::Error| error.into());
        Err(self.write_error(name, failed))
    }

    /// Writes a window without waiting for a sync, provided that at least `min_free` bytes stay free on
    /// the disk. It survives the end of the process.
    ///
    /// # Errors
    /// When the window cannot be written.
    pub(crate) async fn write_unsynced(
        &self,
        window: &PackedWindow,
        min_free: u64,
    ) -> Result<WriteEnd, SpoolWriteError> {
        let (name, bytes) = (window.name, Arc::clone(&window.bytes));
        let written =
            self.blocking(move |directory| directory.write_unsynced(name, &bytes, min_free)).await;
        written.map_err(|error| self.write_error(name, error)).map(|()| WriteEnd::Unsynced)
    }

    fn write_error(&self, name: FileName, error: impl Into<FailedWrite>) -> SpoolWriteError {
        let FailedWrite { error, is_left_behind } = error.into();
        SpoolWriteError {
            words: format!("{}: {error}", self.root.display()),
            left_behind: is_left_behind.then_some(name),
        }
    }

    /// The windows in the folder; `None` if the folder is not open or cannot be read.
    pub(crate) async fn list(&self) -> Option<HashSet<FileName>> {
        let names = self.blocking(SpoolDirectory::names).await.ok()?;
        Some(names.into_iter().collect())
    }

    /// Accesses the open folder on a thread for blocking tasks.
    pub(super) async fn blocking<T: Send + 'static, E: From<io::Error> + Send + 'static>(
        &self,
        access: impl FnOnce(&SpoolDirectory) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        self.spawn(access).await.unwrap_or_else(|error| Err(io::Error::from(error).into()))
    }

    pub(super) fn spawn<T: Send + 'static, E: From<io::Error> + Send + 'static>(
        &self,
        access: impl FnOnce(&SpoolDirectory) -> Result<T, E> + Send + 'static,
    ) -> JoinHandle<Result<T, E>> {
        let directory = Arc::clone(&self.directory);
        self.host.spawn_blocking(move || match directory.get() {
            Some(directory) => access(directory),
            None => Err(io::Error::other("the spool is not open").into()),
        })
    }
}

#[cfg(test)]
mod tests;
