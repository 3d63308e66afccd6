//! `/api/v1/history`: the totals of the last minutes.

use serde::{Deserialize, Serialize};

/// The reply of `/api/v1/history`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// One a second, the oldest first, and one of this moment at the end.
    pub totals: Vec<HistoryTotals>,
}

/// The totals of all listeners and of all forwarders at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryTotals {
    /// When, in seconds since the start.
    pub uptime_s: f64,
    /// Samples received, rejected messages included.
    pub received: u64,
    /// Messages rejected.
    #[serde(default)]
    pub rejected: u64,
    /// Datagrams that the kernel dropped.
    #[serde(default)]
    pub kernel_drops: u64,
    /// Points delivered.
    pub delivered: u64,
    /// Points lost: without [`INTENDED_DROPS`](crate::forwarders::INTENDED_DROPS).
    #[serde(default)]
    pub dropped: u64,
    /// Points queued or spooled.
    #[serde(default)]
    pub waiting: u64,
}
