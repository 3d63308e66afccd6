//! Syncs the files of one destination's spool that were written without it.

use std::io;

use tokio::task::JoinHandle;

use super::directory::SpoolDirectory;
use super::name::FileName;
use super::writer::SpoolWriter;

/// Most files that are synced at the same time.
const SYNCS_AT_ONCE: usize = 16;

impl SpoolWriter {
    /// Syncs windows that were written without it, and the names of all windows: a power failure may
    /// bring back files that were removed shortly before. Returns the windows that the disk has not
    /// synced.
    pub(crate) fn sync(
        &self,
        unsynced: Vec<FileName>,
    ) -> impl Future<Output = Vec<FileName>> + Send + 'static {
        // At the same time, because file systems write the changes of all of them together.
        let each = unsynced.len().div_ceil(SYNCS_AT_ONCE).max(1);
        let syncs: Vec<_> = unsynced
            .chunks(each)
            .map(|names| {
                let names = names.to_vec();
                let spawned = names.clone();
                let sync = move |directory: &SpoolDirectory| Ok(sync_each(directory, spawned));
                (names, self.spawn::<_, io::Error>(sync))
            })
            .collect();
        let names_synced = self.sync_names();
        async move {
            let mut failed = Vec::new();
            for (names, sync) in syncs {
                match sync.await {
                    Ok(Ok(left)) => failed.extend(left),
                    _ => failed.extend(names),
                }
            }
            match names_synced.await {
                Ok(Ok(())) => failed,
                // No window is on disk without its name.
                _ => unsynced,
            }
        }
    }

    /// Syncs the names of all windows.
    pub(crate) fn sync_names(&self) -> JoinHandle<io::Result<()>> {
        self.spawn(SpoolDirectory::sync)
    }

    /// Syncs the record of settled windows.
    pub(crate) fn sync_record(&self) -> JoinHandle<io::Result<()>> {
        self.spawn(SpoolDirectory::sync_record)
    }

    /// Syncs the windows that an earlier run left, and shortens the record of settled windows if it
    /// `has_old_records`.
    pub(crate) fn sync_found(&self, has_old_records: bool) -> JoinHandle<io::Result<()>> {
        self.spawn(move |directory| directory.sync_found(has_old_records))
    }
}

/// Syncs windows one after the other. Returns those that the disk has not synced.
fn sync_each(directory: &SpoolDirectory, mut names: Vec<FileName>) -> Vec<FileName> {
    names.retain(|name| directory.sync_window(*name).is_err());
    names
}
