//! Reads a file of any kind, with a bound on bytes and time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// How long reading may take, for example from the pipe of a command that decrypts the file.
const READ_MAX: Duration = Duration::from_secs(10);
/// How long a named pipe may have no writer. A pipe that a shell passes always has one.
const NAMED_PIPE_MAX: Duration = Duration::from_secs(2);
/// Bytes of one read.
const CHUNK_BYTES: usize = 64 << 10;

/// Reads a whole file.
///
/// # Errors
/// When it is longer than `max_bytes`, does not end in time, or cannot be read.
pub fn read_bounded(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let is_named_pipe = fs::symlink_metadata(path)?.file_type().is_fifo();
    // Without this flag, opening a named pipe waits for a writer.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let first = if is_named_pipe { NAMED_PIPE_MAX } else { READ_MAX };
    let began = Instant::now();
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; CHUNK_BYTES]);
    loop {
        let limit = if bytes.is_empty() { first } else { READ_MAX };
        wait(&file, limit.saturating_sub(began.elapsed()), limit)?;
        match file.read(&mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) if is_temporary(&error) => {}
            Err(error) => return Err(error),
        }
        if bytes.len() > max_bytes {
            let message = format!("larger than {} MiB", max_bytes >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
    }
}

/// Waits until there is something to read or the file has ended.
fn wait(file: &File, time: Duration, limit: Duration) -> io::Result<()> {
    let timeout = Timespec::try_from(time).unwrap_or_default();
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&timeout)) {
        Ok(0) => {
            let message = format!(
                "no end of the file within {} s; the writer of a pipe must close it",
                limit.as_secs()
            );
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        }
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Write;
    use std::thread;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    fn named_pipe(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("tallyd-{name}-{}", std::process::id()));
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        path
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_the_end() {
        let error = read_bounded(Path::new("/dev/zero"), 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "larger than 1 MiB");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_pipe_without_a_writer_is_an_error() {
        let path = named_pipe("no-writer");
        let error = read_bounded(&path, 1 << 20).unwrap_err();
        fs::remove_file(path).unwrap();
        assert_eq!(
            error.to_string(),
            "no end of the file within 2 s; the writer of a pipe must close it"
        );
    }

    #[test]
    fn a_pipe_is_read_until_its_writer_closes_it() {
        let path = named_pipe("writer");
        let to = path.clone();
        let text = "x".repeat(200_000);
        let written = text.clone();
        let writer = thread::spawn(move || {
            let mut pipe = OpenOptions::new().write(true).open(to).unwrap();
            pipe.write_all(written.as_bytes()).unwrap();
        });
        let read = read_bounded(&path, 1 << 20).unwrap();
        writer.join().unwrap();
        fs::remove_file(path).unwrap();
        assert!(read == text.as_bytes());
    }
}
