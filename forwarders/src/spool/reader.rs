//! Reads the windows of one destination's spool.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::directory::{SpoolDirectory, SpoolReadError};
use super::name::FileName;
use model::Snapshot;

/// Attempts to read a file that the system refuses to read, and the pause between them: too many
/// open files pass, a bad sector does not.
const READ_TRIES: u32 = 3;
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Reads the windows of one destination's spool.
#[derive(Debug)]
pub(crate) struct SpoolReader {
    directory: Arc<OnceLock<SpoolDirectory>>,
}

impl SpoolReader {
    pub(super) fn new(directory: Arc<OnceLock<SpoolDirectory>>) -> Self {
        Self { directory }
    }

    /// Reads a window, more than once if the system refuses.
    ///
    /// # Errors
    /// When the file is gone, damaged, of a newer version, or the system keeps refusing.
    pub(crate) async fn read(&self, name: FileName) -> Result<Snapshot, SpoolReadError> {
        let mut tries = 1;
        loop {
            match self.read_once(name).await {
                Err(SpoolReadError::System(_)) if tries < READ_TRIES => sleep(READ_PAUSE).await,
                outcome => return outcome,
            }
            tries += 1;
        }
    }

    async fn read_once(&self, name: FileName) -> Result<Snapshot, SpoolReadError> {
        let directory = Arc::clone(&self.directory);
        let read = spawn_blocking(move || match directory.get() {
            Some(directory) => directory.read(name),
            None => Err(SpoolReadError::System(io::Error::other("the spool is not open"))),
        });
        read.await.unwrap_or_else(|error| Err(SpoolReadError::System(error.into())))
    }
}
