//! The windows on disk that a power failure could still damage.

use std::collections::BTreeSet;

use crate::spool::FileName;

/// The files of windows that are not synced.
#[derive(Debug, Default)]
pub(super) struct UnsyncedFiles {
    /// Files that an earlier run left. They are synced in the background, and stay here if the disk
    /// did not sync them.
    found: BTreeSet<FileName>,
    is_syncing_found: bool,
    /// Files that were written after the end of delivery, and that no sync has begun for.
    written: BTreeSet<FileName>,
    /// The files of the sync in progress; `None` without one.
    syncing: Option<BTreeSet<FileName>>,
    /// Files that the disk did not sync. Like those of `found`, they are not tried again: after an
    /// error, a second sync can succeed without an effect.
    failed: BTreeSet<FileName>,
}

impl UnsyncedFiles {
    fn lists(&self) -> impl Iterator<Item = &BTreeSet<FileName>> {
        [&self.found, &self.written, &self.failed].into_iter().chain(&self.syncing)
    }

    pub(super) fn len(&self) -> usize {
        self.lists().map(BTreeSet::len).sum()
    }

    pub(super) fn contains(&self, file: FileName) -> bool {
        self.lists().any(|files| files.contains(&file))
    }

    /// Whether a file of the same window is not synced.
    pub(super) fn has_other_of(&self, file: &FileName) -> bool {
        self.lists().flatten().any(|other| other.is_of_same_window(file))
    }

    /// Whether files are being synced.
    pub(super) fn is_syncing(&self) -> bool {
        self.syncing.is_some() || self.is_syncing_found && !self.found.is_empty()
    }

    /// Adds a file that was written after the end of delivery.
    pub(super) fn add(&mut self, file: FileName) {
        self.written.insert(file);
    }

    /// Stops counting a file that was removed or is about to be.
    pub(super) fn remove(&mut self, file: FileName) {
        let lists = [&mut self.found, &mut self.written, &mut self.failed];
        for files in lists.into_iter().chain(&mut self.syncing) {
            files.remove(&file);
        }
    }

    /// Adds the files that an earlier run left, which are being synced.
    pub(super) fn found(&mut self, files: impl Iterator<Item = FileName>) {
        self.found = files.collect();
        self.is_syncing_found = true;
    }

    /// Records whether the files that an earlier run left were synced.
    pub(super) fn found_synced(&mut self, is_synced: bool) {
        self.is_syncing_found = false;
        if is_synced {
            self.found.clear();
        }
    }

    /// The files to sync; `None` if there are none or a sync is in progress.
    pub(super) fn begin(&mut self) -> Option<Vec<FileName>> {
        if self.syncing.is_some() || self.written.is_empty() {
            return None;
        }
        let files = std::mem::take(&mut self.written);
        Some(self.syncing.insert(files).iter().copied().collect())
    }

    /// Records the end of the sync in progress, after which the files `failed` are still not synced.
    pub(super) fn ended(&mut self, failed: &[FileName]) {
        // A file that was removed during the sync no longer counts.
        let syncing = self.syncing.take().unwrap_or_default();
        self.failed.extend(failed.iter().filter(|file| syncing.contains(file)));
    }
}
