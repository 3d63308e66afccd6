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
///               synced              next_step             removed
///   outdated ──────────▶ pending ──────────────▶ removing ─────▶ gone
///                         ▲  │                    │ slow
///                         │  │ next_step          ▼
///                         │  └──────────────▶ recording ─────▶ recorded: it may stay
///                         └───────────────────────┘ failed
/// ```
///
/// A window must not get the name of a file in the debt: the removal or the record would hit its new
/// file.
#[derive(Debug, Default)]
pub(super) struct RemovalDebt {
    /// Files that no step has been taken for.
    pending: DiscardedFiles,
    /// Files that are being removed.
    removing: Option<Removing>,
    /// Files that are being recorded; `None` if no record is being written.
    recording: Option<RecordInProgress>,
    /// Files of windows that have another file with fewer points by now, which is not synced. They stay
    /// until it is synced or goes too, and are no debt: if both are in the folder, the next run ignores
    /// them. If the later file is unusable, they go to the quarantine.
    outdated: Vec<FileName>,
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

#[derive(Debug)]
struct RecordInProgress {
    /// The files of `pending`.
    files: DiscardedFiles,
    /// Whether the files that are being removed are a part of the record.
    has_removing: bool,
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

    /// Adds a file to remove once it is [released](RemovalDebt::release).
    pub(super) fn keep_until_released(&mut self, outdated: FileName) {
        self.count(outdated);
        self.outdated.push(outdated);
    }

    /// Has the outdated files of a window moved to the quarantine, because its later file is unusable: they
    /// have the points that are lost with it, and others that may have been delivered.
    pub(super) fn set_aside_outdated(&mut self, later: FileName) {
        let outdated = self.outdated.extract_if(.., |file| file.is_of_same_window(&later));
        self.pending.set_aside.extend(outdated.map(|file| (file, "replaced")));
    }

    /// Has the outdated files removed that are not `needed` any longer.
    pub(super) fn release(&mut self, needed: impl Fn(&FileName) -> bool) {
        self.pending.remove.extend(self.outdated.extract_if(.., |file| !needed(file)));
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
        let removing = removing.map(|removing| &removing.files);
        let recording = self.recording.as_ref().map(|recording| &recording.files);
        let mut lists = [Some(&self.pending), removing, recording].into_iter().flatten();
        lists.any(|files| !files.remove.is_empty())
    }

    /// Whether a file of the window `seq` is still to be removed or recorded.
    pub(super) fn has_file_of(&self, seq: u64) -> bool {
        let removing = self.removing.as_ref().map(|removing| &removing.files);
        let recording = self.recording.as_ref().map(|recording| &recording.files);
        let mut lists = [Some(&self.pending), removing, recording].into_iter().flatten();
        lists.any(|files| files.remove.iter().any(|file| file.seq == seq))
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
    /// failure.
    pub(super) fn next_step(&mut self, may_retry: bool) -> Option<DebtStep> {
        if self.has_failed && !may_retry {
            return None;
        }
        if self.removing.is_none() {
            return self.next_removal();
        }
        self.next_record()
    }

    fn next_removal(&mut self) -> Option<DebtStep> {
        let files = self.pending.take_first(REMOVED_AT_ONCE);
        if files.is_empty() {
            return None;
        }
        self.removing = Some(Removing { files: files.clone(), is_slow: false, is_recorded: false });
        Some(DebtStep::Remove(files))
    }

    /// A record of the files of a slow removal, and of all other files: the disk may hang, and a record
    /// is one write, however many files there are.
    fn next_record(&mut self) -> Option<DebtStep> {
        // One record at a time: it says which removal was slow when it began.
        let slow = self.removing.as_ref().filter(|removing| removing.is_slow)?;
        if self.recording.is_some() {
            return None;
        }
        let has_removing = !slow.is_recorded;
        let mut files = if has_removing { slow.files.clone() } else { DiscardedFiles::default() };
        files.append(self.pending.clone());
        if files.is_empty() {
            return None;
        }
        let pending = std::mem::take(&mut self.pending);
        self.recording = Some(RecordInProgress { files: pending, has_removing });
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
        if let Some(recording) = &mut self.recording {
            // The next removal is not a part of this record.
            recording.has_removing = false;
        }
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
        let Some(RecordInProgress { files, has_removing }) = self.recording.take() else { return };
        self.has_failed = !is_recorded;
        if !is_recorded {
            return self.pending.append(files);
        }
        self.discount(&files);
        // Of the removal that was in progress when the record began, unless it has ended since.
        if let Some(removing) = self.removing.as_mut().filter(|_| has_removing) {
            removing.is_recorded = true;
        }
    }
}
