//! The limits of a backlog.

use crate::config::{DeliveryConfig, QueueConfig, SpoolConfig, SpoolWrite};

/// Maximum number of windows in memory. Needed because the limit of points does not bound windows
/// without points.
pub(super) const QUEUED_WINDOWS_MAX: usize = 4_096;

/// The configured limits. A reload replaces them.
#[derive(Clone, Debug)]
pub(super) struct BacklogLimits {
    /// Whether windows may go to disk. Constant for the life of a backlog.
    pub(super) has_spool: bool,
    /// Maximum number of points in memory (`delivery.queue.max_points`).
    pub(super) points_max: u64,
    /// Maximum number of bytes in memory (`delivery.queue.max_bytes`).
    pub(super) bytes_max: u64,
    /// Only used with a spool.
    pub(super) spool: SpoolConfig,
}

impl BacklogLimits {
    pub(super) fn new(delivery: &DeliveryConfig, has_spool: bool) -> Self {
        let QueueConfig { max_points, max_bytes } = delivery.queue;
        let (points_max, bytes_max) = (max_points, max_bytes.get());
        Self { has_spool, points_max, bytes_max, spool: delivery.spool }
    }

    /// Whether every window has to be on disk before its first attempt.
    pub(super) fn writes_ahead(&self) -> bool {
        self.spool.write == SpoolWrite::Always
    }

    /// The bound of the memory that the `new` window exceeds together with those in memory; `None`
    /// if it fits.
    pub(super) fn exceeded_bound(&self, used: MemoryUse, new: MemoryUse) -> Option<QueueBound> {
        if used.points + new.points > self.points_max {
            Some(QueueBound::Points)
        } else if used.bytes + new.bytes > self.bytes_max {
            Some(QueueBound::Bytes)
        } else if used.windows + new.windows > QUEUED_WINDOWS_MAX {
            Some(QueueBound::Windows)
        } else {
            None
        }
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

/// The use of memory by windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryUse {
    pub(super) windows: usize,
    pub(super) points: u64,
    pub(super) bytes: u64,
}

/// A bound of the windows in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueBound {
    Points,
    Bytes,
    Windows,
}

impl QueueBound {
    /// The bound's name for the log: its key, if it has one.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Points => "delivery.queue.max_points",
            Self::Bytes => "delivery.queue.max_bytes",
            Self::Windows => "the number of windows",
        }
    }
}
