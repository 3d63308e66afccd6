//! The windows of one destination on disk, one file a window.
//!
//! This folder only reads, writes and removes files. [`delivery`](crate::delivery) decides which
//! windows go to disk, in which order they are delivered and which are dropped to make room.

pub(crate) mod codec;
mod directory;
mod file;
pub(crate) mod leb128;
mod name;
#[cfg(test)]
mod old_files;
mod quarantine;
mod reader;
mod work;
mod writer;

#[cfg(any(test, feature = "test-util"))]
pub(crate) use directory::SpoolDirectory;
pub(crate) use directory::{SpoolOpenError, lock, publish, remove, write_aside};
pub use directory::{SpoolReadError, read, usable};
pub use file::SpoolFileError;
#[cfg(any(test, feature = "test-util"))]
pub(crate) use file::{read as unpack, write as pack};
pub use name::{FileName, folder_of};
pub(crate) use reader::SpoolReader;
pub(crate) use work::{DiscardedFiles, RefusedPoints, WriteJob};
pub use writer::SpoolPlace;
pub(crate) use writer::SpoolWriter;
