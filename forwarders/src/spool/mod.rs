//! The windows of one destination on disk, one file a window.
//!
//! This folder only reads, writes and removes files. [`delivery`](crate::delivery) decides which
//! windows go to disk, in which order they are delivered and which are dropped to make room.

pub(crate) mod codec;
mod directory;
mod disk;
mod file;
pub(crate) mod leb128;
mod lock;
mod name;
#[cfg(test)]
mod old_files;
mod quarantine;
mod quarantine_folder;
mod reader;
mod removal;
mod scan;
mod settled;
mod work;
mod writer;

#[cfg(any(test, feature = "test-util"))]
pub(crate) use directory::SpoolDirectory;
pub use directory::{SpoolReadError, read, usable};
pub(crate) use disk::{Disk, RealDisk, remove_if_present};
pub use file::SpoolFileError;
#[cfg(any(test, feature = "test-util"))]
pub(crate) use file::{read as unpack, write as pack};
pub(crate) use lock::{FolderLock, FolderLockError};
pub use name::{FileName, folder_of};
pub(crate) use reader::SpoolReader;
pub(crate) use removal::DiscardOutcome;
pub(crate) use work::{DiscardedFiles, FoundWindows, RefusedPoints, WriteJob};
pub use writer::SpoolPlace;
pub(crate) use writer::{SpoolWriteError, SpoolWriter};
