//! Writes the files of a spool, each of them aside in `tmp` first.

use std::io;
use std::path::{Path, PathBuf};

use super::directory::{SpoolDirectory, explained, make_folders};
use super::disk::remove_if_present;
use super::lock::FolderLock;
use super::name::FileName;

/// Why a window could not be written.
#[derive(Debug)]
pub(crate) struct FailedWrite {
    pub(crate) error: io::Error,
    /// Whether the file is in the folder nevertheless, and could not be removed again.
    pub(crate) is_left_behind: bool,
}

impl From<io::Error> for FailedWrite {
    fn from(error: io::Error) -> Self {
        Self { error, is_left_behind: false }
    }
}

/// A file that is being written: first aside, then under its name.
#[derive(Debug)]
struct NewFile {
    tmp: PathBuf,
    path: PathBuf,
    /// The name of a window; `None` of a file in the quarantine.
    window: Option<FileName>,
    is_synced: bool,
}

impl SpoolDirectory {
    /// Writes a window atomically: after a crash or a power failure the file is either complete or
    /// absent. When this returns `Ok`, the file is on disk.
    ///
    /// # Errors
    /// When the disk is full or fails, when fewer than `min_free` bytes would stay free on it, or
    /// when a file of this name exists.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn write(
        &self,
        name: FileName,
        bytes: &[u8],
        min_free: u64,
    ) -> Result<(), FailedWrite> {
        let file = self.window_file(name);
        self.write_file(&file, bytes, min_free)
    }

    /// Writes a file into the quarantine.
    pub(super) fn write_quarantined(
        &self,
        file: &str,
        bytes: &[u8],
        min_free: u64,
    ) -> Result<(), FailedWrite> {
        self.write_file(&self.new_file("quarantine", file), bytes, min_free)
    }

    fn write_file(&self, file: &NewFile, bytes: &[u8], min_free: u64) -> Result<(), FailedWrite> {
        self.write_aside(file, bytes, min_free)?;
        self.rename(file)?;
        // The new name is an entry of the folder; it is on disk only after the folder is synced.
        let synced = self.disk.sync_folder(file.path.parent().unwrap_or(&self.root));
        synced.map_err(|error| self.take_back_file(file, error))
    }

    // ---- A window, step by step ---------------------------------------------------------------

    /// The first step of a write: writes the window aside, and syncs its content. Before the window
    /// gets its name: after a power failure, the name could otherwise refer to an empty file.
    ///
    /// # Errors
    /// When the disk is full or fails, when fewer than `min_free` bytes would stay free on it, or
    /// when a file of this name exists.
    pub(super) fn prepare(&self, name: FileName, bytes: &[u8], min_free: u64) -> io::Result<()> {
        self.write_aside(&self.window_file(name), bytes, min_free)
    }

    /// The second step: gives the window its name. It then survives the end of the process, and a
    /// power failure after [`SpoolDirectory::sync`], the third step.
    ///
    /// # Errors
    /// When the system returns an error.
    pub(super) fn place(&self, name: FileName) -> io::Result<()> {
        self.rename(&self.window_file(name))
    }

    /// Removes a window whose name cannot be synced, because of `error`: a file that the caller does
    /// not know of would be delivered by the next run although this run delivers the window from memory.
    pub(super) fn take_back(&self, name: FileName, error: io::Error) -> FailedWrite {
        self.take_back_file(&self.window_file(name), error)
    }

    /// Writes a window without waiting for a sync: the file survives the end of the process, and a
    /// power failure after [`SpoolDirectory::sync_window`] and [`SpoolDirectory::sync`].
    ///
    /// # Errors
    /// Like [`SpoolDirectory::prepare`].
    pub(super) fn write_unsynced(
        &self,
        name: FileName,
        bytes: &[u8],
        min_free: u64,
    ) -> io::Result<()> {
        let file = self.window_file(name);
        // Another name: a write that was given up may still have its file open.
        let tmp = self.root.join("tmp").join(format!("{name}.last"));
        let file = NewFile { tmp, is_synced: false, ..file };
        self.write_aside(&file, bytes, min_free)?;
        self.rename(&file)
    }

    /// Syncs the content of a window, unless it was removed since it was written.
    ///
    /// # Errors
    /// When the system returns an error.
    pub(super) fn sync_window(&self, name: FileName) -> io::Result<()> {
        match self.disk.sync_file(&self.path_of(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced,
        }
    }

    // ---- Any file -----------------------------------------------------------------------------

    fn window_file(&self, name: FileName) -> NewFile {
        NewFile { window: Some(name), ..self.new_file("new", &name.to_string()) }
    }

    fn new_file(&self, folder: &str, file: &str) -> NewFile {
        let (tmp, path) = (self.root.join("tmp").join(file), self.root.join(folder).join(file));
        NewFile { tmp, path, window: None, is_synced: true }
    }

    fn write_aside(&self, file: &NewFile, bytes: &[u8], min_free: u64) -> io::Result<()> {
        self.keep_lock()?;
        self.leave_free(bytes.len() as u64, min_free)?;
        self.create_aside(file, bytes).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(explained(&*self.disk, &self.root, error));
            }
            // A folder was removed while the daemon runs. Checking before each write would still
            // leave a gap, so it is recreated after the failure.
            make_folders(&*self.disk, &self.root)?;
            self.create_aside(file, bytes)
        })
    }

    fn create_aside(&self, file: &NewFile, bytes: &[u8]) -> io::Result<()> {
        self.check_name(file)?;
        // An earlier write of this file may have failed and left it.
        remove_if_present(&*self.disk, &file.tmp)?;
        self.create(file, bytes)?;
        match file.window {
            Some(name) if self.looks_settled(name, &file.tmp)? => {
                self.create_again(name, file, bytes)
            }
            _ => Ok(()),
        }
    }

    /// Checks that no file has the name: `rename` would replace it. Only this daemon writes here, so
    /// no file can appear between the check and the rename. The file of a settled window may be
    /// replaced.
    fn check_name(&self, NewFile { path, window, .. }: &NewFile) -> io::Result<()> {
        let found = match self.disk.status(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        if window.is_some_and(|name| self.settled.contains(name, found.inode)) {
            return Ok(());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Err(io::Error::new(io::ErrorKind::AlreadyExists, name))
    }

    fn create(&self, NewFile { tmp, is_synced, .. }: &NewFile, bytes: &[u8]) -> io::Result<()> {
        let created = match is_synced {
            true => self.disk.create(tmp, bytes),
            false => self.disk.create_unsynced(tmp, bytes),
        };
        created.inspect_err(|_| {
            let _nothing_more_to_do = self.disk.remove(tmp);
        })
    }

    /// Whether the new file has the name and the inode of a settled one that no longer exists: the
    /// record would suppress its delivery.
    fn looks_settled(&self, name: FileName, tmp: &Path) -> io::Result<bool> {
        // Without a look at the disk in most cases.
        let has_name = self.settled.contains_name(name);
        Ok(has_name && self.settled.contains(name, self.disk.status(tmp)?.inode))
    }

    /// Creates the file with another inode, while the first file occupies its own.
    fn create_again(&self, name: FileName, file: &NewFile, bytes: &[u8]) -> io::Result<()> {
        let first = self.root.join("tmp").join(format!("{name}.first"));
        self.disk.rename(&file.tmp, &first)?;
        let created = self.create(file, bytes);
        let removed = self.disk.remove(&first);
        created.and(removed)
    }

    fn rename(&self, file: &NewFile) -> io::Result<()> {
        self.rename_into_place(file).inspect_err(|_| {
            let _nothing_more_to_do = self.disk.remove(&file.tmp);
        })
    }

    fn rename_into_place(&self, NewFile { tmp, path, window, .. }: &NewFile) -> io::Result<()> {
        let settled = window.map_or(Ok(Vec::new()), |name| self.settled.take(name))?;
        match self.rename_or_recreate(tmp, path) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.settled.add(settled);
                Err(explained(&*self.disk, &self.root, error))
            }
        }
    }

    fn rename_or_recreate(&self, tmp: &Path, path: &Path) -> io::Result<()> {
        match self.disk.rename(tmp, path) {
            // The folder was removed while the daemon runs.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders(&*self.disk, &self.root)?;
                self.disk.rename(tmp, path)
            }
            renamed => renamed,
        }
    }

    fn take_back_file(&self, NewFile { path, .. }: &NewFile, error: io::Error) -> FailedWrite {
        let is_left_behind = remove_if_present(&*self.disk, path).is_err();
        FailedWrite { error: explained(&*self.disk, &self.root, error), is_left_behind }
    }

    /// Checks that `min_free` bytes stay free on the disk after a write of `bytes`.
    pub(super) fn leave_free(&self, bytes: u64, min_free: u64) -> io::Result<()> {
        let free = match self.disk.free_bytes(&self.root) {
            // The folder was removed. The write recreates it, and the next write checks again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            free => free?,
        };
        if free < bytes.saturating_add(min_free) {
            let words = format!("{free} bytes are free, and delivery.spool.min_free is {min_free}");
            return Err(io::Error::new(io::ErrorKind::StorageFull, words));
        }
        Ok(())
    }

    /// Locks the folder again if it was removed or replaced while the daemon runs: another daemon
    /// could otherwise lock the new folder and use it at the same time.
    pub(super) fn keep_lock(&self) -> io::Result<()> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let mut lock = lock.lock();
        if !lock.is_in_place()? {
            make_folders(&*self.disk, &self.root)?;
            *lock = FolderLock::take(&self.root).map_err(io::Error::other)?;
        }
        Ok(())
    }
}
