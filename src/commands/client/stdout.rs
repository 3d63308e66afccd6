//! Standard output of the commands that print a text and end.

use std::io::{self, ErrorKind, Write};

/// Prints a text at once. Returns false if it cannot be written, as on a full disk, and reports that on
/// standard error. A reader that closes the pipe early, such as `head`, needs no more.
#[allow(clippy::print_stderr)]
pub(crate) fn print(text: &[u8]) -> bool {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => true,
        Err(error) => {
            eprintln!("cannot write to standard output: {error}");
            false
        }
    }
}

/// Prints a line; otherwise like [`print`].
pub(crate) fn print_line(line: &str) -> bool {
    print(format!("{line}\n").as_bytes())
}
