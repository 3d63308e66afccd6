//! An open file to which whole lines are appended.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use thiserror::Error;

use super::kind::{FileKind, UnsuitableFile};
use crate::output::lines::Lines;

/// Why lines could not be appended.
#[derive(Debug, Error)]
pub(super) enum FileError {
    #[error("{0}")]
    Unsuitable(UnsuitableFile),
    #[error(transparent)]
    System(#[from] io::Error),
}

/// An open file. Its lines are complete, except one that a crash or another program has cut.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    kind: FileKind,
    /// Device and inode, which show whether log rotation has moved the file away.
    identity: (u64, u64),
    /// The length after the latest append, which ended with a newline; `None` before the first and
    /// after a failed one.
    end: Option<u64>,
}

impl OpenFile {
    /// Opens a file, and creates a missing one if `create`. Never waits for a reader of a pipe.
    pub(super) fn open(path: &Path, create: bool) -> Result<Self, FileError> {
        // Before it is opened, because opening a device may have an effect.
        match path.metadata() {
            Ok(found) => drop(FileKind::of(&found).map_err(FileError::Unsuitable)?),
            Err(error) if create && error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let open = |read| {
            let mut options = OpenOptions::new();
            options.read(read).append(true).create(create).custom_flags(flags).open(path)
        };
        let file = open(true).or_else(|error| match error.kind() {
            // The file is read only to find a line that was cut, which can be left out.
            ErrorKind::PermissionDenied => open(false),
            _ => Err(error),
        })?;
        let found = file.metadata()?;
        // Again: another file may have taken its place since.
        let kind = FileKind::of(&found).map_err(FileError::Unsuitable)?;
        Ok(Self { file, kind, identity: identity(&found), end: None })
    }

    /// Whether this is the file at `path`.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        path.metadata().is_ok_and(|there| identity(&there) == self.identity)
    }

    /// Appends the rest of the lines. After a failure, such as on a full disk, the file has the
    /// length from before, so that each line is in it once or not at all.
    pub(super) fn append(&mut self, lines: &mut Lines) -> io::Result<()> {
        let start = if self.kind == FileKind::Regular { self.file.metadata()?.len() } else { 0 };
        let newline: &[u8] = if self.ends_within_a_line(start)? { b"\n" } else { b"" };
        let mut written = 0;
        let outcome = write_counted(&mut self.file, newline, &mut written)
            .and_then(|()| write_counted(&mut self.file, lines.rest(), &mut written));
        self.end = outcome.is_ok().then_some(start + written as u64);
        if outcome.is_ok() {
            lines.advance(lines.rest().len());
        } else if !self.take_back(start, written) {
            // A retry begins with a newline and with the line that was cut.
            lines.advance_by_lines(written.saturating_sub(newline.len()));
        }
        outcome
    }

    /// Whether the last line has no newline, because a run was killed in a write.
    fn ends_within_a_line(&self, length: u64) -> io::Result<bool> {
        if length == 0 || self.end == Some(length) {
            return Ok(false);
        }
        let mut last = [0];
        match self.file.read_at(&mut last, length - 1) {
            Ok(1) => Ok(last != *b"\n"),
            // Truncated since: lines begin at the start of the file.
            Ok(_) => Ok(false),
            // Opened without the right to read.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Truncates the file to the length before a failed write, unless another program has written
    /// too, whose lines would be lost. Returns whether nothing of the write is left.
    fn take_back(&self, start: u64, written: usize) -> bool {
        let is_ours = || {
            let length = self.file.metadata().map(|found| found.len());
            self.kind == FileKind::Regular && length.is_ok_and(|at| at == start + written as u64)
        };
        written == 0 || (is_ours() && self.file.set_len(start).is_ok())
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Writes all bytes, and adds the number of written bytes to `written`, also before an error.
fn write_counted(file: &mut File, mut bytes: &[u8], written: &mut usize) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => {
                *written += length;
                bytes = &bytes[length..];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    fn append(file: &mut OpenFile, lines: &str) {
        file.append(&mut Lines::new(lines.as_bytes())).unwrap();
    }

    #[test]
    fn a_line_that_a_kill_has_cut_gets_its_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "whole\nhal").unwrap();
        let mut file = OpenFile::open(&path, true).unwrap();
        append(&mut file, "a\n");
        append(&mut file, "b\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nhal\na\nb\n");
        // Another program appends, or copies and truncates the file.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"oth").unwrap();
        append(&mut file, "c\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nhal\na\nb\noth\nc\n");
        fs::write(&path, "").unwrap();
        append(&mut file, "d\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "d\n");
    }

    #[test]
    fn a_failed_write_is_taken_back_unless_another_program_has_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "whole\nhal").unwrap();
        let file = OpenFile::open(&path, true).unwrap();
        assert!(!file.take_back(6, 2));
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nhal");
        assert!(file.take_back(6, 3));
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\n");
    }

    #[test]
    fn a_failed_write_counts_as_not_written() {
        let mut file = OpenFile::open(Path::new("/dev/full"), true).unwrap();
        let mut lines = Lines::new(b"a\n");
        let error = file.append(&mut lines).unwrap_err();
        assert_eq!((error.kind(), lines.rest()), (ErrorKind::StorageFull, &b"a\n"[..]));
    }

    #[test]
    fn a_pipe_is_refused_without_waiting_for_its_reader() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (sender, receiver) = channel();
        thread::spawn(move || sender.send(OpenFile::open(&path, true).unwrap_err().to_string()));
        let words = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(words.starts_with("is a pipe, which can block"), "{words}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "hal").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o200)).unwrap();
        append(&mut OpenFile::open(&path, true).unwrap(), "a\n");
        let text = fs::read_to_string(&path).unwrap_or_else(|_| "hala\n".to_owned());
        // Root may read it all the same.
        assert!(["hala\n", "hal\na\n"].contains(&text.as_str()), "{text}");
    }
}
