//! The state that an orderly stop leaves to the next run, see `forwarders::restart`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use basics::time::unix_ms;
use forwarders::delivery::destination::Destination;
use forwarders::delivery::task::EndedForwarder;
use forwarders::restart::{
    RestartFolder, RestartPart, SavedFile, decode_levels, decode_windows, encode_levels,
};
use model::{GaugeLevel, SetSeed, UnfinishedWindows};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::runtime::restart::RestartStats;

/// Maximum time that the disk gets at the start and at the end of a stop. A disk that hangs must
/// neither keep the daemon from starting nor from stopping.
const DISK_TIME: Duration = Duration::from_secs(5);

/// Where the restart state is kept.
#[derive(Clone, Debug)]
pub(super) struct RestartState {
    /// `None` if it cannot be used.
    folder: Option<Arc<RestartFolder>>,
    stats: Arc<RestartStats>,
}

/// The state of an earlier run.
#[derive(Debug, Default)]
pub(super) struct Restored {
    pub(super) unfinished: UnfinishedWindows,
    /// The seed for the members of their sets.
    pub(super) set_seed: Option<SetSeed>,
    /// With idle times as of now.
    pub(super) levels: Vec<GaugeLevel>,
    /// By name of the destination.
    totals: HashMap<String, SavedFile>,
}

impl RestartState {
    /// Opens the folder. A failure costs only the restart state.
    pub(super) async fn open(
        folder: PathBuf,
        stats: Arc<RestartStats>,
        destinations: &[Destination],
    ) -> Self {
        let opened = spawn_blocking(move || RestartFolder::open(&folder));
        let opened = match timeout(DISK_TIME, opened).await {
            Ok(opened) => opened.unwrap_or_else(|error| Err(error.to_string())),
            Err(_) => Err(format!("the disk did not answer within {DISK_TIME:?}")),
        };
        let folder = opened.map(Arc::new).map_err(|reason| {
            // Without a destination that needs it, only the values of gauges start from 0.
            if destinations.iter().any(Destination::needs_restart_state) {
                warn!(reason, "no restart state: a restart divides a window and resets totals");
            } else {
                debug!(reason, "no restart state: a restart resets the values of gauges");
            }
        });
        Self { folder: folder.ok(), stats }
    }

    /// Reads the state of an earlier run. What cannot be used is logged and counted.
    pub(super) async fn read(&self, max: u64, destinations: &[Destination]) -> Restored {
        let Some(folder) = self.folder.clone() else { return Restored::default() };
        let (reader, names) =
            (Reader { folder, stats: Arc::clone(&self.stats), max }, names(destinations));
        let read = spawn_blocking(move || reader.read(names));
        match timeout(DISK_TIME, read).await {
            Ok(Ok(restored)) => restored,
            Ok(Err(error)) => {
                error!(%error, "cannot read the restart state (bug)");
                Restored::default()
            }
            Err(_) => {
                warn!("cannot read the restart state: the disk did not answer");
                Restored::default()
            }
        }
    }

    /// Removes levels and totals before the first sample changes them: after a crash they would be those
    /// of an earlier time.
    pub(super) async fn consume(&self) {
        let Some(folder) = self.folder.clone() else { return };
        let removed = timeout(DISK_TIME, spawn_blocking(move || folder.remove_all_but_windows()));
        let failure = match removed.await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the disk did not answer".to_owned(),
        };
        error!(
            reason = failure,
            "cannot remove used restart state; remove the folder `restart` in state_dir before the \
             next start, or totals may fall back after a crash"
        );
    }

    /// Saves the totals of destinations that have ended.
    pub(super) async fn save_totals(&self, ended: Vec<EndedForwarder>, max: u64) {
        let Some(folder) = self.folder.clone().filter(|_| max > 0) else { return };
        let stats = Arc::clone(&self.stats);
        let saved = spawn_blocking(move || {
            ended.into_iter().for_each(|ended| save_totals_of(ended, &folder, &stats, max));
        });
        if timeout(DISK_TIME, saved).await.is_err() {
            error!(
                "cannot save totals: the disk did not answer; they start from 0 after the restart"
            );
        }
    }

    /// The aggregator's side, with a bound that may change until the stop; `None` without a folder.
    pub(super) fn store(
        &self,
        max: impl Fn() -> u64 + Send + 'static,
        set_seed: SetSeed,
    ) -> Option<Box<dyn engine::aggregator::restart::RestartStore>> {
        let folder = self.folder.clone()?;
        let stats = Arc::clone(&self.stats);
        Some(Box::new(super::restart_store::FolderStore::new(folder, stats, max, set_seed)))
    }
}

