//! The state of a backlog, and the events of the flush and of reloads.

use std::sync::Arc;

use super::in_flight::InFlightWindow;
use super::limits::{BacklogLimits, MemoryUse, QueueBound};
use super::spool_use::SpoolUse;
use super::turns::TurnOrder;
use super::waiting::WaitingWindows;
use super::wakes::Wakes;
use crate::config::{DeliveryConfig, SpoolConfig};
use crate::delivery::ledger::{PointLedger, PointStorage};
use crate::delivery::reason;
use crate::delivery::write_ahead::WindowHold;
use model::Snapshot;

/// The windows waiting for one destination, in memory or on disk, and the count of their points.
#[derive(Debug)]
pub(crate) struct Backlog {
    pub(super) limits: BacklogLimits,
    pub(super) waiting: WaitingWindows,
    pub(super) turns: TurnOrder,
    pub(super) in_flight: Option<InFlightWindow>,
    pub(super) spool: SpoolUse,
    pub(super) ledger: PointLedger,
    pub(super) quarantine: QuarantineCounts,
    pub(super) phase: DeliveryPhase,
    pub(super) wakes: Wakes,
    /// Points on disk that were settled since the spool was last empty.
    pub(super) replayed: ReplayedPoints,
}

/// Points of windows that were dropped because the memory for windows was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EvictedPoints {
    pub(crate) points: u64,
    /// The bound that the new window exceeded first.
    pub(crate) bound: QueueBound,
}

/// Counts points on disk that were settled since the spool was last empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplayedPoints {
    pub(crate) delivered: u64,
    /// Refused, or dropped for another reason that the destination gave.
    pub(crate) refused: u64,
}

/// The stage of a destination's life, and whether its latest attempt failed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeliveryPhase {
    /// Whether no further window will be pushed.
    pub(super) is_closed: bool,
    /// Whether the delivery loop has ended: windows that are left belong on disk.
    pub(super) has_ended: bool,
    /// Whether the latest attempt failed.
    pub(super) is_down: bool,
}

/// Counts refused points by whether the quarantine stored them. The ledger counts all of them as
/// dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QuarantineCounts {
    pub(crate) kept: u64,
    /// Points that exceeded the limits of the quarantine, that the destination did not identify, or
    /// that the disk did not accept.
    pub(crate) not_kept: u64,
}

/// The disk space that a backlog uses, and the state of its spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpoolUsage {
    /// Whether windows can be written, read and removed.
    pub(crate) is_well: bool,
    /// Files on disk, including files of settled windows that are about to be removed.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Start of the oldest window on disk, in Unix milliseconds.
    pub(crate) oldest_ms: Option<u64>,
    /// Files of settled windows that the disk does not remove.
    pub(crate) unremoved: u64,
    /// Files found at the start that another file had replaced.
    pub(crate) replaced: u64,
    pub(crate) quarantine: QuarantineCounts,
}

impl Backlog {
    /// An empty backlog; `has_spool` says whether windows may go to disk.
    pub(crate) fn new(delivery: &DeliveryConfig, has_spool: bool) -> Self {
        Self {
            limits: BacklogLimits::new(delivery, has_spool),
            waiting: WaitingWindows::default(),
            turns: TurnOrder::default(),
            in_flight: None,
            spool: SpoolUse::default(),
            ledger: PointLedger::default(),
            quarantine: QuarantineCounts::default(),
            phase: DeliveryPhase::default(),
            wakes: Wakes::default(),
            replayed: ReplayedPoints::default(),
        }
    }

    // ---- Events of the flush and of a reload --------------------------------------------------

