//! The output of the file forwarder: the file that is at its path now.

use std::path::{Path, PathBuf};

use super::open_file::{FileError, OpenFile};
use crate::delivery::forwarder::SendError;
use crate::output::lines::Lines;
use crate::output::thread::{Output, WriteError};

/// Appends to the file at a path.
#[derive(Debug)]
pub(super) struct FileOutput {
    path: PathBuf,
    open: Option<OpenFile>,
}

impl FileOutput {
    /// Creates an output; the first write opens the file.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    /// The file at the path, reopened if another file or none is there now: log rotation only has to
    /// move the old file away.
    fn current(&mut self) -> Result<&mut OpenFile, FileError> {
        let open = match self.open.take_if(|open| open.is_at(&self.path)) {
            Some(open) => open,
            None => OpenFile::open(&self.path, true)?,
        };
        Ok(self.open.insert(open))
    }
}

impl Output for FileOutput {
    fn write(&mut self, lines: &mut Lines) -> Result<(), WriteError> {
        let appended = self.current().and_then(|file| Ok(file.append(lines)?));
        appended.map_err(|error| WriteError::Failed(send_error(&self.path, &error)))
    }
}

/// The error of the file at `path`, for the log.
pub(super) fn send_error(path: &Path, error: &FileError) -> SendError {
    match error {
        FileError::Unsuitable(kind) => SendError::operator(format!("{} {kind}", path.display())),
        FileError::System(error) => SendError::transient(format!("{}: {error}", path.display())),
    }
}
