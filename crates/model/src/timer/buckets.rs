//! The buckets of a sketch of values of both signs, and their stored form.

use std::ops::RangeInclusive;

use super::bucket::{bucket_index, middle};
use super::bucket_counts::BucketCounts;

/// The count of a bucket for one sample of weight 1. Buckets count in whole numbers, and a sample rate
/// of 0.3, so a weight of 3.33, should keep three digits.
pub const UNITS_PER_SAMPLE: u64 = 1_024;

/// The buckets of a sketch, which divide the values into ranges of equal relative width: bucket `i`
/// of positive values covers those above 2^((i-1)/64), up to 2^(i/64). Counts are in units of
/// 1/[`UNITS_PER_SAMPLE`] of a sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// The count of zeros.
    pub zero: u64,
    /// The buckets of positive values as (index, count), sorted by index.
    pub positive: Vec<(i32, u64)>,
    /// The buckets of negative values by their magnitude, in the same form.
    pub negative: Vec<(i32, u64)>,
}

impl Buckets {
    /// The buckets of a sketch that tallyd 0.1.0 stored, with other bounds. Each count goes
    /// into the bucket of the value in the middle of the old one, which adds at most 0.5 % to the
    /// error of a percentile.
    #[must_use]
    pub fn from_0_1_0(mut self) -> Self {
        for (index, _) in self.positive.iter_mut().chain(&mut self.negative) {
            *index = bucket_index(middle_of_0_1_0(*index));
        }
        self
    }

    /// Adds the count of a finite value; each call passes a larger or the same value. The buckets of
    /// negative values are in the order of the calls.
    pub(super) fn push_sorted(&mut self, value: f64, count: u64) {
        if value > 0.0 {
            push_last(&mut self.positive, bucket_index(value), count);
        } else if value < 0.0 {
            push_last(&mut self.negative, bucket_index(-value), count);
        } else {
            self.zero = self.zero.saturating_add(count);
        }
    }

    /// The sum of all counts; `None` if it would overflow a count.
    fn total(&self) -> Option<u64> {
        let counts = self.positive.iter().chain(&self.negative).map(|(_, count)| count);
        counts.chain([&self.zero]).try_fold(0_u64, |total, count| {
            total.checked_add(*count).filter(|total| *total < COUNT_MAX)
        })
    }
}

fn push_last(buckets: &mut Vec<(i32, u64)>, index: i32, count: u64) {
    match buckets.last_mut() {
        Some((last, sum)) if *last == index => *sum = sum.saturating_add(count),
        _ => buckets.push((index, count)),
    }
}

/// Counts of values of both signs.
#[derive(Clone, Default)]
pub(super) struct SketchBuckets {
    zero: u64,
    positive: BucketCounts,
    negative: BucketCounts,
}

/// A larger total would overflow a count.
const COUNT_MAX: u64 = 1 << 63;

/// The indexes that doubles have.
const INDEXES: RangeInclusive<i32> = -1_074 * 64..=1_024 * 64;

impl SketchBuckets {
    /// Adds to the count of the bucket of a finite value.
    pub(super) fn add(&mut self, value: f64, count: u64) {
        if value > 0.0 {
            self.positive.add(bucket_index(value), count);
        } else if value < 0.0 {
            self.negative.add(bucket_index(-value), count);
        } else {
            self.zero += count;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
    }

    /// The buckets with a count in the order of their values, as (value in the middle, count).
    pub(super) fn in_order(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.signed().map(|(sign, index, count)| (sign * middle(index), count))
    }

    /// The middle of the first bucket with at least `needed` counts at or below it.
    pub(super) fn value_at(&self, needed: u64) -> Option<f64> {
        let mut seen = 0;
        let mut signed = self.signed();
        let (sign, index, _) = signed.find(|(_, _, count)| {
            seen += count;
            seen >= needed
        })?;
        Some(sign * middle(index))
    }

    /// The buckets with a count in the order of their values, as (sign, index, count).
    fn signed(&self) -> impl Iterator<Item = (f64, i32, u64)> + '_ {
        let negative = self.negative.buckets().rev().map(|(index, count)| (-1.0, index, count));
        let zero = Some((0.0, 0, self.zero)).filter(|(_, _, count)| *count > 0);
        let positive = self.positive.buckets().map(|(index, count)| (1.0, index, count));
        negative.chain(zero).chain(positive)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.positive.heap_bytes() + self.negative.heap_bytes()
    }

    pub(super) fn parts(&self) -> Buckets {
        Buckets {
            zero: self.zero,
            positive: self.positive.buckets().collect(),
            negative: self.negative.buckets().collect(),
        }
    }

    /// Restores stored buckets, and returns the sum of their counts. `None` if the counts would
    /// overflow, or if no double has one of the indexes.
    pub(super) fn from_parts(parts: &Buckets) -> Option<(Self, u64)> {
        let total = parts.total()?;
        let mut buckets = Self { zero: parts.zero, ..Self::default() };
        for (stored, counts) in
            [(&parts.positive, &mut buckets.positive), (&parts.negative, &mut buckets.negative)]
        {
            for (index, count) in stored {
                INDEXES.contains(index).then(|| counts.add(*index, *count))?;
            }
        }
        Some((buckets, total))
    }
}

