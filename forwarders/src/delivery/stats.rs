//! The ledger of one forwarder: where every point that was flushed to it is.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::delivery::forwarder::Forwarder;
use crate::delivery::payload::Settled;

/// Why points were dropped, as words for the ledger. Stable: dashboards and alerts name them.
pub mod reason {
    /// The memory queue was full; the oldest went.
    pub const QUEUE_FULL: &str = "queue_full";
    /// They could not be delivered before the daemon had to stop.
    pub const SHUTDOWN: &str = "shutdown";
    /// `debug_mode` logs instead of sending.
    pub const DEBUG_MODE: &str = "debug_mode";
    /// The destination takes no payload this large.
    pub const TOO_LARGE: &str = "too_large";
    /// The destination refuses the content for good.
    pub const REFUSED: &str = "refused";
    /// The page for Prometheus has no room for a new series.
    pub const PAGE_FULL: &str = "page_full";
    /// The spool was full; the oldest went.
    pub const SPOOL_FULL: &str = "spool_full";
    /// They were in the spool for longer than they may be.
    pub const SPOOL_EXPIRED: &str = "spool_expired";
    /// Their file in the spool cannot be read; it is in the quarantine.
    pub const SPOOL_CORRUPT: &str = "spool_corrupt";
    /// A newer version wrote their file in the spool; it is in the quarantine.
    pub const SPOOL_NEWER: &str = "spool_newer";
    /// Somebody removed their file from the spool.
    pub const REMOVED: &str = "removed";
    /// They may have left, or a part of them, and are not sent again: a repeat would count twice.
    pub const LOST: &str = "lost";
    /// They were being sent when a reload gave their destination other settings, and there is no
    /// spool to keep them.
    pub const REPLACED: &str = "replaced";

    /// Whether it is the destination that takes no such point, now or ever.
    pub(crate) fn is_refusal(reason: &str) -> bool {
        [REFUSED, TOO_LARGE].contains(&reason)
    }

    /// Every one of them.
    pub const ALL: [&str; 13] = [
        QUEUE_FULL,
        SHUTDOWN,
        DEBUG_MODE,
        TOO_LARGE,
        REFUSED,
        PAGE_FULL,
        SPOOL_FULL,
        SPOOL_EXPIRED,
        SPOOL_CORRUPT,
        SPOOL_NEWER,
        REMOVED,
        LOST,
        REPLACED,
    ];
}

/// Counts of points and the latest outcome. At every moment `flushed` + `recovered` = `delivered` +
/// `queued` + `spooled` + the sum of `dropped`.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Points handed to this forwarder.
    pub flushed: u64,
    /// Points found in the spool at the start: an earlier run of the daemon flushed them.
    pub recovered: u64,
    /// Points that the destination acknowledged (or, without acknowledgements, was given).
    pub delivered: u64,
    /// Points in memory only, those that are being sent included.
    pub queued: u64,
    /// Points on disk, those that are being sent included.
    pub spooled: u64,
    /// Points that will never arrive, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Attempts that failed.
    pub failures: u64,
    /// The latest error and when it happened.
    pub last_error: Option<(SystemTime, String)>,
    /// When points were last delivered.
    pub last_success: Option<SystemTime>,
    /// Whether the latest attempt succeeded; none yet counts as up.
    pub down: bool,
    /// Its spool; `None` where it has none.
    pub spool: Option<SpoolCounts>,
    /// Connections that it closed because it had too many; `None` where nobody connects to it.
    pub refused_connections: Option<u64>,
    /// Pages of other programs that it could not fetch or not use; `None` where it fetches none.
    pub failed_fetches: Option<u64>,
}

/// How the spool of a forwarder is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolCounts {
    /// Its folder.
    pub folder: PathBuf,
    /// Windows in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Start of the oldest window in it, in Unix milliseconds.
    pub oldest_ms: Option<u64>,
    /// Why nothing can be written at the moment: windows wait in memory only.
    pub degraded: Option<String>,
    /// Times that a write, or opening the folder, failed.
    pub failures: u64,
    /// Refused points that were put into the quarantine.
    pub quarantined: u64,
    /// Refused points that were not: they were too many for it, or it could not be written.
    pub not_quarantined: u64,
}

/// Where points are as long as they are neither delivered nor dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In memory only.
    Memory,
    /// On disk.
    Disk,
}

impl Counts {
    fn at(&mut self, place: Place) -> &mut u64 {
        match place {
            Place::Memory => &mut self.queued,
            Place::Disk => &mut self.spooled,
        }
    }
}

