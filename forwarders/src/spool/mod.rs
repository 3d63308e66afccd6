//! What waits on disk while a destination is away: one file a window.

mod codec;
mod directory;
mod file;
mod name;
mod quarantine;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use directory::{Directory, Found};
pub use directory::{ReadError, read, usable};
pub use file::FileError;
#[cfg(any(test, feature = "test-util"))]
pub(crate) use file::{read as unpack, write as pack};
pub use name::{FileName, folder_of};
pub use writer::SpoolPlace;
pub(crate) use writer::SpoolWriter;
