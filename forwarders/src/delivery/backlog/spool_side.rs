//! The events of the spool loop, which does one piece of work at a time.

use std::collections::HashSet;
use std::sync::Arc;

use super::removal_debt::DebtStep;
use super::state::Backlog;
use crate::delivery::ledger::PointStorage;
use crate::delivery::reason;
use crate::spool::{DiscardedFiles, FileName, FoundWindows, RefusedPoints, WriteJob};
use model::PointRanges;

/// The next action of the spool loop.
#[derive(Debug)]
pub(crate) enum SpoolWork {
    /// Open the folder.
    Open,
    /// Remove files, or record them as settled.
    Discard(DebtStep),
    /// Write points of a window.
    Write(WriteJob),
    /// Sync windows that were written without it.
    Sync(Vec<FileName>),
    /// Write refused points to the quarantine.
    Quarantine(RefusedPoints),
    /// Move files that are not windows to the quarantine.
    Tidy,
    /// Find out whether the disk can be written.
    Probe,
    /// Wait for another event.
    Wait,
    /// End: the delivery loop has ended, and everything that can be on disk is.
    End,
}

impl Backlog {
    /// The next action of the spool loop. `may_write` is false during the pause after a failure.
    ///
    /// Files are removed first, which makes room. Then windows are written, which keeps points from
    /// being lost. After the end of delivery no write waits for a removal that has begun, except one
    /// under the name of a file that is being removed; a window whose write fails does not hold up the
    /// others; and files are synced once all are written. Refused points are dropped already and come
    /// last.
    ///
    /// Ledger: unchanged. The spool loop reports the outcome of each action as a separate event.
    pub(crate) fn next_spool_work(&mut self, may_write: bool) -> SpoolWork {
        if !self.limits.has_spool {
            return SpoolWork::End;
        }
        if !self.spool.is_open() {
            // Also after the end of delivery: it is the last chance to keep windows.
            return if may_write { SpoolWork::Open } else { self.wait_or_end_spooling() };
        }
        if let Some(step) = self.next_debt_step(may_write) {
            return SpoolWork::Discard(step);
        }
        if let Some(job) = self.next_write().filter(|_| may_write || self.phase.has_ended) {
            return SpoolWork::Write(job);
        }
        if self.phase.has_ended
            && let Some(files) = self.spool.unsynced.begin()
        {
            return SpoolWork::Sync(files);
        }
        if self.phase.has_ended && self.awaits_disk() {
            return SpoolWork::Wait;
        }
        if let Some(refused) = self.spool.refused.take() {
            return SpoolWork::Quarantine(refused);
        }
        if self.phase.has_ended {
            return SpoolWork::End;
        }
        // Not before the end of a pause: both access the disk that has just failed.
        if may_write && self.spool.is_degraded() {
            return SpoolWork::Probe;
        }
        if may_write && std::mem::take(&mut self.spool.is_untidy) {
            return SpoolWork::Tidy;
        }
        SpoolWork::Wait
    }

    /// Whether the end has to wait for an access to the disk that is in progress.
    fn awaits_disk(&self) -> bool {
        let debt = &self.spool.debt;
        let is_settling = debt.is_in_progress() && (debt.is_open() || self.has_unwritten());
        is_settling || debt.is_recording() || self.spool.unsynced.is_syncing()
    }

    /// Whether windows are in memory that the next removal may allow to write. Those without points
    /// were dropped.
    fn has_unwritten(&self) -> bool {
        let in_flight = self.in_flight.as_ref();
        let is_in_flight = in_flight.is_some_and(|window| window.to_write(true).is_some());
        is_in_flight || !self.waiting.queued().is_empty()
    }

    fn wait_or_end_spooling(&self) -> SpoolWork {
        if self.phase.has_ended { SpoolWork::End } else { SpoolWork::Wait }
    }

    /// The next points that belong on disk and are not there. The window in flight comes first; it
    /// is usually the oldest.
    fn next_write(&mut self) -> Option<WriteJob> {
        if self.is_behind() {
            // A window without points only repeats the current state, which is worth nothing after
            // a wait on disk.
            self.waiting.drop_idle();
        }
        if let Some(job) = self.write_in_flight() {
            return Some(job);
        }
        if !self.is_behind() && !self.limits.writes_ahead() {
            return None;
        }
        // Before the end of delivery only the oldest one, so that those on disk are older than all
        // others.
        let most = if self.phase.has_ended { usize::MAX } else { 1 };
        let mut queued = self.waiting.queued().iter().take(most);
        let window = queued.find(|window| window.points() > 0 && self.may_write(window.seq))?;
        let points = PointRanges::first(window.snapshot.points.len());
        Some(WriteJob { seq: window.seq, snapshot: Arc::clone(&window.snapshot), points })
    }

