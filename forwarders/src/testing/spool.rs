//! The steps of a spool one by one, for benchmarks.

use std::path::Path;

use crate::spool::{
    DiscardedFiles, FileName, SpoolDirectory, pack as pack_file, unpack as unpack_file,
};
use model::PointRanges;
use model::Snapshot;

/// Encodes a window as a spool file.
#[must_use]
pub fn pack(snapshot: &Snapshot) -> Vec<u8> {
    pack_file(1, snapshot, &PointRanges::first(snapshot.points.len()), "run-1").1
}

/// Reads a file that [`pack`] made and returns its number of points.
///
/// # Panics
/// If `file` is not such a file.
#[must_use]
pub fn unpack(file: &[u8]) -> usize {
    let number = |at: usize| u64::from_le_bytes(*file[at..].first_chunk().expect("a header"));
    let (seq, start_ms, points) = (number(12), number(20), number(36));
    let name = FileName { seq, start_ms, points, bytes: file.len() as u64 };
    unpack_file(name, file).expect("a spool file").points.len()
}

/// An open spool folder.
#[derive(Debug)]
pub struct Spool(SpoolDirectory);

impl Spool {
    /// Opens the spool in `folder`.
    ///
    /// # Panics
    /// If the folder cannot be opened.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        Self(SpoolDirectory::open(folder).expect("a folder").0)
    }

    /// Writes a window and removes it again.
    ///
    /// # Panics
    /// If the system fails to write or remove the file.
    pub fn write_and_remove(&self, file: &[u8]) {
        let name = FileName { seq: 1, start_ms: 1, points: 1, bytes: file.len() as u64 };
        self.0.write(name, file, 1).expect("room on the disk");
        let files = DiscardedFiles { remove: vec![name], ..DiscardedFiles::default() };
        assert!(self.0.discard(&files).error.is_none(), "it is there");
    }
}
