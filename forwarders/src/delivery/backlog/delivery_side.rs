//! The delivery loop's side of a backlog: it has at most one window in flight.

use std::sync::Arc;

use super::in_flight::InFlightWindow;
use super::state::Backlog;
use super::waiting::WaitingWindow;
use crate::delivery::ledger::PointStorage;
use crate::delivery::payload::Settled;
use crate::delivery::reason;
use crate::spool::FileName;
use model::{PointRanges, Snapshot};

/// The next action of the delivery loop.
#[derive(Debug)]
pub(crate) enum NextWindow {
    /// Deliver this window, which is in flight from now on.
    Deliver(WindowSource),
    /// Wait for another event.
    Wait,
    /// End: no window is left to deliver, or those that are left are better off on disk.
    End,
}

/// Where to get a window from.
#[derive(Debug)]
pub(crate) enum WindowSource {
    /// It is in memory.
    Memory(Arc<Snapshot>),
    /// It has to be read from this file.
    File(FileName),
}

impl Backlog {
    /// The next action of the delivery loop. It must have no window in flight.
    ///
    /// Ledger: unchanged. A window in flight is still queued or spooled.
    pub(crate) fn next_window(&mut self) -> NextWindow {
        debug_assert!(self.in_flight.is_none(), "one window at a time");
        if self.limits.has_spool {
            self.next_with_spool()
        } else {
            self.take_oldest().unwrap_or_else(|| self.wait_or_end())
        }
    }

    fn next_with_spool(&mut self) -> NextWindow {
        // Until the folder was opened, an earlier run may have left older windows in it.
        if !self.spool.was_tried() {
            return NextWindow::Wait;
        }
        if self.waiting.is_empty() {
            return self.wait_or_end();
        }
        let is_ready = self.spool.is_ready();
        let oldest_spooled = self.waiting.spooled().front();
        // Written ahead means before the first attempt. A disk that fails must not stop delivery.
        if self.limits.writes_ahead() && is_ready && oldest_spooled.is_none() {
            return NextWindow::Wait;
        }
        // A stop that waits for old windows to be read and delivered, or for a destination that is
        // down, takes too long. On disk they wait for the next start.
        let is_in_memory = oldest_spooled.is_none_or(|window| window.snapshot.is_some());
        if self.phase.is_closed && is_ready && (!is_in_memory || self.phase.is_down) {
            return NextWindow::End;
        }
        let next = if self.is_fresh_turn() { self.take_fresh() } else { self.take_oldest() };
        next.unwrap_or(NextWindow::Wait)
    }

    fn wait_or_end(&self) -> NextWindow {
        if self.phase.is_closed { NextWindow::End } else { NextWindow::Wait }
    }

    fn is_fresh_turn(&self) -> bool {
        let Some(newest) = self.waiting.newest_seq() else { return false };
        let is_spooled = self.waiting.queued().is_empty();
        // Written ahead also holds for a window that is taken before its turn.
        let is_safe = !self.limits.writes_ahead() || is_spooled;
        let order = self.limits.spool.order;
        self.waiting.len() > 1 && is_safe && self.turns.is_fresh_turn(order, newest)
    }

    fn take_fresh(&mut self) -> Option<NextWindow> {
        let newest = self.waiting.take_newest()?;
        self.turns.take_fresh(newest.seq());
        Some(self.begin(newest))
    }

    fn take_oldest(&mut self) -> Option<NextWindow> {
        let oldest = self.waiting.take_oldest()?;
        self.turns.take_old();
        Some(self.begin(oldest))
    }

    fn begin(&mut self, window: WaitingWindow) -> NextWindow {
        let (in_flight, source) = match window {
            WaitingWindow::Queued(window) => {
                let in_flight = InFlightWindow::from_queued(&window, self.limits.has_spool);
                (in_flight, WindowSource::Memory(window.snapshot))
            }
            WaitingWindow::Spooled(window) => {
                let in_flight = InFlightWindow::from_spooled(&window);
                let source = window.snapshot.map(WindowSource::Memory);
                (in_flight, source.unwrap_or(WindowSource::File(window.file)))
            }
        };
        self.in_flight = Some(in_flight);
        NextWindow::Deliver(source)
    }

    /// The window in flight was read from its file.
    ///
    /// Ledger: unchanged. The snapshot is kept, because the window may have to be written again when
    /// only a part of it is delivered.
    pub(crate) fn window_read(&mut self, snapshot: &Arc<Snapshot>) {
        if let Some(window) = &mut self.in_flight {
            window.snapshot = Some(Arc::clone(snapshot));
        }
    }

    /// The file of the window in flight cannot be used: it is moved to the quarantine under a name
    /// with this suffix, or is gone if there is none.
    ///
    /// Ledger: the points go from spooled to dropped, for `reason`.
    pub(crate) fn window_unreadable(&mut self, reason: &'static str, suffix: Option<&'static str>) {
        let Some(window) = self.in_flight.take() else { return };
        self.ledger.drop_points(window.storage(), reason, window.left.count());
        match (window.file, suffix) {
            (Some(file), Some(suffix)) => self.spool.set_aside(file, suffix),
            (Some(file), None) => self.spool.forget(file),
            (None, _) => {}
        }
        self.wakes.spool = true;
    }

    /// An attempt failed. Returns whether the one before it had not.
    ///
    /// Ledger: unchanged.
    pub(crate) fn attempt_failed(&mut self) -> bool {
        self.wakes.stop = true;
        !std::mem::replace(&mut self.phase.is_down, true)
    }

