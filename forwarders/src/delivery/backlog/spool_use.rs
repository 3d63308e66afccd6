//! The state of a backlog's spool on disk.

use std::collections::BTreeSet;

use super::removal_debt::RemovalDebt;
use super::unsynced::UnsyncedFiles;
use crate::spool::{FileName, RefusedPoints};

/// Whether windows can go to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SpoolHealth {
    /// No attempt to open the folder has ended: it is unknown whether it contains older windows.
    #[default]
    Unopened,
    /// The folder could not be opened. Windows are delivered from memory.
    Unavailable,
    /// Windows can be written.
    Ready,
    /// The folder is open, and the last write failed. Files can be read and removed.
    Degraded,
}

/// The disk space that a backlog uses, and the files and points that the spool loop has not handled
/// yet.
#[derive(Debug, Default)]
pub(super) struct SpoolUse {
    health: SpoolHealth,
    /// Files of windows that are not settled.
    files: u64,
    /// The size of these files.
    bytes: u64,
    /// Files that the spool loop has to remove or to move to the quarantine.
    pub(super) debt: RemovalDebt,
    /// Refused points that the spool loop has to write to the quarantine. They belong to one
    /// window, so that a destination that refuses everything costs the memory of one window.
    pub(super) refused: Option<RefusedPoints>,
    /// Whether the system returned an error for the latest attempt to read a window.
    pub(super) read_fails: bool,
    /// Whether files that are not windows may be left in the folder of waiting windows.
    pub(super) is_untidy: bool,
    /// Files found at the start that another file had replaced.
    pub(super) replaced: u64,
    /// Settled windows whose file the disk does not remove.
    pub(super) unremoved: u64,
    /// Files of windows that are not synced.
    pub(super) unsynced: UnsyncedFiles,
    /// The numbers of windows whose write has failed since the end of delivery.
    pub(super) failed: BTreeSet<u64>,
}

impl SpoolUse {
    /// Files of windows that are not settled.
    pub(super) fn files(&self) -> u64 {
        self.files
    }

    /// The size of these files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All files on disk, including those that are about to be removed.
    pub(super) fn all_files(&self) -> u64 {
        self.files + self.debt.files()
    }

    /// The size of these files.
    pub(super) fn all_bytes(&self) -> u64 {
        self.bytes + self.debt.bytes()
    }

    /// Whether windows can be written.
    pub(super) fn is_ready(&self) -> bool {
        self.health == SpoolHealth::Ready
    }

    /// Whether the folder is open, and the last write failed.
    pub(super) fn is_degraded(&self) -> bool {
        self.health == SpoolHealth::Degraded
    }

    /// Whether windows can be written, read and removed.
    pub(super) fn is_well(&self) -> bool {
        self.is_ready() && !self.read_fails && !self.debt.has_failed()
    }

    /// Whether files can be read and removed.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.health, SpoolHealth::Ready | SpoolHealth::Degraded)
    }

    /// Whether an attempt to open the folder has ended, with or without success.
    pub(super) fn was_tried(&self) -> bool {
        self.health != SpoolHealth::Unopened
    }

    /// Records that the folder was opened or that a write succeeded.
    pub(super) fn works(&mut self) {
        self.health = SpoolHealth::Ready;
    }

    /// Records that the folder could not be opened or that a write failed.
    pub(super) fn fails(&mut self) {
        // The files of an open folder can be delivered and removed although the disk is full.
        self.health = if self.is_open() { SpoolHealth::Degraded } else { SpoolHealth::Unavailable };
    }

    /// Counts a file that was written or found.
    pub(super) fn add(&mut self, file: FileName) {
        self.files += 1;
        self.bytes += file.bytes;
    }

    /// Stops counting a file that was removed or is about to be.
    pub(super) fn forget(&mut self, file: FileName) {
        self.files -= 1;
        self.bytes -= file.bytes;
        self.unsynced.remove(file);
        // Without this file, the next run would deliver the one that it has replaced.
        self.release_outdated();
    }

    /// Discards a file that is no longer needed. The spool loop removes it.
    pub(super) fn discard(&mut self, file: FileName) {
        // Before the file is removed, so that its space counts as free for the next write, which
        // removes discarded files first.
        self.forget(file);
        self.debt.remove(file);
    }

    /// Discards a file once the file that replaces it is synced.
    pub(super) fn discard_when_synced(&mut self, outdated: FileName) {
        self.forget(outdated);
        self.debt.keep_until_released(outdated);
    }

    /// Adds the windows that an earlier run left, which are being synced, and files that they replace.
    pub(super) fn found(&mut self, windows: &[FileName], replaced: &[FileName]) {
        windows.iter().for_each(|file| self.add(*file));
        self.unsynced.found(windows.iter().copied());
        replaced.iter().for_each(|file| self.debt.keep_until_released(*file));
        self.replaced += replaced.len() as u64;
    }

    /// Records whether the windows that an earlier run left were synced.
    pub(super) fn found_synced(&mut self, is_synced: bool) {
        self.unsynced.found_synced(is_synced);
        self.release_outdated();
    }

    /// Records the end of a sync, after which the files `failed` are still not synced.
    pub(super) fn sync_ended(&mut self, failed: &[FileName]) {
        self.unsynced.ended(failed);
        self.release_outdated();
    }

    fn release_outdated(&mut self) {
        self.debt.release(|outdated| self.unsynced.has_other_of(outdated));
    }

    /// Discards a file that is unusable. The spool loop moves it to the quarantine, with the file that it
    /// has replaced, if that one is still there.
    pub(super) fn set_aside(&mut self, file: FileName, suffix: &'static str) {
        self.debt.set_aside_outdated(file);
        self.forget(file);
        self.debt.set_aside(file, suffix);
    }
}