    /// Queues a flushed window, which is not delivered while its gate is closed. Returns the points
    /// of older windows that were dropped to make room.
    ///
    /// Ledger: the points are flushed and queued. The oldest windows in memory go from queued to
    /// dropped (`queue_full`) until the window fits, because fresh metrics are worth more than old
    /// ones. Windows on disk stay, because they use no memory, and so does the window in flight,
    /// because it is encoded already, but it takes room. A window that exceeds a limit by itself is
    /// still queued; nothing else then waits with it.
    #[must_use = "a drop is worth a line in the log"]
    pub(crate) fn push(
        &mut self,
        snapshot: Arc<Snapshot>,
        hold: Option<WindowHold>,
    ) -> Option<EvictedPoints> {
        let points = snapshot.points.len() as u64;
        let new = MemoryUse { windows: 1, points, bytes: snapshot.heap_bytes() };
        let mut evicted = None;
        while let Some(bound) = self.limits.exceeded_bound(self.memory_use(), new) {
            // If no window waits in memory, only the window in flight is left there, which stays.
            let Some(oldest) = self.waiting.take_oldest_queued() else { break };
            self.ledger.drop_points(PointStorage::Memory, reason::QUEUE_FULL, oldest.points());
            evicted.get_or_insert(EvictedPoints { points: 0, bound }).points += oldest.points();
        }
        self.ledger.flush(points);
        self.waiting.push(snapshot, hold);
        self.wakes.delivery = true;
        // The window has to be written with `write: always`, or if another one waits already.
        self.wakes.spool = true;
        evicted
    }

    fn memory_use(&self) -> MemoryUse {
        MemoryUse {
            windows: self.waiting.queued().len(),
            points: self.ledger.queued,
            bytes: self.memory_bytes(),
        }
    }

    /// Records that no further window will be pushed.
    ///
    /// Ledger: unchanged. The delivery loop ends when it has delivered the windows, or earlier if
    /// they can stay on disk.
    pub(crate) fn close(&mut self) {
        self.phase.is_closed = true;
        self.wakes = Wakes { delivery: true, spool: true, stop: true };
    }

    /// Replaces the limits, after a reload.
    ///
    /// Ledger: unchanged. Windows beyond the new limits are dropped when the next window is pushed
    /// or written.
    pub(crate) fn set_limits(&mut self, delivery: &DeliveryConfig) {
        self.limits = BacklogLimits::new(delivery, self.limits.has_spool);
        if !self.limits.writes_ahead() {
            self.waiting.release();
        }
        // Another `order` or `write` can enable an action that a task is waiting for.
        self.wakes.delivery = true;
        self.wakes.spool = true;
    }

    /// Whether a window has to be on disk before any destination sees it. A disk that fails holds
    /// up no window.
    pub(crate) fn writes_ahead(&self) -> bool {
        let can_write = self.spool.is_ready() || !self.spool.was_tried();
        self.limits.has_spool && self.limits.writes_ahead() && can_write && !self.phase.has_ended
    }

    // ---- Reports ------------------------------------------------------------------------------

    /// Takes the tasks to wake for the events since the last call.
    pub(crate) fn take_wakes(&mut self) -> Wakes {
        std::mem::take(&mut self.wakes)
    }

    /// The counts of where each point is.
    pub(crate) fn ledger(&self) -> &PointLedger {
        &self.ledger
    }

    /// An estimate of the memory that the windows in memory occupy: the queued ones and the one in
    /// flight, also if it is on disk as well.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let in_flight = self.in_flight.as_ref().map_or(0, |window| window.bytes);
        self.waiting.queued_bytes() + in_flight
    }

    /// Whether windows wait.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether no further window will be pushed.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase.is_closed
    }

    /// The points left on disk, and those settled since the spool was last empty. If it is empty
    /// now, counting starts again.
    pub(crate) fn take_progress(&mut self) -> (u64, ReplayedPoints) {
        let replayed = self.replayed;
        if self.ledger.spooled == 0 {
            self.replayed = ReplayedPoints::default();
        }
        (self.ledger.spooled, replayed)
    }

    /// Whether the latest attempt failed.
    pub(crate) fn is_down(&self) -> bool {
        self.phase.is_down
    }

    /// The configured limits of the spool.
    pub(crate) fn spool_limits(&self) -> SpoolConfig {
        self.limits.spool
    }

    /// The disk space in use; `None` without a spool.
    pub(crate) fn spool_usage(&self) -> Option<SpoolUsage> {
        // The window in flight no longer waits, but its file is still on disk.
        let in_flight = self.in_flight.as_ref().and_then(|window| window.file);
        let oldest = in_flight.or_else(|| self.waiting.spooled().front().map(|window| window.file));
        self.limits.has_spool.then(|| SpoolUsage {
            is_well: self.spool.is_well(),
            files: self.spool.all_files(),
            bytes: self.spool.all_bytes(),
            oldest_ms: oldest.map(|file| file.start_ms),
            unremoved: self.spool.unremoved,
            replaced: self.spool.replaced,
            quarantine: self.quarantine,
        })
    }
}
