//! The events of the delivery loop, which has at most one window in flight.

use std::sync::Arc;

use super::in_flight::InFlightWindow;
use super::memory_queue::QueuedWindow;
use super::state::Backlog;
use super::waiting::{WaitingWindow, WindowTurn};
use crate::config::SpoolOrder;
use crate::delivery::ledger::PointStorage;
use crate::delivery::payload::Settled;
use crate::delivery::reason;
use crate::delivery::write_ahead::WriteAheadGate;
use crate::spool::FileName;
use model::{PointRanges, Snapshot};

/// The next action of the delivery loop.
#[derive(Debug)]
pub(crate) enum NextWindow {
    /// Deliver this window, which is in flight from now on.
    Deliver(WindowSource),
    /// Wait for another event.
    Wait,
    /// Wait until another destination has written the next window, or for another event.
    WaitForGate(Arc<WriteAheadGate>),
    /// End: no window is left, or the remaining windows should stay on disk.
    End,
}

/// The storage that a window is taken from.
#[derive(Debug)]
pub(crate) enum WindowSource {
    /// The window is in memory.
    Memory(Arc<Snapshot>),
    /// The window has to be read from this file.
    File(FileName),
}

/// When the delivery loop retries to read a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadRetry {
    /// After a pause. The window stays in flight.
    AtOnce,
    /// When its turn comes again. The window is no longer in flight.
    Later,
}

/// Attempts to read a window before later ones may be delivered although the order is strict. With
/// a pause of a second between them, a shortage that is over within a minute leaves the order as it
/// is, and a bad sector does not hold up the others for longer.
const READS_IN_ORDER_MAX: u32 = 60;

impl Backlog {
    /// The next action of the delivery loop, which must have no window in flight.
    ///
    /// Ledger: unchanged. A window in flight is still queued or spooled.
    pub(crate) fn next_window(&mut self) -> NextWindow {
        debug_assert!(self.in_flight.is_none(), "one window at a time");
        if self.limits.has_spool {
            return self.next_with_spool();
        }
        if let Some(gate) = self.waiting.closed_gate(WindowTurn::Oldest) {
            return NextWindow::WaitForGate(Arc::clone(gate));
        }
        self.take_oldest().unwrap_or_else(|| self.wait_or_end())
    }

    fn next_with_spool(&mut self) -> NextWindow {
        if !self.spool.was_tried() {
            return self.next_before_open();
        }
        if self.waiting.is_empty() {
            return self.wait_or_end();
        }
        if self.waits_for_write() {
            return NextWindow::Wait;
        }
        let oldest_spooled = self.waiting.oldest_spooled();
        // A stop would take too long if it waited for old windows to be read and delivered, or for
        // a destination that is down. On disk they wait for the next start.
        let is_in_memory = oldest_spooled.is_none_or(|window| window.snapshot.is_some());
        let can_keep = self.spool.is_ready();
        if self.phase.is_closed && can_keep && (!is_in_memory || self.phase.is_down) {
            return NextWindow::End;
        }
        let is_fresh = self.is_fresh_turn();
        let turn = if is_fresh { WindowTurn::Newest } else { WindowTurn::Oldest };
        if let Some(gate) = self.waiting.closed_gate(turn) {
            return NextWindow::WaitForGate(Arc::clone(gate));
        }
        let is_on_disk =
            if is_fresh { self.waiting.queued().is_empty() } else { oldest_spooled.is_some() };
        if is_on_disk && self.spool.debt.is_open() {
            return self.next_despite_debt();
        }
        let next = if is_fresh { self.take_fresh() } else { self.take_oldest() };
        next.unwrap_or(NextWindow::Wait)
    }

    /// The storage of the newest window that waits; `None` if no window waits.
    ///
    /// Ledger: unchanged. The window keeps waiting.
    pub(crate) fn newest_waiting(&self) -> Option<WindowSource> {
        if let Some(newest) = self.waiting.queued().back() {
            return Some(WindowSource::Memory(Arc::clone(&newest.snapshot)));
        }
        let newest = self.waiting.spooled().back()?;
        let in_memory = newest.snapshot.clone().map(WindowSource::Memory);
        Some(in_memory.unwrap_or(WindowSource::File(newest.file)))
    }

    /// The next window while the folder is being opened. It may contain older windows of an earlier
    /// run. They come first if the order is strict; otherwise a folder with many files, or on a
    /// slow disk, does not delay fresh windows.
    fn next_before_open(&mut self) -> NextWindow {
        let is_strict = self.limits.spool.order == SpoolOrder::Oldest || self.limits.writes_ahead();
        let newest = self.waiting.newest_seq().filter(|_| !is_strict);
        if !newest.is_some_and(|newest| self.turns.is_fresh(newest)) {
            return NextWindow::Wait;
        }
        if let Some(gate) = self.waiting.closed_gate(WindowTurn::Newest) {
            return NextWindow::WaitForGate(Arc::clone(gate));
        }
        self.take_fresh().unwrap_or(NextWindow::Wait)
    }

