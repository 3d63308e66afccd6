//! Checks the spools: during a run, and the files that a run leaves to the next one.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use forwarders::spool::FileName;
use forwarders::stats::{Counts, reason};
use forwarders::testing::simulation::{
    WaitingWindow, settled_names_at_risk, waiting, waiting_names,
};
use model::Snapshot;

use crate::fate::{WINDOW_POINTS, refused_points};
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
/// count; a damaged file replaces none.
fn waiting_windows(world: &World, destination: usize) -> Vec<WaitingWindow> {
    let root = world.with(|state| state.destinations[destination].root.clone());
    let mut windows: Vec<WaitingWindow> = Vec::new();
    // In the order of their names, so the rest of a window comes before the file that it replaces.
    for window in waiting(&world.disk, &root) {
        let replaces = |other: &WaitingWindow| {
            is_of_same_window(&other.name, &window.name) && other.snapshot.is_some()
        };
        if !windows.iter().any(replaces) {
            windows.push(window);
        }
    }
    windows
}

/// Whether one of the files contains the points that were left of the other.
fn is_of_same_window(one: &FileName, other: &FileName) -> bool {
    (one.seq, one.start_ms) == (other.seq, other.start_ms)
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
        let root = self.with(|state| state.destinations[destination].root.clone());
        let names = waiting_names(&self.disk, &root);
        let synced = self.synced(&root, &names);
        let files = names.len() as u64;
        let bytes: u64 = names.iter().map(|name| name.bytes).sum();
        self.with(|state| {
            let is_stopping = state.is_stopping;
            let target = &mut state.destinations[destination];
            if is_stopping {
                target.run.synced_at_stop.get_or_insert_with(|| synced.clone());
            }
            let unsynced = &target.totals.unsynced;
            let is_durable =
                |name: &&FileName| is_stopping || synced.contains(name) || unsynced.contains(name);
            let durable: u64 = names.iter().filter(is_durable).map(|name| name.points).sum();
            let (counts, run) = (target.counts(), target.run.clone());
            state.check(counts.spooled <= durable + run.tampered, || {
                format!("d{destination}: spooled {} points, on disk {durable}", counts.spooled)
            });
            // One file is being written, and at a stop one is replaced and waits for the sync of the
            // other one.
            let more = if is_stopping { 2 } else { 1 };
            let is_bounded = files <= run.files_max + more && bytes <= run.bytes_max + 1_000;
            // Settled windows whose file is being removed count.
            let is_excused = state.had_recent_trouble() || state.had_recent_slowness();
            state.check(is_bounded || is_excused, || {
                format!("d{destination}: {files} files with {bytes} bytes, limits {run:?}")
            });
        });
    }

    /// The files that a power failure cannot damage.
    fn synced(&self, root: &Path, names: &[FileName]) -> BTreeSet<FileName> {
        let folder = root.join("new");
        let synced = self.disk.synced_names(&folder).into_iter();
        let synced: BTreeSet<FileName> = synced.filter_map(|name| name.parse().ok()).collect();
        let is_whole = |name: &&FileName| self.disk.is_synced(&folder.join(name.to_string()));
        names.iter().filter(|name| synced.contains(name)).filter(is_whole).copied().collect()
    }

    /// What a power failure could damage in a spool.
    pub(crate) fn unsynced(&self, destination: usize) -> Unsynced {
        let root = self.with(|state| state.destinations[destination].root.clone());
        let mut written = waiting_names(&self.disk, &root);
        let mut replaced = self.synced(&root, &written);
        written.retain(|name| !replaced.contains(name));
        replaced.retain(|name| written.iter().any(|other| is_of_same_window(name, other)));
        let folder = root.join("new");
        let (names, synced) = (self.disk.names(&folder), self.disk.synced_names(&folder));
        let removed = synced.into_iter().filter(|name| !names.contains(name));
        let mut removed: Vec<FileName> = removed.filter_map(|name| name.parse().ok()).collect();
        removed.extend(settled_names_at_risk(&self.disk, &root));
        let has_lost = |name: &&FileName| self.disk.has_lost(&folder.join(name.to_string()));
        let lost = written.iter().filter(has_lost).copied().collect();
        Unsynced { written, lost, replaced, removed }
    }

    /// Checks what a run left, and prepares the next one. `unsynced` is the state before the disk lost
    /// data.
    pub(crate) fn run_ended(
        &self,
        destination: usize,
        end: RunEnd,
        counts: &Counts,
        unsynced: &Unsynced,
    ) {
        let windows = waiting_windows(self, destination);
        let names: u64 = windows.iter().map(|window| window.name.points).sum();
        self.with(|state| {
            let (is_troubled, had_trouble) = (state.had_recent_trouble(), state.had_trouble);
            let is_excused = state.had_recent_slowness() || state.had_trouble || is_troubled;
            let is_synced = unsynced.written.iter().all(|name| unsynced.lost.contains(name));
            state.check(end != RunEnd::Orderly || is_synced || is_excused, || {
                format!("d{destination}: a stop did not sync its windows: {unsynced:?}")
            });
            state.excuse_damage(destination, end, &windows, unsynced);
            let target = &mut state.destinations[destination];
            let refused = refused_points(counts);
            target.totals.dropped += counts.dropped.values().sum::<u64>() - refused;
            target.totals.tampered += target.run.tampered;
            target.totals.is_blurred |= end == RunEnd::PowerFailure;
            // A crash may come between the drop of a window and the removal of its file, or the end of
            // the write of its file. The next run then delivers the window.
            let limits = [reason::SPOOL_FULL, reason::SPOOL_EXPIRED, reason::QUEUE_FULL];
            let drops_files = limits
                .iter()
                .any(|limit| counts.dropped.get(limit).is_some_and(|dropped| *dropped > 0));
            target.totals.is_inexact |= is_troubled || end != RunEnd::Orderly && drops_files;
            target.totals.had_trouble |= had_trouble;
            let run = target.run.clone();
            let is_damaged = windows.iter().any(|window| window.snapshot.is_none());
            let is_tampered = target.totals.tampered > 0 || target.totals.has_damaged_rest;
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
            state.excuse_repeats(destination, end, &windows, &unsynced.removed);
            state.destinations[destination].stats = None;
        });
    }
}

