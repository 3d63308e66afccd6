//! The files that a backlog no longer needs and that are still on disk.

use crate::spool::{DiscardedFiles, FileName};

/// Maximum number of files that are removed in one step. Between two steps, windows can be written.
pub(super) const REMOVED_AT_ONCE: usize = 256;

/// The files that a backlog no longer needs and that are still on disk.
///
/// A file in the folder `new` is delivered by the next run, so the points of a settled window are
/// settled for good only once its file is removed, or recorded as settled. Until then it is a debt.
/// While there is a debt, no window is taken from disk: a crash repeats at most the window that it
/// interrupts.
///
/// ```text
///              next_step          removed
///   pending ──────────────▶ removing ─────▶ gone
///      ▲  │                  │ slow
///      │  │ next_step        ▼
///      │  └─────────────▶ recording ─────▶ recorded: it may stay
///      └─────────────────────┘ failed
/// ```
#[derive(Debug, Default)]
pub(super) struct RemovalDebt {
    /// Files that no step has been taken for.
    pending: DiscardedFiles,
    /// Files that are being removed.
    removing: Option<Removing>,
    /// Files of `pending` that are being recorded; `None` if no record is being written.
    recording: Option<DiscardedFiles>,
    /// Whether the latest step neither removed nor recorded its files.
    has_failed: bool,
    files: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Removing {
    files: DiscardedFiles,
    /// Whether the removal takes so long that the files have to be recorded.
    is_slow: bool,
    is_recorded: bool,
}

/// The next step of the spool loop for the debt.
#[derive(Debug)]
pub(crate) enum DebtStep {
    /// Remove files or move them to the quarantine; record those that stay.
    Remove(DiscardedFiles),
    /// Record files as settled.
    Record(DiscardedFiles),
}

impl RemovalDebt {
    /// Files that are still on disk.
    pub(super) fn files(&self) -> u64 {
        self.files
    }

    /// The size of these files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a file to remove.
    pub(super) fn remove(&mut self, file: FileName) {
        self.count(file);
        self.pending.remove.push(file);
    }

    /// Adds a file to move to the quarantine under a name with `suffix`.
    pub(super) fn set_aside(&mut self, file: FileName, suffix: &'static str) {
        self.count(file);
        self.pending.set_aside.push((file, suffix));
    }

    fn count(&mut self, file: FileName) {
        self.files += 1;
        self.bytes += file.bytes;
    }

    fn discount(&mut self, files: &DiscardedFiles) {
        let set_aside = files.set_aside.iter().map(|(file, _)| file);
        for file in files.remove.iter().chain(set_aside) {
            self.files -= 1;
            self.bytes -= file.bytes;
        }
    }

    /// Whether a crash would repeat a settled window. Unusable files do not count: their windows
    /// are not sent.
    pub(super) fn is_open(&self) -> bool {
        let removing = self.removing.as_ref().filter(|removing| !removing.is_recorded);
        let lists = [Some(&self.pending), removing.map(|removing| &removing.files)];
        let mut lists = lists.into_iter().flatten().chain(&self.recording);
        lists.any(|files| !files.remove.is_empty())
    }

    /// Whether files are being recorded.
    pub(super) fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    /// Whether files are being removed or recorded.
    pub(super) fn is_in_progress(&self) -> bool {
        self.removing.is_some() || self.is_recording()
    }

    /// Whether the disk refuses to remove and to record files.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// The next step; `None` if there is none. `may_retry` is false during the pause after a
    /// failure. `is_last` says that the next steps are the last ones before the end.
    pub(super) fn next_step(&mut self, may_retry: bool, is_last: bool) -> Option<DebtStep> {
        // One record at a time: it says which removal was slow when it began.
        if self.recording.is_some() || self.has_failed && !may_retry {
            return None;
        }
        if let Some(removing) = &self.removing {
            // The disk is slow or hangs. A record is one write, however many files there are.
            let is_unrecorded = removing.is_slow && !removing.is_recorded;
            let slow = Some(&removing.files).filter(|_| is_unrecorded).cloned();
            return self.record_with(slow.unwrap_or_default());
        }
        // At the end there may be no time to remove all files one by one.
        if is_last && self.pending.len() > REMOVED_AT_ONCE {
            return self.record_with(DiscardedFiles::default());
        }
        let files = self.pending.take_first(REMOVED_AT_ONCE);
        if files.is_empty() {
            return None;
        }
        self.removing = Some(Removing { files: files.clone(), is_slow: false, is_recorded: false });
        Some(DebtStep::Remove(files))
    }

    fn record_with(&mut self, mut files: DiscardedFiles) -> Option<DebtStep> {
        files.append(self.pending.clone());
        if files.is_empty() {
            return None;
        }
        self.recording = Some(std::mem::take(&mut self.pending));
        Some(DebtStep::Record(files))
    }

    /// Records that the removal in progress takes long.
    pub(super) fn removal_is_slow(&mut self) {
        if let Some(removing) = &mut self.removing {
            removing.is_slow = true;
        }
    }

    /// Records the end of a removal. The files `left` are neither removed nor recorded; without an
    /// outcome, none is.
    pub(super) fn removal_ended(&mut self, left: Option<DiscardedFiles>) {
        let Some(removing) = self.removing.take() else { return };
        self.discount(&removing.files);
        // If they were recorded since it became slow, they may stay.
        let is_recorded = removing.is_recorded;
        let left = if is_recorded { Some(DiscardedFiles::default()) } else { left };
        let left = left.unwrap_or(removing.files);
        self.has_failed = !left.is_empty();
        for file in left.remove {
            self.remove(file);
        }
        for (file, suffix) in left.set_aside {
            self.set_aside(file, suffix);
        }
    }

    /// Records whether the files of the latest [`DebtStep::Record`] were recorded.
    pub(super) fn record_ended(&mut self, is_recorded: bool) {
        self.has_failed = !is_recorded;
        let recording = self.recording.take().unwrap_or_default();
        if !is_recorded {
            return self.pending.append(recording);
        }
        self.discount(&recording);
        if let Some(removing) = &mut self.removing {
            // If the removal is slow, its files were a part of the record.
            removing.is_recorded = removing.is_slow;
        }
    }
}
