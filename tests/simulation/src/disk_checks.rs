//! Checks the spools: during a run, and what a run leaves to the next one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use forwarders::spool::FileName;
use forwarders::stats::{Counts, reason};
use forwarders::testing::simulation::{WaitingWindow, waiting, waiting_names};
use model::Snapshot;

use crate::fate::refused_points;
use crate::point::{Fate, ReceivedPoint, points_of};
use crate::world::{State, World};

/// The time for which a window is held back until it is on disk.
const HOLD_TIME: Duration = Duration::from_secs(1);

impl State {
    /// The spool, the start and the points of a window that has to be on disk before a destination
    /// gets it; `None` if it need not be.
    fn unsettled(&self, destination: usize, window: u32) -> Option<(PathBuf, u64, Vec<u64>)> {
        let target = &self.destinations[destination];
        let counts = target.counts();
        let is_well = counts.spool.is_some_and(|spool| spool.degraded.is_none());
        let is_excused =
            self.had_recent_trouble() || self.faults.reloads || target.run.tampered > 0 || !is_well;
        if !target.writes_ahead() || is_excused || !counts.dropped.is_empty() {
            return None;
        }
        let pushed = target.pushed.get(&window)?;
        // Of a divided window, it is unknown which of the two was delivered.
        let is_open = |fate: &Fate| !fate.is_settled() && fate.first_window == fate.last_window;
        let is_open = |value: &&u64| target.fates.get(value).is_some_and(is_open);
        let values: Vec<u64> = pushed.values.iter().filter(is_open).copied().collect();
        let is_held = self.now() < pushed.at + HOLD_TIME && !values.is_empty();
        is_held.then(|| (target.root.clone(), pushed.start_ms, values))
    }
}

/// The windows in a spool that a next run would deliver. A file that another one replaces does not
/// count.
fn waiting_windows(world: &World, destination: usize) -> Vec<WaitingWindow> {
    let root = world.with(|state| state.destinations[destination].root.clone());
    let mut windows = waiting(&world.disk, &root);
    // In the order of their names, so the rest of a window comes before the file that it replaces.
    windows.dedup_by_key(|window| (window.name.seq, window.name.start_ms));
    windows
}

impl World {
    /// Checks the spools after an access to the disk; not each time, because it takes time.
    pub(crate) fn check_after_access(&self) {
        let number = self.with(|state| {
            let is_due = state.counted.disk_operations.is_multiple_of(4);
            is_due.then_some(state.destinations.len())
        });
        for destination in 0..number.unwrap_or_default() {
            self.with(|state| state.check_ledger(destination));
            self.check_spool(destination);
        }
    }

    /// Checks that a window that a destination is about to get is on disk, for every destination with
    /// `write: always`.
    pub(crate) fn check_written_ahead(&self, destination: usize, snapshot: &Snapshot) {
        let number = self.with(|state| state.destinations.len());
        let points: Vec<ReceivedPoint> = points_of(snapshot).collect();
        let window = self.with(|state| state.destinations[destination].window_of(&points));
        let Some(window) = window else { return };
        for other in 0..number {
            let Some((root, start_ms, values)) = self.with(|state| state.unsettled(other, window))
            else {
                continue;
            };
            let mut files = waiting(&self.disk, &root).into_iter();
            let is_written = files.any(|file| {
                file.name.start_ms == start_ms
                    && file.snapshot.is_some_and(|snapshot| {
                        let written: Vec<u64> =
                            points_of(&snapshot).map(|point| point.value).collect();
                        values.iter().all(|value| written.contains(value))
                    })
            });
            self.with(|state| {
                state.check(is_written, || {
                    format!(
                        "d{destination} gets window {window}, which is not on the disk of d{other}"
                    )
                });
            });
        }
    }

