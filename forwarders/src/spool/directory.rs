//! The folder of one destination's spool. The files are the only state: there is no index that
//! could disagree with them after a crash.
//!
//! ```text
//! LOCK          locked by the daemon that uses the folder; contains its process ID
//! new/          waiting windows, delivered in the order of their names
//! tmp/          windows that are being written
//! quarantine/   unreadable windows and refused points, with the reason after the file name
//! settled       windows in new/ that are settled and could not be removed
//! ```
//!
//! Everything that a spool does here is synchronous and uses the disk through [`Disk`] only, so that
//! a simulated disk can take the place of the real one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use thiserror::Error;

use super::disk::{Disk, DiskEntry, EntryKind, RealDisk, exists, remove_if_present};
use super::file::{self, SpoolFileError};
use super::lock::{FolderLock, FolderLockError};
use super::name::FileName;
use super::settled_list::SettledList;
use super::work::FoundWindows;
use model::Snapshot;

/// Checks that spools can be created in a folder, or that the folder itself can. Leaves nothing there.
///
/// # Errors
/// The system's error for the folder or, if it does not exist, for its nearest existing ancestor.
pub fn usable(folder: &Path) -> io::Result<()> {
    // `symlink_metadata` finds a dangling link, which is then reported and not skipped.
    let there = folder.ancestors().find(|folder| folder.symlink_metadata().is_ok());
    let there = there.unwrap_or(Path::new("."));
    if !there.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // Permissions are not enough: only an attempt shows a file system without new files, such as
    // /proc or a full one.
    let trial = there.join(format!(".tallyd-check-{}", std::process::id()));
    fs::create_dir(&trial)?;
    fs::remove_dir(&trial)
}

/// The folder of one destination's spool, locked against other daemons until it is dropped.
#[derive(Debug)]
pub(crate) struct SpoolDirectory {
    pub(super) root: PathBuf,
    pub(super) disk: Box<dyn Disk>,
    /// `None` on a simulated disk, which no other daemon uses.
    pub(super) lock: Option<Mutex<FolderLock>>,
    /// The content of the file `settled`.
    pub(super) settled: SettledList,
}

/// Why a spool cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum SpoolOpenError {
    /// The folder cannot be locked.
    #[error(transparent)]
    Lock(#[from] FolderLockError),
    /// The system returned an error.
    #[error("{}: {source} (see `state_dir`)", path.display())]
    System { path: PathBuf, source: io::Error },
}

/// Why a window could not be read.
#[derive(Debug, Error)]
pub enum SpoolReadError {
    /// The file does not exist.
    #[error("it was removed")]
    Gone,
    /// The content of the file is unusable.
    #[error(transparent)]
    Content(#[from] SpoolFileError),
    /// The system returned an error, which says nothing about the content of the file.
    #[error(transparent)]
    System(io::Error),
}

impl SpoolDirectory {
    /// Creates the folder if it is missing, locks it and lists its windows.
    ///
    /// # Errors
    /// When another daemon has locked the folder or the system returns an error. The content of the
    /// folder is never a reason.
    pub(crate) fn open(root: &Path) -> Result<(Self, FoundWindows), SpoolOpenError> {
        let at = |source| SpoolOpenError::System { path: root.to_owned(), source };
        make_folders(&RealDisk, root).map_err(at)?;
        // Before `tmp` is emptied, which may hold the file that another daemon is writing.
        let lock = FolderLock::take(root)?;
        Self::open_on(Box::new(RealDisk), root, Some(lock))
    }