    /// Whether the next window first has to be on disk (`write: always`). A failing disk does not
    /// stop delivery, and a window without points is not written.
    fn waits_for_write(&self) -> bool {
        let is_in_memory = self.waiting.next_queued().is_some_and(|window| window.points() > 0);
        self.limits.writes_ahead() && self.spool.is_ready() && is_in_memory
    }

    /// The next window while files of settled windows are not removed: another window from disk has
    /// to wait, or a crash would repeat both. If the disk refuses to remove files, windows in
    /// memory are delivered in the meantime, because they cannot be kept anywhere else.
    fn next_despite_debt(&mut self) -> NextWindow {
        if !self.spool.debt.has_failed() {
            return NextWindow::Wait;
        }
        if let Some(gate) = self.waiting.closed_gate(WindowTurn::OldestQueued) {
            return NextWindow::WaitForGate(Arc::clone(gate));
        }
        let Some(window) = self.waiting.take_queued_before_spooled() else {
            return self.wait_or_end();
        };
        self.turns.take_old();
        self.begin(WaitingWindow::Queued(window))
    }

    fn wait_or_end(&self) -> NextWindow {
        if self.phase.is_closed { NextWindow::End } else { NextWindow::Wait }
    }

    fn is_fresh_turn(&self) -> bool {
        let Some(newest) = self.waiting.newest_seq() else { return false };
        let is_spooled = self.waiting.queued().is_empty();
        // `write: always` also applies to a window that is taken before its turn.
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

    /// Records that the window in flight was read from its file.
    ///
    /// Ledger: unchanged. The snapshot is kept, because the window has to be written again if only
    /// a part of it is delivered before a stop.
    pub(crate) fn window_read(&mut self, snapshot: &Arc<Snapshot>) {
        self.spool.read_fails = false;
        if let Some(window) = &mut self.in_flight {
            window.bytes = snapshot.heap_bytes();
            window.snapshot = Some(Arc::clone(snapshot));
        }
    }

    /// Records that the system returned an error when the window in flight was read, such as a lack
    /// of file descriptors. That says nothing about the window, which stays on disk. Returns whether
    /// the delivery loop retries; if not, the window waits and the others come first.
    ///
    /// Ledger: unchanged.
    pub(crate) fn read_failed(&mut self) -> ReadRetry {
        self.spool.read_fails = true;
        if self.take_revoked() {
            return ReadRetry::Later;
        }
        let is_strict = self.limits.spool.order == SpoolOrder::Oldest;
        if let Some(window) = &mut self.in_flight {
            window.failed_reads += 1;
            if is_strict && window.failed_reads < READS_IN_ORDER_MAX {
                return ReadRetry::AtOnce;
            }
        }
        if let Some(window) = self.in_flight.take()
            && let Some(file) = window.file
        {
            self.waiting.put_back(file, window.failed_reads);
            // More than one window may wait now, so that those in memory belong on disk.
            self.wakes.spool = true;
        }
        ReadRetry::Later
    }

    /// Drops the window in flight, whose file is unusable or missing. An unusable file is moved to
    /// the quarantine under a name with `suffix`; a missing file has no suffix.
    ///
    /// Ledger: the points go from spooled to dropped, for `reason`.
    pub(crate) fn window_unreadable(&mut self, reason: &'static str, suffix: Option<&'static str>) {
        self.spool.read_fails = false;
        let Some(window) = self.in_flight.take() else { return };
        self.ledger.drop_points(window.storage(), reason, window.left.count());
        match (window.file, suffix) {
            (Some(file), Some(suffix)) => self.spool.set_aside(file, suffix),
            (Some(file), None) => self.spool.forget(file),
            (None, _) => {}
        }
        self.wakes.spool = true;
    }

    /// Records a failed attempt. Returns whether it is the first failure in a row.
    ///
    /// Ledger: unchanged.
    pub(crate) fn attempt_failed(&mut self) -> bool {
        // During a stop, a destination that turns out to be down is not attempted again.
        self.wakes.stop = true;
        !std::mem::replace(&mut self.phase.is_down, true)
    }

    /// Records a successful attempt. Returns whether the previous attempt failed.
    ///
    /// Ledger: unchanged. [`Backlog::settle`] counts the delivered points.
    pub(crate) fn attempt_succeeded(&mut self) -> bool {
        std::mem::take(&mut self.phase.is_down)
    }

    /// Records that the window in flight was not delivered at once.
    ///
    /// Ledger: unchanged. The spool loop then writes the window and all later ones.
    pub(crate) fn mark_late(&mut self) {
        if let Some(window) = &mut self.in_flight {
            window.is_late = true;
        }
        self.wakes.spool = true;
    }

    /// Settles points of the window in flight; `left` are the points that are not settled. If it
    /// `is_done`, it is no longer in flight.
    ///
    /// Ledger: points go from queued or spooled to delivered, or to dropped for the reasons that
    /// the forwarder gave.
    pub(crate) fn settle(&mut self, mut settled: Settled, left: PointRanges, is_done: bool) {
        let Some(window) = &mut self.in_flight else { return };
        // One column holds all unsettled points: a file that is written during an attempt moves all
        // of them to spooled, also points that the attempt has delivered by then.
        let storage = window.storage();
        self.ledger.deliver(storage, settled.delivered);
        if storage == PointStorage::Disk {
            self.replayed.delivered += settled.delivered;
            self.replayed.refused += settled.refused.values().sum::<u64>();
        }
        for (reason, points) in settled.refused {
            self.ledger.drop_points(storage, reason, points);
            if self.limits.has_spool && reason::is_refusal(reason) {
                let places = settled.places.remove(reason).unwrap_or_default();
                // The destination may report only how many points it refused, and not which.
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
    /// Ledger: unchanged, because the points were dropped when they were settled. Points count as
    /// not kept if the disk cannot be written now or points of another window wait already: an
    /// operator inspects samples in the quarantine, which need not be complete.
    fn quarantine_refused(&mut self) {
        let Some(window) = &mut self.in_flight else { return };
        let taken = window.take_refused();
        if taken.count == 0 {
            return;
        }
        // While the folder is being opened, they can wait for it.
        let can_write = self.spool.is_ready() || !self.spool.was_tried();
        let is_free = self.spool.refused.is_none() && can_write;
        match taken.refused {
            Some(refused) if is_free => {
                self.spool.refused = Some(refused);
                self.wakes.spool = true;
            }
            _ => self.quarantine.not_kept += taken.count,
        }
    }

    /// Returns the window in flight, reduced to the points that are left, for another forwarder.
    /// `None` without a spool, because no copy was kept.
    ///
    /// Ledger: unchanged.
    pub(crate) fn restart_in_flight(&mut self) -> Option<WindowSource> {
        // First, because the indexes of refused points refer to the snapshot before it shrinks.
        self.quarantine_refused();
        let window = self.in_flight.as_mut()?;
        // A window that was still being read has no snapshot, and is read again.
        let file = window.file.map(WindowSource::File);
        window.restart().map(WindowSource::Memory).or(file)
    }

    /// Gives up the window in flight if it is in memory only. Returns the number of points that are
    /// lost.
    ///
    /// Ledger: the points that are left go from queued to dropped, for `reason`.
    pub(crate) fn give_up_in_flight(&mut self, reason: &'static str) -> u64 {
        let window = self.in_flight.take_if(|window| window.file.is_none());
        let left = window.map_or(0, |window| window.left.count());
        self.ledger.drop_points(PointStorage::Memory, reason, left);
        left
    }

    /// Drops the window in flight if it is revoked: it has expired, or its file was removed.
    /// Returns whether it was revoked. The delivery loop asks between two attempts, so that no
    /// attempt is interrupted.
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

    /// Whether further attempts are useless: no further window will be pushed, the destination is
    /// down, and the windows can stay on disk.
    pub(crate) fn is_stop_wanted(&self) -> bool {
        // Without a working spool, each further attempt is a chance to save points until the
        // deadline.
        let can_keep = self.limits.has_spool && self.spool.is_ready();
        self.phase.is_closed && can_keep && self.phase.is_down
    }

    /// Records that the delivery loop has ended.
    ///
    /// Ledger: points of a revoked window are dropped, as the loop would have done. All other
    /// points stay where they are; the spool loop writes the points that are in memory.
    pub(crate) fn end_delivery(&mut self) {
        self.take_revoked();
        self.quarantine_refused();
        self.phase.has_ended = true;
        self.wakes.spool = true;
    }

    /// Whether the delivery loop has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.phase.has_ended
    }

    /// Drops the points that are not on disk, at the end of the destination. Returns their number.
    ///
    /// Ledger: these points go from queued to dropped (`shutdown`). The others stay spooled, and
    /// the next run recovers them.
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn drop_unsaved(&mut self) -> u64 {
        // The file may have been removed since the delivery loop ended: then it is not spooled.
        self.take_revoked();
        let in_flight = self.give_up_in_flight(reason::SHUTDOWN);
        let queued = self.waiting.take_queued();
        let queued = queued.windows().iter().map(QueuedWindow::points).sum();
        self.ledger.drop_points(PointStorage::Memory, reason::SHUTDOWN, queued);
        // The folder was never opened, or the disk was too slow.
        let refused = self.spool.refused.take();
        let refused = refused.iter().flat_map(|refused| refused.points.values());
        self.quarantine.not_kept += refused.map(PointRanges::count).sum::<u64>();
        in_flight + queued
    }
}
