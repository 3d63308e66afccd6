//! The work of a spool, as data.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::name::FileName;
use model::{PointRanges, Snapshot};

/// Files of a spool that are no longer needed there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DiscardedFiles {
    /// Files to remove: their windows were delivered or dropped.
    pub(crate) remove: Vec<FileName>,
    /// Files to move to the quarantine because they cannot be used, with the suffix of their name
    /// there.
    pub(crate) set_aside: Vec<(FileName, &'static str)>,
}

impl DiscardedFiles {
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set_aside.is_empty()
    }
}

/// Points of a window to write.
#[derive(Debug)]
pub(crate) struct WriteJob {
    /// The number of the window, by which its file is named.
    pub(crate) seq: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    /// The points to write, by their places in the snapshot.
    pub(crate) points: PointRanges,
}

/// Points of a window that the destination permanently rejected, for the quarantine.
#[derive(Debug)]
pub(crate) struct RefusedPoints {
    /// The number of the window, by which the files are named.
    pub(crate) seq: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    /// The points by reason.
    pub(crate) points: BTreeMap<&'static str, PointRanges>,
}