/// Shared between the queue, the task and whoever reports. One lock around all the numbers, taken
/// a few times a window, so that the equation holds at every moment and not just in between.
#[derive(Debug, Default)]
pub struct ForwarderStats {
    counts: Mutex<Counts>,
    continued: Mutex<Continued>,
}

/// What forwarders count themselves, each of them that has been in the destination's place so far.
#[derive(Debug, Default)]
struct Continued {
    refused_connections: OwnCount,
    failed_fetches: OwnCount,
}

/// A count of the forwarder that is there now, and what those before it came to.
#[derive(Debug, Default)]
struct OwnCount {
    before: u64,
    now: Option<Arc<AtomicU64>>,
}

impl OwnCount {
    fn get(&self) -> Option<u64> {
        self.now.as_ref().map(|now| self.before + now.load(Ordering::Relaxed))
    }

    fn go_on_with(&mut self, now: Option<Arc<AtomicU64>>) {
        *self = Self { before: self.get().unwrap_or_default(), now };
    }
}

impl ForwarderStats {
    /// Of a destination with this forwarder.
    pub(crate) fn new(forwarder: &dyn Forwarder) -> Self {
        let stats = Self::default();
        stats.go_on_with(forwarder);
        stats
    }

    /// Another forwarder takes the place of the one before it; what it counts itself is added.
    pub(crate) fn go_on_with(&self, forwarder: &dyn Forwarder) {
        let mut continued = self.continued();
        continued.refused_connections.go_on_with(forwarder.refused_connections());
        continued.failed_fetches.go_on_with(forwarder.failed_fetches());
    }

    fn continued(&self) -> MutexGuard<'_, Continued> {
        self.continued.lock()
    }

    /// All numbers at one moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let continued = self.continued();
        let refused_connections = continued.refused_connections.get();
        let failed_fetches = continued.failed_fetches.get();
        drop(continued);
        Counts { refused_connections, failed_fetches, ..self.lock().clone() }
    }

    /// Points in memory.
    pub(crate) fn queued(&self) -> u64 {
        self.lock().queued
    }

    /// A snapshot of so many points goes into the queue.
    pub(crate) fn flushed(&self, points: u64) {
        let mut counts = self.lock();
        counts.flushed += points;
        counts.queued += points;
    }

    /// Points leave a place for good without having been delivered.
    pub(crate) fn dropped(&self, place: Place, reason: &'static str, points: u64) {
        if points > 0 {
            let mut counts = self.lock();
            *counts.at(place) -= points;
            *counts.dropped.entry(reason).or_default() += points;
        }
    }

    /// Points that an earlier run left on disk.
    pub(crate) fn recovered(&self, points: u64) {
        let mut counts = self.lock();
        counts.recovered += points;
        counts.spooled += points;
    }

    /// Points are on disk from now on, or no longer.
    pub(crate) fn moved(&self, from: Place, to: Place, points: u64) {
        let mut counts = self.lock();
        *counts.at(from) -= points;
        *counts.at(to) += points;
    }

    /// Tells how the spool is.
    pub(crate) fn spool(&self, tell: impl FnOnce(&mut SpoolCounts)) {
        tell(self.lock().spool.get_or_insert_default());
    }

    /// The destination has taken points or refused them.
    pub(crate) fn settled(&self, place: Place, settled: Settled) {
        let refused: u64 = settled.refused.values().sum();
        let words = settled.last_refusal().map(str::to_owned);
        let mut counts = self.lock();
        *counts.at(place) -= settled.delivered + refused;
        counts.delivered += settled.delivered;
        for (reason, points) in settled.refused {
            *counts.dropped.entry(reason).or_default() += points;
        }
        if let Some(words) = words {
            counts.last_error = Some((SystemTime::now(), words));
        }
        if settled.delivered > 0 {
            counts.last_success = Some(SystemTime::now());
        }
    }

    /// An attempt failed. Returns whether the one before had not, so that it is logged once.
    pub(crate) fn failed(&self, words: String) -> bool {
        let mut counts = self.lock();
        counts.failures += 1;
        counts.last_error = Some((SystemTime::now(), words));
        !std::mem::replace(&mut counts.down, true)
    }

    /// Whether the latest attempt failed.
    pub(crate) fn is_down(&self) -> bool {
        self.lock().down
    }

    /// An attempt succeeded. Returns whether the one before had failed.
    pub(crate) fn succeeded(&self) -> bool {
        std::mem::take(&mut self.lock().down)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Every update leaves the numbers whole, so a panic elsewhere does not spoil them.
        self.counts.lock()
    }
}
