//! What happened to each point, and the guarantees that follow from it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use forwarders::payload::Payload;
use forwarders::stats::{Counts, reason};
use forwarders::testing::simulation::{WaitingWindow, waiting, waiting_names};
use model::{Snapshot, Window};

use crate::destination::DestinationState;
use crate::world::{State, World};

/// Most failed attempts at a destination in a second: pauses last at least 50 ms.
const FAILURES_A_SECOND: u32 = 22;
/// Reading a window from disk takes less, if the disk is not slow.
const READ_TIME: Duration = Duration::from_millis(50);
/// The time for which a window is held back until it is on disk.
const HOLD_TIME: Duration = Duration::from_secs(1);
/// Points of the largest window.
pub(crate) const WINDOW_POINTS: u64 = 12;

/// What happened to a point of one destination. Its value identifies the point.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// The windows that contained it: the first and the last one. They differ for a point of a window
    /// that a restart divided.
    first_window: u32,
    last_window: u32,
    end_ms: u64,
    pushed: u16,
    /// How often the destination stored it.
    applied: u16,
    acknowledged: u16,
    refused: u16,
    /// How often a crash may have made the daemon forget that it was settled.
    excused: u16,
}

impl Fate {
    fn settled(&self) -> u16 {
        self.acknowledged + self.refused
    }

    /// How often it may still be settled.
    fn open(&self) -> u16 {
        (self.pushed + self.excused).saturating_sub(self.settled())
    }

    fn is_settled(&self) -> bool {
        self.open() == 0
    }
}

/// A window that a queue has received.
#[derive(Clone, Debug)]
pub(crate) struct PushedWindow {
    at: Duration,
    start_ms: u64,
    /// The values of its points.
    values: Vec<u64>,
}

/// A point as a destination receives it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceivedPoint {
    pub(crate) value: u64,
    pub(crate) end_ms: u64,
    pub(crate) series: u8,
}

/// Bytes of a point in a payload.
const POINT_BYTES: usize = 17;

impl ReceivedPoint {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.value.to_le_bytes());
        out.extend_from_slice(&self.end_ms.to_le_bytes());
        out.push(self.series);
    }

    pub(crate) fn decode(payload: &Payload<'_>) -> Vec<Self> {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        let point = |bytes: &[u8]| Self {
            value: number(&bytes[..8]),
            end_ms: number(&bytes[8..16]),
            series: bytes[16],
        };
        payload.bytes.chunks(POINT_BYTES).map(point).collect()
    }
}

/// The points of a snapshot.
pub(crate) fn points_of(snapshot: &Snapshot) -> impl Iterator<Item = ReceivedPoint> + '_ {
    snapshot.points.iter().map(|point| ReceivedPoint {
        value: point.value.headline() as u64,
        end_ms: snapshot.window.end_ms,
        series: point.series.name().as_bytes()[1],
    })
}

impl DestinationState {
    /// The number of a window, from its points; `None` if they are in two windows.
    fn window_of(&self, points: &[ReceivedPoint]) -> Option<u32> {
        let fates: Vec<&Fate> =
            points.iter().filter_map(|point| self.fates.get(&point.value)).collect();
        let is_in = |window: u32| {
            fates.iter().all(|fate| [fate.first_window, fate.last_window].contains(&window))
        };
        let first = fates.first()?;
        match (is_in(first.first_window), is_in(first.last_window)) {
            (true, true) if first.first_window != first.last_window => None,
            (true, _) => Some(first.first_window),
            (false, true) => Some(first.last_window),
            (false, false) => None,
        }
    }

    fn undelivered(&self, snapshot: &Snapshot) -> u64 {
        let is_open = |point: &ReceivedPoint| {
            self.fates.get(&point.value).is_some_and(|fate| !fate.is_settled())
        };
        points_of(snapshot).filter(is_open).count() as u64
    }
}

// ---- Events -----------------------------------------------------------------------------------

