//! Moves files to the quarantine of a spool folder, and bounds it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::directory::{SpoolDirectory, make_folders};
use super::disk::{DiskEntry, EntryKind, exists, remove_if_present};
use super::name::FileName;

/// Maximum number of bytes in the quarantine; the oldest files are removed first. Enough for an
/// operator to inspect, too little to fill a disk.
pub(super) const QUARANTINE_MAX: u64 = 16 << 20;
/// Maximum number of files in the quarantine: files of a few points each would not reach the limit
/// of bytes.
pub(super) const QUARANTINE_FILES_MAX: usize = 1_000;
/// Maximum length of the original name in the name of a quarantined file, in bytes; file systems
/// allow names of 255 bytes.
const NAME_BYTES_MAX: usize = 200;
/// Maximum number of files in the quarantine whose names differ only in the number before the
/// suffix.
const SAME_NAME_MAX: u32 = 10;

/// A file in the quarantine. The order is the order of removal.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QuarantinedFile {
    modified: SystemTime,
    path: PathBuf,
    bytes: u64,
}

impl SpoolDirectory {
    /// Writes refused points into the quarantine, with `reason` after the file name.
    ///
    /// # Errors
    /// Like [`SpoolDirectory::write`]; also `AlreadyExists` when a file of that name has other
    /// content.
    pub(crate) fn put_aside(
        &self,
        name: FileName,
        reason: &str,
        bytes: &[u8],
        min_free: u64,
    ) -> io::Result<()> {
        let file = format!("{name}.{reason}");
        let path = self.root.join("quarantine").join(&file);
        match self.disk.read(&path, name.bytes.saturating_add(1)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // The window was refused before a crash, and is refused again after it.
            Ok(there) if there == bytes => return Ok(()),
            // Never overwrites: an operator may not have inspected the other file yet.
            _ => return Err(io::Error::new(io::ErrorKind::AlreadyExists, file)),
        }
        self.write_quarantined(&file, bytes, min_free).map_err(|failed| failed.error)?;
        self.bound_quarantine()
    }

    /// Moves a file from `new` to the quarantine, with `reason` after its name. Succeeds if the
    /// file does not exist. The caller bounds the quarantine.
    ///
    /// # Errors
    /// When the system returns an error, or when the quarantine has too many files of this name.
    pub(super) fn set_aside(&self, name: impl AsRef<OsStr>, reason: &str) -> io::Result<()> {
        let from = self.root.join("new").join(name.as_ref());
        if !exists(&*self.disk, &from)? {
            return Ok(());
        }
        let to = self.free_path(name.as_ref(), reason)?;
        match self.disk.rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders(&*self.disk, &self.root)?;
                self.disk.rename(&from, &to)
            }
            moved => moved,
        }
    }

    /// A path in the quarantine that no file has: `rename` would replace the file.
    fn free_path(&self, name: &OsStr, reason: &str) -> io::Result<PathBuf> {
        for number in 1..=SAME_NAME_MAX {
            let path = self.root.join("quarantine").join(quarantine_name(name, reason, number));
            if !exists(&*self.disk, &path)? {
                return Ok(path);
            }
        }
        let words = format!("quarantine: {SAME_NAME_MAX} files of the same name");
        Err(io::Error::new(io::ErrorKind::AlreadyExists, words))
    }

    /// Moves up to `count` files that are not windows from `new` to the quarantine, as long as it
    /// has room: no file is removed for them. Returns whether another call may move more.
    ///
    /// # Errors
    /// When a folder cannot be listed. A file that cannot be moved stays, which does no harm.
    pub(crate) fn tidy(&self, count: usize) -> io::Result<bool> {
        let files = self.quarantined()?;
        let (mut room, mut bytes) =
            (QUARANTINE_FILES_MAX.saturating_sub(files.len()), bytes_of(&files));
        let (mut moved, strangers) = (0, self.strangers(count)?);
        for name in &strangers {
            let status = self.disk.status(&self.root.join("new").join(name));
            let size = status.map_or(u64::MAX, |status| status.bytes);
            let has_room = room > 0 && bytes.saturating_add(size) <= QUARANTINE_MAX;
            if has_room && self.set_aside(name, "stranger").is_ok() {
                (room, bytes, moved) = (room - 1, bytes + size, moved + 1);
            }
        }
        Ok(moved > 0 && strangers.len() == count)
    }

    fn strangers(&self, count: usize) -> io::Result<Vec<OsString>> {
        let mut strangers = Vec::new();
        let mut visit = |DiskEntry { name, kind }: DiskEntry| {
            let is_window = name.to_str().is_some_and(|name| name.parse::<FileName>().is_ok());
            let is_stranger = match kind {
                EntryKind::File => !is_window,
                EntryKind::Other => true,
                EntryKind::Folder => false,
            };
            if is_stranger && strangers.len() < count {
                strangers.push(name);
            }
        };
        self.disk.list(&self.root.join("new"), &mut visit)?;
        Ok(strangers)
    }

    /// Removes the oldest files of the quarantine until it is within its limits.
    pub(super) fn bound_quarantine(&self) -> io::Result<()> {
        let mut files = self.quarantined()?;
        files.sort_unstable();
        let (mut left, mut bytes) = (files.len(), bytes_of(&files));
        for file in files {
            if bytes <= QUARANTINE_MAX && left <= QUARANTINE_FILES_MAX {
                break;
            }
            remove_if_present(&*self.disk, &file.path)?;
            (bytes, left) = (bytes - file.bytes, left - 1);
        }
        Ok(())
    }

    fn quarantined(&self) -> io::Result<Vec<QuarantinedFile>> {
        let quarantine = self.root.join("quarantine");
        let mut names = Vec::new();
        self.disk.list(&quarantine, &mut |entry| names.push(entry))?;
        let files = names.into_iter().filter(|entry| entry.kind != EntryKind::Folder);
        // An operator may have removed a file since it was listed.
        Ok(files.filter_map(|entry| self.quarantined_file(&quarantine, &entry)).collect())
    }

    fn quarantined_file(&self, folder: &Path, entry: &DiskEntry) -> Option<QuarantinedFile> {
        let path = folder.join(&entry.name);
        let status = self.disk.status(&path).ok()?;
        Some(QuarantinedFile { modified: status.modified, path, bytes: status.bytes })
    }
}

fn bytes_of(files: &[QuarantinedFile]) -> u64 {
    files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
}

/// The name of a file in the quarantine: its original name, a number if it is not the first of this
/// name, and the reason. Names that are too long for that are cut.
fn quarantine_name(name: &OsStr, reason: &str, number: u32) -> OsString {
    let mut bytes = name.as_bytes().to_vec();
    bytes.truncate(NAME_BYTES_MAX);
    if number > 1 {
        bytes.extend_from_slice(format!(".{number}").as_bytes());
    }
    bytes.extend_from_slice(format!(".{reason}").as_bytes());
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests;