    fn write_in_flight(&self) -> Option<WriteJob> {
        let window = self.in_flight.as_ref().filter(|window| self.may_write(window.seq));
        window?.to_write(self.phase.has_ended)
    }

    /// Whether the window `seq` may be written now: the name of its file is free, and no write of it
    /// has failed since the end of delivery.
    fn may_write(&self, seq: u64) -> bool {
        !self.spool.failed.contains(&seq) && !self.spool.debt.has_file_of(seq)
    }

    /// Whether the windows in memory belong on disk, because the destination has fallen behind or
    /// delivery has ended.
    fn is_behind(&self) -> bool {
        // A single waiting window is normal: the delivery loop is about to take it. A second one
        // means that the destination has fallen behind.
        let is_late = self.in_flight.as_ref().is_some_and(|window| window.is_late);
        is_late || self.waiting.len() > 1 || self.phase.has_ended
    }

    /// The next step for the files that are no longer needed; `None` if there is none.
    pub(crate) fn next_debt_step(&mut self, may_retry: bool) -> Option<DebtStep> {
        let is_open = self.spool.is_open();
        is_open.then(|| self.spool.debt.next_step(may_retry))?
    }

    /// Records that the removal in progress takes long. Its files are then recorded as settled.
    pub(crate) fn removal_is_slow(&mut self) {
        self.spool.debt.removal_is_slow();
        self.wakes.spool = true;
    }

    /// Records the end of a removal. The files `left` are neither removed nor recorded, and are
    /// tried again; without an outcome, all files are.
    ///
    /// Ledger: unchanged. The points were counted when they were settled.
    pub(crate) fn removal_ended(&mut self, left: Option<DiscardedFiles>) {
        self.spool.debt.removal_ended(left);
        self.removal_may_help();
        self.wakes.delivery = true;
        self.wakes.spool = true;
    }

    /// Records that files were removed: a write that failed may succeed now.
    pub(crate) fn removal_may_help(&mut self) {
        self.spool.failed.clear();
    }

    /// Records whether files were recorded as settled.
    ///
    /// Ledger: unchanged.
    pub(crate) fn record_ended(&mut self, is_recorded: bool) {
        self.spool.debt.record_ended(is_recorded);
        self.wakes.delivery = true;
        self.wakes.spool = true;
    }

    /// Records whether the windows that an earlier run left were synced.
    ///
    /// Ledger: unchanged.
    pub(crate) fn found_synced(&mut self, is_synced: bool) {
        self.spool.found_synced(is_synced);
    }

    /// Records the end of a sync, after which the files `failed` are still not synced.
    ///
    /// Ledger: unchanged.
    pub(crate) fn sync_ended(&mut self, failed: &[FileName]) {
        self.spool.sync_ended(failed);
    }

    /// Whether the files that are no longer needed have to be removed before one of `bytes` bytes fits
    /// into the spool with them.
    pub(crate) fn is_tight(&self, bytes: u64) -> bool {
        let (files, used) = (self.spool.all_files(), self.spool.all_bytes());
        self.limits.exceed_disk(files, used, bytes)
    }

    /// Whether files of settled windows are neither removed nor recorded, so that the next run
    /// delivers them again.
    pub(crate) fn has_debt(&self) -> bool {
        self.spool.debt.is_open()
    }

    /// Settled points in the file of the window in flight, which the next run delivers again unless a
    /// file with the rest replaces it.
    pub(crate) fn settled_on_disk(&self) -> u64 {
        let window = self.in_flight.as_ref();
        let settled =
            window.and_then(|window| Some(window.file?.points.saturating_sub(window.left.count())));
        settled.unwrap_or_default()
    }

    /// Sets the number of settled windows whose file the disk does not remove.
    pub(crate) fn set_unremoved(&mut self, files: u64) {
        self.spool.unremoved = files;
    }

