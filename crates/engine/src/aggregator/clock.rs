//! The ends of windows: multiples of the interval on the wall clock, so that the windows of all
//! hosts end at the same time.

use std::time::{Duration, Instant};

use basics::clocks::ClockReading;
use model::UsedRange;

use super::multiples::next_multiple;
use super::used_ends::UsedEnds;

/// A change of the difference between wall clock and monotonic clock counts as a step if it is at
/// least this large. A smaller one only ends the open window a little earlier or later, at the same
/// timestamp: ends follow the wall clock, so such changes never add up.
const STEP_MIN: Duration = Duration::from_millis(100);
/// Bounds of the time between two readings of the clocks.
const LOOK_MIN: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_secs(1);
/// After a step back by at most the interval plus this, the open window is stretched until a time
/// at which no window ended before. After a larger step, windows repeat the times of earlier ones.
const STRETCH: Duration = Duration::from_secs(5);
/// A window whose length differs from the interval by at most 1 % or this counts as one interval
/// long.
const NOMINAL_WITHIN: Duration = Duration::from_millis(10);

/// Determines when the open window ends and which timestamp it gets.
///
/// Reads no clock itself: callers pass the readings. No timestamp is used twice, even if the wall
/// clock is set back. If a window ended at the same multiple of the interval before, the timestamp
/// is that multiple plus 1 ms; if two did, plus 2 ms; and so on.
#[derive(Debug)]
pub struct WindowClock {
    interval: Duration,
    latest: ClockReading,
    /// When the open window began.
    opened: Instant,
    /// The timestamp of the latest window.
    previous_end_ms: Option<u64>,
    /// The multiple of the interval at which the open window ends, in Unix milliseconds.
    edge_ms: u64,
    /// The latest time at which the open window ends, however the wall clock is set.
    latest_end: Instant,
    used: UsedEnds,
}

/// The end of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Timestamp of the window in Unix milliseconds.
    pub end_ms: u64,
    /// The timestamp of the window before, at which this one began. `None` for the first window, and
    /// after a step of the clock by more than an interval.
    pub start_ms: Option<u64>,
    /// Length of the window, by the monotonic clock.
    pub length: Duration,
    /// How long after its timestamp the window ended.
    pub late: Duration,
}

/// A change of the wall clock by a user or by time synchronization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// How far, in milliseconds; negative if it was set back.
    pub by_ms: i64,
    /// The timestamp of the open window, in Unix milliseconds.
    pub end_ms: u64,
    /// If a window has ended at this multiple before, the first multiple of the interval at which
    /// none has, in Unix milliseconds.
    pub repeats_until_ms: Option<u64>,
}

impl WindowClock {
    /// Creates a clock whose first window begins now.
    #[must_use]
    pub fn new(interval: Duration, now: ClockReading) -> Self {
        let mut clock = Self {
            interval,
            latest: now,
            opened: now.monotonic,
            previous_end_ms: None,
            edge_ms: 0,
            latest_end: now.monotonic + longest(interval),
            used: UsedEnds::default(),
        };
        clock.plan(true);
        clock
    }

    /// Notes a reading of the clocks. If the wall clock was set, plans another end of the open
    /// window and returns the step.
    pub fn look(&mut self, now: ClockReading) -> Option<ClockStep> {
        let by_ms = now.step_ms_since(&self.latest);
        self.latest = now;
        if Duration::from_millis(by_ms.unsigned_abs()) < STEP_MIN {
            return None;
        }
        self.plan(true);
        let is_repeated = self.used.times(self.edge_ms) > 0;
        let unused_ms = self.used.next_unused(self.edge_ms, self.interval_ms());
        let repeats_until_ms = is_repeated.then_some(unused_ms);
        Some(ClockStep { by_ms, end_ms: self.timestamp(self.edge_ms), repeats_until_ms })
    }

    /// When to call [`WindowClock::look`] again: at the end of the window, and before that often
    /// enough to notice a step early.
    #[must_use]
    pub fn next_look(&self) -> Instant {
        let period = (self.interval / 4).clamp(LOOK_MIN, LOOK_MAX);
        let until_edge = Duration::from_millis(self.edge_ms).saturating_sub(self.latest.wall);
        (self.latest.monotonic + period.min(until_edge)).min(self.latest_end)
    }

