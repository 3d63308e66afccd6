//! Pauses between attempts: exponential with full jitter.

use std::time::Duration;

use crate::config::RetryConfig;

/// No pause is shorter, so that a jitter near zero does not hammer.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Gives the pause before each next attempt.
///
/// Full jitter (a pause anywhere between nothing and the exponential bound) spreads the hosts of a
/// fleet evenly when a broker that they all wait for comes back.
#[derive(Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    /// Starts from the configured bounds.
    #[must_use]
    pub fn new(config: &RetryConfig) -> Self {
        Self { initial: config.initial.get(), max: config.max.get(), attempts: 0 }
    }

    /// The pause before the next attempt; `unit` is a random number from 0 to 1.
    pub fn next_pause(&mut self, unit: f64) -> Duration {
        let bound = self.initial.saturating_mul(1 << self.attempts.min(20)).min(self.max);
        self.attempts = self.attempts.saturating_add(1);
        bound.mul_f64(unit.clamp(0.0, 1.0)).max(PAUSE_MIN.min(self.max))
    }

    /// The longest pause that comes by itself.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// Starts over after a success.
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
    fn jitter_never_gives_no_pause_at_all() {
        let mut backoff = Backoff::new(&RetryConfig::default());
        assert_eq!(backoff.next_pause(0.0), PAUSE_MIN);
        for _ in 0..200 {
            backoff.next_pause(0.5);
        }
        assert_eq!(backoff.next_pause(0.5).as_secs(), 15);
    }
}