    /// Checks that every point that counts as spooled is in a file that survives a power failure, or
    /// during a stop the end of the process, and that the spool keeps its bounds.
    pub(crate) fn check_spool(&self, destination: usize) {
        let root = self.with(|state| state.destinations[destination].root.join("new"));
        let synced = self.disk.synced_names(&root);
        let root = root.parent().unwrap_or(&root);
        let names = waiting_names(&self.disk, root);
        let is_stopping = self.with(|state| state.is_stopping);
        let is_durable = |name: &&FileName| is_stopping || synced.contains(&name.to_string());
        let durable: u64 = names.iter().filter(is_durable).map(|name| name.points).sum();
        let files = names.len() as u64;
        let bytes: u64 = names.iter().map(|name| name.bytes).sum();
        self.with(|state| {
            let target = &state.destinations[destination];
            let (counts, run) = (target.counts(), target.run.clone());
            state.check(counts.spooled <= durable + run.tampered, || {
                format!("d{destination}: spooled {} points, on disk {durable}", counts.spooled)
            });
            let is_bounded = files <= run.files_max + 1 && bytes <= run.bytes_max + 1_000;
            state.check(is_bounded || state.had_trouble, || {
                format!("d{destination}: {files} files with {bytes} bytes, limits {run:?}")
            });
        });
    }

    /// The points in windows that a power failure could damage.
    fn unsynced(&self, destination: usize, windows: &[WaitingWindow]) -> u64 {
        let root = self.with(|state| state.destinations[destination].root.join("new"));
        let names = self.disk.synced_names(&root);
        let is_synced =
            |name: &String| names.contains(name) && self.disk.is_synced(&root.join(name));
        let unsynced = windows.iter().filter(|window| !is_synced(&window.name.to_string()));
        unsynced.map(|window| window.name.points).sum()
    }

