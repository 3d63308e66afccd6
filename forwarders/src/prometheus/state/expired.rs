//! The totals of expired series, so that a series that returns continues from its old total. From 0,
//! Prometheus would see a restart, or miss increments once the new total exceeds the old one.

use std::collections::VecDeque;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3;

use super::shown::Shown;
use crate::prometheus::native::NativeHistogram;
use model::Series;

/// Native buckets that take as much memory as the total of a counter, about 100 bytes.
const BUCKETS_PER_TOTAL: usize = 6;

/// The total of an expired series.
#[derive(Clone, Debug)]
pub(super) struct ExpiredTotal {
    pub(super) shown: Shown,
    /// When it was 0, in Unix milliseconds; 0 if that is unknown.
    pub(super) created_ms: u64,
}

impl ExpiredTotal {
    /// Returns the memory that it takes, as a number of totals without buckets.
    fn cost(&self) -> usize {
        let buckets = self.shown.native().map_or(0, NativeHistogram::bucket_count);
        1 + buckets.div_ceil(BUCKETS_PER_TOTAL) + self.shown.bounds().div_ceil(BUCKETS_PER_TOTAL)
    }
}

/// The totals, each with the number of its expiry. Series are identified by a hash, because their text
/// could take much more memory.
pub(super) struct ExpiredTotals {
    /// Maximum of `cost`.
    max: usize,
    /// The sum of the costs.
    cost: usize,
    totals: HashMap<u128, (u64, ExpiredTotal), RandomState>,
    /// The numbers and hashes in the order of expiry; may contain series that have returned.
    order: VecDeque<(u64, u128)>,
    /// Number of the latest expiry.
    number: u64,
}

impl ExpiredTotals {
    pub(super) fn new(max: usize) -> Self {
        Self { max, cost: 0, totals: HashMap::default(), order: VecDeque::new(), number: 0 }
    }

    /// Keeps the total of a series with this hash. Removes the totals of the series that expired
    /// first if they take too much memory.
    pub(super) fn remember(&mut self, hash: u128, mut total: ExpiredTotal) {
        // A gauge or set has no total to continue from.
        if self.max == 0 || matches!(total.shown, Shown::Last(_)) {
            return;
        }
        // The percentiles describe only the last window.
        if let Shown::Timer(timer) = &mut total.shown {
            timer.percentiles.clear();
        }
        self.number += 1;
        self.cost += total.cost();
        self.order.push_back((self.number, hash));
        if let Some((_, replaced)) = self.totals.insert(hash, (self.number, total)) {
            self.cost -= replaced.cost();
        }
        // Series that return leave their entries in `order`; the second bound keeps these from
        // accumulating.
        while self.cost > self.max || self.order.len() > 2 * self.max {
            let Some((number, hash)) = self.order.pop_front() else { return };
            // An entry with an older number is of an earlier expiry: the series has returned since.
            if self.totals.get(&hash).is_some_and(|(current, _)| *current == number) {
                self.remove(hash);
            }
        }
    }

    /// Iterates over the totals with the hashes of their series, beginning with the latest expiry.
    pub(super) fn latest_first(&self) -> impl Iterator<Item = (u128, &ExpiredTotal)> {
        self.order.iter().rev().filter_map(|(number, hash)| {
            let (current, total) = self.totals.get(hash)?;
            (current == number).then_some((*hash, total))
        })
    }

    /// Removes and returns the total of a series that returns.
    pub(super) fn take(&mut self, series: &Series) -> Option<ExpiredTotal> {
        if self.totals.is_empty() {
            return None;
        }
        self.remove(hash(series))
    }

    fn remove(&mut self, hash: u128) -> Option<ExpiredTotal> {
        let (_, total) = self.totals.remove(&hash)?;
        self.cost -= total.cost();
        Some(total)
    }
}

/// Returns a hash of 128 bits, so that two series do not share a total by chance. It is stored, so it
/// must be the same in every build.
pub(super) fn hash(series: &Series) -> u128 {
    let mut hasher = Xxh3::new();
    let parts = series.tags().flat_map(|(key, value)| [key, value]);
    for part in std::iter::once(series.name()).chain(parts) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(series.kind().as_str().as_bytes());
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documents state that a counter's total costs 100 to 200 bytes. The table has up to 2.6
    /// times as many places as entries: when removed entries have filled it up, it doubles once.
    #[test]
    fn a_total_takes_the_memory_that_the_documents_state() {
        let in_table = size_of::<(u128, (u64, ExpiredTotal))>() + 1;
        let in_order = size_of::<(u64, u128)>();
        let most = in_table * 262_144 / 100_000 + in_order * 131_072 / 100_000;
        assert!(most <= 220, "{most} bytes");
    }
}
