//! The settled windows whose file could not be removed, in memory.
//!
//! Three locks, so that a write never waits for the disk because of this list: one for the list, which
//! is never held during an access to the disk, one that orders the changes of the file `settled`,
//! which is never held during a sync or a removal, and one that no write takes, for writing the file
//! again.

use std::collections::VecDeque;
use std::io;

use parking_lot::{Mutex, MutexGuard};

use super::name::FileName;
use super::settled::SettledFile;

/// The settled windows whose file could not be removed.
#[derive(Debug, Default)]
pub(super) struct SettledList {
    listed: Mutex<Listed>,
    file: Mutex<()>,
    new_file: Mutex<()>,
}

#[derive(Debug, Default)]
struct Listed {
    files: VecDeque<SettledFile>,
    /// The file that is being removed: no other file may get its name.
    removing: Option<FileName>,
    /// Changes whenever the file `settled` gets a line that an earlier copy of the list lacks.
    version: u64,
    /// Whether a sync of the file `settled` has failed since it was created.
    is_doubtful: bool,
}

impl SettledList {
    pub(super) fn len(&self) -> usize {
        self.listed.lock().files.len()
    }

    /// All files, the one to remove next first.
    pub(super) fn files(&self) -> Vec<SettledFile> {
        self.listed.lock().files.iter().copied().collect()
    }

    /// All files, and the version of the list.
    pub(super) fn versioned(&self) -> (Vec<SettledFile>, u64) {
        let listed = self.listed.lock();
        (listed.files.iter().copied().collect(), listed.version)
    }

    /// Replaces the list by the one that an earlier run left.
    pub(super) fn replace(&self, files: VecDeque<SettledFile>) {
        self.listed.lock().files = files;
    }

    /// Begins a change of the file `settled`.
    pub(super) fn change_file(&self) -> MutexGuard<'_, ()> {
        self.file.lock()
    }

    /// Begins to write the file `settled` again.
    pub(super) fn write_again(&self) -> MutexGuard<'_, ()> {
        self.new_file.lock()
    }

    /// Records whether a sync of the file `settled` has failed since it was created.
    pub(super) fn doubt(&self, is_doubtful: bool) {
        self.listed.lock().is_doubtful = is_doubtful;
    }

    /// Whether a sync of the file `settled` has failed since it was created. Lines may then be missing
    /// on disk although a later sync has succeeded.
    pub(super) fn is_doubtful(&self) -> bool {
        self.listed.lock().is_doubtful
    }

    /// Whether the list has not grown since the `version`. Stays so during a change of the file.
    pub(super) fn is_version(&self, version: u64) -> bool {
        self.listed.lock().version == version
    }

    pub(super) fn add(&self, files: Vec<SettledFile>) {
        let mut listed = self.listed.lock();
        listed.files.extend(files);
        listed.version += 1;
    }

    // ---- Removal ------------------------------------------------------------------------------

    /// Begins to remove a file. Returns false if it is no longer in the list.
    pub(super) fn begin_removal(&self, file: &SettledFile) -> bool {
        let mut listed = self.listed.lock();
        let is_listed = listed.files.contains(file);
        listed.removing = is_listed.then_some(file.name);
        is_listed
    }

    /// Ends the removal of a file, which leaves the list if it `is_gone`. One that stays moves to
    /// the end, so that others are tried first.
    pub(super) fn end_removal(&self, file: &SettledFile, is_gone: bool) {
        let mut listed = self.listed.lock();
        listed.removing = None;
        let before = listed.files.len();
        listed.files.retain(|listed| listed != file);
        let was_listed = listed.files.len() < before;
        listed.files.extend((was_listed && !is_gone).then_some(*file));
    }

    // ---- Writes -------------------------------------------------------------------------------

    /// Whether the file of a name and an inode is settled, so that another one may replace it.
    pub(super) fn contains(&self, name: FileName, inode: u64) -> bool {
        let listed = self.listed.lock();
        listed.files.iter().any(|file| file.name == name && file.inode == inode)
    }

    /// Whether a file of this name is settled.
    pub(super) fn contains_name(&self, name: FileName) -> bool {
        self.listed.lock().files.iter().any(|file| file.name == name)
    }

    /// Takes the files of a name that another file is about to get.
    ///
    /// # Errors
    /// While a file of this name is being removed: the removal could hit the other file.
    pub(super) fn take(&self, name: FileName) -> io::Result<Vec<SettledFile>> {
        let mut listed = self.listed.lock();
        if listed.removing == Some(name) {
            let words = format!("{name} is still being removed");
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, words));
        }
        let (taken, kept) =
            listed.files.iter().copied().partition::<Vec<_>, _>(|file| file.name == name);
        listed.files = kept.into();
        Ok(taken)
    }
}
