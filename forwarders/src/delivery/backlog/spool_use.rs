//! What a backlog knows of its spool on disk.

use crate::spool::{DiscardedFiles, FileName, RefusedPoints};

/// Whether windows can go to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SpoolHealth {
    /// The folder was not opened yet: it is unknown whether older windows are there.
    #[default]
    Unopened,
    /// The folder cannot be opened. Windows are delivered from memory.
    Unavailable,
    /// Windows can be written.
    Ready,
    /// The folder is open, and the last write failed. Files can be read and removed.
    Degraded,
}

/// The disk space of a backlog, and the files that the spool loop has not handled yet.
#[derive(Debug, Default)]
pub(super) struct SpoolUse {
    health: SpoolHealth,
    /// Files of windows, without discarded files.
    files: u64,
    bytes: u64,
    /// Files that are waiting to be removed or moved to the quarantine.
    discarded: DiscardedFiles,
    /// Refused points on their way to the quarantine. At most one window waits there, so that a
    /// destination that refuses everything costs the memory of one window.
    pub(super) refused: Option<RefusedPoints>,
}

impl SpoolUse {
    pub(super) fn files(&self) -> u64 {
        self.files
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether windows can be written.
    pub(super) fn is_ready(&self) -> bool {
        self.health == SpoolHealth::Ready
    }

    /// Whether files can be read and removed.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.health, SpoolHealth::Ready | SpoolHealth::Degraded)
    }

    /// Whether an attempt to open the folder has ended, one way or the other.
    pub(super) fn was_tried(&self) -> bool {
        self.health != SpoolHealth::Unopened
    }

    /// The folder was opened, or a write succeeded.
    pub(super) fn works(&mut self) {
        self.health = SpoolHealth::Ready;
    }

    /// The folder could not be opened, or a write failed.
    pub(super) fn fails(&mut self) {
        self.health = if self.is_open() { SpoolHealth::Degraded } else { SpoolHealth::Unavailable };
    }

    /// A file was written or found.
    pub(super) fn add(&mut self, file: FileName) {
        self.files += 1;
        self.bytes += file.bytes;
    }

    /// A file is gone, or is about to be.
    pub(super) fn forget(&mut self, file: FileName) {
        self.files -= 1;
        self.bytes -= file.bytes;
    }

    /// A file is no longer needed: the spool loop removes it.
    pub(super) fn discard(&mut self, file: FileName) {
        self.forget(file);
        self.discarded.remove.push(file);
    }

    /// A file cannot be used: the spool loop moves it to the quarantine.
    pub(super) fn set_aside(&mut self, file: FileName, suffix: &'static str) {
        self.forget(file);
        self.discarded.set_aside.push((file, suffix));
    }

    /// Takes the files to remove, if there are any and the folder is open.
    pub(super) fn take_discarded(&mut self) -> Option<DiscardedFiles> {
        let has_some = self.is_open() && !self.discarded.is_empty();
        has_some.then(|| std::mem::take(&mut self.discarded))
    }
}
