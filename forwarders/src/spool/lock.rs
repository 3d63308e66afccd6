//! The lock of a spool folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;

/// A lock that keeps other daemons out of a folder until it is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    path: PathBuf,
    /// The system releases the lock when the file is closed, also after a crash.
    file: File,
}

/// Why a folder cannot be locked.
#[derive(Debug, Error)]
pub(crate) enum FolderLockError {
    /// Another daemon holds the lock.
    #[error("{} is in use by another daemon (process {holder}): give each a `state_dir` or the \
             destination a `name` of its own", folder.display())]
    Held { folder: PathBuf, holder: String },
    /// The system returned an error.
    #[error("{}: {source} (see `state_dir`)", path.display())]
    System { path: PathBuf, source: io::Error },
}

impl FolderLock {
    /// Locks a folder with the file `LOCK` in it, which is created if it is missing and then
    /// contains the ID of this process.
    ///
    /// # Errors
    /// When another daemon holds the lock, or when the system returns an error.
    pub(crate) fn take(folder: &Path) -> Result<Self, FolderLockError> {
        let mut lock = Self::take_opened(folder, open)?;
        let named = lock.file.set_len(0);
        let named = named.and_then(|()| write!(lock.file, "{}", std::process::id()));
        named.map_err(|source| FolderLockError::System { path: lock.path.clone(), source })?;
        Ok(lock)
    }

    /// Locks a folder on a disk that cannot be written, with the file of an earlier daemon.
    ///
    /// # Errors
    /// Like [`FolderLock::take`], and when there is no such file.
    pub(crate) fn take_read_only(folder: &Path) -> Result<Self, FolderLockError> {
        Self::take_opened(folder, |path| no_follow().read(true).open(path))
    }

    fn take_opened(
        folder: &Path,
        open: impl FnOnce(&Path) -> io::Result<File>,
    ) -> Result<Self, FolderLockError> {
        let path = folder.join("LOCK");
        let at = |source| FolderLockError::System { path: path.clone(), source };
        let file = open(&path).map_err(at)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, file }),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the error message. A process ID has fewer than 20 digits.
                let _unknown = file.take(20).read_to_string(&mut holder);
                Err(FolderLockError::Held { folder: folder.to_owned(), holder })
            }
            Err(TryLockError::Error(source)) => Err(at(source)),
        }
    }

    /// Whether the file that this process has locked is still the one in the folder. If not, the
    /// folder was removed or replaced, and another daemon may lock the new one.
    ///
    /// # Errors
    /// When the system returns another error than `NotFound`.
    pub(crate) fn is_in_place(&self) -> io::Result<bool> {
        let there = match self.path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            there => there?,
        };
        let ours = self.file.metadata()?;
        Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino()))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let is_unusable =
        |there: std::fs::Metadata| !there.file_type().is_file() && !there.file_type().is_dir();
    // A link or a named pipe cannot be locked, so no daemon can hold it.
    if path.symlink_metadata().is_ok_and(is_unusable) {
        std::fs::remove_file(path)?;
    }
    let mut options = no_follow();
    // Not truncated before the lock is held: the file contains the process ID of its holder.
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path)
}

/// `NOFOLLOW`: the daemon would otherwise truncate the target of a planted link. `NONBLOCK`:
/// opening a planted named pipe would wait for the other end.
fn no_follow() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    options
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_error_for_a_locked_folder_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(folder.path()).unwrap();
        let error = FolderLock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        FolderLock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_lock_that_was_removed_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        assert!(lock.is_in_place().unwrap());
        fs::remove_file(folder.path().join("LOCK")).unwrap();
        assert!(!lock.is_in_place().unwrap());
        let next = FolderLock::take(folder.path()).unwrap();
        assert!(!lock.is_in_place().unwrap() && next.is_in_place().unwrap());
    }

    #[test]
    fn a_lock_that_the_system_cannot_look_up_is_not_called_removed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("spool");
        fs::create_dir(&folder).unwrap();
        let lock = FolderLock::take(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(!lock.is_in_place().unwrap());
        fs::write(&folder, "").unwrap();
        assert_eq!(lock.is_in_place().unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_link_or_a_pipe_that_appears_in_the_last_moment_is_not_followed_and_holds_up_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (link, pipe) = (folder.path().join("link"), folder.path().join("pipe"));
        symlink(folder.path(), &link).unwrap();
        assert!(no_follow().read(true).open(&link).is_err());
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        no_follow().read(true).open(&pipe).unwrap();
    }

    #[test]
    fn a_link_or_a_pipe_in_place_of_the_lock_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("LOCK"), folder.path().join("target"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &path).unwrap();
        FolderLock::take(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        FolderLock::take(folder.path()).unwrap();
        assert!(path.symlink_metadata().unwrap().is_file());
    }
}
