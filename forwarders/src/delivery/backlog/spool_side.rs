//! The spool loop's side of a backlog: it has at most one piece of work at a time.

use std::collections::HashSet;
use std::sync::Arc;

use super::state::Backlog;
use crate::delivery::ledger::PointStorage;
use crate::delivery::reason;
use crate::spool::{DiscardedFiles, FileName, RefusedPoints, WriteJob};
use model::PointRanges;

/// The next action of the spool loop.
#[derive(Debug)]
pub(crate) enum SpoolWork {
    /// Open the folder.
    Open,
    /// Remove files.
    Remove(DiscardedFiles),
    /// Write points of a window.
    Write(WriteJob),
    /// Put refused points into the quarantine.
    Quarantine(RefusedPoints),
    /// Wait for another event.
    Wait,
    /// End: the delivery loop has ended, and everything that can be on disk is.
    End,
}

impl Backlog {
    /// The next action of the spool loop. It writes only if it `may_write`: after a failure there is
    /// a pause.
    ///
    /// Files are removed first, which makes room, then windows are written, which keeps points from
    /// being lost. Refused points are lost already and come last.
    ///
    /// Ledger: unchanged. The outcome of each action comes as an event of its own.
    pub(crate) fn next_spool_work(&mut self, may_write: bool) -> SpoolWork {
        if !self.limits.has_spool {
            return SpoolWork::End;
        }
        if !self.spool.is_open() {
            return if may_write { SpoolWork::Open } else { self.wait_or_end_spooling() };
        }
        if let Some(files) = self.spool.take_discarded() {
            return SpoolWork::Remove(files);
        }
        if let Some(job) = self.to_write().filter(|_| may_write) {
            return SpoolWork::Write(job);
        }
        match self.spool.refused.take() {
            Some(refused) => SpoolWork::Quarantine(refused),
            None => self.wait_or_end_spooling(),
        }
    }

    fn wait_or_end_spooling(&self) -> SpoolWork {
        if self.phase.has_ended { SpoolWork::End } else { SpoolWork::Wait }
    }

    /// The oldest points that belong on disk and are not there.
    fn to_write(&self) -> Option<WriteJob> {
        let in_flight = self.in_flight.as_ref();
        if let Some(job) = in_flight.and_then(|window| window.to_write(self.phase.has_ended)) {
            return Some(job);
        }
        // One window that waits for its first attempt may be delivered before it is written.
        let is_behind = in_flight.is_some_and(|window| window.is_late) || self.waiting.len() > 1;
        if !is_behind && !self.phase.has_ended && !self.limits.writes_ahead() {
            return None;
        }
        let window = self.waiting.queued().front()?;
        let points = PointRanges::first(window.snapshot.points.len());
        Some(WriteJob { seq: window.seq, snapshot: Arc::clone(&window.snapshot), points })
    }

    /// Takes files to remove before a write, which may need their space.
    pub(crate) fn take_discarded(&mut self) -> Option<DiscardedFiles> {
        self.spool.take_discarded()
    }

    /// The folder is open, and an earlier run left these windows in it, in order.
    ///
    /// Ledger: their points are recovered and spooled. They are older than all other windows, which
    /// are renumbered to come after them.
    pub(crate) fn opened(&mut self, found: &[FileName]) {
        let base = self.waiting.recover(found);
        self.turns.renumber(base);
        if let Some(window) = &mut self.in_flight {
            window.seq += base;
        }
        found.iter().for_each(|file| self.spool.add(*file));
        self.ledger.recover(found.iter().map(|file| file.points).sum());
        self.works();
    }

    /// Windows can be written: the delivery loop may take windows that had to be on disk first, and
    /// a stop can leave them there.
    fn works(&mut self) {
        self.spool.works();
        self.wakes.delivery = true;
        self.wakes.stop = true;
    }

    /// The folder could not be opened, or a write failed.
    ///
    /// Ledger: unchanged, the points are still in memory. The delivery loop no longer waits for
    /// windows to be written ahead.
    pub(crate) fn write_failed(&mut self) {
        self.spool.fails();
        self.wakes.delivery = true;
    }

