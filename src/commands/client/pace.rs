//! The pace at which a command sends: a rate, and how much of it is due by the clock.

use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

/// The largest burst after the sender was kept off the CPU, as a time at the rate: a larger one would
/// overflow buffers that the rate itself does not.
const BURST: Duration = Duration::from_millis(2);
/// Minimum number of payloads in a burst. With less, a low rate would slip whenever the scheduler
/// delays the sender.
const BURST_MIN: u64 = 64;
/// Shortest sleep: a shorter one costs more than it waits for.
const SLEEP_MIN: Duration = Duration::from_micros(200);

/// The schedule of a rate. It has no clock: the caller passes the time since the start.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Payloads a second.
    rate: f64,
    burst_max: u64,
    /// Payloads sent or given up.
    done: u64,
    /// Payloads given up.
    slipped: u64,
}

impl Pacer {
    /// Creates the schedule of a rate in payloads a second, which must be greater than 0.
    pub(crate) fn new(rate: f64) -> Self {
        let burst_max = ((rate * BURST.as_secs_f64()) as u64).max(BURST_MIN);
        Self { rate, burst_max, done: 0, slipped: 0 }
    }

    /// Payloads due at this time since the start. Those beyond a burst are given up: the schedule
    /// slips.
    pub(crate) fn due(&mut self, elapsed: Duration) -> u64 {
        let due = (elapsed.as_secs_f64() * self.rate) as u64 + 1;
        let late = due.saturating_sub(self.done).saturating_sub(self.burst_max);
        self.slipped += late;
        self.done += late;
        due.saturating_sub(self.done)
    }

    /// Counts payloads that were sent.
    pub(crate) fn sent(&mut self, payloads: u64) {
        self.done += payloads;
    }

    /// How long to sleep when nothing is due.
    pub(crate) fn pause(&self, elapsed: Duration) -> Duration {
        let next = Duration::from_secs_f64(self.done as f64 / self.rate);
        next.saturating_sub(elapsed).max(SLEEP_MIN)
    }

    /// Payloads given up so far.
    pub(crate) fn slipped(&self) -> u64 {
        self.slipped
    }
}

/// Messages a second; `None` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRate(pub Option<NonZeroU64>);

impl FromStr for SendRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self(None));
        }
        number(text).map(|number| Self(Some(number))).map_err(|error| format!("{error}, or `max`"))
    }
}

/// Reads a number above zero, with `k` for thousands or `M` for millions.
pub(crate) fn number(text: &str) -> Result<NonZeroU64, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1_000_000)),
    };
    let number: Option<u64> = digits.parse().ok();
    let number = number.and_then(|number| number.checked_mul(unit)).and_then(NonZeroU64::new);
    number.ok_or_else(|| "must be a number greater than 0, such as 500, 200k or 10M".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_may_be_written_in_thousands_and_millions() {
        for (text, value) in [("1", 1), ("200k", 200_000), ("10M", 10_000_000)] {
            assert_eq!(number(text).map(NonZeroU64::get), Ok(value), "{text}");
        }
        for wrong in ["", "0", "k", "-1", "1.5k", "99999999999999999999", "18446744073709551615k"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
        assert_eq!("max".parse(), Ok(SendRate(None)));
    }

    #[test]
    fn a_late_sender_catches_up_with_a_burst_and_gives_up_the_rest() {
        let mut pacer = Pacer::new(100_000.0);
        assert_eq!(pacer.due(Duration::ZERO), 1);
        pacer.sent(1);
        assert_eq!(pacer.due(Duration::from_millis(1)), 100);
        pacer.sent(100);
        // A second without a look at the clock: 2 ms of the rate are made good.
        assert_eq!(pacer.due(Duration::from_secs(1)), 200);
        assert_eq!(pacer.slipped(), 99_700);
        pacer.sent(200);
        assert_eq!(pacer.due(Duration::from_secs(1)), 0);
        assert_eq!(pacer.pause(Duration::from_secs(1)), SLEEP_MIN);
    }

    #[test]
    fn a_low_rate_sleeps_until_the_next_is_due() {
        let mut pacer = Pacer::new(2.0);
        pacer.sent(1);
        let elapsed = Duration::from_millis(100);
        assert_eq!(pacer.due(elapsed), 0);
        assert_eq!(pacer.pause(elapsed), Duration::from_millis(400));
        assert_eq!(pacer.due(Duration::from_millis(500)), 1);
    }

    proptest! {
        #[test]
        fn the_rate_is_never_exceeded(
            rate in 0.1_f64..2e6,
            steps in prop::collection::vec((0_u64..50_000_000, 0.0_f64..=1.0), 1..100),
        ) {
            let mut pacer = Pacer::new(rate);
            let (mut elapsed, mut sent) = (Duration::ZERO, 0);
            for (nanos, share) in steps {
                elapsed += Duration::from_nanos(nanos);
                let now = (pacer.due(elapsed) as f64 * share) as u64;
                pacer.sent(now);
                sent += now;
                prop_assert!(sent as f64 <= elapsed.as_secs_f64() * rate + 1.0);
            }
        }
    }
}
