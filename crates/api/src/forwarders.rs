//! The ledger of the destinations.

use serde::{Deserialize, Serialize};

use crate::CountsByReason;

/// The reasons of `dropped` that an operator causes on purpose: with `debug_mode`, and with
/// `tallyd spool remove`.
pub const INTENDED_DROPS: [&str; 2] = ["debug_mode", "removed"];

/// The ledger of one destination's points: `flushed` + `recovered` = `delivered` + `queued` +
/// `spooled` + the sum of `dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForwarderStatus {
    /// The kind of its section in `forwarders`, such as `kafka`.
    pub kind: String,
    /// Whether it delivers: false from a failed attempt until one succeeds.
    pub up: bool,
    /// Points of the windows closed since the start that `select` includes.
    pub flushed: u64,
    /// Points that earlier runs of the process left in the spool.
    pub recovered: u64,
    /// Points delivered.
    pub delivered: u64,
    /// Points waiting in memory.
    pub queued: u64,
    /// Estimated memory of the windows in memory, including the one in flight, in bytes.
    pub queued_bytes: u64,
    /// Points waiting on disk.
    pub spooled: u64,
    /// Points dropped by reason.
    pub dropped: CountsByReason,
    /// Attempts that failed.
    pub failures: u64,
    /// The latest failure or refusal, in the destination's words; `None` if there was none.
    pub last_error: Option<String>,
    /// The time of `last_error`.
    pub last_error_at: Option<String>,
    /// When points were last delivered; `None` if never.
    pub last_success: Option<String>,
    /// Its spool; `None` if it has none.
    pub spool: Option<SpoolStatus>,
    /// Connections closed for new ones because `max_connections` were open; only `prometheus` with a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_connections: Option<u64>,
    /// Requests without valid credentials and failed TLS handshakes; only `prometheus` with a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_access: Option<u64>,
    /// Pages of other programs that could not be fetched or used; only `prometheus` with `merge` or
    /// `relay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_fetches: Option<u64>,
    /// Series whose total stays constant because of negative increments; only `prometheus`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_totals: Option<u64>,
    /// How often a native histogram has lost resolution because of `max_buckets` or `max_page`; only
    /// `prometheus`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduced_histograms: Option<u64>,
    /// Records that went to the fallback topic because theirs could not be used; only `kafka` with
    /// placeholders in `kafka_topic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_records: Option<u64>,
    /// Targets that did not answer a probe; only `prometheus` with `probe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_probes: Option<u64>,
    /// Requests for a probe that were refused, because the target is not allowed or too many were
    /// polled; only `prometheus` with `probe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_probes: Option<u64>,
}

/// The windows that wait on disk for one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpoolStatus {
    /// The folder.
    pub folder: String,
    /// Windows in it. The file of a delivered window counts until it is removed.
    pub files: u64,
    /// Their size, in bytes.
    pub file_bytes: u64,
    /// When the oldest window began; `None` if there is none.
    pub oldest: Option<String>,
    /// Delivered windows whose file the disk does not remove. They are not delivered again.
    pub unremoved: u64,
    /// Files found at the start that another file had replaced: a crash interrupted the replacement.
    pub replaced: u64,
    /// Why windows cannot be written, read or removed at the moment; `None` if they can.
    pub degraded: Option<String>,
    /// Times that writing, reading or removing a file, or opening the folder, failed.
    pub write_failures: u64,
    /// Points that the destination refused and that are in the quarantine.
    pub quarantined: u64,
    /// Points that the destination refused and that are not in the quarantine.
    pub not_quarantined: u64,
}

impl ForwarderStatus {
    /// Points lost: dropped for another reason than [`INTENDED_DROPS`].
    #[must_use]
    pub fn lost(&self) -> u64 {
        lost(self.dropped.iter().map(|(reason, points)| (reason.as_str(), *points)))
    }
}

/// The lost points among the points dropped by reason.
pub fn lost<'a>(dropped: impl Iterator<Item = (&'a str, u64)>) -> u64 {
    dropped.filter(|(reason, _)| !INTENDED_DROPS.contains(reason)).map(|(_, points)| points).sum()
}