    /// Checks what a run left, and prepares the next one.
    /// `removed` are the files whose removal was not synced.
    pub(crate) fn run_ended(
        &self,
        destination: usize,
        end: RunEnd,
        counts: &Counts,
        removed: &[String],
    ) {
        let windows = waiting_windows(self, destination);
        let names: u64 = windows.iter().map(|window| window.name.points).sum();
        let unsynced = self.unsynced(destination, &windows);
        self.with(|state| {
            let (is_troubled, had_trouble) = (state.had_recent_trouble(), state.had_trouble);
            let is_stopping = state.is_stopping;
            let is_excused = state.had_recent_slowness()
                || state.had_trouble
                || state.destinations[destination].totals.unsynced > 0;
            state.check(end != RunEnd::Orderly || unsynced == 0 || is_excused, || {
                format!("d{destination}: a stop did not sync its windows")
            });
            let target = &mut state.destinations[destination];
            let refused = refused_points(counts);
            if is_stopping {
                target.totals.unsynced += unsynced;
            }
            if end == RunEnd::PowerFailure {
                // The system syncs such windows some seconds later, the simulated one never does.
                target.run.tampered += std::mem::take(&mut target.totals.unsynced);
            }
            if end == RunEnd::PowerFailure && is_stopping {
                let damaged = windows.iter().filter(|window| window.snapshot.is_none());
                let damaged: u64 = damaged.map(|window| window.name.points).sum();
                target.run.tampered += counts.spooled + damaged;
            }
            target.totals.dropped += counts.dropped.values().sum::<u64>() - refused;
            target.totals.tampered += target.run.tampered;
            target.totals.is_blurred |= end == RunEnd::PowerFailure;
            // A crash may come between the drop of a window and the removal of its file. The next run
            // then delivers the window.
            let limits = [reason::SPOOL_FULL, reason::SPOOL_EXPIRED];
            let drops_files = limits
                .iter()
                .any(|limit| counts.dropped.get(limit).is_some_and(|dropped| *dropped > 0));
            target.totals.is_inexact |= is_troubled || end != RunEnd::Orderly && drops_files;
            target.totals.had_trouble |= had_trouble;
            let run = target.run.clone();
            let is_damaged = windows.iter().any(|window| window.snapshot.is_none());
            let is_tampered = target.totals.tampered > 0;
            state.check(!is_damaged || is_tampered, || {
                format!("d{destination}: {end:?} left a damaged window")
            });
            for (reason, points) in &counts.dropped {
                *state.counted.dropped.entry(reason).or_default() += points;
            }
            match end {
                RunEnd::Orderly => state.check_orderly_end(destination, counts, names),
                RunEnd::Kill | RunEnd::PowerFailure => {
                    let target = &mut state.destinations[destination];
                    target.totals.lost += counts.queued;
                    state.counted.lost_in_crash += counts.queued;
                    let there = windows.iter().map(|window| match &window.snapshot {
                        Some(snapshot) => state.destinations[destination].undelivered(snapshot),
                        None => window.name.points,
                    });
                    // The ledger does not know yet of outcomes in an attempt that was interrupted.
                    let known = counts.delivered + refused;
                    let there = there.sum::<u64>() + run.acknowledged + run.refused - known;
                    state.check(counts.spooled <= there + run.tampered, || {
                        format!("d{destination}: a crash left {there} of {} points", counts.spooled)
                    });
                }
            }
            state.excuse_repeats(destination, end, &windows, removed);
            state.destinations[destination].stats = None;
        });
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunEnd {
    Orderly,
    Kill,
    PowerFailure,
}

impl State {
    fn check_orderly_end(&mut self, destination: usize, counts: &Counts, on_disk: u64) {
        let run = self.destinations[destination].run.clone();
        let refused = refused_points(counts);
        self.check(counts.queued == 0, || format!("d{destination} ended with a queue: {counts:?}"));
        self.check(counts.delivered == run.acknowledged && refused == run.refused, || {
            format!("d{destination} forgot an outcome: {counts:?}, {run:?}")
        });
        let is_exact = run.tampered == 0 && !self.had_recent_trouble();
        let is_well = counts.spool.as_ref().is_some_and(|spool| spool.degraded.is_none());
        let dropped = counts.dropped.get(reason::SHUTDOWN);
        let is_exact = is_exact && !self.may_be_opening();
        self.check(!is_exact || !is_well || dropped.is_none(), || {
            format!("d{destination} did not spool windows at a stop: {counts:?}")
        });
        self.check(!is_exact || counts.spooled == on_disk, || {
            format!("d{destination} spooled {} points, on disk are {on_disk}", counts.spooled)
        });
    }

    /// Allows the next run to repeat points that are settled and still on disk, if this end of a run
    /// permits that.
    fn excuse_repeats(
        &mut self,
        destination: usize,
        end: RunEnd,
        windows: &[WaitingWindow],
        removed: &[String],
    ) {
        let mut repeated = Vec::new();
        // How often a point may still be delivered: a window that a restart divided has two files.
        let mut open = HashMap::new();
        for window in windows {
            let Some(snapshot) = &window.snapshot else { continue };
            let fates = &mut self.destinations[destination].fates;
            let mut is_repeated = false;
            for point in points_of(snapshot) {
                let Some(fate) = fates.get_mut(&point.value) else { continue };
                let open = open.entry(point.value).or_insert(fate.open());
                if *open == 0 {
                    is_repeated = true;
                    fate.excused += 1;
                } else {
                    *open -= 1;
                }
            }
            // A power failure may bring back files whose removal was not synced.
            if is_repeated && !removed.contains(&window.name.to_string()) {
                repeated.push(window.name);
            }
        }
        let most = match end {
            RunEnd::Orderly if self.had_recent_trouble() => usize::MAX,
            RunEnd::Orderly => 0,
            // The window in flight or being removed, and the next one if its write had begun before it
            // was delivered from memory.
            RunEnd::Kill | RunEnd::PowerFailure => 2,
        };
        self.check(repeated.len() <= most, || {
            format!("d{destination}: {end:?}: the next run repeats {repeated:?}")
        });
    }

    /// Checks that every point was delivered, or is in a column of the ledger.
    pub(crate) fn check_end(&mut self, destination: usize) {
        let target = &self.destinations[destination];
        let totals = target.totals.clone();
        let missing: u64 = target
            .fates
            .values()
            .map(|fate| u64::from((fate.pushed).saturating_sub(fate.settled())))
            .sum();
        let most = totals.dropped + totals.lost + totals.tampered;
        let repeats = target.fates.values().any(|fate| fate.excused > 0);
        self.check(missing <= most, || {
            format!("d{destination}: {missing} points are missing, counted are {most}: {totals:?}")
        });
        let is_exact = !repeats && !totals.is_blurred && !totals.is_inexact && totals.tampered == 0;
        self.check(!is_exact || missing >= totals.dropped, || {
            format!("d{destination}: {missing} points are missing, dropped {totals:?}")
        });
    }
}
