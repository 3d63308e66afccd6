//! The time by which windows in a spool expire, while the wall clock may be set.
//!
//! The age of a window is the difference between its start, which is a time on the wall clock of its
//! flush, and now. If the clock was ahead for a moment, or was behind when the window was flushed,
//! the window seems to be much older than it is. So a window expires only when it is too old by every
//! wall clock that this run has seen, for as long as a window of that clock can be on disk.

use std::collections::VecDeque;
use std::time::Duration;

use basics::clocks::ClockReading;

/// A difference below this, in milliseconds, is a correction of the same clock.
const STEP_MIN_MS: i64 = 1_000;
/// Maximum number of remembered clocks.
const CLOCKS_MAX: usize = 32;
/// No window expires earlier after the start of a run: the clock of a host that has just started may
/// be wrong until a time server was asked.
const SETTLED_AFTER: Duration = Duration::from_secs(300);

/// The wall clocks that this run has seen.
#[derive(Debug)]
pub(super) struct SpoolClock {
    started: ClockReading,
    /// In the order in which they were last seen. Expiry depends on the smallest lead, so a clock
    /// with a greater lead than a later one has no effect and is removed: the leads are in
    /// ascending order.
    seen: VecDeque<SeenClock>,
}

#[derive(Clone, Copy, Debug)]
struct SeenClock {
    /// How far it is ahead of the clock at the start.
    lead_ms: i64,
    last_seen: ClockReading,
}

impl SpoolClock {
    pub(super) fn new(now: ClockReading) -> Self {
        Self { started: now, seen: [SeenClock { lead_ms: 0, last_seen: now }].into() }
    }

    /// Takes note of the wall clock. Called when a window is written and before windows expire.
    pub(super) fn look(&mut self, now: ClockReading) {
        let mut lead_ms = now.step_ms_since(&self.started);
        while let Some(clock) = self.seen.pop_back_if(|clock| clock.lead_ms > lead_ms - STEP_MIN_MS)
        {
            if clock.lead_ms <= lead_ms {
                // The same clock. Keeps the smaller lead: many small corrections together are a
                // step.
                lead_ms = clock.lead_ms;
                break;
            }
        }
        if self.seen.len() == CLOCKS_MAX {
            // The next clock takes over the smaller lead, so the windows of both expire later than
            // they should, and none expires too early.
            let oldest = self.seen.pop_front();
            if let (Some(oldest), Some(next)) = (oldest, self.seen.front_mut()) {
                next.lead_ms = oldest.lead_ms;
            }
        }
        self.seen.push_back(SeenClock { lead_ms, last_seen: now });
    }

