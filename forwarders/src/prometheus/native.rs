//! Native histograms: the total of a timer's buckets, with fewer buckets where memory requires it.
//!
//! The schema is the resolution: schema `n` has 2^n buckets for each power of two. Buckets of
//! schema 6 are the buckets of a timer. Merging each pair of neighbours gives schema 5, and so on
//! down to schema -4, in which 264 buckets cover all doubles. Prometheus merges buckets in the same
//! way when it reads histograms of different schemas.
//!
//! Counts are shown rounded down to whole samples: a sample with the rate 0.3 counts as 3.33
//! samples. A shown count never falls, not even when two buckets merge: the sum of two counts that
//! are each rounded down is never larger than their sum rounded down. Prometheus would take a lower
//! count for a restart.

use model::{Buckets, UNITS_PER_SAMPLE};

/// The schema of a timer's buckets.
const SCHEMA_MAX: i8 = 6;
/// The coarsest schema.
const SCHEMA_MIN: i8 = -4;

/// Largest absolute index of a bucket of schema 6: doubles go down to 2^-1074, and each power of
/// two has 64 buckets.
const INDEX_MAX: i32 = 1_074 * 64;

/// Upper bound of the size of a bucket in protobuf, in bytes: a separate span (9) and a difference
/// of counts (8).
const BUCKET_BYTES: usize = 17;

/// Number of buckets for which each histogram reserves room on the page, so that even on a full
/// page a histogram can have at least these.
const BUCKETS_RESERVED: usize = 8;

/// Returns the room that a histogram with this number of buckets takes, in bytes: an upper bound of
/// their size, and never less than the reserved room.
pub(super) fn bytes_at_most(buckets: usize) -> u64 {
    (buckets.max(BUCKETS_RESERVED) * BUCKET_BYTES) as u64
}

/// Returns the maximum number of buckets that fit into this number of bytes.
pub(super) fn buckets_within(bytes: u64) -> usize {
    bytes as usize / BUCKET_BYTES
}

/// Bucket indexes with counts in units of 1/[`UNITS_PER_SAMPLE`] of a sample, sorted by index.
pub(super) type IndexedCounts = Vec<(i32, u64)>;

/// The counts of all windows by bucket. Only buckets with a count take memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NativeHistogram {
    schema: i8,
    /// The count of the value 0, in the unit of [`IndexedCounts`].
    zero: u64,
    positive: IndexedCounts,
    negative: IndexedCounts,
}

impl Default for NativeHistogram {
    fn default() -> Self {
        Self { schema: SCHEMA_MAX, zero: 0, positive: Vec::new(), negative: Vec::new() }
    }
}

impl NativeHistogram {
    /// Restores a histogram; `None` if the schema is unknown, or if the indexes are out of range or
    /// not ascending.
    pub(super) fn from_parts(
        schema: i8,
        zero: u64,
        positive: IndexedCounts,
        negative: IndexedCounts,
    ) -> Option<Self> {
        let is_valid = |buckets: &IndexedCounts| {
            let in_range = buckets.iter().all(|(index, _)| index.abs() <= INDEX_MAX);
            in_range && buckets.is_sorted_by(|a, b| a.0 < b.0)
        };
        let is_schema = (SCHEMA_MIN..=SCHEMA_MAX).contains(&schema);
        let is_valid = is_schema && is_valid(&positive) && is_valid(&negative);
        is_valid.then_some(Self { schema, zero, positive, negative })
    }

    /// Returns the schema, the count of zeros in the unit of [`IndexedCounts`], and the buckets of
    /// positive and of negative values.
    pub(super) fn parts(&self) -> (i8, u64, &IndexedCounts, &IndexedCounts) {
        (self.schema, self.zero, &self.positive, &self.negative)
    }

    /// Returns the schema.
    pub(super) fn schema(&self) -> i32 {
        i32::from(self.schema)
    }

