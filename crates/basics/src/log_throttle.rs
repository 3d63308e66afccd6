//! Telling of something that may happen a million times a second.

use std::time::{Duration, Instant};

/// At most one line in the log for each of these.
const PAUSE: Duration = Duration::from_secs(60);

/// Counts events and says when to tell of them: at once, then once a minute at most.
#[derive(Debug, Default)]
pub struct LogThrottle {
    told: Option<Instant>,
    untold: u64,
}

impl LogThrottle {
    /// Counts so many events. Gives the number of those not told of yet if it is time to tell.
    pub fn count(&mut self, events: u64) -> Option<u64> {
        self.count_at(Instant::now(), events)
    }

    fn count_at(&mut self, now: Instant, events: u64) -> Option<u64> {
        self.untold += events;
        let is_soon = self.told.is_some_and(|told| now.duration_since(told) < PAUSE);
        if self.untold == 0 || is_soon {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_once_a_minute() {
        let (mut seldom, start) = (LogThrottle::default(), Instant::now());
        let told: Vec<_> = (0..=120)
            .filter_map(|second| seldom.count_at(start + Duration::from_secs(second), 2))
            .collect();
        assert_eq!(told, [2, 120, 120]);
    }

    #[test]
    fn nothing_is_not_told() {
        let mut seldom = LogThrottle::default();
        assert_eq!((seldom.count(0), seldom.count(3), seldom.count(0)), (None, Some(3), None));
    }
}