impl State {
    /// Records that a destination's queue is about to receive a window.
    pub(crate) fn pushed(&mut self, destination: usize, window: u32, snapshot: &Snapshot) {
        let now = self.now();
        let target = &mut self.destinations[destination];
        let points = snapshot.points.len() as u64;
        let Window { end_ms, length } = snapshot.window;
        let start_ms = end_ms.saturating_sub(length.as_millis() as u64);
        if points > 0 || target.traits.wants_idle {
            target.run.pushed += points;
            self.counted.pushes += 1;
            self.counted.points += points;
            let values = points_of(snapshot).map(|point| point.value).collect();
            target.pushed.insert(window, PushedWindow { at: now, start_ms, values });
        }
        for point in points_of(snapshot) {
            let fate = target.fates.entry(point.value).or_insert(Fate {
                first_window: window,
                end_ms: point.end_ms,
                ..Fate::default()
            });
            fate.last_window = window;
            fate.end_ms = point.end_ms;
            fate.pushed += 1;
        }
        self.event(destination, "push", u64::from(window));
    }

    /// Checks a window that a delivery loop begins: its content and its turn.
    pub(crate) fn encoded(&mut self, destination: usize, snapshot: &Snapshot) {
        let points: Vec<ReceivedPoint> = points_of(snapshot).collect();
        let target = &self.destinations[destination];
        for point in &points {
            let fate = target.fates.get(&point.value);
            if fate.is_none_or(|fate| fate.end_ms != point.end_ms) {
                return self.fail(|| format!("d{destination} delivers a changed point: {point:?}"));
            }
        }
        let Some(window) = target.window_of(&points) else { return };
        self.event(destination, "begin", u64::from(window));
        self.check_turn(destination, window);
    }

    fn check_turn(&mut self, destination: usize, window: u32) {
        let now = self.now();
        let had_trouble = self.had_trouble;
        let target = &mut self.destinations[destination];
        // A window is fresh if no other one was flushed before the daemon began it. Reading it from
        // disk takes a moment.
        let mut newer = target.pushed.range(window + 1..);
        let next = newer.find(|(_, pushed)| !pushed.values.is_empty());
        let is_newest = next.is_none_or(|(_, next)| now < next.at + READ_TIME);
        if target.run.encoded.replace(window) == Some(window) {
            return;
        }
        let is_fresh = is_newest && !target.is_strict();
        let latest = target.run.latest_old;
        if !is_fresh {
            target.run.latest_old = latest.max(window);
        }
        let is_in_turn = is_fresh || had_trouble || window > latest;
        self.check(is_in_turn, || {
            format!("d{destination} delivers window {window} after window {latest}")
        });
    }

    /// Records that a destination stores points.
    pub(crate) fn applied(&mut self, destination: usize, points: &[ReceivedPoint]) {
        let target = &mut self.destinations[destination];
        let window = target.window_of(points);
        let keeps = target.traits.keeps_last_write;
        for point in points {
            let Some(fate) = target.fates.get_mut(&point.value) else { continue };
            let was_settled = fate.is_settled();
            self.counted.repeated += u64::from(fate.applied >= fate.pushed);
            fate.applied += 1;
            let fate = *fate;
            if was_settled {
                return self.fail(|| {
                    format!("d{destination} sends a settled point again: {point:?}, {fate:?}")
                });
            }
            let Some(window) = window.filter(|_| keeps) else { continue };
            let stored = target.stored.entry((point.end_ms, point.series)).or_default();
            let earlier = std::mem::replace(stored, window);
            // A disk that cannot be used at the start holds up no window. With another interval, the
            // window that completes the last one of the earlier run need not be the first one.
            let is_excused = target.totals.is_blurred
                || target.totals.had_trouble
                || self.faults.interval_changes;
            if earlier > window && !is_excused {
                return self.fail(|| {
                    format!("d{destination} overwrites window {earlier} with window {window}")
                });
            }
        }
        self.event(destination, "apply", points.len() as u64);
    }

    /// Records that the daemon knows that points are stored.
    pub(crate) fn acknowledged(&mut self, destination: usize, points: &[ReceivedPoint]) {
        self.settled(destination, points, |fate| fate.acknowledged += 1);
        self.destinations[destination].run.acknowledged += points.len() as u64;
        self.event(destination, "acknowledge", points.len() as u64);
    }

    /// Records that the daemon knows that the destination refuses points.
    pub(crate) fn refused(&mut self, destination: usize, points: &[ReceivedPoint]) {
        self.settled(destination, points, |fate| fate.refused += 1);
        self.destinations[destination].run.refused += points.len() as u64;
        self.event(destination, "refuse", points.len() as u64);
    }

