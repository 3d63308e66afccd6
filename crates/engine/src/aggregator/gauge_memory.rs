//! The levels of gauges whose series have expired, for changes that arrive later.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use model::Series;

/// Most levels. Each takes about 80 bytes.
const LEVELS_MAX: usize = 100_000;

/// Levels by the hash of their series, because the text of the series could take much more memory.
#[derive(Debug)]
pub(super) struct GaugeMemory {
    after_windows: u64,
    levels: HashMap<u128, RememberedLevel, RandomState>,
    /// Hashes with the number of their latest expiry, in the order of expiry. May contain entries of
    /// series that have returned.
    order: VecDeque<(u128, u64)>,
    expiries: u64,
    forgotten: u64,
    /// Senders choose the series, so they must not know the hash.
    hashers: [RandomState; 2],
}

#[derive(Debug)]
struct RememberedLevel {
    level: f64,
    /// Number of the window with the latest sample.
    last_window: u64,
    expiry: u64,
}

impl GaugeMemory {
    /// Creates a memory that forgets a level this many windows after its latest sample.
    pub(super) fn new(after_windows: u64) -> Self {
        Self {
            after_windows,
            levels: HashMap::default(),
            order: VecDeque::new(),
            expiries: 0,
            forgotten: 0,
            hashers: Default::default(),
        }
    }

    /// The number of windows after its latest sample for which a level is remembered.
    pub(super) fn after(&self) -> u64 {
        self.after_windows
    }

    /// Forgets a level after another number of windows.
    pub(super) fn set_after(&mut self, after_windows: u64) {
        self.after_windows = after_windows;
    }

    /// Remembers the level of a series that expires.
    pub(super) fn remember(&mut self, series: &Series, level: f64, last_window: u64) {
        // A gauge that is not known starts at 0 anyway.
        if level == 0.0 {
            return;
        }
        self.expiries += 1;
        let (hash, expiry) = (self.hash(series), self.expiries);
        self.levels.insert(hash, RememberedLevel { level, last_window, expiry });
        self.order.push_back((hash, expiry));
    }

    /// Returns the level of a series that returns.
    pub(super) fn take(&mut self, series: &Series) -> Option<f64> {
        if self.levels.is_empty() {
            return None;
        }
        let hash = self.hash(series);
        self.levels.remove(&hash).map(|remembered| remembered.level)
    }

    /// Forgets levels that are too old or too many. `window` is the number of the open window.
    pub(super) fn forget(&mut self, window: u64) {
        while let Some(&(hash, expiry)) = self.order.front() {
            let remembered = self.levels.get(&hash);
            // An older expiry is left over from a series that has returned since.
            let is_old = remembered
                .filter(|remembered| remembered.expiry == expiry)
                .map(|remembered| remembered.last_window + self.after_windows < window);
            // Leftovers are bounded too: a level in front of them would keep them.
            let has_room = self.levels.len() <= LEVELS_MAX && self.order.len() <= 2 * LEVELS_MAX;
            match is_old {
                Some(false) if has_room => return,
                Some(_) => {
                    self.levels.remove(&hash);
                    self.forgotten += 1;
                }
                None => {}
            }
            self.order.pop_front();
        }
    }

    /// Takes the number of levels forgotten since the previous call.
    pub(super) fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    /// Returns a hash of 128 bits, so that two series do not share a level by chance.
    fn hash(&self, series: &Series) -> u128 {
        let [high, low] = &self.hashers;
        u128::from(high.hash_one(series)) << 64 | u128::from(low.hash_one(series))
    }
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::*;

    fn series(number: usize) -> Series {
        Series::new(MetricKind::Gauge, &number.to_string(), &[("k", "v"); 0])
    }

    #[test]
    fn a_level_is_returned_once_and_forgotten_when_it_is_old() {
        let mut memory = GaugeMemory::new(10);
        memory.remember(&series(1), 5.0, 3);
        memory.remember(&series(2), 7.0, 4);
        memory.forget(13);
        assert_eq!((memory.take(&series(2)), memory.take(&series(2))), (Some(7.0), None));
        memory.forget(14);
        assert_eq!((memory.take(&series(1)), memory.take_forgotten()), (None, 1));
    }

    #[test]
    fn a_series_that_expires_again_is_remembered_from_then_on() {
        let mut memory = GaugeMemory::new(10);
        memory.remember(&series(1), 5.0, 3);
        memory.take(&series(1));
        memory.remember(&series(1), 6.0, 12);
        memory.forget(20);
        assert_eq!((memory.take(&series(1)), memory.take_forgotten()), (Some(6.0), 0));
    }

    #[test]
    fn the_number_of_levels_is_bounded() {
        let mut memory = GaugeMemory::new(10);
        for number in 0..LEVELS_MAX + 5 {
            memory.remember(&series(number), 1.0, 1);
        }
        memory.forget(2);
        assert_eq!((memory.levels.len(), memory.take_forgotten()), (LEVELS_MAX, 5));
        // Series that come and go leave nothing behind.
        for round in 0..3 {
            for number in 5..LEVELS_MAX {
                memory.take(&series(number));
                memory.remember(&series(number), 1.0, round);
            }
            memory.forget(2);
        }
        assert!(memory.order.len() <= 2 * LEVELS_MAX, "{}", memory.order.len());
    }

    #[test]
    fn a_level_is_forgotten_although_an_older_one_has_been_renewed() {
        let mut memory = GaugeMemory::new(10);
        memory.remember(&series(1), 5.0, 3);
        memory.remember(&series(2), 7.0, 4);
        memory.take(&series(1));
        memory.remember(&series(1), 6.0, 12);
        memory.forget(15);
        assert_eq!((memory.take(&series(1)), memory.take(&series(2))), (Some(6.0), None));
    }

    #[test]
    fn another_time_applies_to_the_levels_remembered_before() {
        let mut memory = GaugeMemory::new(10);
        memory.remember(&series(1), 5.0, 3);
        memory.set_after(2);
        memory.forget(6);
        assert_eq!((memory.take(&series(1)), memory.take_forgotten()), (None, 1));
    }

    #[test]
    fn a_series_that_expires_again_and_again_costs_no_other_its_level() {
        let mut memory = GaugeMemory::new(10);
        memory.remember(&series(1), 5.0, 3);
        for _ in 1..2 * LEVELS_MAX {
            memory.remember(&series(2), 7.0, 3);
        }
        memory.forget(4);
        assert_eq!((memory.take(&series(1)), memory.take_forgotten()), (Some(5.0), 0));
    }

    #[test]
    fn both_halves_of_a_hash_distinguish_series() {
        let memory = GaugeMemory::new(10);
        let halves = |number| {
            let hash = memory.hash(&series(number));
            ((hash >> 64) as u64, hash as u64)
        };
        let (one, other) = (halves(1), halves(2));
        assert!(one.0 != other.0 && one.1 != other.1, "{one:?} {other:?}");
    }
}
