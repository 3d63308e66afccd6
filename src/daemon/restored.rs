//! The state that an earlier run left, see `forwarders::restart`.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use basics::time::unix_ms;
use engine::aggregator::multiples::next_multiple;
use engine::listener::signature::windows::ReplayWindows;
use forwarders::delivery::destination::Destination;
use forwarders::restart::{
    MarkState, RestartFileError, RestartFolder, RestartPart, SavedFile, SignedUntil, decode_levels,
    decode_windows,
};
use model::{GaugeLevel, MetricKind, Point, SetSeed, UnfinishedWindows, UsedRange};
use rustix::time::{ClockId, clock_gettime};
use tracing::{info, warn};

use crate::runtime::restart::RestartStats;

/// The state of an earlier run.
#[derive(Debug, Default)]
pub(super) struct Restored {
    pub(super) unfinished: UnfinishedWindows,
    /// Whether an earlier run may have left windows that cannot be read.
    pub(super) are_windows_lost: bool,
    /// The seed for the members of their sets.
    pub(super) set_seed: Option<SetSeed>,
    /// The signed datagrams that it accepted.
    pub(super) signatures: ReplayWindows,
    /// With idle times as of now.
    pub(super) levels: Vec<GaugeLevel>,
    /// By name of the destination.
    totals: HashMap<String, SavedFile>,
}

/// A part that cannot be used, which was logged and counted.
struct UnusablePart;

/// Reads the parts.
struct Reader<'a> {
    folder: &'a RestartFolder,
    stats: &'a RestartStats,
    max: u64,
    /// Maximum difference between the clocks of senders of signed datagrams and this host's, in seconds.
    window: u64,
}

impl Reader<'_> {
    fn read(&self, names: Vec<String>) -> Restored {
        if self.max == 0 {
            // State of an earlier run must not wait until it is turned on again.
            let _unused = self.folder.remove(&RestartPart::Windows);
            return Restored { signatures: self.signatures(None), ..Restored::default() };
        }
        let unfinished = self.part(&RestartPart::Windows, |file| decode_windows(&file.bytes));
        let are_windows_lost = unfinished.is_err();
        let levels = self.part(&RestartPart::Levels, |file| {
            let away_ms = away(&file).as_millis() as u64;
            let mut levels = decode_levels(&file.bytes)?;
            levels
                .iter_mut()
                .for_each(|level| level.idle_ms = level.idle_ms.saturating_add(away_ms));
            Ok(levels)
        });
        let levels = levels.ok().flatten().unwrap_or_default();
        let signatures = self.part(&RestartPart::Signatures, |file| {
            let damaged = RestartFileError::Damaged("the signatures");
            ReplayWindows::from_bytes(&file.bytes).ok_or(damaged)
        });
        let signatures = self.signatures(signatures.ok().flatten());
        let totals = names.into_iter().filter_map(|name| {
            let file = self.part(&RestartPart::Totals(name.clone()), Ok).ok()??;
            Some((name, file))
        });
        let (unfinished, set_seed) = unfinished.ok().flatten().unzip();
        Restored {
            unfinished: unfinished.unwrap_or_default(),
            are_windows_lost,
            set_seed,
            signatures,
            levels,
            totals: totals.collect(),
        }
    }

    /// The replay windows: those that were `saved` and, for other keys, windows without the seconds in
    /// which the earlier run may have accepted datagrams.
    fn signatures(&self, saved: Option<ReplayWindows>) -> ReplayWindows {
        let now_ms = unix_ms(SystemTime::now());
        let mark = self.folder.mark().unwrap_or_else(|error| {
            self.stats.failed(&RestartPart::Signatures);
            warn!(%error, "cannot read the time up to which signed datagrams were accepted");
            // Later than any mark, because whether all windows were saved is unknown as well.
            MarkState::Known(SignedUntil { second: u64::MAX, window: self.window })
        });
        match (saved, mark) {
            // A stop that saves all windows removes the mark.
            (Some(windows), MarkState::Unknown) => windows,
            (saved, mark) => {
                let until = mark.unknown_until(now_ms / 1_000, boot_second(now_ms), self.window);
                saved.unwrap_or_default().after(until)
            }
        }
    }

    /// The content of a file, if there is one.
    fn part<T>(
        &self,
        part: &RestartPart,
        decode: impl FnOnce(SavedFile) -> Result<T, RestartFileError>,
    ) -> Result<Option<T>, UnusablePart> {
        let read = self.folder.read(part, self.max);
        read.and_then(|file| file.map(decode).transpose()).map_err(|error| {
            self.stats.failed(part);
            warn!(%part, %error, "cannot use a part of the restart state; it is lost");
            UnusablePart
        })
    }
}

impl Restored {
    /// Reads the files, and the totals of the destinations with these names. `window` is the maximum
    /// difference between the clocks of senders of signed datagrams and this host's, in seconds.
    pub(super) fn read(
        folder: &RestartFolder,
        names: Vec<String>,
        stats: &RestartStats,
        max: u64,
        window: u64,
    ) -> Self {
        Reader { folder, stats, max, window }.read(names)
    }

    /// The same after an earlier run that may have accepted any datagrams signed up to this Unix second.
    pub(super) fn with_unknown_signatures(self, unknown_until: u64) -> Self {
        Self { signatures: self.signatures.after(unknown_until), ..self }
    }

    /// State of an earlier run that cannot be read.
    pub(super) fn lost() -> Self {
        Self { are_windows_lost: true, ..Self::default() }
    }

    /// Leaves the end of the open window to an earlier run whose windows are lost: it may have delivered
    /// its part of this window with this timestamp, which another window must not overwrite.
    pub(super) fn spare_lost_window(&mut self, interval: Duration) {
        if self.are_windows_lost {
            let interval_ms = interval.as_millis() as u64;
            let end_ms = next_multiple(unix_ms(SystemTime::now()), interval_ms.max(1));
            let range = UsedRange { first_ms: end_ms, last_ms: end_ms, times: 1 };
            self.unfinished.used.push(range);
        }
    }

    /// Removes the sets from the windows if `seed` is another one than that of their members: merged with
    /// such a set, a member that both runs receive would count twice.
    pub(super) fn drop_sets_of_another_seed(&mut self, seed: &SetSeed, stats: &RestartStats) {
        if self.set_seed.as_ref().is_none_or(|saved| saved == seed) {
            return;
        }
        let is_set = |point: &&Point| point.value.kind() == MetricKind::Set;
        let mut dropped = 0;
        for window in &mut self.unfinished.windows {
            let points = &mut window.snapshot.points;
            dropped += points.iter().filter(is_set).count();
            *points = points.iter().filter(|point| !is_set(point)).cloned().collect();
        }
        if dropped > 0 {
            stats.failed(&RestartPart::Windows);
            warn!(
                sets = dropped,
                "aggregation.set_seed has changed; sets of the open window count only members that are \
                 received from now on"
            );
        }
    }

    /// Logs the restored state; `left_out` is the number of levels without room.
    pub(super) fn log(&self, left_out: usize) {
        if left_out > 0 {
            warn!(
                gauges = left_out,
                "some gauges of the earlier run were not restored because of the limit on series \
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

/// The Unix time of the boot, in seconds.
fn boot_second(now_ms: u64) -> u64 {
    let since_boot = clock_gettime(ClockId::Boottime);
    (now_ms / 1_000).saturating_sub(since_boot.tv_sec.cast_unsigned())
}

/// The time since a file was written; zero if the clock was set back since.
fn away(file: &SavedFile) -> Duration {
    Duration::from_millis(unix_ms(SystemTime::now()).saturating_sub(file.saved_at_ms))
}
