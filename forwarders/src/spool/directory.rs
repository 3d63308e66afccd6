//! The folder of one destination's spool. What is in it is all that there is to the spool: no index
//! has to agree with it after a crash.
//!
//! ```text
//! LOCK          held by the daemon that works with the folder; its process number is in it
//! new/          windows that wait, delivered in the order of their names
//! tmp/          a window that is being written; emptied at the start
//! quarantine/   what could not be read or was refused, with the reason behind its name
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

/// Most bytes in quarantine; the oldest go first. Enough to look into, too little to fill a disk.
const QUARANTINE_MAX: u64 = 16 << 20;
/// Most files in it: what is refused with each window takes few bytes each time.
const QUARANTINE_FILES_MAX: usize = 1_000;

/// Whether spools can be made in a folder, or it can be made itself. Makes nothing.
///
/// # Errors
/// What the system says of it, or of the nearest folder above that is there.
pub fn usable(folder: &Path) -> io::Result<()> {
    let there = folder.ancestors().find(|folder| folder.symlink_metadata().is_ok());
    let there = there.unwrap_or(Path::new("."));
    if !there.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// A spool's folder, locked.
#[derive(Debug)]
pub(crate) struct SpoolDirectory {
    root: PathBuf,
    /// Held, not used: the lock goes with it.
    _lock: File,
}

/// Why a spool cannot be worked with.
#[derive(Debug, Error)]
pub(crate) enum SpoolOpenError {
    /// Another daemon does.
    #[error("{} is in use by another daemon (process {holder}): give each a `state_dir` or the \
             destination a `name` of its own", path.display())]
    Locked { path: PathBuf, holder: String },
    /// The system refuses.
    #[error("{}: {source} (see `state_dir`)", path.display())]
    System { path: PathBuf, source: io::Error },
}

/// What was there at the start.
#[derive(Debug, Default)]
pub(crate) struct FoundWindows {
    /// Windows, in order.
    pub(crate) names: Vec<FileName>,
    /// Other files, which were moved to the quarantine.
    pub(crate) strangers: u64,
}

/// Why a window could not be read.
#[derive(Debug, Error)]
pub enum SpoolReadError {
    /// The file is gone.
    #[error("it was removed")]
    Gone,
    /// What is in the file is of no use.
    #[error(transparent)]
    Content(#[from] SpoolFileError),
    /// The system refuses.
    #[error(transparent)]
    System(io::Error),
}

impl SpoolDirectory {
    /// Makes the folder if it is missing, locks it and looks what is there.
    ///
    /// # Errors
    /// When another daemon has it or the system refuses; never because of what is in it.
    pub(crate) fn open(root: &Path) -> Result<(Self, FoundWindows), SpoolOpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            |source| SpoolOpenError::System { path, source }
        };
        make_folders(root).map_err(at(root))?;
        let lock = lock(&root.join("LOCK"))?;
        let directory = Self { root: root.to_owned(), _lock: lock };
        directory.empty_tmp().map_err(at(&root.join("tmp")))?;
        let found = directory.look().map_err(at(&root.join("new")))?;
        Ok((directory, found))
    }

    /// Writes a window so that it is there whole or not at all, whatever happens meanwhile.
    ///
    /// # Errors
    /// When the disk is full or fails, or less than `min_free` bytes would be left on it.
    pub(crate) fn write(&self, name: FileName, bytes: &[u8], min_free: u64) -> io::Result<()> {
        self.write_into("new", &name.to_string(), bytes, min_free)
    }

    /// Puts points that a destination refuses into the quarantine, with the reason behind the name.
    ///
    /// # Errors
    /// As with [`SpoolDirectory::write`], or when there is a file of that name with something else in it.
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
            // A run that crashed had it refused already.
            Ok(there) if there == bytes => return Ok(()),
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
            // Somebody removed the folders.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders(&self.root)?;
                write()
            }
            written => written,
        }
    }

    fn leave_free(&self, bytes: u64, min_free: u64) -> io::Result<()> {
        let disk = match rustix::fs::statvfs(&self.root) {
            // It is made again where that is possible; then there is a next time to look.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            disk => disk?,
        };
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
    /// When it is gone, damaged, of a newer version, or the system refuses.
    pub(crate) fn read(&self, name: FileName) -> Result<Snapshot, SpoolReadError> {
        read(&self.root.join("new").join(name.to_string()), name)
    }

    /// Forgets a window; one that is gone already is as good.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn remove(&self, name: FileName) -> io::Result<()> {
        remove(&self.root.join("new").join(name.to_string()))
    }

    /// Moves a window to the quarantine, with the reason behind its name.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn set_aside(&self, name: FileName, reason: &str) -> io::Result<()> {
        self.quarantine(&name.to_string(), reason)
    }

    /// Windows that are there, in order.
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

    /// A file in `tmp` was never anybody's window.
    fn empty_tmp(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join("tmp"))? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Tells windows from strangers. Of two with one number, one was to replace the other when the
    /// process ended: the one with fewer points, as the others had been delivered.
    fn look(&self) -> io::Result<FoundWindows> {
        let mut found = FoundWindows::default();
        for entry in fs::read_dir(self.root.join("new"))? {
            let entry = entry?;
            let (kind, name) = (entry.file_type()?, entry.file_name());
            match name.to_str().and_then(|name| name.parse::<FileName>().ok()) {
                Some(name) if kind.is_file() => found.names.push(name),
                // Whatever it is, it is not ours to move.
                _ if kind.is_dir() => {}
                _ => {
                    self.quarantine(&name.to_string_lossy(), "stranger")?;
                    found.strangers += 1;
                }
            }
        }
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

    fn bound_quarantine(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.root.join("quarantine"))? {
            let entry = entry?;
            // One that is gone by now was removed by somebody.
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_dir() {
                files.push((metadata.modified()?, entry.path(), metadata.len()));
            }
        }
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

/// Reads the window in a file that has this name, or had.
///
/// # Errors
/// When it is gone, damaged, of a newer version, or the system refuses.
pub fn read(path: &Path, name: FileName) -> Result<Snapshot, SpoolReadError> {
    Ok(file::read(name, &read_bytes(path, name)?)?)
}

fn read_bytes(path: &Path, name: FileName) -> Result<Vec<u8>, SpoolReadError> {
    // A link could lead anywhere; what is opened is a file of this folder or nothing. Nor is a pipe
    // waited for.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SpoolReadError::Gone,
        _ => SpoolReadError::System(error),
    })?;
    let mut bytes = Vec::new();
    // One byte more than there should be shows that there is more, and no more is read.
    file.take(name.bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(SpoolReadError::System)?;
    Ok(bytes)
}

