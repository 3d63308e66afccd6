//! Removes the files of settled windows, and records the files that cannot be removed.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::sync::atomic::Ordering;

use super::directory::SpoolDirectory;
use super::disk::{exists, remove_if_present};
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
            match self.record(&outcome.left) {
                Ok(()) => outcome.left = DiscardedFiles::default(),
                Err(error) => outcome.error = Some(error),
            }
        }
        outcome
    }

    /// Records files as settled, so that the next run does not deliver them if they are still in
    /// the folder.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(crate) fn record(&self, files: &DiscardedFiles) -> io::Result<()> {
        let mut list = self.settled.lock();
        let known: HashMap<FileName, u64> =
            list.iter().map(|file| (file.name, file.inode)).collect();
        let remove = files.remove.iter().map(|name| (*name, None));
        let set_aside = files.set_aside.iter().map(|(name, suffix)| (*name, Some(*suffix)));
        let mut new = Vec::new();
        for (name, suffix) in remove.chain(set_aside) {
            let inode = match self.disk.status(&self.path_of(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                status => status?.inode,
            };
            if known.get(&name) != Some(&inode) {
                new.push(SettledFile { name, inode, suffix });
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let path = self.root.join("settled");
        let is_new = !exists(&*self.disk, &path)?;
        self.disk.append(&path, &settled::encode(new.iter().copied()))?;
        if is_new {
            self.disk.sync_folder(&self.root)?;
        }
        list.extend(new);
        self.unremoved.store(list.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The number of settled windows whose file is still in the folder.
    pub(crate) fn unremoved(&self) -> u64 {
        self.unremoved.load(Ordering::Relaxed)
    }

    /// Retries the removal of up to `count` recorded files.
    ///
    /// # Errors
    /// When the record cannot be shortened. It then names files that no longer exist, which has no
    /// effect.
    pub(crate) fn retry_settled(&self, count: usize) -> io::Result<()> {
        let due: Vec<SettledFile> = {
            let list = self.settled.lock();
            list.iter().take(count).copied().collect()
        };
        // Not under the lock: a removal that hangs must not keep other files from being recorded.
        let (gone, stuck): (Vec<_>, Vec<_>) = due.into_iter().partition(|file| self.is_gone(*file));
        if gone.is_empty() && stuck.is_empty() {
            return Ok(());
        }
        let mut list = self.settled.lock();
        list.retain(|file| !gone.contains(file) && !stuck.contains(file));
        // At the end: the next call tries other files first.
        list.extend(stuck);
        self.unremoved.store(list.len() as u64, Ordering::Relaxed);
        if gone.is_empty() {
            return Ok(());
        }
        // Before the record is shortened: a power failure could otherwise bring back a file that is
        // no longer recorded.
        self.sync()?;
        self.rewrite(&list)
    }

    /// Removes a recorded file, or moves it to the quarantine. Returns whether it is gone.
    fn is_gone(&self, file: SettledFile) -> bool {
        match file.suffix {
            None => remove_if_present(&*self.disk, &self.path_of(file.name)).is_ok(),
            Some(suffix) => self.set_aside(file.name.to_string(), suffix).is_ok(),
        }
    }

    /// Removes a file that does not exist from the record, before another file gets its name. The other
    /// file may get its inode, too.
    pub(super) fn forget_settled(&self, name: &OsStr) -> io::Result<()> {
        let mut list = self.settled.lock();
        let is_other = |file: &&SettledFile| *name != *file.name.to_string();
        if list.iter().any(|file| !is_other(&file)) {
            let others: VecDeque<_> = list.iter().filter(is_other).copied().collect();
            self.rewrite(&others)?;
            self.unremoved.store(others.len() as u64, Ordering::Relaxed);
            *list = others;
        }
        Ok(())
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
        *self.settled.lock() = settled::decode(&bytes);
        Ok(())
    }

    /// Keeps only the recorded files that are still in the folder.
    pub(super) fn keep_settled(&self, present: VecDeque<SettledFile>) {
        let mut list = self.settled.lock();
        self.unremoved.store(present.len() as u64, Ordering::Relaxed);
        if present.len() != list.len() {
            // A record of a file that does not exist has no effect.
            let _too_long = self.rewrite(&present);
        }
        *list = present;
    }

    fn rewrite(&self, files: &VecDeque<SettledFile>) -> io::Result<()> {
        let (tmp, path) = (self.root.join("tmp/settled"), self.root.join("settled"));
        if files.is_empty() {
            remove_if_present(&*self.disk, &path)?;
        } else {
            remove_if_present(&*self.disk, &tmp)?;
            self.disk.create(&tmp, &settled::encode(files.iter().copied()))?;
            self.disk.rename(&tmp, &path)?;
        }
        self.disk.sync_folder(&self.root)
    }
}