    /// Opens the folder on any disk.
    pub(super) fn open_on(
        disk: Box<dyn Disk>,
        root: &Path,
        lock: Option<FolderLock>,
    ) -> Result<(Self, FoundWindows), SpoolOpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            |source| SpoolOpenError::System { path, source }
        };
        make_folders(&*disk, root).map_err(at(root))?;
        let directory = Self {
            root: root.to_owned(),
            disk,
            lock: lock.map(Mutex::new),
            settled: SettledList::default(),
        };
        directory.empty_tmp();
        directory.load_settled().map_err(at(&root.join("settled")))?;
        let found = directory.look().map_err(at(&root.join("new")))?;
        Ok((directory, found))
    }

    /// Syncs the windows that an earlier run left, and shortens the record of settled windows if it
    /// `has_old_records`. The earlier run may have ended between a write and its sync. Not a part of
    /// opening, because it waits for the disk.
    ///
    /// # Errors
    /// When the windows cannot be synced.
    pub(super) fn sync_found(&self, has_old_records: bool) -> io::Result<()> {
        self.disk.sync_all(&self.root).inspect_err(|_| self.settled.doubt(true))?;
        if has_old_records {
            // A record of a file that does not exist has no effect.
            let _too_long = self.shorten_record();
        }
        Ok(())
    }

    /// Writes and removes a small file, to find out whether the disk can be written.
    ///
    /// # Errors
    /// Like [`SpoolDirectory::write`].
    pub(crate) fn probe(&self, min_free: u64) -> io::Result<()> {
        self.keep_lock()?;
        self.leave_free(1, min_free)?;
        make_folders(&*self.disk, &self.root)?;
        let probe = self.root.join("tmp").join(PROBE);
        remove_if_present(&*self.disk, &probe)?;
        self.disk.create(&probe, b"1")?;
        self.disk.remove(&probe)
    }

    /// Reads a window.
    ///
    /// # Errors
    /// When the file is missing, damaged or of a newer version, or when the system returns an
    /// error.
    pub(crate) fn read(&self, name: FileName) -> Result<Snapshot, SpoolReadError> {
        read_from(&*self.disk, &self.path_of(name), name)
    }

    /// The windows in the folder, in no particular order. Empty if the folder was removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn names(&self) -> io::Result<Vec<FileName>> {
        let mut names = Vec::new();
        let mut visit = |entry: DiskEntry| {
            names.extend(entry.name.to_str().and_then(|name| name.parse::<FileName>().ok()));
        };
        match self.disk.list(&self.root.join("new"), &mut visit) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map(|()| names),
        }
    }

    /// Syncs the names of the windows: without it, a file that was removed shortly before a power
    /// failure can be there again.
    ///
    /// # Errors
    /// When the system returns an error.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.disk.sync_folder(&self.root.join("new"))
    }

    pub(super) fn path_of(&self, name: FileName) -> PathBuf {
        self.root.join("new").join(name.to_string())
    }

    /// Removes files that a crash left in `tmp`. They may be incomplete, and no ledger counted them
    /// as spooled. Files that tallyd cannot have written stay.
    fn empty_tmp(&self) {
        let is_ours = |name: &str| {
            let window = name.rsplit_once('.').map_or(name, |(window, _)| window);
            let is_window = [name, window].iter().any(|name| name.parse::<FileName>().is_ok());
            is_window || [PROBE, "settled"].contains(&name)
        };
        let mut ours = Vec::new();
        let mut visit = |entry: DiskEntry| {
            ours.extend(entry.name.to_str().filter(|name| is_ours(name)).map(str::to_owned));
        };
        let _unreadable = self.disk.list(&self.root.join("tmp"), &mut visit);
        for name in ours {
            // A file that stays does no harm: a write removes a file of its name first.
            let _stays = self.disk.remove(&self.root.join("tmp").join(name));
        }
    }
}

/// The name of the file that [`SpoolDirectory::probe`] writes.
const PROBE: &str = "probe";

/// The folders of a spool.
const FOLDERS: [&str; 3] = ["new", "tmp", "quarantine"];

/// Creates the folders that are missing.
pub(super) fn make_folders(disk: &dyn Disk, root: &Path) -> io::Result<()> {
    let is_new = !exists(disk, &root.join("new"))?;
    FOLDERS
        .into_iter()
        .try_for_each(|folder| disk.make_folder(&root.join(folder)))
        .map_err(|error| explained(disk, root, error))?;
    if is_new {
        // A synced file is on disk only if the names of the folders on its path are, too. Three
        // folders can be new: this one, the folder of all spools, and the state folder. The system
        // may not permit a sync of folders that belong to another user, who has synced them.
        for folder in root.ancestors().take(3) {
            let _not_ours = disk.sync_folder(folder);
        }
    }
    Ok(())
}

/// The error, or a clearer one if a file is in the place of a folder: the system's error says only
/// that a path is not a folder, or that it exists.
pub(super) fn explained(disk: &dyn Disk, root: &Path, error: io::Error) -> io::Error {
    let is_in_the_way = |folder: &&str| {
        disk.status(&root.join(folder)).is_ok_and(|found| found.kind == EntryKind::File)
    };
    let is_of_kind =
        matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists);
    match FOLDERS.iter().find(|folder| is_of_kind && is_in_the_way(folder)) {
        Some(folder) => {
            let words = format!("`{folder}` is a file in the place of a folder: remove it");
            io::Error::new(io::ErrorKind::NotADirectory, words)
        }
        None => error,
    }
}

/// Reads the window in the file at `path`, which was written under `name`. A quarantined file has a
/// longer name by now.
///
/// # Errors
/// When the file is missing, damaged or of a newer version, or when the system returns an error.
pub fn read(path: &Path, name: FileName) -> Result<Snapshot, SpoolReadError> {
    read_from(&RealDisk, path, name)
}

fn read_from(disk: &dyn Disk, path: &Path, name: FileName) -> Result<Snapshot, SpoolReadError> {
    // One byte more than the name says is enough to detect a file that is too long, and bounds the
    // memory for it.
    let bytes =
        disk.read(path, name.bytes.saturating_add(1)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SpoolReadError::Gone,
            io::ErrorKind::InvalidData => SpoolFileError::Damaged("not a regular file").into(),
            _ => SpoolReadError::System(error),
        })?;
    Ok(file::read(name, &bytes)?)
}

#[cfg(test)]
mod tests;
