//! The window that the delivery loop is delivering.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::waiting::{QueuedWindow, SpooledWindow};
use crate::delivery::ledger::PointStorage;
use crate::spool::{FileName, RefusedPoints, WriteJob};
use model::{PointRanges, Snapshot};

/// The window that the delivery loop is delivering.
#[derive(Debug)]
pub(super) struct InFlightWindow {
    pub(super) seq: u64,
    /// Kept until the window is delivered if there is a spool: points that are left may have to be
    /// written. `None` also while the window is being read from its file.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// The points that are not settled yet, by their places in the snapshot.
    pub(super) left: PointRanges,
    /// The points that the destination refused, by reason, until the quarantine gets them.
    refused: BTreeMap<&'static str, PointRanges>,
    /// The file of the window. It may hold points that were settled after it was written.
    pub(super) file: Option<FileName>,
    /// The window was not delivered at once, so it and all later ones belong on disk.
    pub(super) is_late: bool,
    /// The file had to make room for newer windows. It is not written again before the delivery
    /// loop ends, or the window and its successors would evict each other in turn.
    gave_way: bool,
    /// The reason for which the window has to be given up, once it has expired or was removed.
    pub(super) revoked: Option<&'static str>,
}

impl InFlightWindow {
    /// A window from memory; `keeps_snapshot` when there is a spool to write it to.
    pub(super) fn from_queued(window: &QueuedWindow, keeps_snapshot: bool) -> Self {
        let snapshot = keeps_snapshot.then(|| Arc::clone(&window.snapshot));
        Self::new(window.seq, window.points(), snapshot, None)
    }

    /// A window from disk.
    pub(super) fn from_spooled(window: &SpooledWindow) -> Self {
        let SpooledWindow { file, snapshot } = window;
        Self::new(file.seq, file.points, snapshot.clone(), Some(*file))
    }

    fn new(seq: u64, points: u64, snapshot: Option<Arc<Snapshot>>, file: Option<FileName>) -> Self {
        Self {
            seq,
            snapshot,
            left: PointRanges::first(points as usize),
            refused: BTreeMap::new(),
            file,
            is_late: false,
            gave_way: false,
            revoked: None,
        }
    }

    pub(super) fn storage(&self) -> PointStorage {
        if self.file.is_some() { PointStorage::Disk } else { PointStorage::Memory }
    }

    /// Remembers points that the destination refused.
    pub(super) fn refuse(&mut self, reason: &'static str, places: PointRanges) {
        if places.count() > 0 {
            self.refused.entry(reason).or_default().join(places);
        }
    }

    /// Takes the points that the destination refused, with the snapshot that their places refer to.
    pub(super) fn take_refused(&mut self) -> TakenRefusals {
        let points = std::mem::take(&mut self.refused);
        let count = points.values().map(PointRanges::count).sum();
        let seq = self.seq;
        let snapshot = self.snapshot.clone();
        let refused = snapshot.map(|snapshot| RefusedPoints { seq, snapshot, points });
        TakenRefusals { count, refused }
    }

    /// Shrinks the snapshot to the points that are left, for another forwarder: the places of
    /// points in `left` and in payloads start at the first of them again.
    pub(super) fn restart(&mut self) -> Option<Arc<Snapshot>> {
        let snapshot = self.snapshot.as_mut()?;
        if self.left.count() < snapshot.points.len() as u64 {
            *snapshot = Arc::new(snapshot.only(&self.left));
            self.left = PointRanges::first(snapshot.points.len());
        }
        Some(Arc::clone(snapshot))
    }

    /// The points to write, if the window belongs on disk and is not there.
    ///
    /// While the delivery loop runs, a late window is written once: points that are delivered after
    /// that are delivered twice only if the daemon crashes. When the loop `has_ended`, a file with
    /// delivered points is written again, so that a restart delivers nothing twice.
    pub(super) fn to_write(&self, has_ended: bool) -> Option<WriteJob> {
        let left = self.left.count();
        if self.revoked.is_some() || left == 0 {
            return None;
        }
        let is_wanted = match self.file {
            Some(file) => has_ended && file.points != left,
            None => has_ended || (self.is_late && !self.gave_way),
        };
        let snapshot = self.snapshot.as_ref().filter(|_| is_wanted)?;
        let (snapshot, points) = (Arc::clone(snapshot), self.left.clone());
        Some(WriteJob { seq: self.seq, snapshot, points })
    }

    /// Gives up the file, unless it holds the only copy of the window. Returns the file.
    pub(super) fn give_way(&mut self) -> Option<FileName> {
        let file = self.file.take_if(|_| self.snapshot.is_some())?;
        self.gave_way = true;
        Some(file)
    }

    /// Marks the window as one to give up if its file `is_void`, unless it is marked already. The
    /// delivery loop drops it between two attempts. Returns how many points this concerns.
    pub(super) fn revoke_if(
        &mut self,
        reason: &'static str,
        is_void: impl FnOnce(&FileName) -> bool,
    ) -> u64 {
        if self.revoked.is_some() || !self.file.as_ref().is_some_and(is_void) {
            return 0;
        }
        self.revoked = Some(reason);
        self.left.count()
    }
}

/// The points that the destination refused of a window.
pub(super) struct TakenRefusals {
    pub(super) count: u64,
    /// `None` if the snapshot is gone.
    pub(super) refused: Option<RefusedPoints>,
}
