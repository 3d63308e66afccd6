//! The folder of one destination's spool. The files are the only state: there is no index that
//! could disagree with them after a crash.
//!
//! ```text
//! LOCK          locked by the daemon that uses the folder; contains its process ID
//! new/          waiting windows, delivered in the order of their names
//! tmp/          a window that is being written; emptied at the start
//! quarantine/   unreadable windows and refused points, with the reason after the file name
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, OFlags};
use thiserror::Error;

use super::file::{self, SpoolFileError};
use super::name::FileName;
use model::Snapshot;

/// Most bytes in the quarantine; the oldest files are removed first. Enough for an operator to
/// inspect, too little to fill a disk.
const QUARANTINE_MAX: u64 = 16 << 20;
/// Most files in the quarantine: files of a few points each would not reach the limit of bytes.
const QUARANTINE_FILES_MAX: usize = 1_000;

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
    rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK)?;
    // Only an attempt shows a file system without new files, such as /proc or a full one.
    let trial = there.join(format!(".tallyd-check-{}", std::process::id()));
    fs::create_dir(&trial)?;
    fs::remove_dir(&trial)
}

/// The folder of one destination's spool, locked against other daemons until it is dropped.
#[derive(Debug)]
pub(crate) struct SpoolDirectory {
    root: PathBuf,
    /// Keeps the lock: the system releases it when the file is closed, also after a crash.
    _lock: File,
}

/// Why a spool cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum SpoolOpenError {
    /// Another daemon has locked it.
    #[error("{} is in use by another daemon (process {holder}): give each a `state_dir` or the \
             destination a `name` of its own", path.display())]
    Locked { path: PathBuf, holder: String },
    /// The system returned an error.
    #[error("{}: {source} (see `state_dir`)", path.display())]
    System { path: PathBuf, source: io::Error },
}

