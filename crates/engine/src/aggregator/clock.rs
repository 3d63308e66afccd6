//! The ends of windows: multiples of the interval on the wall clock, so that hosts line up.

use std::time::Duration;

/// The wall clock was stepped if it is off by more than this many intervals at the end of a window.
const STEP_INTERVALS: u64 = 1;

/// Determines when the next window ends and which timestamp it gets.
///
/// Pure: callers pass the wall-clock time. Timestamps never repeat and never go backwards, even if
/// the wall clock is set back.
#[derive(Debug)]
pub struct WindowClock {
    interval_ms: u64,
    last_end_ms: u64,
    planned_end_ms: u64,
}

/// The end of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Timestamp of the window in Unix milliseconds.
    pub end_ms: u64,
    /// Whether the wall clock was stepped since the previous window ended.
    pub clock_stepped: bool,
}

impl WindowClock {
    /// Creates a clock whose first window contains `now_ms`.
    #[must_use]
    pub fn new(interval: Duration, now_ms: u64) -> Self {
        let interval_ms = (interval.as_millis() as u64).max(1);
        let planned_end_ms = next_multiple(now_ms, interval_ms);
        Self { interval_ms, last_end_ms: 0, planned_end_ms }
    }

    /// Changes the length of windows. The open window ends at the next multiple of the new
    /// interval.
    pub fn set_interval(&mut self, interval: Duration, now_ms: u64) {
        let Self { last_end_ms, .. } = *self;
        // A wall clock behind the last window must not lead to the same timestamp again.
        *self = Self { last_end_ms, ..Self::new(interval, now_ms.max(last_end_ms)) };
    }

    /// The time to wait until the window ends, at most one interval.
    #[must_use]
    pub fn until_edge(&self, now_ms: u64) -> Duration {
        let wait_ms = self.planned_end_ms.saturating_sub(now_ms);
        Duration::from_millis(wait_ms.min(self.interval_ms))
    }

    /// Closes the window after the wait and plans the next one.
    pub fn close(&mut self, now_ms: u64) -> Edge {
        // Waking up late or slightly early is normal and does not move the timestamp.
        let off_ms = now_ms.abs_diff(self.planned_end_ms);
        let clock_stepped = off_ms > STEP_INTERVALS * self.interval_ms;
        // After a step, the planned end says nothing: take the latest multiple on the new clock.
        let wanted =
            if clock_stepped { now_ms - now_ms % self.interval_ms } else { self.planned_end_ms };
        // A clock that was set back would repeat timestamps: continue after the last one instead.
        let end_ms =
            if wanted > self.last_end_ms { wanted } else { self.last_end_ms + self.interval_ms };
        self.last_end_ms = end_ms;
        // After an early wake-up the next multiple is the window just closed, so skip that. After a
        // step, `end_ms` may lie far ahead of the clock, and waiting for it would stop the windows.
        self.planned_end_ms = next_multiple(now_ms, self.interval_ms).max(if clock_stepped {
            0
        } else {
            end_ms + self.interval_ms
        });
        Edge { end_ms, clock_stepped }
    }

    /// Closes the window early, at shutdown. It ends now, so that the first window after a restart
    /// has another timestamp.
    pub fn close_early(&mut self, now_ms: u64) -> Edge {
        let end_ms = now_ms.min(self.planned_end_ms).max(self.last_end_ms + 1);
        self.last_end_ms = end_ms;
        Edge { end_ms, clock_stepped: false }
    }
}

/// The first multiple of `interval_ms` after `now_ms`.
fn next_multiple(now_ms: u64, interval_ms: u64) -> u64 {
    (now_ms / interval_ms + 1) * interval_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn windows_end_on_multiples_of_the_interval() {
        let mut clock = WindowClock::new(TEN, 1_000_003_217);
        assert_eq!(clock.until_edge(1_000_003_217).as_millis(), 6783);
        assert_eq!(clock.close(1_000_010_001).end_ms, 1_000_010_000);
        assert_eq!(clock.until_edge(1_000_010_001).as_millis(), 9999);
        assert_eq!(clock.close(1_000_020_000).end_ms, 1_000_020_000);
    }

    #[test]
    fn a_late_edge_keeps_its_timestamp_and_skips_no_window() {
        let mut clock = WindowClock::new(TEN, 5_000);
        assert_eq!(clock.close(13_000), Edge { end_ms: 10_000, clock_stepped: false });
        assert_eq!(clock.close(20_000).end_ms, 20_000);
        // A timer that fires slightly early must not produce the same window twice.
        assert_eq!(clock.until_edge(29_999).as_millis(), 1);
        assert_eq!(clock.close(29_999).end_ms, 30_000);
        assert_eq!(clock.close(40_000).end_ms, 40_000);
    }

    #[test]
    fn timestamps_never_go_backwards_when_the_clock_is_set() {
        let mut clock = WindowClock::new(TEN, 3_600_005_000);
        assert_eq!(clock.close(3_600_010_000).end_ms, 3_600_010_000);
        let back = clock.close(5_003_000);
        assert_eq!(back, Edge { end_ms: 3_600_020_000, clock_stepped: true });
        assert!(clock.until_edge(5_003_000) <= TEN);
        assert_eq!(clock.close(5_010_000).end_ms, 3_600_030_000);
        let forward = clock.close(7_200_001_000);
        assert_eq!(forward, Edge { end_ms: 7_200_000_000, clock_stepped: true });
        assert_eq!(clock.close(7_200_010_000).end_ms, 7_200_010_000);
    }

    #[test]
    fn a_new_interval_takes_effect_at_its_next_multiple() {
        let mut clock = WindowClock::new(TEN, 5_000);
        assert_eq!(clock.close(10_000).end_ms, 10_000);
        clock.set_interval(Duration::from_secs(60), 14_000);
        assert_eq!(clock.until_edge(14_000).as_millis(), 46_000);
        assert_eq!(clock.close(60_000), Edge { end_ms: 60_000, clock_stepped: false });
        clock.set_interval(Duration::from_secs(1), 61_500);
        assert_eq!(clock.close(62_000).end_ms, 62_000);
        // With a clock behind the end of the last window, no timestamp repeats.
        clock.set_interval(TEN, 61_999);
        assert_eq!(clock.close(70_000).end_ms, 70_000);
    }

    #[test]
    fn a_shutdown_ends_the_window_now_and_a_restart_gets_another_timestamp() {
        let mut clock = WindowClock::new(TEN, 5_000);
        assert_eq!(clock.close(10_000).end_ms, 10_000);
        assert_eq!(clock.close_early(14_321).end_ms, 14_321);
        let mut restarted = WindowClock::new(TEN, 14_500);
        assert_eq!(restarted.close(20_000).end_ms, 20_000);
        let mut at_once = WindowClock::new(TEN, 10_000);
        assert_eq!(at_once.close(20_000).end_ms, 20_000);
        assert_eq!(at_once.close_early(20_000).end_ms, 20_001);
    }
}
