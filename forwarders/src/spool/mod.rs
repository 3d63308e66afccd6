//! What waits on disk while a destination is away: one file a window.

mod codec;
mod directory;
mod file;
mod keeper;
mod leb128;
mod name;
#[cfg(test)]
mod old_files;
mod quarantine;
#[cfg(test)]
mod tests;

pub(crate) use directory::{Directory, Found};
pub use directory::{ReadError, read, usable};
pub use file::FileError;
#[cfg(any(test, feature = "test-util"))]
pub(crate) use file::{read as unpack, write as pack};
pub(crate) use keeper::Keeper;
pub use keeper::SpoolPlace;
pub use name::{FileName, folder_of};
