//! Reads the windows of one destination's spool.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::directory::{SpoolDirectory, SpoolReadError};
use super::name::FileName;
use model::Snapshot;

/// Most attempts to read one file when the system returns an error. A shortage of file descriptors
/// is over after a while, a bad sector is not.
const READ_TRIES: u32 = 3;
/// The pause between two of these attempts.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Reads the windows of one destination's spool.
#[derive(Debug)]
pub(crate) struct SpoolReader {
    /// Empty until the writer has opened the folder.
    directory: Arc<OnceLock<SpoolDirectory>>,
}

impl SpoolReader {
    pub(super) fn new(directory: Arc<OnceLock<SpoolDirectory>>) -> Self {
        Self { directory }
    }

    /// Reads a window; retries if the system returns an error.
    ///
    /// # Errors
    /// When the file is missing, damaged or of a newer version, or when every attempt failed.
    pub(crate) async fn read(&self, name: FileName) -> Result<Snapshot, SpoolReadError> {
        let mut tries = 1;
        loop {
            match self.read_once(name).await {
                // Without a retry, a passing fault of the system would drop the window as corrupt.
                Err(SpoolReadError::System(_)) if tries < READ_TRIES => sleep(READ_PAUSE).await,
                outcome => return outcome,
            }
            tries += 1;
        }
    }

    async fn read_once(&self, name: FileName) -> Result<Snapshot, SpoolReadError> {
        let directory = Arc::clone(&self.directory);
        // A disk that hangs must block a thread for blocking tasks, not the runtime.
        let read = spawn_blocking(move || match directory.get() {
            Some(directory) => directory.read(name),
            None => Err(SpoolReadError::System(io::Error::other("the spool is not open"))),
        });
        read.await.unwrap_or_else(|error| Err(SpoolReadError::System(error.into())))
    }
}