    /// The time, in Unix milliseconds, by which windows expire that are older than `max_age`; `None`
    /// as long as none expires.
    pub(super) fn expiry_now_ms(&mut self, now: ClockReading, max_age: Duration) -> Option<u64> {
        self.look(now);
        let since = |then: &ClockReading| now.monotonic.saturating_duration_since(then.monotonic);
        while self.seen.len() > 1
            && self.seen.front().is_some_and(|clock| since(&clock.last_seen) > max_age)
        {
            self.seen.pop_front();
        }
        let uptime = since(&self.started);
        // A shorter `max_age` is obeyed from the start.
        if uptime < SETTLED_AFTER.min(max_age) {
            return None;
        }
        let lead_ms = self.seen.front().map_or(0, |clock| clock.lead_ms);
        let now_ms = self.started.wall_ms() + uptime.as_millis() as u64;
        Some(now_ms.saturating_add_signed(lead_ms))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A host that started at noon; times are in milliseconds since then.
    struct Host {
        clock: SpoolClock,
        started: Instant,
        uptime_ms: i64,
        lead_ms: i64,
    }

    const NOON_MS: i64 = 1_700_000_000_000;

    impl Host {
        fn new() -> Self {
            let started = Instant::now();
            let wall = Duration::from_millis(NOON_MS as u64);
            let clock = SpoolClock::new(ClockReading { wall, monotonic: started });
            Self { clock, started, uptime_ms: 0, lead_ms: 0 }
        }

        /// Sets the clock, and lets time pass. Returns the time by which windows expire.
        fn pass(&mut self, step_ms: i64, ms: i64) -> Option<i64> {
            self.lead_ms += step_ms;
            let mut time = None;
            for part in 0..=10 {
                let uptime_ms = self.uptime_ms + ms * part / 10;
                let wall_ms = NOON_MS + uptime_ms + self.lead_ms;
                let reading = ClockReading {
                    wall: Duration::from_millis(wall_ms as u64),
                    monotonic: self.started + Duration::from_millis(uptime_ms as u64),
                };
                time = self.clock.expiry_now_ms(reading, DAY);
            }
            self.uptime_ms += ms;
            time.map(|time| time as i64 - NOON_MS)
        }
    }

    #[test]
    fn nothing_expires_shortly_after_the_start() {
        let mut host = Host::new();
        assert_eq!(host.pass(0, 4 * MINUTE), None);
        assert_eq!(host.pass(0, MINUTE), Some(5 * MINUTE));
        // The clock was ahead at the start, and is right before anything expires.
        let mut host = Host::new();
        assert_eq!(host.pass(0, MINUTE), None);
        assert_eq!(host.pass(-30 * HOUR, 9 * MINUTE), Some(-30 * HOUR + 10 * MINUTE));
    }

    #[test]
    fn a_clock_that_was_ahead_for_a_moment_expires_nothing() {
        let mut host = Host::new();
        host.pass(0, HOUR);
        assert_eq!(host.pass(30 * HOUR, MINUTE), Some(HOUR + MINUTE));
        assert_eq!(host.pass(-30 * HOUR, MINUTE), Some(HOUR + 2 * MINUTE));
    }

    #[test]
    fn windows_of_a_clock_that_was_behind_expire_by_that_clock() {
        let mut host = Host::new();
        host.pass(-48 * HOUR, HOUR);
        // A window that was flushed now begins 47 hours before noon.
        let start = -47 * HOUR;
        assert_eq!(host.pass(48 * HOUR, HOUR), Some(-48 * HOUR + 2 * HOUR));
        let expires = |now: Option<i64>| now.unwrap() - start > 24 * HOUR;
        assert!(!expires(host.pass(0, 22 * HOUR)));
        assert!(expires(host.pass(0, 2 * HOUR)));
        assert_eq!(host.pass(0, HOUR), Some(27 * HOUR), "the clock that was behind is forgotten");
    }

    #[test]
    fn a_clock_is_remembered_for_as_long_as_its_windows_can_be_on_disk() {
        for (more_ms, lead_ms) in [(0, 0), (1, HOUR)] {
            let started = Instant::now();
            let reading = |uptime: Duration, lead_ms: i64| ClockReading {
                wall: Duration::from_millis((NOON_MS + lead_ms) as u64) + uptime,
                monotonic: started + uptime,
            };
            let mut clock = SpoolClock::new(reading(Duration::ZERO, 0));
            clock.look(reading(Duration::ZERO, HOUR));
            let uptime = DAY + Duration::from_millis(more_ms);
            let expected = NOON_MS + uptime.as_millis() as i64 + lead_ms;
            let now_ms = clock.expiry_now_ms(reading(uptime, HOUR), DAY);
            assert_eq!(now_ms, Some(expected as u64), "{more_ms}");
        }
    }

    #[test]
    fn a_step_of_a_second_is_another_clock() {
        for (step_ms, clocks) in [(STEP_MIN_MS - 1, 1), (STEP_MIN_MS, 2)] {
            let mut host = Host::new();
            host.pass(step_ms, MINUTE);
            assert_eq!(host.clock.seen.len(), clocks, "{step_ms}");
        }
    }

    #[test]
    fn a_clock_that_is_set_all_the_time_takes_no_more_memory() {
        let mut host = Host::new();
        for step in 0..1_000 {
            host.pass(if step % 7 == 0 { -5 * HOUR } else { HOUR }, MINUTE);
            assert!(host.clock.seen.len() <= CLOCKS_MAX);
            assert!(host.clock.seen.iter().is_sorted_by_key(|clock| clock.lead_ms));
        }
    }

    #[test]
    fn small_corrections_are_the_same_clock() {
        let mut host = Host::new();
        for _ in 0..100 {
            host.pass(30, MINUTE);
        }
        assert!(host.clock.seen.len() <= 4, "{:?}", host.clock.seen);
        let behind = 100 * MINUTE + 3_000 - host.pass(0, 0).unwrap();
        assert!((0..4_000).contains(&behind), "{behind}");
    }
}
