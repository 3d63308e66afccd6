//! Counts by bucket, for the magnitudes of one sign.

use super::bucket::BUCKETS_PER_OCTAVE;
use crate::heap::allocation;

/// Maximum number of octaves with buckets, for each sign; an octave takes 512 bytes. Latencies from a
/// microsecond to a day cover 37. Counts below the highest 64 octaves go into the lowest bucket.
const OCTAVES_MAX: usize = 64;

/// Counts by bucket. Only octaves with a count take memory.
///
/// The result of additions and merges does not depend on their order, even if octaves are
/// dropped: the highest octaves stay, and their lowest bucket has all counts below.
#[derive(Clone, Default)]
pub(super) struct BucketCounts {
    /// In ascending order.
    octaves: Vec<Octave>,
}

/// The buckets from a power of two to the next.
#[derive(Clone)]
struct Octave {
    exponent: i32,
    counts: Box<[u64; BUCKETS_PER_OCTAVE as usize]>,
}

impl Octave {
    fn new(exponent: i32) -> Self {
        Self { exponent, counts: Box::new([0; BUCKETS_PER_OCTAVE as usize]) }
    }

    /// Each bucket with a count, as (index, count).
    fn buckets(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        let first = self.exponent * BUCKETS_PER_OCTAVE + 1;
        let counts = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(move |(slot, count)| (first + slot as i32, *count))
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl BucketCounts {
    /// Adds to the count of a bucket. The caller ensures that the sum of all counts fits into 64 bits.
    pub(super) fn add(&mut self, index: i32, count: u64) {
        let exponent = (index - 1).div_euclid(BUCKETS_PER_OCTAVE);
        match self.octaves.binary_search_by_key(&exponent, |octave| octave.exponent) {
            Ok(place) => {
                let slot = (index - 1).rem_euclid(BUCKETS_PER_OCTAVE);
                self.octaves[place].counts[slot as usize] += count;
            }
            Err(0) if self.octaves.len() >= OCTAVES_MAX => self.octaves[0].counts[0] += count,
            Err(place) => {
                self.octaves.insert(place, Octave::new(exponent));
                self.add(index, count);
                self.drop_lowest_octaves();
            }
        }
    }

    fn drop_lowest_octaves(&mut self) {
        while self.octaves.len() > OCTAVES_MAX {
            let lowest = self.octaves.remove(0);
            self.octaves[0].counts[0] += lowest.total();
        }
    }

    /// Adds all counts of `other`. The caller ensures that the sum of all fits into 64 bits.
    pub(super) fn merge(&mut self, other: &Self) {
        other.buckets().for_each(|(index, count)| self.add(index, count));
    }

    /// Each bucket with a count, as (index, count), in ascending order.
    pub(super) fn buckets(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        self.octaves.iter().flat_map(Octave::buckets)
    }

    /// An estimate of the memory on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let octave = allocation(size_of::<u64>() * BUCKETS_PER_OCTAVE as usize);
        allocation(self.octaves.capacity() * size_of::<Octave>()) + self.octaves.len() * octave
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(buckets: &[(i32, u64)]) -> BucketCounts {
        let mut counts = BucketCounts::default();
        buckets.iter().for_each(|(index, count)| counts.add(*index, *count));
        counts
    }

    fn buckets(counts: &BucketCounts) -> Vec<(i32, u64)> {
        counts.buckets().collect()
    }

    #[test]
    fn buckets_are_in_order_and_can_be_read_backwards() {
        let counts = counts(&[(700, 2), (-9, 1), (0, 3), (1, 4), (700, 5)]);
        assert_eq!(buckets(&counts), [(-9, 1), (0, 3), (1, 4), (700, 7)]);
        assert_eq!(counts.buckets().next_back(), Some((700, 7)));
    }

    #[test]
    fn below_the_highest_64_octaves_everything_is_in_the_lowest_bucket() {
        let octave = |octave: i32| octave * BUCKETS_PER_OCTAVE;
        let all: Vec<_> = (1..=70).map(|n| (octave(n), 1)).collect();
        let low = counts(&all);
        assert_eq!(low.octaves.len(), OCTAVES_MAX);
        // Bucket 64 · 7 is the last of octave 6, the lowest that stays; its first bucket has the
        // counts of the six octaves below.
        assert_eq!(buckets(&low)[..2], [(octave(6) + 1, 6), (octave(7), 1)]);
        assert_eq!(low.buckets().map(|(_, count)| count).sum::<u64>(), 70);
    }

    #[test]
    fn the_estimate_of_the_memory_counts_the_list_and_each_octave() {
        assert_eq!(BucketCounts::default().heap_bytes(), 0);
        // A list with room for four octaves of 16 bytes, and 512 bytes of counts for each of two.
        let two = counts(&[(1, 1), (65, 1)]);
        assert_eq!(two.octaves.capacity(), 4);
        assert_eq!(two.heap_bytes(), allocation(4 * 16) + 2 * allocation(512));
    }

    fn spread() -> impl Strategy<Value = Vec<(i32, u64)>> {
        prop::collection::vec((-10_000..10_000, 1_u64..1 << 40), 0..400)
    }

    proptest! {
        #[test]
        fn counts_do_not_depend_on_the_order_of_additions_and_merges(
            first in spread(), second in spread(), third in spread(),
        ) {
            let all = [first.clone(), second.clone(), third.clone()].concat();
            let sequential = counts(&all);
            let mut merged = counts(&third);
            merged.merge(&counts(&first));
            merged.merge(&counts(&second));
            prop_assert_eq!(buckets(&merged), buckets(&sequential));
            let mut other = counts(&second);
            let mut rest = counts(&third);
            rest.merge(&counts(&first));
            other.merge(&rest);
            prop_assert_eq!(buckets(&other), buckets(&sequential));
            let reversed: Vec<_> = all.iter().rev().copied().collect();
            prop_assert_eq!(buckets(&counts(&reversed)), buckets(&sequential));
        }
    }
}