fn write_through(tmp: &Path, folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(tmp)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(tmp, folder.join(name))?;
    // The name is on disk too only when the folder is.
    File::open(folder)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_folders(root: &Path) -> io::Result<()> {
    let make = |folder| DirBuilder::new().recursive(true).mode(0o700).create(root.join(folder));
    ["new", "tmp", "quarantine"].into_iter().try_for_each(make)
}

fn lock(path: &Path) -> Result<File, SpoolOpenError> {
    let at = |source| SpoolOpenError::System { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path).map_err(at)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(at)?;
            write!(file, "{}", std::process::id()).map_err(at)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the words.
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
    fn a_second_daemon_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = SpoolDirectory::open(folder.path()).unwrap();
        let error = SpoolDirectory::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        SpoolDirectory::open(folder.path()).unwrap();
    }

    #[test]
    fn nothing_that_lies_there_keeps_it_from_starting() {
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
    fn a_file_that_was_to_replace_another_does() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, _) = SpoolDirectory::open(folder.path()).unwrap();
        put(&directory, 1, 10);
        let left = put(&directory, 1, 4);
        drop(directory);
        let (directory, found) = SpoolDirectory::open(folder.path()).unwrap();
        assert_eq!((found.names, directory.names().unwrap()), (vec![left], vec![left]));
    }

    #[test]
    fn the_quarantine_is_bounded_and_the_oldest_go_first() {
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
    fn the_quarantine_is_bounded_in_files_too_and_a_name_that_is_taken_stays_what_it_was() {
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
    fn a_disk_with_too_little_room_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, _) = SpoolDirectory::open(folder.path()).unwrap();
        let (name, bytes) = file::write(1, &snapshot_of_counters(1), &PointRanges::first(1), "run");
        let error = directory.write(name, &bytes, u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("min_free"), "{error}");
        assert!(directory.names().unwrap().is_empty());
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, _) = SpoolDirectory::open(folder.path()).unwrap();
        fs::remove_dir(folder.path().join("new")).unwrap();
        fs::write(folder.path().join("new"), "a file is in the way").unwrap();
        let (name, bytes) = file::write(1, &snapshot_of_counters(1), &PointRanges::first(1), "run");
        assert!(directory.write(name, &bytes, 1).is_err());
        assert_eq!(folder.path().join("tmp").read_dir().unwrap().count(), 0);
    }

    #[test]
    fn folders_that_were_removed_are_made_again() {
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
        // A tenth of a second on a quiet machine.
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}
