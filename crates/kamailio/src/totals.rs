//! Converts totals to increases since the previous poll.
//!
//! Kamailio counts from its start, and the pipeline counts events of a window. So a total becomes the
//! difference to the previous one. The first total becomes 0, because it counts events from before the
//! first poll. A restart, a reset and a wrap-around at 32 bits must not look like a jump.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::reading::Reading;

/// Faster than any Kamailio counts. A total that would have had to increase faster to wrap around was
/// reset instead.
const FASTEST_PER_SECOND: f64 = 1e6;
/// Number of polls after which a total without readings is forgotten.
const FORGOTTEN_AFTER: u64 = 1_000;
/// The number of values of 32 bits.
const WRAP: f64 = 4_294_967_296.0;

/// The latest totals of one server.
#[derive(Debug, Default)]
pub(super) struct RunningTotals {
    latest: HashMap<String, LastTotal>,
    /// The start time of the current run of Kamailio.
    started: Option<String>,
    runs: u64,
    polls: u64,
}

#[derive(Debug)]
struct LastTotal {
    total: f64,
    seen: Instant,
    run: u64,
    poll: u64,
}

impl RunningTotals {
    /// Begins a poll, given the start time of Kamailio if it is known. Returns whether Kamailio
    /// restarted since an earlier poll.
    pub(super) fn begin_poll(&mut self, started: Option<String>) -> bool {
        self.polls += 1;
        if self.polls.is_multiple_of(FORGOTTEN_AFTER) {
            let polls = self.polls;
            self.latest.retain(|_, latest| latest.poll + FORGOTTEN_AFTER > polls);
        }
        let is_known = self.started.is_some() && started.is_some();
        let is_restart = is_known && self.started != started;
        if is_restart {
            self.runs += 1;
        }
        if started.is_some() {
            self.started = started;
        }
        is_restart
    }

    /// The increase since the previous poll; `None` if this poll already had the total, as for a gateway
    /// that Kamailio lists twice.
    pub(super) fn increase(
        &mut self,
        reading: &Reading,
        total: f64,
        wraps: bool,
        now: Instant,
    ) -> Option<f64> {
        let key = key(reading);
        let latest = LastTotal { total, seen: now, run: self.runs, poll: self.polls };
        let added = match self.latest.get(&key) {
            None => 0.0,
            Some(before) if before.poll == self.polls => return None,
            Some(before) if before.run != self.runs => total.max(0.0),
            Some(before) => {
                let elapsed = now.saturating_duration_since(before.seen);
                increase(before.total, total, wraps, elapsed)
            }
        };
        self.latest.insert(key, latest);
        Some(added)
    }
}

/// The increase of a total within one run of Kamailio.
fn increase(before: f64, now: f64, wraps: bool, elapsed: Duration) -> f64 {
    if now >= before {
        return now - before;
    }
    let wrapped = now + WRAP - before;
    if wraps && wrapped <= FASTEST_PER_SECOND * elapsed.as_secs_f64() {
        return wrapped;
    }
    // Reset in the meantime, by `stats.reset_statistics`.
    now.max(0.0)
}

fn key(reading: &Reading) -> String {
    let mut key = reading.name.clone();
    for (name, value) in &reading.tags {
        key.push('\0');
        key.push_str(name);
        key.push('\0');
        key.push_str(value);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::ReadingValue;

    const TICK: Duration = Duration::from_secs(10);

    fn reading() -> Reading {
        Reading { name: "n".to_owned(), tags: vec![], value: ReadingValue::Level(0.0) }
    }

    /// The increases of polls, each given by the start time of Kamailio and the total.
    fn added(wraps: bool, polls: &[(&str, f64)]) -> Vec<f64> {
        let (mut totals, mut now) = (RunningTotals::default(), Instant::now());
        polls
            .iter()
            .map(|(started, total)| {
                totals.begin_poll(Some((*started).to_owned()));
                now += TICK;
                totals.increase(&reading(), *total, wraps, now).unwrap()
            })
            .collect()
    }

    #[test]
    fn the_first_total_adds_nothing_and_the_next_ones_their_difference() {
        assert_eq!(added(false, &[("a", 500.0), ("a", 507.0), ("a", 507.0)]), [0.0, 7.0, 0.0]);
    }

    #[test]
    fn after_a_restart_the_whole_total_counts() {
        assert_eq!(added(true, &[("a", 500.0), ("b", 3.0), ("b", 5.0)]), [0.0, 3.0, 2.0]);
        assert_eq!(added(true, &[("a", 500.0), ("b", 600.0)]), [0.0, 600.0]);
    }

    #[test]
    fn after_a_reset_the_whole_total_counts() {
        assert_eq!(added(false, &[("a", 500.0), ("a", 3.0)]), [0.0, 3.0]);
        assert_eq!(added(true, &[("a", 500.0), ("a", 3.0)]), [0.0, 3.0]);
        // Far below 2^32: a wrap-around would mean an impossible rate.
        assert_eq!(added(true, &[("a", 4.0e9), ("a", 3.0)]), [0.0, 3.0]);
    }

    #[test]
    fn a_total_of_32_bits_wraps_around() {
        let end = WRAP - 10.0;
        assert_eq!(added(true, &[("a", end), ("a", 5.0), ("a", 6.0)]), [0.0, 15.0, 1.0]);
        assert_eq!(added(false, &[("a", end), ("a", 5.0)]), [0.0, 5.0]);
    }

    #[test]
    fn increases_are_never_negative() {
        assert_eq!(added(false, &[("a", 5.0), ("a", -3.0), ("b", -7.0)]), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_total_that_is_listed_twice_counts_once() {
        let (mut totals, now) = (RunningTotals::default(), Instant::now());
        for (total, expected) in [(5.0, 0.0), (7.0, 2.0)] {
            totals.begin_poll(None);
            assert_eq!(totals.increase(&reading(), total, false, now), Some(expected));
            assert_eq!(totals.increase(&reading(), 1.0, false, now), None);
        }
    }

    #[test]
    fn without_a_known_start_time_a_decrease_is_a_reset() {
        let (mut totals, now) = (RunningTotals::default(), Instant::now());
        for (total, expected) in [(5.0, 0.0), (3.0, 3.0)] {
            assert!(!totals.begin_poll(None));
            assert_eq!(totals.increase(&reading(), total, false, now), Some(expected));
        }
    }
}
