//! The state that an orderly stop leaves to the next run, see `forwarders::restart`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use basics::time::unix_ms;
use engine::listener::signature::windows::{ReplayWindows, SavedWindows};
use forwarders::delivery::destination::Destination;
use forwarders::delivery::task::EndedForwarder;
use forwarders::restart::{MarkState, RestartFolder, RestartPart, RestartPlace};
use model::SetSeed;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use super::mark_writer::{self, MarkWriter};
use super::restart_store::FolderStore;
use super::restored::Restored;
use crate::runtime::restart::RestartStats;

/// Maximum time that the disk gets at the start and at the end of a stop. A disk that hangs must
/// neither keep the daemon from starting nor from stopping.
const DISK_TIME: Duration = Duration::from_secs(5);

/// The time between two attempts to use a folder that cannot be used, or not changed. Short, because a
/// crash in between leads to totals of an earlier time.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// Where the restart state is kept.
#[derive(Clone, Debug)]
pub(super) struct RestartState {
    /// `None` for a run that neither continues an earlier one nor leaves anything to the next.
    place: Option<Arc<RestartPlace>>,
    /// `None` if it could not be used at the start.
    folder: Option<Arc<RestartFolder>>,
    /// Whether it could not be used although there may be state.
    is_lost: bool,
    stats: Arc<RestartStats>,
    /// Whether a destination needs it. Otherwise only the values of gauges start from 0 without it.
    is_needed: bool,
}

impl RestartState {
    /// Opens the folder. A failure costs only the restart state.
    pub(super) async fn open(
        folder: &Path,
        stats: Arc<RestartStats>,
        destinations: &[Destination],
    ) -> Self {
        let is_needed = destinations.iter().any(Destination::needs_restart_state);
        let place = Arc::new(RestartPlace::new(folder));
        let (opening, root) = (Arc::clone(&place), folder.to_owned());
        let opened = in_time(move || Ok((opening.open(), root.exists()))).await;
        let is_lost = opened.as_ref().map_or(true, |(opened, exists)| opened.is_err() && *exists);
        let opened = opened.and_then(|(opened, _)| opened).map_err(|reason| {
            if is_needed {
                warn!(
                    reason,
                    "cannot use the restart state: the previous run's open window and totals are not continued"
                );
            } else {
                debug!(reason, "cannot use the restart state: the values of gauges start from 0");
            }
        });
        Self { place: Some(place), folder: opened.ok(), is_lost, stats, is_needed }
    }

    /// The state of a run that neither continues an earlier one nor leaves anything to the next.
    pub(super) fn none(stats: Arc<RestartStats>) -> Self {
        Self { place: None, folder: None, is_lost: false, stats, is_needed: false }
    }

    /// The place, unless another daemon works with it.
    fn own_place(&self) -> Option<Arc<RestartPlace>> {
        self.place.clone().filter(|place| !place.is_foreign())
    }

    /// Reads the state of an earlier run. Logs and counts the parts that cannot be used. `window` is the
    /// maximum difference between the clocks of senders of signed datagrams and this host's, in seconds.
    pub(super) async fn read(
        &self,
        max: u64,
        window: u64,
        destinations: &[Destination],
    ) -> Restored {
        let without_mark = match self.place {
            // A run of one window is for trials, and accepts no datagram of the time before it.
            None => unix_seconds().saturating_sub(1),
            Some(_) => MarkState::Unknown.unknown_until(unix_seconds(), 0, window).0,
        };
        let Some(folder) = self.folder.clone() else {
            let is_lost = self.is_lost && self.own_place().is_some() && max > 0;
            let restored = if is_lost { Restored::lost() } else { Restored::default() };
            return restored.with_unknown_signatures(without_mark);
        };
        let names = destinations.iter().map(|destination| destination.common.name.clone());
        let (names, stats) = (names.collect(), Arc::clone(&self.stats));
        let read = in_time(move || Ok(Restored::read(&folder, names, &stats, max, window)));
        read.await.unwrap_or_else(|reason| {
            warn!(reason, "cannot read the restart state");
            Restored::lost().with_unknown_signatures(without_mark)
        })
    }

    /// Keeps the high-water mark of signed datagrams on the disk until the stop. `window` returns the
    /// maximum difference between clocks in seconds, which a reload may change.
    pub(super) fn keep_mark(
        &self,
        windows: Arc<ReplayWindows>,
        window: impl Fn() -> u64 + Send + 'static,
    ) {
        if let Some(place) = self.own_place() {
            let stats = Arc::clone(&self.stats);
            mark_writer::spawn(MarkWriter::new(place, stats, window), windows);
        }
    }

