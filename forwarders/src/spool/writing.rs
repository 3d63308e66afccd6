//! Writes the files of a spool, each of them aside in `tmp` first.

use std::io;
use std::path::PathBuf;

use super::directory::{SpoolDirectory, explained, make_folders};
use super::disk::{exists, remove_if_present};
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
        self.write_into("new", &name.to_string(), bytes, min_free)
    }

    /// Writes a file into one of the folders.
    pub(super) fn write_into(
        &self,
        folder: &str,
        file: &str,
        bytes: &[u8],
        min_free: u64,
    ) -> Result<(), FailedWrite> {
        let file = self.new_file(folder, file);
        self.write_aside(&file, bytes, min_free)?;
        self.rename(&file)?;
        // The new name is an entry of the folder; it is on disk only after the folder is synced.
        let synced = self.disk.sync_folder(&self.root.join(folder));
        synced.map_err(|error| self.take_back_file(&file, error))
    }

    // ---- A window, step by step ---------------------------------------------------------------

    /// The first step of a write: writes the window aside, and syncs its content. Before the window
    /// gets its name: after a power failure, the name could otherwise refer to an empty file.
    ///
    /// # Errors
    /// When the disk is full or fails, when fewer than `min_free` bytes would stay free on it, or
    /// when a file of this name exists.
    pub(super) fn prepare(&self, name: FileName, bytes: &[u8], min_free: u64) -> io::Result<()> {
        self.write_aside(&self.new_file("new", &name.to_string()), bytes, min_free)
    }

    /// The second step: gives the window its name. It then survives the end of the process, and a
    /// power failure after [`SpoolDirectory::sync`], the third step.
    ///
    /// # Errors
    /// When the system returns an error.
    pub(super) fn place(&self, name: FileName) -> io::Result<()> {
        self.rename(&self.new_file("new", &name.to_string()))
    }

    /// Removes a window whose name cannot be synced, because of `error`: a file that the caller does
    /// not know of would be delivered by the next run although this run delivers the window from memory.
    pub(super) fn take_back(&self, name: FileName, error: io::Error) -> FailedWrite {
        self.take_back_file(&self.new_file("new", &name.to_string()), error)
    }

    /// Writes a window without waiting for the disk: the file survives the end of the process, and a
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
        let file = self.new_file("new", &name.to_string());
        // Another name: a write that was given up may still have its file open.
        let tmp = self.root.join("tmp").join(format!("{name}.last"));
        let file = NewFile { tmp, is_synced: false, ..file };
        self.write_aside(&file, bytes, min_free)?;
        self.rename(&file)
    }

    /// Syncs the content of a window.
    ///
    /// # Errors
    /// When the system returns an error.
    pub(super) fn sync_window(&self, name: FileName) -> io::Result<()> {
        self.disk.sync_file(&self.path_of(name))
    }

    // ---- Any file -----------------------------------------------------------------------------

    fn new_file(&self, folder: &str, file: &str) -> NewFile {
        let (tmp, path) = (self.root.join("tmp").join(file), self.root.join(folder).join(file));
        NewFile { tmp, path, is_synced: true }
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

    fn create_aside(
        &self,
        NewFile { tmp, path, is_synced }: &NewFile,
        bytes: &[u8],
    ) -> io::Result<()> {
        // `rename` would replace the file. Only this daemon writes here, so no file can appear
        // between the check and the rename.
        let name = path.file_name().unwrap_or_default();
        if exists(&*self.disk, path)? {
            let name = name.to_string_lossy().into_owned();
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, name));
        }
        self.forget_settled(name)?;
        // An earlier write of this file may have failed and left it.
        remove_if_present(&*self.disk, tmp)?;
        let created = match is_synced {
            true => self.disk.create(tmp, bytes),
            false => self.disk.create_unsynced(tmp, bytes),
        };
        created.inspect_err(|_| {
            let _nothing_more_to_do = self.disk.remove(tmp);
        })
    }

    fn rename(&self, NewFile { tmp, path, .. }: &NewFile) -> io::Result<()> {
        let renamed = match self.disk.rename(tmp, path) {
            // The folder was removed while the daemon runs.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders(&*self.disk, &self.root)?;
                self.disk.rename(tmp, path)
            }
            renamed => renamed.map_err(|error| explained(&*self.disk, &self.root, error)),
        };
        renamed.inspect_err(|_| {
            let _nothing_more_to_do = self.disk.remove(tmp);
        })
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
