//! Reads the windows of one destination's spool.

use std::io;
use std::sync::{Arc, OnceLock};

use super::directory::{SpoolDirectory, SpoolReadError};
use super::host::Host;
use super::name::FileName;
use model::Snapshot;

/// Reads the windows of one destination's spool.
#[derive(Debug)]
pub(crate) struct SpoolReader {
    /// Empty until the writer has opened the folder.
    directory: Arc<OnceLock<SpoolDirectory>>,
    host: Host,
}

impl SpoolReader {
    pub(super) fn new(directory: Arc<OnceLock<SpoolDirectory>>, host: Host) -> Self {
        Self { directory, host }
    }

    /// Reads a window.
    ///
    /// # Errors
    /// When the file is missing, damaged or of a newer version, or when the system returns an
    /// error.
    pub(crate) async fn read(&self, name: FileName) -> Result<Snapshot, SpoolReadError> {
        let directory = Arc::clone(&self.directory);
        // A disk that hangs must block a thread for blocking tasks, not the runtime.
        let read = self.host.spawn_blocking(move || match directory.get() {
            Some(directory) => directory.read(name),
            None => Err(SpoolReadError::System(io::Error::other("the spool is not open"))),
        });
        read.await.unwrap_or_else(|error| Err(SpoolReadError::System(error.into())))
    }
}
