//! The operations that a spool needs of a disk, so that a simulated disk can take the place of the
//! real one.

mod real;
#[cfg(any(test, feature = "test-util"))]
pub(crate) mod simulated;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::time::SystemTime;

pub(crate) use real::RealDisk;

/// A disk. Every operation may block for as long as the disk hangs, and returns the error of the
/// system.
#[allow(clippy::missing_errors_doc, reason = "the same for each operation")]
pub trait Disk: Debug + Send + Sync {
    /// Creates a folder and its missing ancestors. Only this user can read a created folder.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;

    /// Visits the entries of a folder, in no particular order.
    fn list(&self, folder: &Path, visit: &mut dyn FnMut(DiskEntry)) -> io::Result<()>;

    /// The state of a file; a link is not followed.
    fn status(&self, path: &Path) -> io::Result<FileStatus>;

    /// Reads at most `bytes_max` bytes from the beginning of a file. Fails with `InvalidData` if
    /// the path is a link or not a regular file.
    fn read(&self, file: &Path, bytes_max: u64) -> io::Result<Vec<u8>>;

    /// Creates a file, writes its content and syncs the content. After an error the file may exist
    /// with a part of the content.
    fn create(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Creates a file and writes its content, which a power failure may still damage. After an error
    /// the file may exist with a part of the content.
    fn create_unsynced(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Syncs the content of a file.
    fn sync_file(&self, file: &Path) -> io::Result<()>;

    /// Appends to a file, which is created if it is missing. A power failure may still damage what
    /// was appended. After an error the file may contain a part of `bytes`.
    fn append_unsynced(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Moves a file to another folder of the same disk. Replaces a file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Syncs the names in a folder. Until then, a created, renamed or removed file may be in its
    /// former state after a power failure.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Syncs the content of all files and the names in all folders of the disk that `folder` is on.
    fn sync_all(&self, folder: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, file: &Path) -> io::Result<()>;

    /// The bytes that this user may still write to the disk.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its name in the folder.
    pub name: OsString,
    /// Its kind.
    pub kind: EntryKind,
}

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// Anything else: a link, a named pipe, a socket, a device.
    Other,
}

/// The state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Its kind.
    pub kind: EntryKind,
    /// Its size.
    pub bytes: u64,
    /// Distinguishes the file from another file that later has the same name.
    pub inode: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

/// Whether a path exists; a link is not followed.
pub(crate) fn exists(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.status(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file. Succeeds if the file does not exist.
pub(crate) fn remove_if_present(disk: &dyn Disk, file: &Path) -> io::Result<()> {
    match disk.remove(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
