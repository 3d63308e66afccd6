//! Notices when a file of the configuration has changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files, each with its state when they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WatchedFiles(Vec<(PathBuf, Option<FileStamp>)>);

/// What changes with the content of a file or with the permission to read it: device, inode, size, and the
/// time of the latest change, which no program can set. A renamed file and a changed symbolic link have
/// another inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp(u64, u64, u64, (i64, i64));

impl WatchedFiles {
    /// Notes the state of a file. Call it before the file is read, or a change in between stays unnoticed.
    pub(super) fn add(&mut self, path: &Path) {
        self.0.push((path.to_owned(), stamp(path)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same files as they are now. Blocks on the disk.
    pub(super) fn now(&self) -> Self {
        Self(self.0.iter().map(|(path, _)| (path.clone(), stamp(path))).collect())
    }
}

fn stamp(path: &Path) -> Option<FileStamp> {
    let data = fs::metadata(path).ok()?;
    Some(FileStamp(data.dev(), data.ino(), data.size(), (data.ctime(), data.ctime_nsec())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_written_replaced_or_removed_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("link"), folder.path().join("other"));
        fs::write(folder.path().join("file"), "a").unwrap();
        fs::write(&other, "a").unwrap();
        symlink(folder.path().join("file"), &path).unwrap();
        let mut files = WatchedFiles::default();
        assert!(files.is_empty());
        files.add(&path);
        assert_eq!(files.now(), files);
        fs::write(&path, "ab").unwrap();
        let written = files.now();
        assert_ne!(written, files);
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&path, mode).unwrap();
        assert_ne!(files.now(), written, "it may have become readable");
        fs::remove_file(&path).unwrap();
        let removed = written.now();
        assert_ne!(removed, written);
        symlink(&other, &path).unwrap();
        assert_ne!(removed.now(), removed);
    }
}
