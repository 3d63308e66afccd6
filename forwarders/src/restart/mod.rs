//! The state that an orderly stop leaves to the next run: a few files in one folder.
//!
//! ```text
//! LOCK            held by the daemon that works with the folder; contains its process ID
//! windows         the windows that the stop cut short, until their ends have passed
//! levels          the values of gauges
//! totals-NAME     the totals of a destination that keeps totals
//! signatures      the signed datagrams that were accepted, by their beginnings
//! signed-until    the latest second in which such a datagram may have been signed, during a run
//! ```
//!
//! A file is written aside, synced and renamed, so that it is there as a whole or not at all. A crash
//! must not lead to wrong numbers, so no file survives its use:
//!
//! - `levels`, `totals-NAME` and `signatures` are removed before the run that reads them receives its first sample.
//!   A run that is killed later therefore leaves none: the next one starts from 0, which consumers of
//!   totals recognise as a reset. Totals of an earlier run would look like a reset to a large number.
//!   If they cannot be removed, or the folder cannot be opened, that is retried during the run. A disk
//!   that allows no change until the end of the run keeps them, which the next run cannot notice.
//! - `signed-until` is for the run after a crash, which has no `signatures`: it accepts datagrams that are
//!   signed later. It is written in place and not synced, because it only has to survive the process: after
//!   a power failure, the time of the boot counts as well.
//! - `windows` stays until the end of the last window in it has passed. Its values only ever complete
//!   a window that is written with the timestamp of that end, so that reading them twice repeats a
//!   write and counts nothing twice.

mod content;
mod envelope;
mod folder;
mod mark;
mod place;
#[cfg(test)]
mod tests;

#[cfg(feature = "prometheus")]
pub(crate) use crate::spool::series::{put_series, read_series};
pub use content::{decode_levels, decode_windows, encode_levels, encode_windows};
pub use envelope::RestartFileError;
pub use folder::{RestartFolder, RestartFolderError, RestartPart, SavedFile};
pub use mark::{MarkFile, MarkState, SignedUntil};
pub use place::RestartPlace;