    /// When the open window began.
    #[must_use]
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether the open window ends now.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.latest.wall_ms() >= self.edge_ms || self.latest.monotonic >= self.latest_end
    }

    /// Ends the open window, which is due, and plans the next one.
    pub fn close(&mut self) -> Edge {
        // After a pause of the whole process, several multiples may have passed: the window ends at
        // the latest one.
        let wall_ms = self.latest.wall_ms();
        let end_ms = wall_ms - wall_ms % self.interval_ms();
        let late = self.latest.wall.saturating_sub(Duration::from_millis(self.edge_ms));
        let is_repeated = self.used.times(end_ms) > 0;
        let edge = self.end_window(end_ms, self.timestamp(end_ms), late);
        self.latest_end = self.opened + longest(self.interval);
        // After a window at a repeated time, the next one ends at the next multiple even if that is
        // repeated, too: only a step stretches a window.
        self.plan(!is_repeated);
        edge
    }

    /// The timestamp of the open window if nothing cuts it short, in Unix milliseconds.
    #[must_use]
    pub fn planned_end_ms(&self) -> u64 {
        self.timestamp(self.edge_ms)
    }

    /// The times at which windows have ended.
    #[must_use]
    pub fn used(&self) -> &[UsedRange] {
        self.used.ranges()
    }

    /// Restores the times at which windows of an earlier run ended. Must be called before the first
    /// window ends, because it replaces all times.
    pub fn restore_used(&mut self, ranges: Vec<UsedRange>) {
        self.used = UsedEnds::restored(ranges);
        self.plan(true);
    }

    /// Uses no timestamp again under which a run before delivered a part of a window that no run
    /// completes. They are in Unix milliseconds.
    pub fn use_up(&mut self, timestamps_ms: &[u64]) {
        timestamps_ms.iter().for_each(|timestamp_ms| self.used.add_timestamp(*timestamp_ms));
    }

    /// Ends the open window early, at shutdown. It ends now, so that the first window after a restart
    /// has another timestamp.
    pub fn close_early(&mut self) -> Edge {
        let now_ms = self.latest.wall_ms().min(self.edge_ms);
        // A window may have ended in this millisecond, then the next one is tried. At a repeated
        // time both are used, and the window gets its planned timestamp.
        let is_unused = |ms: &u64| self.used.times(*ms) == 0;
        let end_ms = [now_ms, now_ms + 1].into_iter().find(is_unused);
        // The planned end then counts as used: the first window after a restart may end at the same
        // multiple, and must have another timestamp.
        let (used_ms, end_ms) =
            end_ms.map_or((self.edge_ms, self.timestamp(self.edge_ms)), |end_ms| (end_ms, end_ms));
        self.end_window(used_ms, end_ms, Duration::ZERO)
    }

    /// Changes the length of windows. The open window ends at the next multiple of the new interval.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
        self.latest_end = self.latest.monotonic + longest(interval);
        self.plan(true);
    }

    fn end_window(&mut self, used_ms: u64, end_ms: u64, late: Duration) -> Edge {
        let length = self.latest.monotonic.saturating_duration_since(self.opened);
        self.opened = self.latest.monotonic;
        self.used.add(used_ms, self.interval_ms());
        let start_ms = self.start_ms(end_ms, length);
        self.previous_end_ms = Some(end_ms);
        Edge { end_ms, start_ms, length, late }
    }

    /// The end of the previous window, if the window with this end began there. Windows end a little late,
    /// by a different delay each time, so their lengths alone do not determine it.
    fn start_ms(&self, end_ms: u64, length: Duration) -> Option<u64> {
        let measured_ms = end_ms.saturating_sub(length.as_millis() as u64);
        self.previous_end_ms.filter(|previous_ms| {
            *previous_ms < end_ms && previous_ms.abs_diff(measured_ms) <= self.interval_ms()
        })
    }

    /// Plans the end of the open window: the next multiple at which no window ended before, if the
    /// window `may_stretch` and does not become too long, otherwise the next multiple.
    fn plan(&mut self, may_stretch: bool) {
        let next = next_multiple(self.latest.wall_ms(), self.interval_ms());
        let unused = self.used.next_unused(next, self.interval_ms());
        let wait = Duration::from_millis(unused).saturating_sub(self.latest.wall);
        let rest = self.latest_end.saturating_duration_since(self.latest.monotonic);
        let is_in_time = wait + STEP_MIN <= rest;
        self.edge_ms = if may_stretch && is_in_time { unused } else { next };
    }

    /// The timestamp of a window that ends at a multiple of the interval.
    fn timestamp(&self, end_ms: u64) -> u64 {
        // Limited, so that the timestamp stays below the next multiple however often the clock is
        // set back.
        end_ms + self.used.times(end_ms).min(self.interval_ms() - 1)
    }

    fn interval_ms(&self) -> u64 {
        (self.interval.as_millis() as u64).max(1)
    }
}

/// The greatest length of a window, even if the wall clock is set back repeatedly or stands still.
fn longest(interval: Duration) -> Duration {
    interval * 2 + STRETCH + STEP_MIN
}

/// The length that rates are divided by: the interval, unless the window was cut or stretched.
///
/// The thread that ends windows wakes up a little late, by a different delay each time. These
/// delays must not change the rates of windows.
#[must_use]
pub fn rated_length(length: Duration, interval: Duration) -> Duration {
    if length.abs_diff(interval) <= NOMINAL_WITHIN.max(interval / 100) {
        return interval;
    }
    Duration::from_millis((length.as_millis() as u64).max(1))
}

#[cfg(test)]
mod tests;
