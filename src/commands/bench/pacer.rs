//! How much is due at a rate: by the clock, without catching up by a flood.

use std::time::Duration;

/// What may be sent at once after the sender was kept off the CPU, as a time at the rate: more would
/// overflow buffers that the rate itself does not.
const BURST: Duration = Duration::from_millis(2);
/// At least so many payloads, or a low rate would slip at every hiccup of the scheduler.
const BURST_MIN: u64 = 64;
/// Shortest sleep: shorter ones cost more than what they wait for.
const SLEEP_MIN: Duration = Duration::from_micros(200);

/// The schedule of a rate. It has no clock: the time since the start is an argument.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Payloads a second.
    rate: f64,
    burst_max: u64,
    /// Payloads that were sent or given up.
    done: u64,
    /// Payloads that were given up.
    slipped: u64,
}

impl Pacer {
    /// For so many payloads a second, above zero.
    pub(crate) fn new(rate: f64) -> Self {
        let burst_max = ((rate * BURST.as_secs_f64()) as u64).max(BURST_MIN);
        Self { rate, burst_max, done: 0, slipped: 0 }
    }

    /// Payloads that are due so long after the start. What is due beyond a burst is given up: the
    /// schedule slips.
    pub(crate) fn due(&mut self, elapsed: Duration) -> u64 {
        let due = (elapsed.as_secs_f64() * self.rate) as u64 + 1;
        let late = due.saturating_sub(self.done).saturating_sub(self.burst_max);
        self.slipped += late;
        self.done += late;
        due.saturating_sub(self.done)
    }

    /// Notes what was sent of what was due.
    pub(crate) fn sent(&mut self, payloads: u64) {
        self.done += payloads;
    }

    /// How long to sleep if nothing is due.
    pub(crate) fn pause(&self, elapsed: Duration) -> Duration {
        let next = Duration::from_secs_f64(self.done as f64 / self.rate);
        next.saturating_sub(elapsed).max(SLEEP_MIN)
    }

    /// Payloads that were given up so far.
    pub(crate) fn slipped(&self) -> u64 {
        self.slipped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
