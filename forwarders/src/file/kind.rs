//! The kinds of file that the forwarder writes to.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::{major, minor};

/// The major number of the devices that are part of the kernel's memory driver.
const MEMORY_DEVICES: u32 = 1;
/// The minor numbers of `/dev/null`, `/dev/zero` and `/dev/full`, which never block.
const HARMLESS_DEVICES: [u32; 3] = [3, 5, 7];

/// A file that lines can be appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A regular file.
    Regular,
    /// `/dev/null`, `/dev/zero` or `/dev/full`, for tests and measurements.
    Device,
}

/// A file that a write could block on for ever, or that is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnsuitableFile {
    Folder,
    NamedPipe,
    Socket,
    Terminal,
    OtherDevice,
}

impl FileKind {
    /// The kind of a file.
    ///
    /// # Errors
    /// When the forwarder does not write to it.
    pub(super) fn of(found: &Metadata) -> Result<Self, UnsuitableFile> {
        let kind = found.file_type();
        if kind.is_file() {
            Ok(Self::Regular)
        } else if kind.is_char_device() {
            Self::of_device(major(found.rdev()), minor(found.rdev()))
        } else if kind.is_dir() {
            Err(UnsuitableFile::Folder)
        } else if kind.is_fifo() {
            Err(UnsuitableFile::NamedPipe)
        } else if kind.is_socket() {
            Err(UnsuitableFile::Socket)
        } else {
            Err(UnsuitableFile::OtherDevice)
        }
    }

    fn of_device(major: u32, minor: u32) -> Result<Self, UnsuitableFile> {
        if major == MEMORY_DEVICES && HARMLESS_DEVICES.contains(&minor) {
            return Ok(Self::Device);
        }
        // 4 and 5: consoles, serial lines, /dev/tty; 136 to 143: pseudoterminals.
        let is_terminal = matches!(major, 4 | 5 | 136..=143);
        Err(if is_terminal { UnsuitableFile::Terminal } else { UnsuitableFile::OtherDevice })
    }
}

impl fmt::Display for UnsuitableFile {
    /// Names the kind of the file, and an alternative.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Folder => return formatter.write_str("is a directory: name a file in it"),
            Self::NamedPipe => "a pipe",
            Self::Socket => "a socket",
            Self::Terminal => "a terminal",
            Self::OtherDevice => "a device",
        };
        write!(
            formatter,
            "is {kind}, which can block: name a regular file, or use the forwarder `console`, which \
             writes to standard output"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    fn kind(path: &Path) -> Result<FileKind, UnsuitableFile> {
        FileKind::of(&fs::metadata(path).unwrap())
    }

    #[test]
    fn lines_go_to_regular_files_and_to_devices_that_never_block() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
        assert_eq!(kind(&at("file")), Ok(FileKind::Regular));
        assert_eq!(kind(&at("pipe")), Err(UnsuitableFile::NamedPipe));
        assert_eq!(kind(&at("link")), Err(UnsuitableFile::NamedPipe));
        assert_eq!(kind(&at("socket")), Err(UnsuitableFile::Socket));
        assert_eq!(kind(folder.path()), Err(UnsuitableFile::Folder));
        for device in ["/dev/null", "/dev/zero", "/dev/full"] {
            assert_eq!(kind(Path::new(device)), Ok(FileKind::Device), "{device}");
        }
        assert_eq!(kind(Path::new("/dev/random")), Err(UnsuitableFile::OtherDevice));
        assert_eq!(kind(Path::new("/dev/tty")), Err(UnsuitableFile::Terminal));
    }
}
