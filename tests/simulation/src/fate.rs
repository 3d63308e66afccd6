//! What happened to each point, and the guarantees that follow from it.

use std::sync::Arc;
use std::time::Duration;

use forwarders::stats::{Counts, reason};
use model::{Snapshot, Window};

use crate::destination::DestinationState;
use crate::point::{Fate, PushedWindow, ReceivedPoint, points_of};
use crate::world::State;

/// Most failed attempts at a destination in a second: pauses last at least 50 ms.
const FAILURES_A_SECOND: u32 = 22;
/// Reading a window from disk takes less, if the disk is not slow.
const READ_TIME: Duration = Duration::from_millis(50);
/// Points of the largest window.
pub(crate) const WINDOW_POINTS: u64 = 12;

impl DestinationState {
    /// The number of a window, from its points; `None` if they are in two windows.
    pub(crate) fn window_of(&self, points: &[ReceivedPoint]) -> Option<u32> {
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

    pub(crate) fn undelivered(&self, snapshot: &Snapshot) -> u64 {
        let is_open = |point: &ReceivedPoint| {
            self.fates.get(&point.value).is_some_and(|fate| !fate.is_settled())
        };
        points_of(snapshot).filter(is_open).count() as u64
    }
}

impl State {
    /// Records that a destination's queue is about to receive a window.
    pub(crate) fn pushed(&mut self, destination: usize, window: u32, snapshot: &Arc<Snapshot>) {
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
            let snapshot = Arc::clone(snapshot);
            target.pushed.insert(window, PushedWindow { at: now, start_ms, values, snapshot });
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
        let is_tampered =
            target.run.tampered + target.totals.tampered > 0 || target.totals.has_damaged_rest;
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
pub(crate) fn refused_points(counts: &Counts) -> u64 {
    let refusals = [reason::REFUSED, reason::TOO_LARGE];
    refusals.iter().filter_map(|reason| counts.dropped.get(reason)).sum()
}