    /// The number of windows on disk whose files are not synced.
    pub(crate) fn unsynced(&self) -> u64 {
        self.spool.unsynced.len() as u64
    }

    /// Whether writes have failed since the end of delivery.
    pub(crate) fn has_failed_writes(&self) -> bool {
        !self.spool.failed.is_empty()
    }

    /// Records that files that are not windows may be left in the folder.
    pub(crate) fn is_untidy(&mut self) {
        self.spool.is_untidy = true;
    }

    /// Records that the folder is open and which windows of an earlier run it contains.
    ///
    /// Ledger: their points are recovered and spooled; those of damaged files are dropped at once
    /// (`spool_corrupt`). All other windows are newer and are renumbered.
    pub(crate) fn opened(&mut self, found: &FoundWindows) {
        let base = found.first_seq;
        self.waiting.recover(&found.windows, base);
        self.turns.renumber(base);
        // Windows are delivered from memory while the folder is not open, so one can be in flight.
        if let Some(window) = &mut self.in_flight {
            window.seq += base;
        }
        if let Some(refused) = &mut self.spool.refused {
            refused.seq += base;
        }
        self.spool.found(&found.windows, &found.replaced);
        let all = found.windows.iter().chain(&found.damaged);
        self.ledger.recover(all.map(|file| file.points).sum());
        for file in &found.damaged {
            self.ledger.drop_points(PointStorage::Disk, reason::SPOOL_CORRUPT, file.points);
            self.spool.debt.set_aside(*file, "corrupt");
        }
        self.spool.is_untidy = found.strangers > 0;
        self.works();
    }

    /// Records that the disk can be written again.
    ///
    /// Ledger: unchanged.
    pub(crate) fn probed(&mut self) {
        self.works();
    }

    /// Records that windows can be written. The delivery loop may now take windows that had to be
    /// on disk first, and a stop can leave windows there.
    fn works(&mut self) {
        self.spool.works();
        self.wakes.delivery = true;
        self.wakes.stop = true;
    }

    /// Records that the write of the window `seq` failed. Once delivery has ended, the others come
    /// first.
    ///
    /// Ledger: like [`Backlog::write_failed`].
    pub(crate) fn write_of_failed(&mut self, seq: u64, left_behind: Option<FileName>) {
        if self.phase.has_ended {
            self.spool.failed.insert(seq);
        }
        self.write_failed(left_behind);
    }

    /// Records that the folder could not be opened or that a write failed. The file `left_behind`
    /// exists although its write failed.
    ///
    /// Ledger: unchanged, because the points are still in memory. With `write: always`, the
    /// delivery loop no longer waits for windows to be written.
    pub(crate) fn write_failed(&mut self, left_behind: Option<FileName>) {
        if let Some(file) = left_behind {
            self.spool.debt.remove(file);
        }
        self.spool.fails();
        self.waiting.release();
        self.wakes.delivery = true;
    }

    /// Discards files until a new file of `bytes` bytes fits into the spool. Returns the number of
    /// points that were dropped.
    ///
    /// Ledger: points of the window in flight go from spooled to queued, and points of the oldest
    /// windows on disk from spooled to dropped (`spool_full`).
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn make_room(&mut self, bytes: u64) -> u64 {
        let mut dropped = 0;
        while self.limits.exceed_disk(self.spool.files(), self.spool.bytes(), bytes) {
            // First, because it costs no points: the window is also in memory, and is delivered
            // from there if the destination recovers.
            if self.in_flight_gives_way() {
                continue;
            }
            // No window waits on disk: the new file alone exceeds the limits, or the file of the
            // window in flight has to stay.
            let Some(oldest) = self.waiting.take_oldest_spooled_if(|_| true) else { break };
            self.drop_spooled(oldest, reason::SPOOL_FULL);
            dropped += oldest.points;
        }
        dropped
    }

    fn in_flight_gives_way(&mut self) -> bool {
        // After the end of delivery the file stays: no attempt will deliver the window from memory.
        let in_flight = self.in_flight.as_mut().filter(|_| !self.phase.has_ended);
        let Some(window) = in_flight else { return false };
        let Some(file) = window.give_way() else { return false };
        self.ledger.unspool(window.left.count());
        self.spool.discard(file);
        true
    }

    /// Drops a window that no longer waits, and discards its file.
    fn drop_spooled(&mut self, file: FileName, reason: &'static str) {
        self.ledger.drop_points(PointStorage::Disk, reason, file.points);
        self.wake_for_shorter_spool();
        self.spool.discard(file);
    }

