//! The totals of expired series, so that a series that returns continues from its old total. From 0,
//! Prometheus would see a restart, or miss increments once the new total exceeds the old one.

use std::collections::VecDeque;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::{Shown, hash};
use crate::prometheus::native::NativeHistogram;
use model::Series;

/// Native buckets that take as much memory as a total, about 100 bytes.
const BUCKETS_PER_TOTAL: usize = 6;

/// The total of an expired series.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) shown: Shown,
    /// When it was 0, in Unix milliseconds; 0 if that is unknown.
    pub(super) created_ms: u64,
}

impl Left {
    /// Returns the number of totals that take the same memory.
    fn cost(&self) -> usize {
        let buckets = self.shown.native().map_or(0, NativeHistogram::bucket_count);
        1 + buckets.div_ceil(BUCKETS_PER_TOTAL) + self.shown.bounds().div_ceil(BUCKETS_PER_TOTAL)
    }
}

/// The totals, each with the number of its expiry. Series are identified by a hash, because their text
/// could take much more memory.
pub(super) struct Departed {
    /// Maximum sum of the costs.
    max: usize,
    cost: usize,
    totals: HashMap<u128, (u64, Left), RandomState>,
    /// In the order of expiry; may contain entries of series that have returned.
    order: VecDeque<(u64, u128)>,
    number: u64,
}

impl Departed {
    pub(super) fn new(max: usize) -> Self {
        Self { max, cost: 0, totals: HashMap::default(), order: VecDeque::new(), number: 0 }
    }

    pub(super) fn remember(&mut self, hash: u128, mut left: Left) {
        // A gauge or set has no total to continue from.
        if self.max == 0 || matches!(left.shown, Shown::Last(_)) {
            return;
        }
        // The percentiles describe only the last window.
        if let Shown::Timer(total) = &mut left.shown {
            total.percentiles.clear();
        }
        self.number += 1;
        self.cost += left.cost();
        self.order.push_back((self.number, hash));
        if let Some((_, replaced)) = self.totals.insert(hash, (self.number, left)) {
            self.cost -= replaced.cost();
        }
        // Series that return leave their entries in `order`; the second bound keeps these from
        // accumulating.
        while self.cost > self.max || self.order.len() > 2 * self.max {
            let Some((number, hash)) = self.order.pop_front() else { return };
            // An older number is left from an earlier expiry of a series that has expired again.
            if self.totals.get(&hash).is_some_and(|(current, _)| *current == number) {
                self.remove(hash);
            }
        }
    }

    /// The totals, beginning with the series that left last.
    pub(super) fn latest_first(&self) -> impl Iterator<Item = (u128, &Left)> {
        self.order.iter().rev().filter_map(|(number, hash)| {
            let (current, left) = self.totals.get(hash)?;
            (current == number).then_some((*hash, left))
        })
    }

    pub(super) fn take(&mut self, series: &Series) -> Option<Left> {
        if self.totals.is_empty() {
            return None;
        }
        self.remove(hash(series))
    }

    fn remove(&mut self, hash: u128) -> Option<Left> {
        let (_, left) = self.totals.remove(&hash)?;
        self.cost -= left.cost();
        Some(left)
    }
}
