//! The window that the delivery loop is delivering.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::memory_queue::QueuedWindow;
use super::waiting::SpooledWindow;
use crate::delivery::ledger::PointStorage;
use crate::spool::{FileName, RefusedPoints, WriteJob};
use model::{PointRanges, Snapshot};

/// The window that the delivery loop is delivering.
#[derive(Debug)]
pub(super) struct InFlightWindow {
    pub(super) seq: u64,
    /// The snapshot, kept until the window is delivered if there is a spool, because the points
    /// that are left may have to be written. `None` without a spool, and while the window is being
    /// read from its file.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// An estimate of the memory that the snapshot occupies, also if only the delivery loop keeps it.
    /// 0 while the window is being read from its file.
    pub(super) bytes: u64,
    /// The points that are not settled yet, as indexes into the snapshot.
    pub(super) left: PointRanges,
    /// The points that the destination refused, by reason, until they are handed to the quarantine.
    refused: BTreeMap<&'static str, PointRanges>,
    /// The file of the window. It may contain points that were settled after it was written.
    pub(super) file: Option<FileName>,
    /// Whether the window was not delivered at once, so that it and all later ones belong on disk.
    pub(super) is_late: bool,
    /// Whether the file was discarded to make room for newer windows. It is not written again
    /// before the delivery loop ends, or the window and its successors would evict each other in
    /// turn.
    gave_way: bool,
    /// The reason to give up the window: it has expired, or its file was removed.
    pub(super) revoked: Option<&'static str>,
    /// Attempts to read the file that failed with an error of the system.
    pub(super) failed_reads: u32,
}

impl InFlightWindow {
    /// A window from memory; `keeps_snapshot` if there is a spool that it can be written to.
    pub(super) fn from_queued(window: &QueuedWindow, keeps_snapshot: bool) -> Self {
        let snapshot = keeps_snapshot.then(|| Arc::clone(&window.snapshot));
        let bytes = window.snapshot.heap_bytes();
        Self { bytes, ..Self::new(window.seq, window.points(), snapshot, None) }
    }

    /// A window from disk.
    pub(super) fn from_spooled(window: &SpooledWindow) -> Self {
        let SpooledWindow { file, snapshot, failed_reads, .. } = window;
        let in_flight = Self::new(file.seq, file.points, snapshot.clone(), Some(*file));
        Self { failed_reads: *failed_reads, ..in_flight }
    }

    fn new(seq: u64, points: u64, snapshot: Option<Arc<Snapshot>>, file: Option<FileName>) -> Self {
        Self {
            seq,
            bytes: snapshot.as_ref().map_or(0, |snapshot| snapshot.heap_bytes()),
            snapshot,
            left: PointRanges::first(points as usize),
            refused: BTreeMap::new(),
            file,
            is_late: false,
            gave_way: false,
            revoked: None,
            failed_reads: 0,
        }
    }

    pub(super) fn storage(&self) -> PointStorage {
        if self.file.is_some() { PointStorage::Disk } else { PointStorage::Memory }
    }

    /// Adds points that the destination refused.
    pub(super) fn refuse(&mut self, reason: &'static str, places: PointRanges) {
        // A reason without points would become an empty file in the quarantine.
        if places.count() > 0 {
            self.refused.entry(reason).or_default().join(places);
        }
    }

    /// Takes the points that the destination refused, with the snapshot that contains them.
    pub(super) fn take_refused(&mut self) -> TakenRefusals {
        let points = std::mem::take(&mut self.refused);
        let count = points.values().map(PointRanges::count).sum();
        let seq = self.seq;
        let snapshot = self.snapshot.clone();
        let refused = snapshot.map(|snapshot| RefusedPoints { seq, snapshot, points });
        TakenRefusals { count, refused }
    }

    /// Shrinks the snapshot to the points that are left, for another forwarder, and returns it.
    /// Indexes of points refer to the shrunk snapshot from then on.
    pub(super) fn restart(&mut self) -> Option<Arc<Snapshot>> {
        let snapshot = self.snapshot.as_mut()?;
        // A window of which nothing was delivered is not copied.
        if self.left.count() < snapshot.points.len() as u64 {
            *snapshot = Arc::new(snapshot.only(&self.left));
            self.left = PointRanges::first(snapshot.points.len());
            self.bytes = snapshot.heap_bytes();
        }
        Some(Arc::clone(snapshot))
    }

    /// The points to write if the window belongs on disk and is not there; `has_ended` says whether
    /// the delivery loop has ended.
    pub(super) fn to_write(&self, has_ended: bool) -> Option<WriteJob> {
        let left = self.left.count();
        if self.revoked.is_some() || left == 0 {
            return None;
        }
        let is_wanted = match self.file {
            // While the loop runs, a window is written only once: a write after each attempt would
            // only help after a crash. At the end, a file that contains settled points is replaced,
            // so that a restart delivers nothing twice.
            Some(file) => has_ended && file.points != left,
            // At the end no attempt will deliver the window from memory, so it is written even if
            // its file gave way before.
            None => has_ended || (self.is_late && !self.gave_way),
        };
        let snapshot = self.snapshot.as_ref().filter(|_| is_wanted)?;
        let (snapshot, points) = (Arc::clone(snapshot), self.left.clone());
        Some(WriteJob { seq: self.seq, snapshot, points })
    }

    /// Gives up the file, unless it is the only copy of the window. Returns the file to discard.
    pub(super) fn give_way(&mut self) -> Option<FileName> {
        let file = self.file.take_if(|_| self.snapshot.is_some())?;
        self.gave_way = true;
        Some(file)
    }

    /// Revokes the window if its file `is_void`, unless it is revoked already. The delivery loop
    /// drops it between two attempts. Returns the number of points that are left of it.
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

/// The points of a window that the destination refused.
pub(super) struct TakenRefusals {
    pub(super) count: u64,
    /// The points themselves; `None` if the snapshot was not kept.
    pub(super) refused: Option<RefusedPoints>,
}
