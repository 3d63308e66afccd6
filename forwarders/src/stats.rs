//! The ledger of one forwarder: where every point that was flushed to it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::payload::Settled;

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
}

/// Counts of points and the latest outcome. At every moment `flushed` = `delivered` + `queued` +
/// `spooled` + the sum of `dropped`.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Points handed to this forwarder.
    pub flushed: u64,
    /// Points that the destination acknowledged (or, without acknowledgements, was given).
    pub delivered: u64,
    /// Points in memory, those that are being sent included.
    pub queued: u64,
    /// Points on disk.
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
}

/// Shared between the queue, the task and whoever reports. One lock around all the numbers, taken
/// a few times a window, so that the equation holds at every moment and not just in between.
#[derive(Debug, Default)]
pub struct ForwarderStats {
    counts: Mutex<Counts>,
}

impl ForwarderStats {
    /// All numbers at one moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().clone()
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

    /// Points leave the queue for good without having been delivered.
    pub(crate) fn dropped(&self, reason: &'static str, points: u64) {
        if points > 0 {
            let mut counts = self.lock();
            counts.queued -= points;
            *counts.dropped.entry(reason).or_default() += points;
        }
    }

    /// The destination has taken points or refused them.
    pub(crate) fn settled(&self, settled: Settled) {
        let refused: u64 = settled.refused.values().sum();
        let mut counts = self.lock();
        counts.queued -= settled.delivered + refused;
        counts.delivered += settled.delivered;
        for (reason, points) in settled.refused {
            *counts.dropped.entry(reason).or_default() += points;
        }
        if let Some(words) = settled.last_refusal {
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

    /// An attempt succeeded. Returns whether the one before had failed.
    pub(crate) fn succeeded(&self) -> bool {
        std::mem::take(&mut self.lock().down)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Every update leaves the numbers whole, so a panic elsewhere does not spoil them.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
