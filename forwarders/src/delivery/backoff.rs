//! The pauses between attempts: exponential backoff with full jitter.

use std::time::Duration;

use crate::config::RetryConfig;
use crate::delivery::forwarder::{ErrorClass, SendError};

/// The shortest pause, so that a random number near zero does not cause a burst of attempts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The pause before an attempt that needs an operator to change something first.
const OPERATOR_PAUSE: Duration = Duration::from_secs(60);

/// Computes the pause before each attempt.
///
/// Full jitter (a random pause up to the exponential bound) spreads the hosts of a fleet evenly
/// when the broker that they all wait for is available again.
#[derive(Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    /// Pauses since the latest success.
    attempts: u32,
}

impl Backoff {
    /// A backoff with the configured bounds of `delivery.retry`.
    #[must_use]
    pub fn new(config: &RetryConfig) -> Self {
        Self { initial: config.initial.get(), max: config.max.get(), attempts: 0 }
    }

    /// The pause before the next attempt; `unit` is a random number from 0 to 1.
    pub fn next_pause(&mut self, unit: f64) -> Duration {
        // The exponent is limited because a shift by 32 bits or more overflows.
        let bound = self.initial.saturating_mul(1 << self.attempts.min(20)).min(self.max);
        self.attempts = self.attempts.saturating_add(1);
        // A configured maximum below the shortest pause is intended, and applies.
        bound.mul_f64(unit.clamp(0.0, 1.0)).max(PAUSE_MIN.min(self.max))
    }

    /// The pause after an error; `unit` is a random number from 0 to 1. Never shorter than the
    /// pause that the destination requested.
    pub(crate) fn pause_after(&mut self, error: &SendError, unit: f64) -> Duration {
        let pause = self.next_pause(unit);
        match error.class() {
            // The random part is added: a destination that requests the same pause of a whole fleet
            // must not get all hosts back at the same moment.
            ErrorClass::Transient { after } => after.unwrap_or_default() + pause,
            // `retry.max` says how soon a recovery should be noticed, so a short one counts here
            // too.
            ErrorClass::Operator => OPERATOR_PAUSE.min(self.max * 2) + pause,
        }
    }

    /// The configured upper bound of a pause.
    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// Returns to the initial bound, after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_maximum_and_starts_over() {
        let mut backoff = Backoff::new(&RetryConfig::default());
        let pauses: Vec<u128> = (0..9).map(|_| backoff.next_pause(1.0).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        backoff.reset();
        assert_eq!(backoff.next_pause(1.0).as_millis(), 250);
    }

    #[test]
    fn jitter_never_reduces_a_pause_to_zero() {
        let mut backoff = Backoff::new(&RetryConfig::default());
        assert_eq!(backoff.next_pause(0.0), PAUSE_MIN);
        for _ in 0..200 {
            backoff.next_pause(0.5);
        }
        assert_eq!(backoff.next_pause(0.5).as_secs(), 15);
    }

    fn pauses(error: &SendError, unit: f64) -> Vec<f64> {
        let mut backoff = Backoff::new(&RetryConfig::default());
        (0..10).map(|_| backoff.pause_after(error, unit).as_secs_f64()).collect()
    }

    #[test]
    fn the_pause_that_a_destination_requests_is_the_shortest_and_is_bounded() {
        let busy = SendError::transient_after("busy", Some(Duration::from_secs(2)));
        assert_eq!(pauses(&busy, 0.0), [2.05; 10]);
        assert_eq!(pauses(&busy, 1.0)[..3], [2.25, 2.5, 3.0]);
        let absurd = SendError::transient_after("busy", Some(Duration::from_secs(86_400)));
        assert_eq!(pauses(&absurd, 0.0)[0], 300.05);
        let at_once = SendError::transient_after("busy", Some(Duration::ZERO));
        assert_eq!(pauses(&at_once, 0.0)[0], 0.05);
    }

    #[test]
    fn an_error_for_an_operator_is_retried_about_once_a_minute_and_not_in_step() {
        let wrong = SendError::operator("unknown topic");
        assert!(pauses(&wrong, 0.0).iter().all(|pause| (60.0..61.0).contains(pause)));
        assert!(pauses(&wrong, 1.0).iter().all(|pause| (60.0..=90.0).contains(pause)));
        assert!(pauses(&wrong, 1.0)[9] - pauses(&wrong, 0.0)[9] > 25.0);
    }
}