/// Base of the buckets of tallyd 0.1.0, (1 + error) / (1 - error) for an error of 0.5 %. Its bucket
/// `i` begins at the base to the power of `i`.
const BASE_0_1_0: f64 = 1.005 / 0.995;

fn middle_of_0_1_0(index: i32) -> f64 {
    let middle = BASE_0_1_0.powf(f64::from(index)) * 2.0 * BASE_0_1_0 / (1.0 + BASE_0_1_0);
    middle.clamp(f64::MIN_POSITIVE, f64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buckets(values: &[(f64, u64)]) -> SketchBuckets {
        let mut buckets = SketchBuckets::default();
        values.iter().for_each(|(value, count)| buckets.add(*value, *count));
        buckets
    }

    #[test]
    fn buckets_are_in_the_order_of_their_values() {
        let buckets = buckets(&[(3.0, 1), (-2.0, 4), (0.0, 7), (5.0, 2), (-9.0, 3), (-0.0, 1)]);
        let counts: Vec<_> = buckets.in_order().map(|(_, count)| count).collect();
        assert_eq!(counts, [3, 4, 8, 1, 2]);
        assert!(buckets.in_order().is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn only_buckets_with_a_count_are_listed() {
        let without_zero = buckets(&[(-2.0, 4), (8.0, 2)]);
        let counts: Vec<_> = without_zero.in_order().map(|(_, count)| count).collect();
        assert_eq!(counts, [4, 2]);
    }

    #[test]
    fn merged_buckets_have_the_counts_of_both() {
        let mut merged = buckets(&[(-2.0, 4), (0.0, 7), (8.0, 2)]);
        merged.merge(&buckets(&[(-2.0, 1), (0.0, 2), (8.0, 3)]));
        let sum = Buckets { zero: 9, positive: vec![(3 * 64, 5)], negative: vec![(64, 5)] };
        assert_eq!(merged.parts(), sum);
        let (restored, total) = SketchBuckets::from_parts(&sum).unwrap();
        assert_eq!((restored.parts(), total), (sum, 19));
    }

    #[test]
    fn the_estimate_of_the_memory_counts_both_signs() {
        let of = |values: &[(f64, u64)]| buckets(values).heap_bytes();
        let (positive, negative) = ([(1.0, 1), (3.0, 1)], [(-1.0, 1)]);
        assert!(of(&positive) > of(&negative) && of(&negative) > 512);
        assert_eq!(of(&[(1.0, 1), (3.0, 1), (-1.0, 1)]), of(&positive) + of(&negative));
    }

    #[test]
    fn the_value_at_a_rank_is_in_the_first_bucket_that_reaches_it() {
        let buckets = buckets(&[(-2.0, 4), (0.0, 7), (8.0, 2)]);
        let values = [1, 4, 5, 11, 12, 13, 14].map(|needed| buckets.value_at(needed));
        let (low, high) = (Some(-middle(64)), Some(middle(3 * 64)));
        assert_eq!(values, [low, low, Some(0.0), Some(0.0), high, high, None]);
    }

    #[test]
    fn stored_buckets_that_would_overflow_a_count_are_refused() {
        let overflow = Buckets { zero: u64::MAX, positive: vec![(1, 1)], negative: vec![] };
        assert!(SketchBuckets::from_parts(&overflow).is_none());
        let sum = Buckets { zero: 0, positive: vec![(1, 1 << 62)], negative: vec![(1, 1 << 62)] };
        assert!(SketchBuckets::from_parts(&sum).is_none());
    }

    #[test]
    fn an_index_that_no_double_has_is_refused() {
        for index in [i32::MIN, -1_074 * 64 - 1, 1_024 * 64 + 1, i32::MAX] {
            let parts = Buckets { zero: 0, positive: vec![], negative: vec![(index, 1)] };
            assert!(SketchBuckets::from_parts(&parts).is_none(), "{index}");
        }
    }

    #[test]
    fn buckets_of_0_1_0_move_to_the_bucket_of_their_middle() {
        let old = Buckets {
            zero: 3,
            positive: vec![(i32::MIN, 1), (0, 2), (i32::MAX, 4)],
            negative: vec![(69, 5)],
        };
        let new = old.from_0_1_0();
        // 1.005 is in the first bucket above 1, and 1.01 to the power of 69.5 is 2.0046.
        assert_eq!(new.positive, [(-1_022 * 64, 1), (1, 2), (1_024 * 64, 4)]);
        assert_eq!((new.zero, new.negative), (3, vec![(65, 5)]));
    }

    proptest! {
        #[test]
        fn restored_buckets_are_equal(
            values in prop::collection::vec((-1e9_f64..1e9, 1_u64..1 << 45), 0..300),
            small in prop::collection::vec((-1e-3_f64..1e-3, 1_u64..5), 0..20),
        ) {
            let buckets = buckets(&[values, small].concat());
            let (restored, _) = SketchBuckets::from_parts(&buckets.parts()).unwrap();
            prop_assert_eq!(restored.parts(), buckets.parts());
        }
    }
}
