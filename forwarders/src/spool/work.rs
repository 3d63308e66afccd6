//! The jobs that a backlog gives to the spool of its destination.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::name::FileName;
use model::{PointRanges, Snapshot};

/// Files of a spool that are no longer needed there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DiscardedFiles {
    /// Files to remove: their windows were delivered or dropped.
    pub(crate) remove: Vec<FileName>,
    /// Unusable files to move to the quarantine, each with the suffix that its name gets there.
    pub(crate) set_aside: Vec<(FileName, &'static str)>,
}

impl DiscardedFiles {
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set_aside.is_empty()
    }
}

/// A request to write points of a window to disk.
#[derive(Debug)]
pub(crate) struct WriteJob {
    /// The number of the window, which its file name begins with.
    pub(crate) seq: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    /// The points to write, as indexes into the snapshot.
    pub(crate) points: PointRanges,
}

/// Points of a window that the destination permanently rejected, for the quarantine.
#[derive(Debug)]
pub(crate) struct RefusedPoints {
    /// The number of the window, which the file names begin with.
    pub(crate) seq: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    /// The points for each reason, as indexes into the snapshot. Each reason gets its own file.
    pub(crate) points: BTreeMap<&'static str, PointRanges>,
}
