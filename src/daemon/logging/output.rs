//! The thread that writes the log to standard error. A log without a reader delays only this thread.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use basics::units::ByteSize;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tracing::error;

use super::super::priority::lower_priority;
use super::queue::LogQueue;

/// Bound until the configuration is known.
const MAX_BYTES_AT_START: usize = 64 << 10;
/// How long the end of the process may wait for the reader of the log.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The end of the log's queue at which lines are added. A clone adds to the same queue.
#[derive(Clone, Debug)]
pub struct LogOutput(Arc<LogQueue>);

impl LogOutput {
    /// Starts the thread that writes, and makes panics use it.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start() -> io::Result<Self> {
        let queue = Arc::new(LogQueue::new(MAX_BYTES_AT_START));
        let read = Arc::clone(&queue);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            lower_priority();
            write_lines(&read);
        })?;
        let output = Self(queue);
        output.clone().print_panics();
        Ok(output)
    }

    /// Changes the bound of the queue.
    pub fn set_max_bytes(&self, max: ByteSize) {
        self.0.set_max_bytes(usize::try_from(max.get()).unwrap_or(usize::MAX));
    }

    /// Returns the counter of lines that were not written.
    #[must_use]
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.0.dropped()
    }

    /// Prints a text after all lines of the log. For the last words of the process.
    pub fn print(&self, text: &str) {
        self.0.push_always(format!("{text}\n").as_bytes());
    }

    /// Waits until everything is written, but not for a reader that has stopped reading.
    pub fn flush(&self) {
        self.0.flush(Instant::now() + FLUSH_MAX);
    }

    /// The default hook writes to standard error itself: before earlier lines, and it never returns
    /// if nothing reads there.
    fn print_panics(self) {
        panic::set_hook(Box::new(move |panic| {
            let thread = thread::current();
            let name = thread.name().unwrap_or("unnamed");
            self.print(&format!("thread '{name}' {panic}"));
            let trace = Backtrace::capture();
            if trace.status() == BacktraceStatus::Captured {
                self.print(&trace.to_string());
            }
            self.flush();
        }));
    }
}

/// One event is one call, with the whole line.
impl Write for LogOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(queue: &LogQueue) {
    let stderr = io::stderr();
    loop {
        let line = queue.next();
        queue.written(&line, write_all(stderr.as_fd(), &line).is_ok());
        if let Some(lines) = queue.take_unreported() {
            error!(
                lines,
                "log lines dropped: standard error was not read fast enough (`log.queue`)"
            );
        }
    }
}

/// Writes without the lock of [`io::stderr`], which other code could wait for.
fn write_all(stderr: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(stderr, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            // Another program that shares the terminal or the pipe has made it non-blocking.
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_line_is_written_whole_to_a_non_blocking_descriptor() {
        let (writer, mut reader) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        let line = vec![b'x'; 4 << 20];
        let written = line.clone();
        let writing = thread::spawn(move || write_all(writer.as_fd(), &written));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(writing.join().unwrap(), Ok(()));
        assert!(read == line);
    }
}