fn names(destinations: &[Destination]) -> Vec<String> {
    destinations.iter().map(|destination| destination.common.name.clone()).collect()
}

/// Reads the parts.
struct Reader {
    folder: Arc<RestartFolder>,
    stats: Arc<RestartStats>,
    max: u64,
}

impl Reader {
    fn read(&self, names: Vec<String>) -> Restored {
        if self.max == 0 {
            // State of an earlier run must not wait until it is turned on again.
            let _unused = self.folder.remove(&RestartPart::Windows);
            return Restored::default();
        }
        let unfinished = self.part(&RestartPart::Windows, |file| decode_windows(&file.bytes));
        let levels = self.part(&RestartPart::Levels, |file| {
            let away_ms = away(&file).as_millis() as u64;
            let mut levels = decode_levels(&file.bytes)?;
            levels
                .iter_mut()
                .for_each(|level| level.idle_ms = level.idle_ms.saturating_add(away_ms));
            Ok(levels)
        });
        let totals = names.into_iter().filter_map(|name| {
            let file = self.part(&RestartPart::Totals(name.clone()), Ok)?;
            Some((name, file))
        });
        let (unfinished, set_seed) = unfinished.unzip();
        Restored {
            unfinished: unfinished.unwrap_or_default(),
            set_seed,
            levels: levels.unwrap_or_default(),
            totals: totals.collect(),
        }
    }

    fn part<T>(
        &self,
        part: &RestartPart,
        decode: impl FnOnce(SavedFile) -> Result<T, forwarders::restart::RestartFileError>,
    ) -> Option<T> {
        let read = self.folder.read(part, self.max);
        match read.and_then(|file| file.map(decode).transpose()) {
            Ok(content) => content,
            Err(error) => {
                self.stats.failed(part);
                warn!(%part, %error, "cannot use a part of the restart state; it is lost");
                None
            }
        }
    }
}

impl Restored {
    /// Logs what there is; so many of the levels had no room.
    pub(super) fn log(&self, left_out: usize) {
        if left_out > 0 {
            warn!(
                gauges = left_out,
                "values of gauges of the earlier run had no room among the series \
                 (aggregation.max_series); they start from 0"
            );
        }
        let windows = self.unfinished.windows.len();
        if windows + self.levels.len() > 0 {
            info!(windows, gauges = self.levels.len(), "continuing from the restart state");
        }
    }

    /// Hands the totals to the forwarders that keep some.
    pub(super) fn restore_totals(
        &mut self,
        destinations: &mut [Destination],
        stats: &RestartStats,
    ) {
        for destination in destinations {
            let name = &destination.common.name;
            let Some(file) = self.totals.remove(name) else { continue };
            if destination.forwarder.restore_state(&file.bytes, away(&file)).is_err() {
                let part = RestartPart::Totals(name.clone());
                stats.failed(&part);
                warn!(forwarder = name, %part, "cannot use saved totals; they start from 0");
            }
        }
    }
}

/// The time since a file was written; zero if the clock was set back since.
fn away(file: &SavedFile) -> Duration {
    Duration::from_millis(unix_ms(SystemTime::now()).saturating_sub(file.saved_at_ms))
}

fn save_totals_of(
    mut ended: EndedForwarder,
    folder: &RestartFolder,
    stats: &RestartStats,
    max: u64,
) {
    let Some(state) = ended.save_state(max) else { return };
    let part = RestartPart::Totals(ended.name().to_owned());
    if state.left_out > 0 {
        stats.failed(&part);
        warn!(
            forwarder = ended.name(),
            series = state.left_out,
            "totals beyond restart_state.max_bytes start from 0 after the restart"
        );
    }
    if let Err(error) = folder.write(&part, unix_ms(SystemTime::now()), &state.bytes, || true) {
        stats.failed(&part);
        error!(forwarder = ended.name(), %error, "cannot save totals; they start from 0 after the restart");
    }
}

/// Encodes and writes levels.
pub(super) fn save_levels(
    levels: &[GaugeLevel],
    folder: &RestartFolder,
    stats: &RestartStats,
    max: u64,
) {
    let (bytes, kept) = encode_levels(levels, max);
    if kept < levels.len() {
        stats.failed(&RestartPart::Levels);
        warn!(
            gauges = levels.len() - kept,
            "values of gauges beyond restart_state.max_bytes start from 0 after the restart"
        );
    }
    let written = folder.write(&RestartPart::Levels, unix_ms(SystemTime::now()), &bytes, || true);
    if let Err(error) = written {
        stats.failed(&RestartPart::Levels);
        error!(%error, "cannot save the values of gauges; they start from 0 after the restart");
    }
}
