//! Removes the files of settled windows, and records the files that cannot be removed.

use std::collections::{HashMap, VecDeque};
use std::io;

use super::directory::SpoolDirectory;
use super::disk::remove_if_present;
use super::name::FileName;
use super::settled::{self, SettledFile};
use super::work::DiscardedFiles;

/// Maximum number of bytes that are read of the file `settled`: more than a full spool needs.
const SETTLED_BYTES_MAX: u64 = 64 << 20;

/// The outcome of [`SpoolDirectory::discard`].
#[derive(Debug, Default)]
pub(crate) struct DiscardOutcome {
    /// Files that are still in the folder and not recorded: the next run would deliver them.
    pub(crate) left: DiscardedFiles,
    /// The latest error.
    pub(crate) error: Option<io::Error>,
}

impl SpoolDirectory {
    /// Removes files, and moves unusable files to the quarantine. Files that stay are recorded as
    /// settled.
    pub(crate) fn discard(&self, files: &DiscardedFiles) -> DiscardOutcome {
        let mut outcome = DiscardOutcome::default();
        for name in &files.remove {
            if let Err(error) = remove_if_present(&*self.disk, &self.path_of(*name)) {
                outcome.left.remove.push(*name);
                outcome.error = Some(error);
            }
        }
        for (name, suffix) in &files.set_aside {
            if let Err(error) = self.set_aside(name.to_string(), suffix) {
                outcome.left.set_aside.push((*name, *suffix));
                outcome.error = Some(error);
            }
        }
        if !files.set_aside.is_empty() {
            // Once for all of them, because it lists the folder. Its bounds protect the disk; the
            // next call enforces them if this one fails.
            let _later = self.bound_quarantine();
        }
        if !outcome.left.is_empty() {
            match self.record(&outcome.left).and_then(|()| self.sync_record()) {
                Ok(()) => outcome.left = DiscardedFiles::default(),
                Err(error) => outcome.error = Some(error),
            }
        }
        outcome
    }

    /// Records files as settled, so that the next run does not deliver them if they are still in
    /// the folder. The record survives the end of the process, and a power failure after
    /// [`SpoolDirectory::sync_record`].
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(crate) fn record(&self, files: &DiscardedFiles) -> io::Result<()> {
        let found = self.still_there(files)?;
        let _changing = self.settled.change_file();
        let listed = self.settled.files();
        let known: HashMap<FileName, u64> =
            listed.iter().map(|file| (file.name, file.inode)).collect();
        let is_new = |file: &SettledFile| known.get(&file.name) != Some(&file.inode);
        let new: Vec<SettledFile> = found.into_iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let lines = settled::encode(new.iter().copied());
        self.disk.append_unsynced(&self.root.join("settled"), &lines)?;
        self.settled.add(new);
        Ok(())
    }

    /// The files that exist, with their inodes.
    fn still_there(&self, files: &DiscardedFiles) -> io::Result<Vec<SettledFile>> {
        let remove = files.remove.iter().map(|name| (*name, None));
        let set_aside = files.set_aside.iter().map(|(name, suffix)| (*name, Some(*suffix)));
        let mut found = Vec::new();
        for (name, suffix) in remove.chain(set_aside) {
            match self.disk.status(&self.path_of(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                status => found.push(SettledFile { name, inode: status?.inode, suffix }),
            }
        }
        Ok(found)
    }

    /// Syncs the record of settled windows, if there is one. Writes it again if a sync has failed
    /// before: the system may have dropped the changes, and a second sync then succeeds without them.
    ///
    /// # Errors
    /// When the system returns an error.
    pub(crate) fn sync_record(&self) -> io::Result<()> {
        while self.settled.is_doubtful() {
            // Not written if lines are added in the meantime.
            self.shorten_record()?;
        }
        match self.disk.sync_file(&self.root.join("settled")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced
                .and_then(|()| self.disk.sync_folder(&self.root))
                .inspect_err(|_| self.settled.doubt(true)),
        }
    }

    /// The number of settled windows whose file is still in the folder.
    pub(crate) fn unremoved(&self) -> u64 {
        self.settled.len() as u64
    }

    /// Retries the removal of up to `count` recorded files.
    ///
    /// # Errors
    /// When the record cannot be shortened. It then names files that no longer exist, which has no
    /// effect.
    pub(crate) fn retry_settled(&self, count: usize) -> io::Result<()> {
        let mut due = self.settled.files();
        due.truncate(count);
        let mut is_shorter = false;
        for file in due {
            // Another window may have got the name since.
            if self.settled.begin_removal(&file) {
                let is_gone = self.is_gone(file);
                self.settled.end_removal(&file, is_gone);
                is_shorter |= is_gone;
            }
        }
        if is_shorter { self.shorten_record() } else { Ok(()) }
    }

    /// Removes a recorded file, or moves it to the quarantine. Returns whether it is gone.
    fn is_gone(&self, file: SettledFile) -> bool {
        match self.disk.status(&self.path_of(file.name)) {
            Err(error) => return error.kind() == io::ErrorKind::NotFound,
            // Another file has got the name.
            Ok(status) if status.inode != file.inode => return true,
            Ok(_) => {}
        }
        match file.suffix {
            None => remove_if_present(&*self.disk, &self.path_of(file.name)).is_ok(),
            Some(suffix) => self.set_aside(file.name.to_string(), suffix).is_ok(),
        }
    }

    /// Loads the record that an earlier run left. Removes nothing from it.
    pub(super) fn load_settled(&self) -> io::Result<()> {
        let bytes = match self.disk.read(&self.root.join("settled"), SETTLED_BYTES_MAX) {
            Ok(bytes) => bytes,
            // Missing, or not a file: it cannot contain a record.
            Err(error)
                if [io::ErrorKind::NotFound, io::ErrorKind::InvalidData]
                    .contains(&error.kind()) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.settled.replace(settled::decode(&bytes));
        Ok(())
    }

    /// Keeps only the recorded files that are still in the folder. Returns whether there are others,
    /// which the record need not name any longer.
    pub(super) fn keep_settled(&self, present: VecDeque<SettledFile>) -> bool {
        let is_too_long = present.len() != self.settled.len();
        self.settled.replace(present);
        is_too_long
    }

    /// Writes the record again, without files that are gone.
    ///
    /// # Errors
    /// When the system returns an error.
    pub(super) fn shorten_record(&self) -> io::Result<()> {
        let _one_at_a_time = self.settled.write_again();
        // First: a power failure could otherwise bring back a file that is no longer recorded.
        self.sync()?;
        let (files, version) = self.settled.versioned();
        let (tmp, path) = (self.root.join("tmp/settled"), self.root.join("settled"));
        remove_if_present(&*self.disk, &tmp)?;
        if !files.is_empty() {
            self.disk.create(&tmp, &settled::encode(files.iter().copied()))?;
        }
        let changing = self.settled.change_file();
        if !self.settled.is_version(version) {
            // Lines were added in the meantime. The record stays too long until the next call.
            return Ok(());
        }
        let moved = match files.is_empty() {
            // Removed outside of the lock, because that may take long.
            true => self.disk.rename(&path, &tmp),
            false => self.disk.rename(&tmp, &path),
        };
        let moved = match moved {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => moved,
        };
        if moved.is_ok() {
            // Before a line is appended, whose sync may fail.
            self.settled.doubt(false);
        }
        drop(changing);
        moved?;
        if files.is_empty() {
            remove_if_present(&*self.disk, &tmp)?;
        }
        self.disk.sync_folder(&self.root).inspect_err(|_| self.settled.doubt(true))
    }
}