    /// A file of `bytes` bytes is about to be written. Returns how many points were dropped for it.
    ///
    /// The file of the window in flight goes first. It is the oldest one, and its points are in
    /// memory anyway: they are delivered if the destination comes back. When the delivery loop has
    /// ended they will not be, and the file stays.
    ///
    /// Ledger: points of the window in flight go from spooled to queued, those of the oldest windows
    /// on disk from spooled to dropped (`spool_full`).
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn make_room(&mut self, bytes: u64) -> u64 {
        let mut dropped = 0;
        while self.limits.exceed_disk(self.spool.files(), self.spool.bytes(), bytes) {
            if self.in_flight_gives_way() {
                continue;
            }
            // The file alone is beyond the bounds, or only files that must stay are left.
            let Some(oldest) = self.waiting.take_oldest_spooled_if(|_| true) else { break };
            self.drop_spooled(oldest, reason::SPOOL_FULL);
            dropped += oldest.points;
        }
        dropped
    }

    fn in_flight_gives_way(&mut self) -> bool {
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
        self.spool.discard(file);
    }

    /// Points of the window `seq` are on disk.
    ///
    /// Ledger: they go from queued to spooled, unless the window was on disk already or was
    /// delivered or dropped during the write. The file that is not needed then is discarded.
    pub(crate) fn written(&mut self, seq: u64, file: FileName) {
        self.spool.add(file);
        let is_in_flight = self.in_flight.as_ref().is_some_and(|window| window.seq == seq);
        if is_in_flight {
            self.in_flight_written(file);
        } else if self.waiting.spool(seq, file, self.limits.writes_ahead()) {
            self.ledger.spool(file.points);
        } else {
            self.spool.discard(file);
        }
        self.works();
    }

    fn in_flight_written(&mut self, file: FileName) {
        let Some(window) = &mut self.in_flight else { return };
        match window.file.replace(file) {
            // A file of all its points is replaced by one of those that are left.
            Some(outdated) => self.spool.discard(outdated),
            // Points that were settled during the write are in the file, and not in the ledger.
            None => self.ledger.spool(window.left.count()),
        }
    }

    /// The time is `now_ms`: drops windows that have been on disk for too long. Returns how many
    /// points.
    ///
    /// Ledger: points of waiting windows go from spooled to dropped (`spool_expired`). The window in
    /// flight is revoked, and the delivery loop drops it; after the loop has ended it stays.
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn expire(&mut self, now_ms: u64) -> u64 {
        let oldest_start_ms = self.limits.oldest_start_ms(now_ms);
        let is_old = |file: &FileName| file.start_ms < oldest_start_ms;
        let mut expired = 0;
        while let Some(oldest) = self.waiting.take_oldest_spooled_if(is_old) {
            self.drop_spooled(oldest, reason::SPOOL_EXPIRED);
            expired += oldest.points;
        }
        let in_flight = self.in_flight.as_mut().filter(|_| !self.phase.has_ended);
        expired + in_flight.map_or(0, |window| window.revoke_if(reason::SPOOL_EXPIRED, is_old))
    }

    /// These files are in the folder: drops windows whose file was removed by someone else. Returns
    /// how many points.
    ///
    /// Ledger: points of waiting windows go from spooled to dropped (`removed`). The window in flight
    /// is revoked: an operator who removes a file does not want it delivered.
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn files_listed(&mut self, present: &HashSet<FileName>) -> u64 {
        let is_gone = |file: &FileName| !present.contains(file);
        let gone = self.waiting.take_spooled_where(is_gone);
        gone.iter().for_each(|file| self.spool.forget(*file));
        let removed = gone.iter().map(|file| file.points).sum();
        self.ledger.drop_points(PointStorage::Disk, reason::REMOVED, removed);
        let in_flight = self.in_flight.as_mut();
        removed + in_flight.map_or(0, |window| window.revoke_if(reason::REMOVED, is_gone))
    }

    /// The quarantine has `kept` refused points and has no room for `not_kept`.
    ///
    /// Ledger: unchanged, they were dropped when they were settled.
    pub(crate) fn quarantined(&mut self, kept: u64, not_kept: u64) {
        self.quarantine.kept += kept;
        self.quarantine.not_kept += not_kept;
    }
}
