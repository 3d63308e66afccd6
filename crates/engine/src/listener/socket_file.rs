//! The file of a bound Unix socket, removed with the socket.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
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

    /// Changes the mode of the file.
    ///
    /// # Errors
    /// When another file is at the path, or the system refuses.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(open(&self.path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if self.identity != Some((metadata.dev(), metadata.ino())) {
            return Err(io::Error::other("another program has replaced the file"));
        }
        // Through the opened file, which stays the same one. Linux cannot change it directly.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(path, Permissions::from_mode(mode))
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_mode_of_the_socket_changes_and_that_of_a_file_in_its_place_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("socket"), folder.path().join("other"));
        let _listener = UnixListener::bind(&path).unwrap();
        let file = SocketFile::new(&path).unwrap();
        file.set_mode(0o640).unwrap();
        assert_eq!(mode(&path), 0o640);
        fs::write(&other, "").unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(file.set_mode(0o666).unwrap_err().to_string().contains("replaced"));
        assert_eq!(mode(&other), 0o600);
    }
}
