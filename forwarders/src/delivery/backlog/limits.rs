//! The bounds of a backlog.

use crate::config::{DeliveryConfig, SpoolConfig, SpoolWrite};

/// Most windows in memory: an empty window has no points, and would not be bounded by them.
pub(super) const QUEUED_WINDOWS_MAX: usize = 4_096;

/// The configured bounds. A reload replaces them.
#[derive(Clone, Debug)]
pub(super) struct BacklogLimits {
    /// Whether windows may go to disk. Stays as it is for the life of a backlog.
    pub(super) has_spool: bool,
    /// Most points in memory.
    pub(super) points_max: u64,
    /// Of effect only with a spool.
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

    /// Whether a window of `points` points and the `queued` points of `windows` windows that are in
    /// memory are too many.
    pub(super) fn exceed_memory(&self, windows: usize, queued: u64, points: u64) -> bool {
        queued + points > self.points_max || windows >= QUEUED_WINDOWS_MAX
    }

    /// Whether one more file of `bytes` bytes is too much next to `files` files of `used` bytes.
    pub(super) fn exceed_disk(&self, files: u64, used: u64, bytes: u64) -> bool {
        let files_max = u64::from(self.spool.max_files.get());
        files + 1 > files_max || used + bytes > self.spool.max_bytes.get()
    }

    /// The start of the oldest window that may stay on disk at `now_ms`, in Unix milliseconds.
    pub(super) fn oldest_start_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.spool.max_age.get().as_millis() as u64)
    }
}
