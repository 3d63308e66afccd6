//! The wall clock and the monotonic clock, read together, and the steps between them.

use std::time::{Duration, Instant, SystemTime};

use jiff::SignedDuration;

/// A pair of readings taken further apart than this does not belong together.
const APART_MAX: Duration = Duration::from_millis(1);
/// Attempts to read both clocks without an interruption in between.
const ATTEMPTS: usize = 5;

/// Both clocks at one moment.
///
/// The kernel slews both at once, so their difference only changes when the wall clock is set, or
/// when the host was suspended: the monotonic clock stands still then.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    /// The wall clock: the time since 1970.
    pub wall: Duration,
    /// The clock that cannot be set.
    pub monotonic: Instant,
}

impl ClockReading {
    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Self {
        let mut reading = Self::read();
        for _ in 1..ATTEMPTS {
            // A thread that was interrupted between the two clocks would see a step.
            if reading.monotonic.elapsed() < APART_MAX {
                break;
            }
            reading = Self::read();
        }
        reading
    }

    fn read() -> Self {
        let monotonic = Instant::now();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { wall, monotonic }
    }

    /// The wall clock in Unix milliseconds.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.wall.as_millis() as u64
    }

    /// How far the wall clock was set since an earlier reading, in milliseconds; negative if it was
    /// set back.
    #[must_use]
    pub fn step_ms_since(&self, earlier: &Self) -> i64 {
        let wall = self.wall.as_nanos() as i128 - earlier.wall.as_nanos() as i128;
        let elapsed =
            self.monotonic.saturating_duration_since(earlier.monotonic).as_nanos() as i128;
        i64::try_from((wall - elapsed) / 1_000_000).unwrap_or(i64::MAX)
    }
}

/// Formats a duration for messages: `1h 3s`, `700ms`. The longer it is, the coarser the last unit.
#[must_use]
pub fn readable(duration: Duration) -> String {
    let kept_ms = match duration.as_secs() {
        0..10 => 1,
        10..600 => 100,
        _ => 1_000,
    };
    let ms = duration.as_millis() as i64;
    format!("{:#}", SignedDuration::from_millis(ms - ms % kept_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_the_monotonic_clock_does_not_explain() {
        let earlier = ClockReading { wall: Duration::from_secs(1_000), monotonic: Instant::now() };
        let later = |wall_ms: u64, elapsed_ms| ClockReading {
            wall: Duration::from_millis(wall_ms),
            monotonic: earlier.monotonic + Duration::from_millis(elapsed_ms),
        };
        assert_eq!(later(1_007_000, 7_000).step_ms_since(&earlier), 0);
        assert_eq!(later(1_004_000, 7_000).step_ms_since(&earlier), -3_000);
        assert_eq!(later(4_607_000, 7_000).step_ms_since(&earlier), 3_600_000);
        assert_eq!(later(0, 0).step_ms_since(&earlier), -1_000_000);
    }

    #[test]
    fn durations_are_short_and_in_units() {
        for (ms, text) in [
            (700, "700ms"),
            (3_004, "3s 4ms"),
            (13_257, "13s 200ms"),
            (3_600_000, "1h"),
            (3_603_999, "1h 3s"),
        ] {
            assert_eq!(readable(Duration::from_millis(ms)), text);
        }
    }
}