    fn settled(
        &mut self,
        destination: usize,
        points: &[ReceivedPoint],
        settle: impl Fn(&mut Fate),
    ) {
        for point in points {
            let fates = &mut self.destinations[destination].fates;
            let Some(fate) = fates.get_mut(&point.value) else { continue };
            let was_settled = fate.is_settled();
            settle(fate);
            self.check(!was_settled, || format!("d{destination} settles {point:?} twice"));
        }
    }

    /// Counts a failed attempt: there must be pauses in between.
    pub(crate) fn attempt_failed(&mut self, destination: usize) {
        let second = self.now().as_secs();
        let run = &mut self.destinations[destination].run;
        if run.failing_second != second {
            (run.failing_second, run.failures_in_second) = (second, 0);
        }
        run.failures_in_second += 1;
        let failures = run.failures_in_second;
        self.check(failures <= FAILURES_A_SECOND, || {
            format!("d{destination}: {failures} failed attempts in a second")
        });
        self.event(destination, "failure", u64::from(failures));
    }

    /// Checks the ledger of a destination.
    pub(crate) fn check_ledger(&mut self, destination: usize) {
        let target = &self.destinations[destination];
        if target.stats.is_none() {
            return;
        }
        let (counts, run) = (target.counts(), target.run.clone());
        let dropped: u64 = counts.dropped.values().sum();
        let places = counts.delivered + counts.queued + counts.spooled + dropped;
        let refused = refused_points(&counts);
        let memory_max = target.delivery.queue.max_points.max(WINDOW_POINTS) + 2 * WINDOW_POINTS;
        self.check(counts.flushed + counts.recovered == places, || {
            format!("d{destination}: the ledger is not balanced: {counts:?}")
        });
        self.check(counts.flushed == run.pushed, || {
            format!("d{destination}: flushed {}, pushed {}", counts.flushed, run.pushed)
        });
        self.check(counts.delivered <= run.acknowledged && refused <= run.refused, || {
            format!("d{destination} counts more than was settled: {counts:?}, {run:?}")
        });
        self.check_reasons(destination, &counts);
        // A reload may have lowered the limit.
        self.check(counts.queued <= memory_max || self.faults.reloads, || {
            format!("d{destination}: {} points in memory, not {memory_max}", counts.queued)
        });
    }
}

impl State {
    /// Checks that no point was dropped for a reason that the simulation does not have.
    fn check_reasons(&mut self, destination: usize, counts: &Counts) {
        let target = &self.destinations[destination];
        let is_tampered = target.run.tampered + target.totals.tampered > 0;
        let has_reloads = self.faults.reloads;
        for reason in counts.dropped.keys() {
            let is_possible = match *reason {
                reason::SPOOL_CORRUPT | reason::REMOVED => is_tampered,
                reason::REPLACED => has_reloads && !target.traits.has_spool,
                reason::SPOOL_NEWER | reason::LOST => false,
                _ => true,
            };
            if !is_possible {
                return self
                    .fail(|| format!("d{destination} drops points for {reason}: {counts:?}"));
            }
        }
    }
}

/// The points that the destination refused.
fn refused_points(counts: &Counts) -> u64 {
    let refusals = [reason::REFUSED, reason::TOO_LARGE];
    refusals.iter().filter_map(|reason| counts.dropped.get(reason)).sum()
}

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

// ---- The disk ---------------------------------------------------------------------------------

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

    /// Checks that every point that counts as spooled is in a file that survives a power failure, and
    /// that the spool keeps its bounds.
    pub(crate) fn check_spool(&self, destination: usize) {
        let root = self.with(|state| state.destinations[destination].root.join("new"));
        let synced = self.disk.synced_names(&root);
        let root = root.parent().unwrap_or(&root);
        let names = waiting_names(&self.disk, root);
        let durable = names.iter().filter(|name| synced.contains(&name.to_string()));
        let durable: u64 = durable.map(|name| name.points).sum();
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
        self.with(|state| {
            let (is_troubled, had_trouble) = (state.had_recent_trouble(), state.had_trouble);
            let target = &mut state.destinations[destination];
            let refused = refused_points(counts);
            target.totals.dropped += counts.dropped.values().sum::<u64>() - refused;
            target.totals.tampered += target.run.tampered;
            target.totals.is_blurred |= end == RunEnd::PowerFailure;
            // A crash comes before the removal of a file whose window was dropped a moment ago, and the
            // next run delivers it.
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