    /// Removes levels and totals before the first sample changes them: after a crash they would be those
    /// of an earlier time. Returns whether [`RestartState::consume_later`] has to.
    pub(super) async fn consume(&self) -> bool {
        let Some(place) = self.place.clone() else { return false };
        place.begin();
        if self.folder.is_none() {
            return !place.is_foreign();
        }
        let Err(reason) = in_time(move || place.clear()).await else { return false };
        error!(
            reason,
            "cannot remove used restart state; after a crash, the next run would continue from old totals"
        );
        true
    }

    /// Removes levels and totals of an earlier run as soon as the folder can be changed.
    pub(super) async fn consume_later(self) {
        while let Some(place) = self.own_place() {
            sleep(RETRY_PERIOD).await;
            // Without a limit: there is one attempt at a time.
            let cleared = spawn_blocking(move || place.clear()).await;
            if cleared.is_ok_and(|cleared| cleared.is_ok()) {
                info!("the folder of the restart state can be used now");
                return;
            }
        }
    }

    /// Saves the totals of destinations that have ended.
    pub(super) async fn save_totals(&self, ended: Vec<EndedForwarder>, max: u64) {
        let Some(place) = self.own_place().filter(|_| max > 0) else { return };
        let stats = Arc::clone(&self.stats);
        let saved = in_time(move || save_totals(ended, &place, &stats, max));
        if let Err(reason) = saved.await {
            error!(reason, "cannot save totals; they start from 0 after the restart");
        }
    }

    /// Saves the signed datagrams that were accepted. Without them, the next run rejects datagrams that are
    /// signed up to the high-water mark.
    pub(super) async fn save_signatures(&self, windows: Arc<ReplayWindows>, max: u64) {
        windows.mark().end();
        let Some(place) = self.own_place().filter(|_| max > 0) else { return };
        // Not on the runtime: there may be hundreds of MiB, while destinations deliver their last windows.
        let saved = in_time(move || {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            let SavedWindows { bytes, has_all_keys } = windows.save(max, unix_seconds());
            // Without keys, an empty file lets the next run reject nothing.
            if bytes.is_empty() && !has_all_keys {
                return Ok(());
            }
            let folder = place.for_saving()?;
            let now_ms = unix_ms(SystemTime::now());
            let written = folder.write(&RestartPart::Signatures, now_ms, &bytes, || true);
            // Only now: after a crash in between, the next run has both.
            let removed = written.and_then(|()| match has_all_keys {
                true => folder.remove_mark(),
                false => Ok(()),
            });
            removed.map_err(|error| error.to_string())
        });
        if let Err(reason) = saved.await {
            self.stats.failed(&RestartPart::Signatures);
            error!(
                reason,
                "cannot save the accepted signatures; the next run rejects datagrams that are signed before \
                 this stop"
            );
        }
    }

    /// The aggregator's side, with a bound that may change until the stop; `None` without a folder.
    pub(super) fn store(
        &self,
        max: impl Fn() -> u64 + Send + 'static,
        set_seed: SetSeed,
    ) -> Option<Box<dyn engine::aggregator::restart::RestartStore>> {
        let (place, stats) = (self.own_place()?, Arc::clone(&self.stats));
        let store = FolderStore::new(place, self.is_needed, stats, max, set_seed);
        Some(Box::new(store))
    }
}

/// The Unix time in seconds.
fn unix_seconds() -> u64 {
    unix_ms(SystemTime::now()) / 1_000
}

/// Calls a function that waits for the disk.
///
/// # Errors
/// Its error, or that it takes longer than [`DISK_TIME`].
async fn in_time<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match timeout(DISK_TIME, spawn_blocking(call)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the disk did not answer within {DISK_TIME:?}")),
    }
}

/// Writes the totals of destinations that keep some.
///
/// # Errors
/// When none can be saved: the reason.
fn save_totals(
    ended: Vec<EndedForwarder>,
    place: &RestartPlace,
    stats: &RestartStats,
    max: u64,
) -> Result<(), String> {
    let mut folder = None;
    for mut ended in ended {
        let Some(state) = ended.save_state(max) else { continue };
        let part = RestartPart::Totals(ended.name().to_owned());
        if state.left_out > 0 {
            stats.failed(&part);
            warn!(
                forwarder = ended.name(),
                series = state.left_out,
                "totals beyond restart_state.max_bytes start from 0 after the restart"
            );
        }
        let folder = match &mut folder {
            Some(folder) => folder,
            none => none.insert(place.for_saving().inspect_err(|_| stats.failed(&part))?),
        };
        if let Err(error) = folder.write(&part, unix_ms(SystemTime::now()), &state.bytes, || true) {
            stats.failed(&part);
            error!(forwarder = ended.name(), %error, "cannot save totals; they start from 0 after the restart");
        }
    }
    Ok(())
}
