//! The file of a bound Unix socket, removed with the socket.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tracing::warn;

/// The file of a bound socket. Removed when dropped, unless another program has replaced it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode, which no other file has while the socket is open. `None` if the file
    /// belongs to another program.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: Some(identity(path)?) })
    }

    /// The file of a passed socket, which the service manager continues to use.
    pub(super) fn of_another(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: None }
    }
}

/// Shown in place of the address of a sender: clients of a Unix socket have no address.
impl std::fmt::Display for SocketFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "unix:{}", self.path.display())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = self.identity.is_some() && identity(&self.path).ok() == self.identity;
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
