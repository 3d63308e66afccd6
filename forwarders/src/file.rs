//! File destination: appends one line per series to a local file, window by window.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use serde::Deserialize;

use crate::config::{Common, DeliveryConfig};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;
use crate::format::LineFormat;
use crate::host_resource::HostResource;
use crate::select::SelectConfig;
use model::Snapshot;

/// `forwarders.file`: the configuration of the file destination.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Name of the destination in the ledger and the log. Defaults to `file`.
    #[serde(default)]
    pub name: Option<String>,
    /// Path of the file. A missing file is created; a missing folder is not.
    pub path: PathBuf,
    /// Format of a line: `text`, `json` or `influx`. Defaults to `text`.
    #[serde(default)]
    pub format: LineFormat,
    /// Which series are written.
    #[serde(default)]
    pub select: SelectConfig,
    /// Only `queue` and `retry` have an effect: a write to a full disk is retried.
    #[serde(default)]
    pub delivery: DeliveryConfig,
}

impl ForwarderSection for FileConfig {
    const KIND: &'static str = "file";

    #[cfg(test)]
    const EXAMPLE: &'static str = r#"{"path": "/dev/null", "format": "json"}"#;

    /// After a failed write, the file is truncated, which would destroy the lines of another writer.
    fn host_resources(&self) -> Option<(&'static str, Vec<HostResource>)> {
        Some(("path", vec![HostResource::Path(self.path.clone())]))
    }

    fn build(mut self, _: &BuildContext) -> Result<Vec<Destination>, String> {
        let name = self.name.as_deref();
        let common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let forwarder = FileForwarder::new(self.path.clone(), self.format);
        let settings = ForwarderSettings::new(self);
        Ok(vec![Destination::new(Self::KIND, common, settings, forwarder)])
    }
}

/// Appends each payload to the file completely or not at all.
#[derive(Debug)]
pub struct FileForwarder {
    path: PathBuf,
    format: LineFormat,
    open: Option<OpenFile>,
}

/// The open file with its device and inode, which show whether log rotation has moved it away.
#[derive(Debug)]
struct OpenFile {
    file: File,
    identity: (u64, u64),
}

impl FileForwarder {
    /// Creates a forwarder that appends to `path`. The first window opens the file.
    #[must_use]
    pub fn new(path: PathBuf, format: LineFormat) -> Self {
        Self { path, format, open: None }
    }
}

#[async_trait]
impl Forwarder for FileForwarder {
    fn wants_whole_window(&self, window: &Snapshot) -> bool {
        self.format.may_merge(window)
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.format.encode_lines(snapshot, batch);
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        // The write does not go to a blocking thread: an append to a local file returns almost at
        // once, and a blocking thread could still write the window after the attempt has timed out.
        while let Some(payload) = batch.first_pending() {
            let id = payload.id;
            append(&self.path, &mut self.open, payload.bytes).map_err(|error| {
                SendError::transient(format!("{}: {error}", self.path.display()))
            })?;
            batch.delivered(id);
        }
        Ok(())
    }

    /// Checks that the file can be appended to, without creating a missing file.
    async fn probe(&mut self) -> Result<(), SendError> {
        let looked = if self.path.exists() {
            OpenOptions::new().append(true).open(&self.path).map(|_| ())
        } else {
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            folder.metadata().and_then(|found| {
                if found.is_dir() { can_be_written(folder) } else { Err(Errno::NOTDIR.into()) }
            })
        };
        looked.map_err(|error| SendError::operator(format!("{}: {error}", self.path.display())))
    }
}

/// Checks that this process may create a file in `folder`.
fn can_be_written(folder: &Path) -> io::Result<()> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(accessat(CWD, folder, access, AtFlags::EACCESS)?)
}

/// Appends `lines`. After a failed write, for example on a full disk, truncates the file to its
/// previous length, so that each line is in the file once or not at all.
fn append(path: &Path, open: &mut Option<OpenFile>, lines: &[u8]) -> io::Result<()> {
    let file = reopen_if_moved(path, open)?;
    let length = file.metadata()?.len();
    file.write_all(lines).inspect_err(|_| {
        // Pipes and terminals have no length to truncate to, and there is no other way to undo the
        // write.
        let _cannot_be_taken_back = file.set_len(length);
    })
}

/// Returns the file at `path`, reopened if another file or none is there now: log rotation only has
/// to move the old file away.
fn reopen_if_moved<'a>(path: &Path, open: &'a mut Option<OpenFile>) -> io::Result<&'a mut File> {
    let there = path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    if open.as_ref().map(|open| open.identity) != there || open.is_none() {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let metadata = file.metadata()?;
        *open = Some(OpenFile { file, identity: (metadata.dev(), metadata.ino()) });
    }
    match open {
        Some(open) => Ok(&mut open.file),
        None => Err(io::Error::other("the file was not opened")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::testing::snapshot_of_counters;

    async fn write(forwarder: &mut FileForwarder, points: usize) -> Result<(), SendError> {
        let mut batch = Batch::default();
        forwarder.encode(&snapshot_of_counters(points), &mut batch);
        forwarder.send(&mut batch).await
    }

    fn lines(path: &Path) -> usize {
        std::fs::read_to_string(path).unwrap().lines().count()
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("out"), folder.path().join("out.1"));
        let mut forwarder = FileForwarder::new(path.clone(), LineFormat::Json);
        write(&mut forwarder, 2).await.unwrap();
        write(&mut forwarder, 1).await.unwrap();
        std::fs::rename(&path, &moved).unwrap();
        write(&mut forwarder, 5).await.unwrap();
        assert_eq!((lines(&moved), lines(&path)), (3, 5));
    }

    #[tokio::test]
    async fn an_error_names_the_file() {
        let mut forwarder = FileForwarder::new("/nowhere/at/all".into(), LineFormat::Text);
        let error = write(&mut forwarder, 1).await.unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/at/all: No such file"), "{error}");
    }

    #[tokio::test]
    async fn looking_whether_it_could_be_written_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        FileForwarder::new(path.clone(), LineFormat::Text).probe().await.unwrap();
        assert!(!path.exists());
        let nowhere = folder.path().join("no/where");
        assert!(FileForwarder::new(nowhere, LineFormat::Text).probe().await.is_err());
    }

    #[tokio::test]
    async fn lines_that_do_not_fit_are_not_there_by_half() {
        // /dev/full rejects every write and has no length: the caller must get an error, not a
        // panic.
        let mut forwarder = FileForwarder::new("/dev/full".into(), LineFormat::Text);
        let error = write(&mut forwarder, 1).await.unwrap_err().to_string();
        assert!(error.contains("No space left"), "{error}");
    }
}
