//! File destination: appends one line per series to a local file, window by window.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use serde::Deserialize;

use crate::bounded::{LOOK_MAX, detached, within};
use crate::config::{Common, DeliveryConfig, InvalidKey};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::SendError;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;
use crate::format::influx::{LineNaming, LineNamingStyle, TelegrafConfig};
use crate::format::{LineEncoding, LineFormat};
use crate::host_resource::HostResource;
use crate::idle::{IdleConfig, IdleFor, IdleKeys, IdleRules};
use crate::output::forwarder::{LineForwarder, OutputProbe};
use crate::output::thread::OutputName;
use crate::output::writer::LineWriter;
use crate::select::SelectConfig;

use kind::FileKind;
use open_file::{FileError, OpenFile};
use output::{FileOutput, send_error};

mod kind;
mod open_file;
mod output;

/// `forwarders.file`: the configuration of the file destination.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Name of the destination in the ledger and the log. Defaults to `file`.
    #[serde(default)]
    pub name: Option<String>,
    /// Path of the file. A missing file is created; a missing folder is not. Pipes, sockets and
    /// devices are not written to, except `/dev/null`, `/dev/zero` and `/dev/full`.
    pub path: PathBuf,
    /// Format of a line: `text`, `json` or `influx`. Defaults to `text`.
    #[serde(default)]
    pub format: LineFormat,
    /// `format: influx`: `tallyd`, the metric's name and tallyd's fields, or `telegraf`, the names, fields
    /// and types of Telegraf's statsd input, so that dashboards made for it keep working. Defaults to
    /// `tallyd`.
    #[serde(default)]
    pub naming: LineNamingStyle,
    /// Options of Telegraf's statsd input, for `naming: telegraf`.
    #[serde(default)]
    pub telegraf: TelegrafConfig,
    /// Which series are written.
    #[serde(default)]
    pub select: SelectConfig,
    /// Points for live series without samples. Defaults to `none`.
    #[serde(default)]
    pub idle: Option<IdleConfig>,
    /// The time for which an idle series has points. Unlimited by default: as long as it is live.
    #[serde(default)]
    pub idle_for: Option<IdleFor>,
    /// `timeout`, `queue` and `retry` have an effect: a write to a full disk is retried.
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

    fn idle(&self) -> IdleKeys<'_> {
        let rules = IdleRules::default();
        IdleKeys { idle: self.idle.as_ref(), idle_for: self.idle_for.as_ref(), rules }
    }

    fn check(&self) -> Result<(), InvalidKey> {
        let is_influx = self.format == LineFormat::Influx;
        self.naming.check(is_influx)
    }

    fn check_files(&self) -> Result<(), InvalidKey> {
        let path = self.path.clone();
        // A file that cannot be looked at may be there later.
        let Some(Ok(found)) = within(LOOK_MAX, move || path.metadata()) else { return Ok(()) };
        let refused = |kind| InvalidKey::at("path", format!("{} {kind}", self.path.display()));
        FileKind::of(&found).map(|_| ()).map_err(refused)
    }

    fn build(mut self, _: &BuildContext) -> Result<Vec<Destination>, String> {
        // Not settings of the forwarder: the registry applies them.
        (self.idle, self.idle_for) = (None, None);
        let name = self.name.as_deref();
        let common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let patience = common.delivery.timeout.get();
        let naming = LineNaming::new(self.naming, &self.telegraf);
        let encoding = LineEncoding::new(self.format, naming);
        let forwarder = FileForwarder::new(self.path.clone(), encoding, patience);
        let settings = ForwarderSettings::new(self);
        Ok(vec![Destination::new(Self::KIND, common, settings, forwarder)])
    }
}

/// Appends each payload to the file completely or not at all.
pub type FileForwarder = LineForwarder<FileProbe>;

impl FileForwarder {
    /// Creates a forwarder that appends to `path` and waits for a write for `patience`. The first
    /// window opens the file.
    #[must_use]
    pub(crate) fn new(
        path: PathBuf,
        encoding: impl Into<LineEncoding>,
        patience: Duration,
    ) -> Self {
        let (name, to) = (OutputName::File(path.clone()), path.clone());
        let output = move || FileOutput::new(to.clone());
        let writer = LineWriter::new(name, output, patience);
        Self::with(encoding.into(), writer, FileProbe { path, patience })
    }
}

/// Checks whether a file can be appended to.
#[derive(Debug)]
pub struct FileProbe {
    path: PathBuf,
    patience: Duration,
}

#[async_trait]
impl OutputProbe for FileProbe {
    /// Does not create a missing file.
    async fn probe(&mut self, late: SendError) -> Result<(), SendError> {
        let path = self.path.clone();
        // Shorter than the limit of the caller, whose words are about connections.
        let patience = self.patience - self.patience / 10;
        match tokio::time::timeout(patience, detached(move || probe(&path))).await {
            Ok(Ok(outcome)) => outcome.map_err(|error| send_error(&self.path, &error)),
            Ok(Err(_)) => Err(SendError::transient("the system refuses a thread")),
            Err(_) => Err(late),
        }
    }
}

fn probe(path: &Path) -> Result<(), FileError> {
    match OpenFile::open(path, false) {
        Err(FileError::System(error)) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            Ok(can_hold_a_file(folder.unwrap_or(Path::new(".")))?)
        }
        opened => opened.map(|_| ()),
    }
}

/// Checks that this process may create a file in `folder`.
fn can_hold_a_file(folder: &Path) -> io::Result<()> {
    if !folder.metadata()?.is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(accessat(CWD, folder, access, AtFlags::EACCESS)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::forwarder::Forwarder;
    use crate::delivery::payload::Batch;
    use model::testing::snapshot_of_counters;

    const PATIENCE: Duration = Duration::from_secs(60);

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
        let mut forwarder = FileForwarder::new(path.clone(), LineFormat::Json, PATIENCE);
        write(&mut forwarder, 2).await.unwrap();
        write(&mut forwarder, 1).await.unwrap();
        std::fs::rename(&path, &moved).unwrap();
        write(&mut forwarder, 5).await.unwrap();
        assert_eq!((lines(&moved), lines(&path)), (3, 5));
    }

    #[tokio::test]
    async fn an_error_names_the_file() {
        let mut forwarder =
            FileForwarder::new("/nowhere/at/all".into(), LineFormat::Text, PATIENCE);
        let error = write(&mut forwarder, 1).await.unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/at/all: No such file"), "{error}");
    }

    #[tokio::test]
    async fn looking_whether_it_could_be_written_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        FileForwarder::new(path.clone(), LineFormat::Text, PATIENCE).probe().await.unwrap();
        assert!(!path.exists());
        let nowhere = folder.path().join("no/where");
        assert!(FileForwarder::new(nowhere, LineFormat::Text, PATIENCE).probe().await.is_err());
    }

    #[tokio::test]
    async fn lines_that_do_not_fit_are_not_there_by_half() {
        // /dev/full rejects every write and has no length: the caller must get an error, not a
        // panic.
        let mut forwarder = FileForwarder::new("/dev/full".into(), LineFormat::Text, PATIENCE);
        let error = write(&mut forwarder, 1).await.unwrap_err().to_string();
        assert!(error.contains("No space left"), "{error}");
    }
}
