//! The words of the ledger for the reasons why points were dropped. They are stable, because
//! dashboards and alerts refer to them.

/// The memory queue was full; the oldest window was dropped.
pub const QUEUE_FULL: &str = "queue_full";
/// The points could not be delivered before the daemon had to stop.
pub const SHUTDOWN: &str = "shutdown";
/// `debug_mode` logs points instead of sending them.
pub const DEBUG_MODE: &str = "debug_mode";
/// The destination accepts no payload of this size.
pub const TOO_LARGE: &str = "too_large";
/// The destination permanently rejects the content.
pub const REFUSED: &str = "refused";
/// The page for Prometheus has no room for a new series.
pub const PAGE_FULL: &str = "page_full";
/// The destination has no room for another total (OTLP with `temporality: cumulative`).
pub const TOTALS_FULL: &str = "totals_full";
/// The spool was full; the oldest window was dropped.
pub const SPOOL_FULL: &str = "spool_full";
/// The window was in the spool for longer than `max_age`.
pub const SPOOL_EXPIRED: &str = "spool_expired";
/// The window's file in the spool cannot be read; it is in the quarantine.
pub const SPOOL_CORRUPT: &str = "spool_corrupt";
/// A newer version wrote the window's file in the spool; it is in the quarantine.
pub const SPOOL_NEWER: &str = "spool_newer";
/// An operator or another program removed the window's file from the spool.
pub const REMOVED: &str = "removed";
/// The points may have been sent, at least in part, and are not sent again: the destination would
/// count them twice.
pub const LOST: &str = "lost";
/// The points were being sent when a reload gave their destination other settings, and there is no
/// spool to keep them.
pub const REPLACED: &str = "replaced";

/// Whether the reason means that the destination permanently rejects the point.
pub(crate) fn is_refusal(reason: &str) -> bool {
    [REFUSED, TOO_LARGE].contains(&reason)
}

/// All reasons.
pub const ALL: [&str; 14] = [
    QUEUE_FULL,
    SHUTDOWN,
    DEBUG_MODE,
    TOO_LARGE,
    REFUSED,
    PAGE_FULL,
    TOTALS_FULL,
    SPOOL_FULL,
    SPOOL_EXPIRED,
    SPOOL_CORRUPT,
    SPOOL_NEWER,
    REMOVED,
    LOST,
    REPLACED,
];