    /// An attempt succeeded. Returns whether the one before it had failed.
    ///
    /// Ledger: unchanged. Delivered points are settled apart from it.
    pub(crate) fn attempt_succeeded(&mut self) -> bool {
        std::mem::take(&mut self.phase.is_down)
    }

    /// The window in flight was not delivered at once.
    ///
    /// Ledger: unchanged. The spool loop writes the window and all later ones.
    pub(crate) fn mark_late(&mut self) {
        if let Some(window) = &mut self.in_flight {
            window.is_late = true;
        }
        self.wakes.spool = true;
    }

    /// Points of the window in flight were settled; these are `left`. When it `is_done`, it is no
    /// longer in flight.
    ///
    /// Ledger: points go from queued or spooled to delivered, and to dropped for the reasons that
    /// the forwarder gave.
    pub(crate) fn settle(&mut self, mut settled: Settled, left: PointRanges, is_done: bool) {
        let Some(window) = &mut self.in_flight else { return };
        let storage = window.storage();
        self.ledger.deliver(storage, settled.delivered);
        for (reason, points) in settled.refused {
            self.ledger.drop_points(storage, reason, points);
            if self.limits.has_spool && reason::is_refusal(reason) {
                let places = settled.places.remove(reason).unwrap_or_default();
                // Of some points the destination says only how many it refuses.
                self.quarantine.not_kept += points - places.count();
                window.refuse(reason, places);
            }
        }
        window.left = left;
        if is_done {
            self.quarantine_refused();
            self.finish_in_flight();
        }
    }

    /// Removes the window in flight, whose points are settled, and its file.
    fn finish_in_flight(&mut self) {
        if let Some(file) = self.in_flight.take().and_then(|window| window.file) {
            self.spool.discard(file);
            self.wakes.spool = true;
        }
    }

    /// Hands the refused points of the window in flight to the spool loop.
    ///
    /// Ledger: unchanged, they were dropped when they were settled. Points are counted as not kept
    /// when they cannot be written now or another window's points wait already: the quarantine is
    /// for an operator to look at, not a store.
    fn quarantine_refused(&mut self) {
        let Some(window) = &mut self.in_flight else { return };
        let taken = window.take_refused();
        if taken.count == 0 {
            return;
        }
        let is_free = self.spool.refused.is_none() && self.spool.is_ready();
        match taken.refused {
            Some(refused) if is_free => {
                self.spool.refused = Some(refused);
                self.wakes.spool = true;
            }
            _ => self.quarantine.not_kept += taken.count,
        }
    }

    /// Another forwarder takes over: returns the window in flight as a window of only the points
    /// that are left. Without a spool there is none to return, because no copy was kept.
    ///
    /// Ledger: unchanged.
    pub(crate) fn restart_in_flight(&mut self) -> Option<WindowSource> {
        // The places of refused points refer to the snapshot as it was.
        self.quarantine_refused();
        let window = self.in_flight.as_mut()?;
        let file = window.file.map(WindowSource::File);
        window.restart().map(WindowSource::Memory).or(file)
    }

    /// Another forwarder takes over, and the window in flight is given up if it is in memory only.
    /// Returns how many points are lost.
    ///
    /// Ledger: they go from queued to dropped, for `reason`.
    pub(crate) fn give_up_in_flight(&mut self, reason: &'static str) -> u64 {
        let window = self.in_flight.take_if(|window| window.file.is_none());
        let left = window.map_or(0, |window| window.left.count());
        self.ledger.drop_points(PointStorage::Memory, reason, left);
        left
    }

    /// Gives up the window in flight if it has expired or was removed from the disk. Returns whether
    /// it did. The delivery loop asks between two attempts, so that no attempt is cut short.
    ///
    /// Ledger: the points that are left go from queued or spooled to dropped, for the reason of the
    /// revocation.
    pub(crate) fn take_revoked(&mut self) -> bool {
        let Some(reason) = self.in_flight.as_ref().and_then(|window| window.revoked) else {
            return false;
        };
        self.quarantine_refused();
        if let Some(window) = &self.in_flight {
            self.ledger.drop_points(window.storage(), reason, window.left.count());
        }
        self.finish_in_flight();
        self.wakes.spool = true;
        true
    }

    /// Whether further attempts are useless: no window is pushed, the destination is down, and the
    /// windows can stay on disk.
    pub(crate) fn is_stop_wanted(&self) -> bool {
        let can_keep = self.limits.has_spool && self.spool.is_ready();
        self.phase.is_closed && can_keep && self.phase.is_down
    }

    /// The delivery loop has ended.
    ///
    /// Ledger: points of a revoked window are dropped, as the loop would have done. All others stay
    /// where they are; the spool loop writes those in memory.
    pub(crate) fn end_delivery(&mut self) {
        self.take_revoked();
        self.quarantine_refused();
        self.phase.has_ended = true;
        self.wakes.spool = true;
    }

    /// The destination's time is up. Returns how many points are lost.
    ///
    /// Ledger: points that are not on disk go from queued to dropped (`shutdown`). The others stay
    /// spooled, and the next run recovers them.
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn drop_unsaved(&mut self) -> u64 {
        self.take_revoked();
        let in_flight = self.give_up_in_flight(reason::SHUTDOWN);
        let queued = self.waiting.take_queued();
        let queued = queued.into_iter().map(|window| window.points()).sum();
        self.ledger.drop_points(PointStorage::Memory, reason::SHUTDOWN, queued);
        in_flight + queued
    }
}
