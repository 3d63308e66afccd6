//! The counts of clients that watch what leaves destinations.

use std::sync::atomic::{AtomicU64, Ordering};

use api::status::TapStatus;

/// The counts of all clients. `shown` and `dropped` are those of clients that have disconnected.
#[derive(Debug, Default)]
pub struct OutputTaps {
    open: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    shown: AtomicU64,
    dropped: AtomicU64,
}

impl OutputTaps {
    /// Counts a client, which is accepted if fewer than `max` are connected.
    #[must_use]
    pub fn join(&self, max: u64) -> bool {
        let one_more = |open: u64| (open < max).then_some(open + 1);
        let joined = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        let count = if joined { &self.accepted } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
        joined
    }

    /// Counts a client that disconnects, with the events that it was shown and that it missed.
    pub fn leave(&self, shown: u64, dropped: u64) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.shown.fetch_add(shown, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    /// Adds these counts to those of the taps on listeners.
    #[must_use]
    pub fn added_to(&self, status: TapStatus) -> TapStatus {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TapStatus {
            open: status.open + count(&self.open),
            accepted: status.accepted + count(&self.accepted),
            refused: status.refused + count(&self.refused),
            shown: status.shown + count(&self.shown),
            dropped: status.dropped + count(&self.dropped),
        }
    }
}