    /// Wakes the delivery loop if it waits for files to be removed, because without the window that was
    /// next, a window in memory may be next; or if the first window of this run waited for one that an
    /// earlier run left.
    fn wake_for_shorter_spool(&mut self) {
        self.wakes.delivery |= self.spool.debt.is_open() || self.waiting.is_first_of_run_free();
    }

    /// Records that points of the window `seq` were written to `file`, and whether the file
    /// `is_synced`.
    ///
    /// Ledger: the points go from queued to spooled, unless the window was on disk already or was
    /// delivered or dropped during the write. A file that is then not needed is discarded.
    pub(crate) fn written(&mut self, seq: u64, file: FileName, is_synced: bool) {
        self.spool.add(file);
        if !is_synced {
            self.spool.unsynced.add(file);
        }
        let is_in_flight = self.in_flight.as_ref().is_some_and(|window| window.seq == seq);
        if is_in_flight {
            self.in_flight_written(file);
        } else if self.waiting.spool(seq, file, self.limits.writes_ahead()) {
            self.ledger.spool(file.points);
        } else {
            // The window left the backlog during the write.
            self.spool.discard(file);
        }
        self.works();
    }

    fn in_flight_written(&mut self, file: FileName) {
        let Some(window) = &mut self.in_flight else { return };
        match window.file.replace(file) {
            // The new file contains only the points that were left; the old one is removed after
            // it. A crash in between leaves both, and the next start keeps the one with fewer
            // points.
            Some(outdated) => {
                // Even if the old file was removed during the write, the new file has the points, and
                // no other code removes it. So the points must not count as dropped.
                window.revoked = None;
                if self.spool.unsynced.contains(file) {
                    // A power failure could damage the new file.
                    self.spool.discard_when_synced(outdated);
                } else {
                    self.spool.discard(outdated);
                }
            }
            // Not the points in the file: some of them may have been settled during the write.
            None => self.ledger.spool(window.left.count()),
        }
    }

    /// Drops windows on disk that are older than `max_age` at the time `now_ms` (Unix
    /// milliseconds). Returns the number of points.
    ///
    /// Ledger: points of waiting windows go from spooled to dropped (`spool_expired`). The window
    /// in flight is revoked, and the delivery loop drops it.
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn expire(&mut self, now_ms: u64) -> u64 {
        let oldest_start_ms = self.limits.oldest_start_ms(now_ms);
        let is_old = |file: &FileName| file.start_ms < oldest_start_ms;
        let mut expired = 0;
        while let Some(oldest) = self.waiting.take_oldest_spooled_if(is_old) {
            self.drop_spooled(oldest, reason::SPOOL_EXPIRED);
            expired += oldest.points;
        }
        // After the end of delivery the window stays on disk, and the next run drops it.
        let in_flight = self.in_flight.as_mut().filter(|_| !self.phase.has_ended);
        expired + in_flight.map_or(0, |window| window.revoke_if(reason::SPOOL_EXPIRED, is_old))
    }

    /// Drops windows whose file is not `present` in the folder, because another program or an
    /// operator removed it. Returns the number of points.
    ///
    /// Ledger: points of waiting windows go from spooled to dropped (`removed`). The window in
    /// flight is revoked although it is also in memory: an operator who removes a file does not
    /// want it delivered.
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn files_listed(&mut self, present: &HashSet<FileName>) -> u64 {
        let is_gone = |file: &FileName| !present.contains(file);
        let gone = self.waiting.take_spooled_where(is_gone);
        gone.iter().for_each(|file| self.spool.forget(*file));
        self.wake_for_shorter_spool();
        let removed = gone.iter().map(|file| file.points).sum();
        self.ledger.drop_points(PointStorage::Disk, reason::REMOVED, removed);
        let in_flight = self.in_flight.as_mut();
        removed + in_flight.map_or(0, |window| window.revoke_if(reason::REMOVED, is_gone))
    }

    /// Counts refused points that the quarantine `kept` or did not keep.
    ///
    /// Ledger: unchanged, because the points were dropped when they were settled.
    pub(crate) fn quarantined(&mut self, kept: u64, not_kept: u64) {
        self.quarantine.kept += kept;
        self.quarantine.not_kept += not_kept;
    }
}