/// What a power failure could damage in a spool.
#[derive(Debug)]
pub(crate) struct Unsynced {
    /// Files of windows that are not synced.
    written: Vec<FileName>,
    /// Those of them whose changes a failed sync has lost.
    lost: Vec<FileName>,
    /// Synced files that files in `written` replace. They stay until those are synced.
    replaced: BTreeSet<FileName>,
    /// Files whose removal, or record as settled, is not synced.
    removed: Vec<FileName>,
}

impl State {
    /// Allows a power failure to damage the windows that a stop, or an earlier run, did not sync. A
    /// window that replaced a synced file has to be there in any case: as itself or as the other file.
    /// A file of an earlier run that was removed may come back, and then be damaged, too.
    fn excuse_damage(
        &mut self,
        destination: usize,
        end: RunEnd,
        windows: &[WaitingWindow],
        Unsynced { written, replaced, .. }: &Unsynced,
    ) {
        let is_stopping = self.is_stopping;
        let target = &mut self.destinations[destination];
        let earlier = std::mem::take(&mut target.totals.unsynced);
        let mut before = std::mem::take(&mut target.totals.replaced);
        if end != RunEnd::PowerFailure {
            target.totals.unsynced = written.iter().copied().collect();
            target.totals.replaced = replaced.clone();
            return;
        }
        before.extend(target.run.synced_at_stop.take().unwrap_or_default());
        let is_whole = |name: &FileName| {
            windows.iter().any(|window| window.name == *name && window.snapshot.is_some())
        };
        let is_safe = |name: &FileName| {
            let is_other = |other: &FileName| is_of_same_window(other, name) && other != name;
            before.iter().any(is_other)
        };
        let is_damaged = |name: &FileName| {
            windows.iter().any(|window| window.name == *name && window.snapshot.is_none())
        };
        let lost = written.iter().filter(|name| is_stopping || earlier.contains(name));
        let (rests, lost): (Vec<_>, Vec<_>) =
            lost.filter(|name| !is_whole(name)).partition(|name| is_safe(name));
        target.totals.has_damaged_rest |= rests.into_iter().any(is_damaged);
        let back = earlier.iter().filter(|name| is_damaged(name) && !written.contains(name));
        target.run.tampered += lost.into_iter().chain(back).map(|name| name.points).sum::<u64>();
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
        let dropped = counts.dropped.get(reason::SHUTDOWN).copied().unwrap_or_default();
        // The window in flight waits for the removal of a file of its name.
        let waiting = if self.disk.had_slow_removal { WINDOW_POINTS } else { 0 };
        let is_exact = is_exact && !self.may_be_opening();
        let is_spooled =
            dropped <= waiting || dropped <= waiting + self.destinations[destination].too_large();
        self.check(!is_exact || !is_well || is_spooled, || {
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
        removed: &[FileName],
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
            if is_repeated && !removed.contains(&window.name) {
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
