//! Counts where every point of one destination is.

use std::collections::BTreeMap;

/// The storage of a point that is neither delivered nor dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PointStorage {
    /// In memory only.
    Memory,
    /// On disk, whether or not it is in memory as well.
    Disk,
}

/// Counts where each point is that was flushed to one destination.
///
/// Each method moves points from one column to another, so that `flushed` + `recovered` =
/// `delivered` + `queued` + `spooled` + the sum of `dropped` holds after each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PointLedger {
    pub(crate) flushed: u64,
    pub(crate) recovered: u64,
    pub(crate) delivered: u64,
    pub(crate) queued: u64,
    pub(crate) spooled: u64,
    pub(crate) dropped: BTreeMap<&'static str, u64>,
}

impl PointLedger {
    /// Adds new points, which wait in memory.
    pub(crate) fn flush(&mut self, points: u64) {
        self.flushed += points;
        self.queued += points;
    }

    /// Adds points on disk that an earlier run of the daemon flushed.
    pub(crate) fn recover(&mut self, points: u64) {
        self.recovered += points;
        self.spooled += points;
    }

    /// Moves points from memory to disk.
    pub(crate) fn spool(&mut self, points: u64) {
        self.queued -= points;
        self.spooled += points;
    }

    /// Moves points from disk to memory: their file is discarded, and they are in memory only.
    pub(crate) fn unspool(&mut self, points: u64) {
        self.spooled -= points;
        self.queued += points;
    }

    /// Moves points to `delivered`.
    pub(crate) fn deliver(&mut self, storage: PointStorage, points: u64) {
        *self.stored(storage) -= points;
        self.delivered += points;
    }

    /// Moves points to `dropped`: they will never be delivered.
    pub(crate) fn drop_points(&mut self, storage: PointStorage, reason: &'static str, points: u64) {
        // Without this check, callers that drop 0 points would add the reason to the ledger.
        if points > 0 {
            *self.stored(storage) -= points;
            *self.dropped.entry(reason).or_default() += points;
        }
    }

    fn stored(&mut self, storage: PointStorage) -> &mut u64 {
        match storage {
            PointStorage::Memory => &mut self.queued,
            PointStorage::Disk => &mut self.spooled,
        }
    }
}

#[cfg(test)]
impl PointLedger {
    /// Whether every point is in exactly one column.
    pub(crate) fn is_balanced(&self) -> bool {
        let dropped: u64 = self.dropped.values().sum();
        self.flushed + self.recovered == self.delivered + self.queued + self.spooled + dropped
    }
}
