//! The limits of a backlog.

use crate::config::{DeliveryConfig, SpoolConfig, SpoolWrite};

/// Most windows in memory. Needed because the limit of points does not bound windows without
/// points.
pub(super) const QUEUED_WINDOWS_MAX: usize = 4_096;

/// The configured limits. A reload replaces them.
#[derive(Clone, Debug)]
pub(super) struct BacklogLimits {
    /// Whether windows may go to disk. Constant for the life of a backlog.
    pub(super) has_spool: bool,
    /// Most points in memory (`delivery.queue.max_points`).
    pub(super) points_max: u64,
    /// Only used with a spool.
    pub(super) spool: SpoolConfig,
}

impl BacklogLimits {
    pub(super) fn new(delivery: &DeliveryConfig, has_spool: bool) -> Self {
        Self { has_spool, points_max: delivery.queue.max_points, spool: delivery.spool }
    }

    /// Whether every window has to be on disk before its first attempt.
    pub(super) fn writes_ahead(&self) -> bool {
        self.spool.write == SpoolWrite::Always
    }

    /// Whether a new window of `points` points exceeds the memory, in which `windows` windows with
    /// `queued` points wait.
    pub(super) fn exceed_memory(&self, windows: usize, queued: u64, points: u64) -> bool {
        queued + points > self.points_max || windows >= QUEUED_WINDOWS_MAX
    }

    /// Whether one more file of `bytes` bytes exceeds the spool, which contains `files` files of
    /// `used` bytes.
    pub(super) fn exceed_disk(&self, files: u64, used: u64, bytes: u64) -> bool {
        let files_max = u64::from(self.spool.max_files.get());
        files + 1 > files_max || used + bytes > self.spool.max_bytes.get()
    }

    /// The start of the oldest window that may be on disk at the time `now_ms`, both in Unix
    /// milliseconds.
    pub(super) fn oldest_start_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.spool.max_age.get().as_millis() as u64)
    }
}
