//! The disk of this host.

use std::fs::{self, DirBuilder, File, FileType, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Disk, DiskEntry, EntryKind, FileStatus};

/// The disk of this host.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RealDisk;

/// `NOFOLLOW`: a link planted in the folder must not make the daemon use another file. `NONBLOCK`:
/// opening a named pipe would wait for the other end.
const CAREFULLY: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

impl Disk for RealDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    fn list(&self, folder: &Path, visit: &mut dyn FnMut(DiskEntry)) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(kind) => kind_of(kind),
                // Removed since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            visit(DiskEntry { name: entry.file_name(), kind });
        }
        Ok(())
    }

    fn status(&self, path: &Path) -> io::Result<FileStatus> {
        let metadata = path.symlink_metadata()?;
        Ok(FileStatus {
            kind: kind_of(metadata.file_type()),
            bytes: metadata.len(),
            inode: metadata.ino(),
            modified: metadata.modified()?,
        })
    }

    fn read(&self, file: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let opened = OpenOptions::new().read(true).custom_flags(CAREFULLY).open(file);
        let opened = opened.map_err(|error| match error.raw_os_error() {
            Some(code) if code == Errno::LOOP.raw_os_error() => no_regular_file(),
            _ => error,
        })?;
        if !opened.metadata()?.is_file() {
            return Err(no_regular_file());
        }
        let mut bytes = Vec::new();
        opened.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        create(file, bytes)?.sync_data()
    }

    fn create_unsynced(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        create(file, bytes).map(drop)
    }

    fn sync_file(&self, file: &Path) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(CAREFULLY).open(file)?.sync_data()
    }

    fn append_unsynced(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).custom_flags(CAREFULLY);
        options.open(file)?.write_all(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn sync_all(&self, folder: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(folder)?)?)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(folder)?;
        // Not `f_bfree`, which includes blocks that only root may use.
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

fn create(file: &Path, bytes: &[u8]) -> io::Result<File> {
    // `create_new` fails on a link instead of following it.
    let mut created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    created.write_all(bytes)?;
    Ok(created)
}

fn kind_of(kind: FileType) -> EntryKind {
    if kind.is_file() {
        EntryKind::File
    } else if kind.is_dir() {
        EntryKind::Folder
    } else {
        EntryKind::Other
    }
}

fn no_regular_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a regular file")
}
