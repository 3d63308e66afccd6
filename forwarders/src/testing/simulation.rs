//! The disk of a simulated host, for the simulator.

use std::path::Path;

use crate::spool::{pack, unpack};
use model::{PointRanges, Snapshot};

pub use crate::spool::simulated::{Crash, Operation, SimulatedDisk};
pub use crate::spool::{Disk, FileName, Host, SimulatedHost};

/// A window that a next run would find in a spool.
#[derive(Debug)]
pub struct WaitingWindow {
    /// The name of its file.
    pub name: FileName,
    /// Its content; `None` if the file is damaged.
    pub snapshot: Option<Snapshot>,
}

/// The windows that a next run would find in the spool at `root`, the oldest first.
#[must_use]
pub fn waiting(disk: &SimulatedDisk, root: &Path) -> Vec<WaitingWindow> {
    let content = |name: FileName| {
        let bytes = disk.peek(&root.join("new").join(name.to_string())).unwrap_or_default();
        WaitingWindow { name, snapshot: unpack(name, &bytes).ok() }
    };
    waiting_names(disk, root).into_iter().map(content).collect()
}

/// The names of the files of [`waiting`].
#[must_use]
pub fn waiting_names(disk: &SimulatedDisk, root: &Path) -> Vec<FileName> {
    let settled = disk.peek(&root.join("settled")).unwrap_or_default();
    let settled = crate::spool::settled_inodes(&settled);
    let files = disk.inodes(&root.join("new")).into_iter();
    let names = files.filter_map(|(name, inode)| Some((name.parse::<FileName>().ok()?, inode)));
    let mut found: Vec<FileName> =
        names.filter(|file| !settled.contains(file)).map(|(name, _)| name).collect();
    found.sort_unstable();
    found
}

/// The size of the file with these points of a window, which a run of the daemon named `run-1` flushed.
#[must_use]
pub fn packed_bytes(snapshot: &Snapshot, points: &PointRanges) -> u64 {
    pack(0, snapshot, points, "run-1").0.bytes
}

/// The names of the files that [`waiting`] leaves out because their windows are settled, and would not
/// leave out after a power failure that loses everything that is not synced.
#[must_use]
pub fn settled_names_at_risk(disk: &SimulatedDisk, root: &Path) -> Vec<FileName> {
    let path = root.join("settled");
    let safe = crate::spool::settled_inodes(&disk.safe(&path));
    let settled = crate::spool::settled_inodes(&disk.peek(&path).unwrap_or_default());
    let at_risk = settled.into_iter().filter(|file| !safe.contains(file));
    at_risk.map(|(name, _)| name).collect()
}
