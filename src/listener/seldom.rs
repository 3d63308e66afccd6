//! Telling of something that may happen a million times a second.

use std::time::{Duration, Instant};

/// At most one line in the log for each of these.
const PAUSE: Duration = Duration::from_secs(60);

/// Counts events and says when to tell of them: at once, then once a minute at most.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    told: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Counts an event. Gives the number of those not told of yet if it is time to tell.
    pub(super) fn count(&mut self) -> Option<u64> {
        self.count_at(Instant::now())
    }

    fn count_at(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < PAUSE) {
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
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        let told: Vec<_> = (0..=120)
            .filter_map(|second| seldom.count_at(start + Duration::from_secs(second)))
            .collect();
        assert_eq!(told, [1, 60, 60]);
    }
}
