//! From totals to what was added since the last poll.
//!
//! Kamailio counts from its start on. The pipeline counts what happened in a window. So a total
//! becomes the difference to the one before, and the first that is seen becomes 0: it is of a time
//! that nobody asked about. A restart, a reset and the end of 32 bits must not look like a jump.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::reading::Reading;

/// No Kamailio counts faster, so a total of 32 bits that fell further did not wrap.
const FASTEST_PER_SECOND: f64 = 1e6;
/// Polls after which a total that does not come any more is forgotten.
const FORGOTTEN_AFTER: u64 = 1_000;
/// How many values 32 bits have.
const WRAP: f64 = 4_294_967_296.0;

/// The totals of one instance, as they were.
#[derive(Debug, Default)]
pub(super) struct Totals {
    known: HashMap<String, Known>,
    /// Which run of Kamailio they are of: when it started, in its own words.
    run: Option<String>,
    runs: u64,
    polls: u64,
}

#[derive(Debug)]
struct Known {
    total: f64,
    seen: Instant,
    run: u64,
    poll: u64,
}

impl Totals {
    /// Begins a poll. `started` is when Kamailio says that it started; says whether that is news,
    /// which it is not the first time.
    pub(super) fn begin(&mut self, started: Option<String>) -> bool {
        self.polls += 1;
        if self.polls.is_multiple_of(FORGOTTEN_AFTER) {
            let polls = self.polls;
            self.known.retain(|_, known| known.poll + FORGOTTEN_AFTER > polls);
        }
        let is_other = self.run.is_some() && started.is_some() && self.run != started;
        if is_other {
            self.runs += 1;
        }
        if started.is_some() {
            self.run = started;
        }
        is_other
    }

    /// How much was added since the poll before. `None` if this poll had this total already: of a
    /// gateway that is listed twice, one counts.
    pub(super) fn increase(
        &mut self,
        reading: &Reading,
        total: f64,
        wraps: bool,
        now: Instant,
    ) -> Option<f64> {
        let key = key(reading);
        let latest = Known { total, seen: now, run: self.runs, poll: self.polls };
        let added = match self.known.get(&key) {
            None => 0.0,
            Some(before) if before.poll == self.polls => return None,
            Some(before) if before.run != self.runs => total.max(0.0),
            Some(before) => {
                let elapsed = now.saturating_duration_since(before.seen);
                increase(before.total, total, wraps, elapsed)
            }
        };
        self.known.insert(key, latest);
        Some(added)
    }
}

/// How much was added to a total in one run of Kamailio.
fn increase(before: f64, now: f64, wraps: bool, elapsed: Duration) -> f64 {
    if now >= before {
        return now - before;
    }
    let wrapped = now + WRAP - before;
    if wraps && wrapped <= FASTEST_PER_SECOND * elapsed.as_secs_f64() {
        return wrapped;
    }
    // Somebody has set it to 0 meanwhile.
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
    use crate::reading::Measured;

    const TICK: Duration = Duration::from_secs(10);

    fn reading() -> Reading {
        Reading { name: "n".to_owned(), tags: vec![], value: Measured::Level(0.0) }
    }

    /// What each of these polls adds: when Kamailio started, and its total.
    fn added(wraps: bool, polls: &[(&str, f64)]) -> Vec<f64> {
        let (mut totals, mut now) = (Totals::default(), Instant::now());
        polls
            .iter()
            .map(|(started, total)| {
                totals.begin(Some((*started).to_owned()));
                now += TICK;
                totals.increase(&reading(), *total, wraps, now).unwrap()
            })
            .collect()
    }

    #[test]
    fn the_first_total_adds_nothing_and_the_next_their_difference() {
        assert_eq!(added(false, &[("a", 500.0), ("a", 507.0), ("a", 507.0)]), [0.0, 7.0, 0.0]);
    }

    #[test]
    fn after_a_restart_everything_since_counts_be_it_less_or_more_than_before() {
        assert_eq!(added(true, &[("a", 500.0), ("b", 3.0), ("b", 5.0)]), [0.0, 3.0, 2.0]);
        assert_eq!(added(true, &[("a", 500.0), ("b", 600.0)]), [0.0, 600.0]);
    }

    #[test]
    fn a_total_that_was_set_to_zero_goes_on_from_there() {
        assert_eq!(added(false, &[("a", 500.0), ("a", 3.0)]), [0.0, 3.0]);
        assert_eq!(added(true, &[("a", 500.0), ("a", 3.0)]), [0.0, 3.0]);
        // Far from the end of 32 bits: what it would have added is more than anybody counts.
        assert_eq!(added(true, &[("a", 4.0e9), ("a", 3.0)]), [0.0, 3.0]);
    }

    #[test]
    fn a_total_of_32_bits_goes_on_behind_its_end() {
        let end = WRAP - 10.0;
        assert_eq!(added(true, &[("a", end), ("a", 5.0), ("a", 6.0)]), [0.0, 15.0, 1.0]);
        assert_eq!(added(false, &[("a", end), ("a", 5.0)]), [0.0, 5.0]);
    }

    #[test]
    fn nothing_is_ever_negative() {
        assert_eq!(added(false, &[("a", 5.0), ("a", -3.0), ("b", -7.0)]), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_total_that_comes_twice_in_a_poll_counts_once() {
        let (mut totals, now) = (Totals::default(), Instant::now());
        for (total, expected) in [(5.0, 0.0), (7.0, 2.0)] {
            totals.begin(None);
            assert_eq!(totals.increase(&reading(), total, false, now), Some(expected));
            assert_eq!(totals.increase(&reading(), 1.0, false, now), None);
        }
    }

    #[test]
    fn without_a_known_start_a_fall_is_a_reset() {
        let (mut totals, now) = (Totals::default(), Instant::now());
        for (total, expected) in [(5.0, 0.0), (3.0, 3.0)] {
            assert!(!totals.begin(None));
            assert_eq!(totals.increase(&reading(), total, false, now), Some(expected));
        }
    }
}
