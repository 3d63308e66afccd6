//! The jobs that a backlog gives to the spool of its destination.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::name::FileName;
use model::{PointRanges, Snapshot};

/// The files that were in a folder when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FoundWindows {
    /// The number of the first window of this run; higher than those of the windows found.
    pub(crate) first_seq: u64,
    /// Windows, the oldest first.
    pub(crate) windows: Vec<FileName>,
    /// Windows whose file has another size than its name says.
    pub(crate) damaged: Vec<FileName>,
    /// Earlier files of windows that another file replaced: a crash interrupted the replacement.
    pub(crate) replaced: Vec<FileName>,
    /// The number of files that are not windows.
    pub(crate) strangers: u64,
    /// Whether the record of settled windows names files that no longer exist.
    pub(crate) has_old_records: bool,
}

/// Files of a spool that are no longer needed there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiscardedFiles {
    /// Files to remove: their windows were delivered or dropped.
    pub(crate) remove: Vec<FileName>,
    /// Unusable files to move to the quarantine, each with the suffix that its name gets there.
    pub(crate) set_aside: Vec<(FileName, &'static str)>,
}

impl DiscardedFiles {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.remove.len() + self.set_aside.len()
    }

    /// Takes the first `count` files.
    pub(crate) fn take_first(&mut self, count: usize) -> Self {
        let remove: Vec<_> = self.remove.drain(..count.min(self.remove.len())).collect();
        let rest = (count - remove.len()).min(self.set_aside.len());
        Self { remove, set_aside: self.set_aside.drain(..rest).collect() }
    }

    /// Adds files.
    pub(crate) fn append(&mut self, mut files: Self) {
        self.remove.append(&mut files.remove);
        self.set_aside.append(&mut files.set_aside);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_files_are_those_to_remove_and_then_those_to_set_aside() {
        let file = |seq| FileName { seq, start_ms: 1, points: 1, bytes: 1 };
        let aside = |seq| (file(seq), "corrupt");
        let mut files = DiscardedFiles {
            remove: vec![file(1), file(2)],
            set_aside: vec![aside(3), aside(4), aside(5)],
        };
        let first = DiscardedFiles { remove: vec![file(1), file(2)], set_aside: vec![aside(3)] };
        assert_eq!(files.take_first(3), first);
        assert_eq!((files.len(), files.take_first(1).set_aside), (2, vec![aside(4)]));
        assert_eq!((files.take_first(9).set_aside, files.is_empty()), (vec![aside(5)], true));
    }
}