    /// Returns the number of buckets with a count, except the bucket of zeros.
    pub(super) fn bucket_count(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    /// Adds the buckets of a window, which have schema 6.
    pub(super) fn add(&mut self, window: &Buckets) {
        let shift = (SCHEMA_MAX - self.schema) as u32;
        self.zero = self.zero.saturating_add(window.zero);
        merge(&mut self.positive, &window.positive, shift);
        merge(&mut self.negative, &window.negative, shift);
    }

    /// Merges buckets until there are at most `most`, or at most 2 if `most` is less. Returns
    /// whether there were more.
    pub(super) fn shrink(&mut self, most: usize) -> bool {
        let is_too_large = self.bucket_count() > most;
        while self.bucket_count() > most && self.schema > SCHEMA_MIN {
            self.lower();
        }
        // Still too many, because the values are of very different magnitudes or the limit is
        // small. As in a timer's sketch, the bucket with the lowest index, of the values closest to
        // 0, goes into the next one. Positive and negative values keep at least one bucket each.
        while self.bucket_count() > most.max(2) {
            let is_positive = self.positive.len() >= self.negative.len();
            let longer = if is_positive { &mut self.positive } else { &mut self.negative };
            let (_, count) = longer.remove(0);
            longer[0].1 = longer[0].1.saturating_add(count);
        }
        is_too_large
    }

    /// Merges buckets until the histogram has this schema.
    pub(super) fn lower_to(&mut self, schema: i32) {
        while self.schema() > schema.max(SCHEMA_MIN.into()) {
            self.lower();
        }
    }

    fn lower(&mut self) {
        self.schema -= 1;
        halve(&mut self.positive);
        halve(&mut self.negative);
    }

    /// Returns the number of samples: the sum of all shown counts, as Prometheus requires.
    pub(super) fn count(&self) -> u64 {
        let buckets = self.positive.iter().chain(&self.negative);
        self.zero_count() + buckets.map(|(_, count)| rounded_down(*count)).sum::<u64>()
    }

    /// Returns the number of zeros.
    pub(super) fn zero_count(&self) -> u64 {
        rounded_down(self.zero)
    }

    /// Returns the buckets of positive values with their numbers of samples.
    pub(super) fn positive(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        self.positive.iter().map(|(index, count)| (*index, rounded_down(*count)))
    }

    /// Returns the buckets of negative values with their numbers of samples.
    pub(super) fn negative(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        self.negative.iter().map(|(index, count)| (*index, rounded_down(*count)))
    }
}

/// Rounds a count down to whole samples; see the comment of the module.
fn rounded_down(units: u64) -> u64 {
    units / UNITS_PER_SAMPLE
}

/// Adds the buckets of a window to `own`, whose schema is lower by `shift`. Both are sorted by
/// index.
fn merge(own: &mut IndexedCounts, window: &[(i32, u64)], shift: u32) {
    let known = own.len();
    let mut at = 0;
    for (index, count) in window {
        // The index stands for the upper bound of the bucket, so it is divided and rounded up.
        let index = ((index - 1) >> shift) + 1;
        while at < known && own[at].0 < index {
            at += 1;
        }
        // New buckets are at the end until all are sorted. Two of the window may go into one of
        // them.
        let place = if own[..known].get(at).is_some_and(|(of, _)| *of == index) {
            at
        } else if own.len() > known && own.last().is_some_and(|(of, _)| *of == index) {
            own.len() - 1
        } else {
            own.push((index, 0));
            own.len() - 1
        };
        own[place].1 = own[place].1.saturating_add(*count);
    }
    if own.len() > known {
        own.sort_unstable_by_key(|(index, _)| *index);
    }
}

/// Merges each pair of neighbours: buckets 1 and 2 become bucket 1 of the next lower schema.
fn halve(buckets: &mut IndexedCounts) {
    for (index, _) in buckets.iter_mut() {
        *index = (*index + 1) >> 1;
    }
    buckets.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        if is_same {
            kept.1 = kept.1.saturating_add(next.1);
        }
        is_same
    });
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use model::Timer;

    /// The buckets of a timer with these values and weights.
    pub(in crate::prometheus) fn buckets(samples: &[(f64, f64)]) -> Buckets {
        let mut timer = Timer::default();
        samples.iter().for_each(|(value, weight)| timer.record(*value, *weight, usize::MAX));
        let value = model::Value::timer(timer, &[]);
        let model::Value::Timer(timer) = value else { panic!("a timer") };
        timer.timer.buckets()
    }

    fn histogram(windows: &[Vec<(f64, f64)>]) -> NativeHistogram {
        let mut histogram = NativeHistogram::default();
        windows.iter().for_each(|window| histogram.add(&buckets(window)));
        histogram
    }

    #[test]
    fn a_bucket_of_a_lower_schema_has_the_counts_of_two() {
        let mut histogram = histogram(&[vec![(1.0, 1.0), (2.0, 1.0), (2.01, 1.0), (-4.0, 1.0)]]);
        assert_eq!(histogram.positive().collect::<Vec<_>>(), [(0, 1), (64, 1), (65, 1)]);
        assert!(histogram.shrink(3));
        // The bounds of schema 0 are powers of two, which still separate all four values. The
        // bounds of schema -1 are powers of four.
        assert_eq!(histogram.schema(), -1);
        assert_eq!(histogram.positive().collect::<Vec<_>>(), [(0, 1), (1, 2)]);
        assert_eq!(histogram.negative().collect::<Vec<_>>(), [(1, 1)]);
        assert!(!histogram.shrink(3));
    }

    #[test]
    fn an_unreachable_limit_moves_counts_into_the_lowest_bucket() {
        let tiny = |n: i32| (10_f64.powi(-n * 30), 1.0);
        let mut histogram = histogram(&[(0..9).map(tiny).collect()]);
        assert!(histogram.shrink(3));
        assert_eq!((histogram.schema(), histogram.bucket_count(), histogram.count()), (-4, 3, 9));
    }

    fn samples() -> impl Strategy<Value = Vec<(f64, f64)>> {
        let value = prop_oneof![-1e4..1e4_f64, Just(0.0), 1e-9..1e-3_f64, 1.0..1.1_f64];
        let weight = prop_oneof![Just(1.0), Just(1.0 / 0.3), Just(10.0)];
        prop::collection::vec((value, weight), 1..60)
    }

    proptest! {
        #[test]
        fn the_total_of_windows_is_the_histogram_of_all_samples(
            windows in prop::collection::vec(samples(), 1..5),
        ) {
            prop_assert_eq!(histogram(&windows), histogram(&[windows.concat()]));
        }

        #[test]
        fn a_histogram_that_shrinks_in_between_equals_one_that_shrinks_at_the_end(
            windows in prop::collection::vec(samples(), 1..5), most in 2..50_usize,
        ) {
            let mut early = NativeHistogram::default();
            for window in &windows {
                early.add(&buckets(window));
                early.shrink(most);
                prop_assert!(early.bucket_count() <= most);
            }
            let mut late = histogram(&windows);
            late.shrink(most);
            if early.schema > SCHEMA_MIN {
                prop_assert_eq!(early, late);
            }
        }

        #[test]
        fn no_shown_count_falls(windows in prop::collection::vec(samples(), 1..6), most in 20..60_usize) {
            let mut histogram = NativeHistogram::default();
            for window in &windows {
                let before = histogram.clone();
                histogram.add(&buckets(window));
                histogram.shrink(most);
                prop_assume!(histogram.schema > SCHEMA_MIN);
                // As Prometheus compares: with the shown counts of the old one, at the new schema.
                let shown = |of: &IndexedCounts| -> IndexedCounts {
                    let mut shown: IndexedCounts =
                        of.iter().map(|(index, count)| (*index, rounded_down(*count))).collect();
                    (histogram.schema..before.schema).for_each(|_| halve(&mut shown));
                    shown
                };
                let (positive, negative) = (shown(&before.positive), shown(&before.negative));
                let covers = |now: Vec<(i32, u64)>, then: IndexedCounts| {
                    then.iter().all(|(index, count)| {
                        now.iter().any(|(of, now)| of == index && now >= count)
                    })
                };
                prop_assert!(covers(histogram.positive().collect(), positive));
                prop_assert!(covers(histogram.negative().collect(), negative));
            }
        }
    }
}