/// The files that were in a folder when it was opened.
#[derive(Debug, Default)]
pub(crate) struct FoundWindows {
    /// Windows, the oldest first.
    pub(crate) names: Vec<FileName>,
    /// The number of other files, which were moved to the quarantine.
    pub(crate) strangers: u64,
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
    /// The system returned an error.
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
        let at = |path: &Path| {
            let path = path.to_owned();
            |source| SpoolOpenError::System { path, source }
        };
        make_folders(root).map_err(at(root))?;
        // Before `tmp` is emptied, which may hold the file that another daemon is writing.
        let lock = lock(&root.join("LOCK"))?;
        let directory = Self { root: root.to_owned(), _lock: lock };
        directory.empty_tmp().map_err(at(&root.join("tmp")))?;
        let found = directory.look().map_err(at(&root.join("new")))?;
        Ok((directory, found))
    }

    /// Writes a window atomically: after a crash or a power failure the file is either complete or
    /// absent. When this returns `Ok`, the file is on disk.
    ///
    /// # Errors
    /// When the disk is full or fails, or when fewer than `min_free` bytes would stay free on it.
    pub(crate) fn write(&self, name: FileName, bytes: &[u8], min_free: u64) -> io::Result<()> {
        self.write_into("new", &name.to_string(), bytes, min_free)
    }

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
        match read_bytes(&self.root.join("quarantine").join(&file), name) {
            Err(SpoolReadError::Gone) => {}
            // The window was refused before a crash, and is refused again after it.
            Ok(there) if there == bytes => return Ok(()),
            // Never overwrites: an operator may not have inspected the other file yet.
            _ => return Err(io::Error::new(io::ErrorKind::AlreadyExists, file)),
        }
        self.write_into("quarantine", &file, bytes, min_free)?;
        self.bound_quarantine()
    }

    fn write_into(&self, folder: &str, file: &str, bytes: &[u8], min_free: u64) -> io::Result<()> {
        self.leave_free(bytes.len() as u64, min_free)?;
        let (tmp, folder) = (self.root.join("tmp").join(file), self.root.join(folder));
        let write = || {
            write_through(&tmp, &folder, file, bytes).inspect_err(|_| {
                let _nothing_more_to_do = fs::remove_file(&tmp);
            })
        };
        match write() {
            // The folders were removed while the daemon runs. Checking before each write would
            // still leave a gap, so they are recreated after the failure.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders(&self.root)?;
                write()
            }
            written => written,
        }
    }

    /// Checks that `min_free` bytes stay free on the disk after a write of `bytes`.
    fn leave_free(&self, bytes: u64, min_free: u64) -> io::Result<()> {
        let disk = match rustix::fs::statvfs(&self.root) {
            // The folder was removed. The write recreates it, and the next write checks again.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            disk => disk?,
        };
        // Not `f_bfree`, which includes blocks that only root may use.
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < bytes.saturating_add(min_free) {
            let words = format!("{free} bytes are free, and delivery.spool.min_free is {min_free}");
            return Err(io::Error::new(io::ErrorKind::StorageFull, words));
        }
        Ok(())
    }

    /// Reads a window.
    ///
    /// # Errors
    /// When the file is missing, damaged or of a newer version, or when the system returns an
    /// error.
    pub(crate) fn read(&self, name: FileName) -> Result<Snapshot, SpoolReadError> {
        read(&self.root.join("new").join(name.to_string()), name)
    }

    /// Removes the file of a window. Succeeds if the file does not exist.
    ///
    /// # Errors
    /// When the system returns an error.
    pub(crate) fn remove(&self, name: FileName) -> io::Result<()> {
        remove(&self.root.join("new").join(name.to_string()))
    }

    /// Moves a window to the quarantine, with `reason` after its file name.
    ///
    /// # Errors
    /// When the system returns an error.
    pub(crate) fn set_aside(&self, name: FileName, reason: &str) -> io::Result<()> {
        self.quarantine(&name.to_string(), reason)
    }

    /// The windows in the folder, the oldest first. Empty if the folder was removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn names(&self) -> io::Result<Vec<FileName>> {
        let mut names = Vec::new();
        let entries = match fs::read_dir(self.root.join("new")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            entries => entries?,
        };
        for entry in entries {
            names
                .extend(entry?.file_name().to_str().and_then(|name| name.parse::<FileName>().ok()));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Removes files that a crash left in `tmp`. They may be incomplete, and no ledger counted them
    /// as spooled.
    fn empty_tmp(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join("tmp"))? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Lists the windows, moves other files to the quarantine and removes replaced windows.
    fn look(&self) -> io::Result<FoundWindows> {
        let mut found = FoundWindows::default();
        for entry in fs::read_dir(self.root.join("new"))? {
            let entry = entry?;
            let (kind, name) = (entry.file_type()?, entry.file_name());
            match name.to_str().and_then(|name| name.parse::<FileName>().ok()) {
                Some(name) if kind.is_file() => found.names.push(name),
                // Folders stay, because the limits of the quarantine count files only.
                _ if kind.is_dir() => {}
                _ => {
                    self.quarantine(&name.to_string_lossy(), "stranger")?;
                    found.strangers += 1;
                }
            }
        }
        // Two files with one number: the process ended while one replaced the other. The file with
        // fewer points is the newer one: the other points were settled before it was written.
        found.names.sort_unstable_by_key(|name| (name.seq, name.points));
        let mut replaced = Vec::new();
        found.names.dedup_by(|later, kept| {
            let same = later.seq == kept.seq;
            replaced.extend(same.then_some(*later));
            same
        });
        replaced.into_iter().try_for_each(|name| self.remove(name))?;
        Ok(found)
    }

    fn quarantine(&self, name: &str, reason: &str) -> io::Result<()> {
        let quarantine = self.root.join("quarantine");
        fs::rename(self.root.join("new").join(name), quarantine.join(format!("{name}.{reason}")))?;
        self.bound_quarantine()
    }

    /// Removes the oldest files of the quarantine until it is within its limits.
    fn bound_quarantine(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.root.join("quarantine"))? {
            let entry = entry?;
            // An operator may have removed the file since it was listed.
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_dir() {
                files.push((metadata.modified()?, entry.path(), metadata.len()));
            }
        }
        // By the time of the last change, which is the first element.
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
        let mut left = files.len();
        for (_, path, length) in files {
            if bytes <= QUARANTINE_MAX && left <= QUARANTINE_FILES_MAX {
                break;
            }
            remove(&path)?;
            (bytes, left) = (bytes - length, left - 1);
        }
        Ok(())
    }
}

/// Reads the window in the file at `path`, which was written under `name`. A quarantined file has a
/// longer name by now.
///
/// # Errors
/// When the file is missing, damaged or of a newer version, or when the system returns an error.
pub fn read(path: &Path, name: FileName) -> Result<Snapshot, SpoolReadError> {
    Ok(file::read(name, &read_bytes(path, name)?)?)
}

fn read_bytes(path: &Path, name: FileName) -> Result<Vec<u8>, SpoolReadError> {
    // `NOFOLLOW`: a link planted in the folder must not make the daemon read another file.
    // `NONBLOCK`: opening a named pipe would wait for a writer.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SpoolReadError::Gone,
        _ => SpoolReadError::System(error),
    })?;
    let mut bytes = Vec::new();
    // One byte more than the name says is enough to detect a file that is too long, and bounds the
    // memory for it.
    file.take(name.bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(SpoolReadError::System)?;
    Ok(bytes)
}

