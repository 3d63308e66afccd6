//! The folder of the restart state.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;

use super::envelope::{self, RestartFileError};
use super::mark::{self, MarkFile, MarkState, SignedUntil};
use crate::spool::{Disk, FolderLock, FolderLockError, RealDisk, folder_of, remove_if_present};

/// A file while it is being written.
const TMP: &str = "tmp";

/// A part of the state, which has a file of its own: damage to one costs only that part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RestartPart {
    /// The windows that the stop cut short.
    Windows,
    /// The values of gauges.
    Levels,
    /// The totals of the destination of this name.
    Totals(String),
    /// The signed datagrams that were accepted.
    Signatures,
}

/// A part that was read from its file.
#[derive(Debug, PartialEq, Eq)]
pub struct SavedFile {
    /// When the earlier run wrote it, in Unix milliseconds.
    pub saved_at_ms: u64,
    /// The content.
    pub bytes: Vec<u8>,
}

/// The folder of the restart state, locked.
#[derive(Debug)]
pub struct RestartFolder {
    root: PathBuf,
    lock: FolderLock,
    /// Whether this process has created it.
    is_new: bool,
}

/// Why the folder cannot be opened.
#[derive(Debug, Error)]
pub enum RestartFolderError {
    /// Another daemon works with it.
    #[error("{} is in use by another daemon (process {holder}): give each a `state_dir`", folder.display())]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The ID of the daemon's process.
        holder: String,
    },
    /// The system refuses access.
    #[error("{}: {source} (see `state_dir`)", path.display())]
    System {
        /// The folder, or a file in it.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl From<FolderLockError> for RestartFolderError {
    fn from(error: FolderLockError) -> Self {
        match error {
            FolderLockError::Held { folder, holder } => Self::Held { folder, holder },
            FolderLockError::System { path, source } => Self::System { path, source },
        }
    }
}

impl RestartPart {
    fn number(&self) -> u8 {
        match self {
            Self::Windows => 1,
            Self::Levels => 2,
            Self::Totals(_) => 3,
            Self::Signatures => 4,
        }
    }

    fn file_name(&self) -> String {
        match self {
            Self::Windows => "windows".to_owned(),
            Self::Levels => "levels".to_owned(),
            Self::Totals(name) => format!("totals-{}", folder_of(name)),
            Self::Signatures => "signatures".to_owned(),
        }
    }
}

impl fmt::Display for RestartPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file_name())
    }
}

impl RestartFolder {
    /// Creates the folder if it is missing and locks it. On a disk that only can be read, the lock is
    /// one for reading, which keeps other daemons out as well.
    ///
    /// # Errors
    /// When another daemon works with it or the system refuses access.
    pub fn open(root: &Path) -> Result<Self, RestartFolderError> {
        // A folder that is there is enough, also where none can be created.
        let is_new = !root.is_dir();
        if is_new {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(root);
            made.map_err(|source| RestartFolderError::System { path: root.to_owned(), source })?;
        }
        let lock = FolderLock::take(root).or_else(|error| match error {
            FolderLockError::Held { .. } => Err(error),
            FolderLockError::System { .. } => FolderLock::take_read_only(root).map_err(|_| error),
        })?;
        if is_new {
            // For the next start, if this one fails.
            let none = SignedUntil { second: 0, window: 0 };
            let _unknown_then = MarkFile::create(root, none);
        }
        Ok(Self { root: root.to_owned(), lock, is_new })
    }

    /// Whether it was neither removed nor replaced since it was opened.
    ///
    /// # Errors
    /// When the system refuses access.
    pub fn is_in_place(&self) -> io::Result<bool> {
        self.lock.is_in_place()
    }

    /// Reads a part, if its content takes at most `max` bytes; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be used. The file stays.
    pub fn read(
        &self,
        part: &RestartPart,
        max: u64,
    ) -> Result<Option<SavedFile>, RestartFileError> {
        // A link could lead anywhere, and opening a pipe would wait for its writer.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let path = self.root.join(part.file_name());
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let most = envelope::file_bytes_max(max);
        let bytes = file.metadata()?.len();
        if bytes > most {
            return Err(RestartFileError::TooLarge { bytes, max });
        }
        let mut content = Vec::new();
        file.take(most).read_to_end(&mut content)?;
        let content = envelope::open(part.number(), &content, max)?;
        Ok(Some(SavedFile { saved_at_ms: content.saved_at_ms, bytes: content.bytes }))
    }

    /// Writes a part so that it is there as a whole or not at all. `commit` is asked when only the
    /// last step is left, which makes the file visible.
    ///
    /// # Errors
    /// When the disk is full or fails, or `commit` declines.
    pub fn write(
        &self,
        part: &RestartPart,
        saved_at_ms: u64,
        content: &[u8],
        commit: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        let bytes = envelope::seal(part.number(), saved_at_ms, content);
        let name = part.file_name();
        let tmp = self.root.join(format!("{TMP}-{name}"));
        remove_if_present(&RealDisk, &tmp)?;
        let written = RealDisk.create(&tmp, &bytes).and_then(|()| {
            let may_commit = commit();
            may_commit.then_some(()).ok_or(io::ErrorKind::TimedOut)?;
            RealDisk.rename(&tmp, &self.root.join(&name))?;
            RealDisk.sync_folder(&self.root)
        });
        written.inspect_err(|_| {
            // Also the file itself: if only its name could not be synced, it is visible by now, and
            // the next run must not find what this one counts as not written.
            for path in [&tmp, &self.root.join(&name)] {
                let _nothing_left_to_do = remove_if_present(&RealDisk, path);
            }
        })
    }

    /// The record that an earlier run has left of the signed datagrams that it accepted.
    ///
    /// # Errors
    /// When the mark cannot be read.
    pub fn mark(&self) -> io::Result<MarkState> {
        if self.is_new {
            return Ok(MarkState::New);
        }
        Ok(mark::read(&self.root)?.map_or(MarkState::Unknown, MarkState::Known))
    }

    /// Creates or replaces the mark of signed datagrams.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create_mark(&self, mark: SignedUntil) -> io::Result<MarkFile> {
        MarkFile::create(&self.root, mark)
    }

    /// Removes the mark of signed datagrams: the next run needs none if all of them are saved.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove_mark(&self) -> io::Result<()> {
        remove_if_present(&RealDisk, &self.root.join(mark::FILE_NAME))
    }

    /// Removes a part, durably: after a crash it is not there either.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove(&self, part: &RestartPart) -> io::Result<()> {
        remove_if_present(&RealDisk, &self.root.join(part.file_name()))?;
        RealDisk.sync_folder(&self.root)
    }

    /// Removes everything but the windows, durably. State that a run does not use must not wait for
    /// a later one, which would take it for the latest.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove_all_but_windows(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let single = [RestartPart::Levels, RestartPart::Signatures];
            let is_ours = single.iter().any(|part| name == part.file_name())
                || name == mark::FILE_NAME
                || ["totals-", TMP].iter().any(|start| name.starts_with(start));
            if is_ours && !entry.file_type()?.is_dir() {
                remove_if_present(&RealDisk, &entry.path())?;
            }
        }
        RealDisk.sync_folder(&self.root)
    }
}
