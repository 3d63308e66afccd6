//! Limits log lines about events that may happen a million times a second.

use std::time::{Duration, Instant};

/// The minimum time between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// Counts events and decides when to log them: the first at once, then at most once a minute.
#[derive(Debug, Default)]
pub struct LogThrottle {
    reported_at: Option<Instant>,
    unreported: u64,
}

impl LogThrottle {
    /// A throttle that reports the first event.
    #[must_use]
    pub const fn new() -> Self {
        Self { reported_at: None, unreported: 0 }
    }

    /// Counts `events`. Returns the number of events to report now, if it is time for a line.
    pub fn count(&mut self, events: u64) -> Option<u64> {
        self.count_at(Instant::now(), events)
    }

    fn count_at(&mut self, now: Instant, events: u64) -> Option<u64> {
        self.unreported += events;
        let is_too_soon = self.reported_at.is_some_and(|time| now.duration_since(time) < PAUSE);
        if self.unreported == 0 || is_too_soon {
            return None;
        }
        self.reported_at = Some(now);
        Some(std::mem::take(&mut self.unreported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_is_reported_at_once_and_the_others_once_a_minute() {
        let (mut throttle, start) = (LogThrottle::default(), Instant::now());
        let reported: Vec<_> = (0..=120)
            .filter_map(|second| throttle.count_at(start + Duration::from_secs(second), 2))
            .collect();
        assert_eq!(reported, [2, 120, 120]);
    }

    #[test]
    fn no_events_are_not_reported() {
        let mut throttle = LogThrottle::default();
        assert_eq!(
            (throttle.count(0), throttle.count(3), throttle.count(0)),
            (None, Some(3), None)
        );
    }
}
