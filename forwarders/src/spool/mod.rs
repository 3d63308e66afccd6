//! The windows of one destination on disk, one file a window.
//!
//! This folder only reads, writes and removes files. [`delivery`](crate::delivery) decides which
//! windows go to disk, in which order they are delivered and which are dropped to make room.
//!
//! The guarantees of a spool, and why they hold:
//!
//! - A spooled window survives a power failure: its content is synced, then its name. A start syncs
//!   the windows that it finds, in the background: the earlier run may have had no time for that.
//! - A stop does not wait for a slow disk: windows that are left in memory get their files first and
//!   are synced together afterwards. If the time of the stop ends before that, they survive the end
//!   of the process, and a power failure in the next seconds can damage them, which is counted. A
//!   file that they replace stays until they are synced, also over a restart.
//! - A settled window is not sent again: a window is taken from disk only when the file of every
//!   settled one is removed or recorded in `settled` (`RemovalDebt`). A kill repeats the window in
//!   flight or the one that is being removed, never both.
//! - No file disappears without being counted: a write replaces only the file of a settled window,
//!   no window gets the name of a file that is being removed, and of two files with the same number,
//!   one is removed only if the other contains its undelivered points.
//! - An error of the system drops nothing: only content can be damaged.
//! - Fresh windows do not wait for the content of the folder: opening only lists it, and the rest
//!   follows in parts.
//! - With `write: always`, no destination receives a window before it is on disk: a gate holds it
//!   back (`WriteAheadGate`).

pub(crate) mod codec;
mod directory;
mod disk;
mod file;
mod host;
pub(crate) mod leb128;
mod lock;
mod name;
#[cfg(test)]
mod old_files;
pub(crate) mod primitives;
mod quarantine;
mod quarantine_folder;
mod reader;
mod refused;
mod removal;
mod scan;
pub(crate) mod series;
mod settled;
mod settled_list;
mod syncing;
mod work;
mod writer;
mod writing;

#[cfg(any(test, feature = "test-util"))]
pub(crate) use directory::SpoolDirectory;
pub use directory::{SpoolReadError, read, usable};
#[cfg(any(test, feature = "test-util"))]
pub(crate) use disk::simulated;
pub use disk::{Disk, DiskEntry, EntryKind, FileStatus};
pub(crate) use disk::{RealDisk, remove_if_present};
pub use file::SpoolFileError;
#[cfg(any(test, feature = "test-util"))]
pub(crate) use file::{read as unpack, write as pack};
pub use host::Host;
#[cfg(any(test, feature = "test-util"))]
pub use host::SimulatedHost;
pub(crate) use lock::{FolderLock, FolderLockError};
pub use name::{FileName, folder_of};
pub(crate) use reader::SpoolReader;
pub(crate) use removal::DiscardOutcome;
#[cfg(any(test, feature = "test-util"))]
pub(crate) use settled::inodes as settled_inodes;
pub(crate) use work::{DiscardedFiles, FoundWindows, RefusedPoints, WriteJob};
pub use writer::SpoolPlace;
pub(crate) use writer::{PackedWindow, SpoolWriteError, SpoolWriter, WriteEnd};