/// Writes and syncs the file `tmp`, then moves it into `folder`.
fn write_through(tmp: &Path, folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_aside(tmp, bytes)?;
    publish(tmp, folder, name)
}

/// Writes and syncs a new file.
pub(crate) fn write_aside(tmp: &Path, bytes: &[u8]) -> io::Result<()> {
    // `create_new` fails on a link instead of following it.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(tmp)?;
    file.write_all(bytes)?;
    // Before the rename: after a power failure, the name could otherwise refer to an empty file.
    file.sync_data()
}

/// Moves a synced file into `folder`.
pub(crate) fn publish(tmp: &Path, folder: &Path, name: &str) -> io::Result<()> {
    fs::rename(tmp, folder.join(name))?;
    // The new name is an entry of the folder; it is on disk only after the folder is synced.
    File::open(folder)?.sync_all()
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_folders(root: &Path) -> io::Result<()> {
    let make = |folder| DirBuilder::new().recursive(true).mode(0o700).create(root.join(folder));
    ["new", "tmp", "quarantine"].into_iter().try_for_each(make)
}

pub(crate) fn lock(path: &Path) -> Result<File, SpoolOpenError> {
    let at = |source| SpoolOpenError::System { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    // Not truncated before the lock is held: the file contains the process ID of its holder.
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    // `NOFOLLOW`: the daemon would otherwise truncate the target of a planted link.
    let mut file = options.custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path).map_err(at)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(at)?;
            write!(file, "{}", std::process::id()).map_err(at)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the error message. A process ID has fewer than 20 digits.
            let _unknown = file.take(20).read_to_string(&mut holder);
            let path = path.parent().unwrap_or(path).to_owned();
            Err(SpoolOpenError::Locked { path, holder })
        }
        Err(TryLockError::Error(source)) => Err(at(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, Instant};

    use super::*;
    use model::PointRanges;
    use model::testing::snapshot_of_counters;

    fn put(directory: &SpoolDirectory, seq: u64, points: usize) -> FileName {
        let snapshot = snapshot_of_counters(points);
        let (name, bytes) = file::write(seq, &snapshot, &PointRanges::first(points), "run-1");
        directory.write(name, &bytes, 1).unwrap();
        name
    }

    #[test]
    fn windows_come_back_in_order_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("spool/kafka");
        let (directory, found) = SpoolDirectory::open(&root).unwrap();
        assert!(found.names.is_empty());
        let names = [put(&directory, 9, 1), put(&directory, 10, 2), put(&directory, 300, 3)];
        drop(directory);
        let (directory, found) = SpoolDirectory::open(&root).unwrap();
        assert_eq!(found.names, names);
        assert_eq!(directory.read(names[1]).unwrap().points.len(), 2);
        directory.remove(names[0]).unwrap();
        directory.remove(names[0]).unwrap();
        assert!(matches!(directory.read(names[0]), Err(SpoolReadError::Gone)));
        assert_eq!(directory.names().unwrap(), names[1..]);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&root), 0o700);
        assert_eq!(mode(&root.join("new").join(names[1].to_string())), 0o600);
    }

    #[test]
    fn the_error_for_a_locked_folder_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let first = SpoolDirectory::open(folder.path()).unwrap();
        let error = SpoolDirectory::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        SpoolDirectory::open(folder.path()).unwrap();
    }

    #[test]
    fn no_content_of_the_folder_prevents_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let name = put(&SpoolDirectory::open(root).unwrap().0, 1, 1);
        let new = root.join("new");
        fs::write(new.join("junk"), "junk").unwrap();
        fs::write(new.join("empty.b"), "").unwrap();
        fs::write(root.join("tmp/half"), "half").unwrap();
        fs::create_dir(new.join("folder")).unwrap();
        symlink("/etc/passwd", new.join("0000000000000002-1-1-1.b")).unwrap();
        let (directory, found) = SpoolDirectory::open(root).unwrap();
        assert_eq!((found.names, found.strangers), (vec![name], 3));
        assert!(root.join("quarantine/junk.stranger").exists());
        assert_eq!(root.join("tmp").read_dir().unwrap().count(), 0);
        assert_eq!(directory.read(name).unwrap().points.len(), 1);
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, _) = SpoolDirectory::open(folder.path()).unwrap();
        let name = put(&directory, 1, 1);
        let path = folder.path().join("new").join(name.to_string());
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(directory.read(name), Err(SpoolReadError::System(_))));
    }

    #[test]
    fn an_interrupted_replacement_is_completed_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, _) = SpoolDirectory::open(folder.path()).unwrap();
        put(&directory, 1, 10);
        let left = put(&directory, 1, 4);
        drop(directory);
        let (directory, found) = SpoolDirectory::open(folder.path()).unwrap();
        assert_eq!((found.names, directory.names().unwrap()), (vec![left], vec![left]));
    }

    #[test]
    fn the_quarantine_is_bounded_and_the_oldest_files_are_removed_first() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, _) = SpoolDirectory::open(folder.path()).unwrap();
        let old = put(&directory, 1, 1);
        directory.set_aside(old, "corrupt").unwrap();
        let big = folder.path().join("new/big");
        File::create(&big).unwrap().set_len(QUARANTINE_MAX).unwrap();
        drop(directory);
        let (directory, _) = SpoolDirectory::open(folder.path()).unwrap();
        assert!(!folder.path().join(format!("quarantine/{old}.corrupt")).exists());
        assert!(folder.path().join("quarantine/big.stranger").exists());
        let next = put(&directory, 2, 1);
        directory.set_aside(next, "corrupt").unwrap();
        assert_eq!(folder.path().join("quarantine").read_dir().unwrap().count(), 1);
    }

    #[test]
    fn the_quarantine_is_bounded_in_files_too_and_overwrites_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, _) = SpoolDirectory::open(folder.path()).unwrap();
        let snapshot = snapshot_of_counters(1);
        let put = |seq| {
            let (name, bytes) = file::write(seq, &snapshot, &PointRanges::first(1), "run-1");
            directory.put_aside(name, "refused", &bytes, 1).map(|()| (name, bytes))
        };
        let quarantine = folder.path().join("quarantine");
        for number in 0..QUARANTINE_FILES_MAX {
            let old = File::create(quarantine.join(format!("old-{number}"))).unwrap();
            let second = Duration::from_secs(number as u64);
            old.set_modified(std::time::SystemTime::UNIX_EPOCH + second).unwrap();
        }
        let (name, bytes) = put(1).unwrap();
        put(2).unwrap();
        assert_eq!(quarantine.read_dir().unwrap().count(), QUARANTINE_FILES_MAX);
        assert!(!quarantine.join("old-1").exists() && quarantine.join("old-2").exists());
        put(1).unwrap();
        let error = directory.put_aside(name, "refused", b"something else", 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let file = quarantine.join(format!("{name}.refused"));
        assert_eq!(fs::read(&file).unwrap(), bytes);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.path().join("tmp").read_dir().unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_written_to_a_disk_with_too_little_free_space() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, _) = SpoolDirectory::open(folder.path()).unwrap();
        let (name, bytes) = file::write(1, &snapshot_of_counters(1), &PointRanges::first(1), "run");
        let error = directory.write(name, &bytes, u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("min_free"), "{error}");
        assert!(directory.names().unwrap().is_empty());
    }

    #[test]
    fn a_failed_write_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, _) = SpoolDirectory::open(folder.path()).unwrap();
        fs::remove_dir(folder.path().join("new")).unwrap();
        fs::write(folder.path().join("new"), "a file is in the way").unwrap();
        let (name, bytes) = file::write(1, &snapshot_of_counters(1), &PointRanges::first(1), "run");
        assert!(directory.write(name, &bytes, 1).is_err());
        assert_eq!(folder.path().join("tmp").read_dir().unwrap().count(), 0);
    }

    #[test]
    fn removed_folders_are_recreated() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("kafka");
        let (directory, _) = SpoolDirectory::open(&root).unwrap();
        put(&directory, 1, 1);
        fs::remove_dir_all(&root).unwrap();
        assert!(directory.names().unwrap().is_empty());
        let name = put(&directory, 2, 2);
        assert_eq!(directory.read(name).unwrap().points.len(), 2);
    }

    #[test]
    fn twenty_thousand_files_do_not_hold_up_a_start() {
        let folder = tempfile::tempdir().unwrap();
        drop(SpoolDirectory::open(folder.path()).unwrap());
        for seq in 0..20_000_u64 {
            let name = FileName { seq, start_ms: 1, points: 1, bytes: 1 };
            File::create(folder.path().join("new").join(name.to_string())).unwrap();
        }
        let started = Instant::now();
        let (_, found) = SpoolDirectory::open(folder.path()).unwrap();
        let took = started.elapsed();
        println!("20,000 files: {took:?}");
        assert_eq!(found.names.len(), 20_000);
        // It takes a tenth of a second on an idle machine.
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}
