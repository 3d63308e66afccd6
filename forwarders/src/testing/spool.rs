//! The steps of a spool one by one, for benchmarks.

use std::path::Path;

use crate::spool::{FileName, SpoolDirectory, pack as pack_file, unpack as unpack_file};
use model::PointRanges;
use model::Snapshot;

/// The file of a window.
#[must_use]
pub fn pack(snapshot: &Snapshot) -> Vec<u8> {
    pack_file(1, snapshot, &PointRanges::first(snapshot.points.len()), "run-1").1
}

/// How many points are in a file that [`pack`] made.
///
/// # Panics
/// When it is no such file.
#[must_use]
pub fn unpack(file: &[u8]) -> usize {
    let number = |at: usize| u64::from_le_bytes(*file[at..].first_chunk().expect("a header"));
    let (seq, start_ms, points) = (number(12), number(20), number(36));
    let name = FileName { seq, start_ms, points, bytes: file.len() as u64 };
    unpack_file(name, file).expect("a spool file").points.len()
}

/// A spool's folder.
#[derive(Debug)]
pub struct Spool(SpoolDirectory);

impl Spool {
    /// Opens it.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        Self(SpoolDirectory::open(folder).expect("a folder").0)
    }

    /// Writes a window and removes it again.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn write_and_remove(&self, file: &[u8]) {
        let name = FileName { seq: 1, start_ms: 1, points: 1, bytes: file.len() as u64 };
        self.0.write(name, file, 1).expect("room on the disk");
        self.0.remove(name).expect("it is there");
    }
}
