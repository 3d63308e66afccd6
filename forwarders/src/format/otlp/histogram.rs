//! The buckets of a timer as those of an exponential histogram.
//!
//! Bucket `i` of a timer is bucket `i - 1` of scale 6, so no value moves. OTLP writes all buckets
//! from the first to the last: if there are more than the limit, pairs of buckets are merged, which
//! lowers the scale by one, until they fit.
//!
//! Counts of OTLP are whole numbers, and a timer counts in units of 1/[`UNITS_PER_SAMPLE`], because a
//! sample rate of 0.3 makes a sample count 3.33 times. [`WholeCounts`] has the two ways of rounding.

use model::{Buckets, TimerSummary, UNITS_PER_SAMPLE};

/// The scale of a timer's buckets.
const SCALE: i32 = 6;
/// The lowest scale of the protocol. A histogram of any doubles has at most three buckets there.
const SCALE_MIN: i32 = -10;

/// A timer as a point of an exponential histogram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HistogramPoint {
    /// The sum of all counts.
    pub(super) count: u64,
    /// `None` if any value is negative: the protocol reserves the sum for values that make it grow.
    pub(super) sum: Option<f64>,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) scale: i32,
    pub(super) zero: u64,
    pub(super) positive: DenseBuckets,
    /// By the magnitude of the values.
    pub(super) negative: DenseBuckets,
}

/// The sum and the range of the values of a timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SumAndRange {
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl From<&TimerSummary> for SumAndRange {
    fn from(summary: &TimerSummary) -> Self {
        Self { sum: summary.sum, min: summary.min, max: summary.max }
    }
}

/// All buckets from the first to the last one with a count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DenseBuckets {
    /// The index of the first bucket.
    pub(super) offset: i32,
    pub(super) counts: Vec<u64>,
}

/// Turns counts in units into whole numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WholeCounts {
    units: u64,
    samples: u64,
    rounds_down: bool,
}

impl WholeCounts {
    /// Rounds so that the sum of the counts is the rounded sum of all units: what one bucket loses,
    /// a later one gets. Each count is off by less than 1.
    pub(crate) fn nearest() -> Self {
        Self { units: 0, samples: 0, rounds_down: false }
    }

    /// Rounds each count down. So no count of a total falls when units are added, or when buckets
    /// are merged: readers would take that for a restart.
    pub(crate) fn down() -> Self {
        Self { rounds_down: true, ..Self::nearest() }
    }

    fn next(&mut self, units: u64) -> u64 {
        let samples = if self.rounds_down {
            units / UNITS_PER_SAMPLE
        } else {
            self.units = self.units.saturating_add(units);
            self.units.saturating_add(UNITS_PER_SAMPLE / 2) / UNITS_PER_SAMPLE - self.samples
        };
        self.samples = self.samples.saturating_add(samples);
        samples
    }
}

impl HistogramPoint {
    /// The point of a timer. `buckets_max`, at least 3, bounds the buckets for each sign.
    pub(crate) fn new(
        buckets: &Buckets,
        values: SumAndRange,
        mut counts: WholeCounts,
        buckets_max: usize,
    ) -> Self {
        let Buckets { zero, positive, negative } = buckets;
        let merges = merges(positive, buckets_max).max(merges(negative, buckets_max));
        let zero = counts.next(*zero);
        let SumAndRange { sum, min, max } = values;
        let sum = negative.is_empty().then_some(sum);
        let positive = DenseBuckets::new(positive, merges, &mut counts);
        let negative = DenseBuckets::new(negative, merges, &mut counts);
        let scale = SCALE - merges;
        Self { count: counts.samples, sum, min, max, scale, zero, positive, negative }
    }
}

impl DenseBuckets {
    fn new(buckets: &[(i32, u64)], merges: i32, counts: &mut WholeCounts) -> Self {
        let (Some((first, _)), Some((last, _))) = (buckets.first(), buckets.last()) else {
            return Self::default();
        };
        let offset = merged(*first, merges);
        let mut dense = Vec::with_capacity((merged(*last, merges) - offset) as usize + 1);
        let mut rest = buckets.iter().peekable();
        while let Some((index, units)) = rest.next() {
            let index = merged(*index, merges);
            let mut units = *units;
            // Merged before they are rounded, which loses less.
            while let Some((_, more)) = rest.next_if(|(next, _)| merged(*next, merges) == index) {
                units = units.saturating_add(*more);
            }
            dense.resize((index - offset) as usize, 0);
            dense.push(counts.next(units));
        }
        Self { offset, counts: dense }
    }
}

/// The index of OTLP of a timer's bucket after `merges` times merging pairs of buckets.
fn merged(index: i32, merges: i32) -> i32 {
    (index - 1) >> merges
}

/// How often pairs have to be merged so that at most `buckets_max` buckets remain.
fn merges(buckets: &[(i32, u64)], buckets_max: usize) -> i32 {
    let (Some((first, _)), Some((last, _))) = (buckets.first(), buckets.last()) else { return 0 };
    let fits = |merges: &i32| {
        let span = merged(*last, *merges) - merged(*first, *merges) + 1;
        span as usize <= buckets_max
    };
    (0..SCALE - SCALE_MIN).find(fits).unwrap_or(SCALE - SCALE_MIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use model::testing::timer;
    use model::{Point, Value};

    fn histogram(samples: &[(f64, f64)], counts: WholeCounts, max: usize) -> HistogramPoint {
        let Point { value: Value::Timer(timer), .. } = timer("t", &[], samples) else {
            unreachable!()
        };
        HistogramPoint::new(&timer.timer.buckets(), (&timer.summary).into(), counts, max)
    }

    /// The bounds of bucket `index` of a scale, as the protocol defines them.
    fn bounds(index: i32, scale: i32) -> (f64, f64) {
        let base = f64::from(-scale).exp2().exp2();
        (base.powi(index), base.powi(index + 1))
    }

    #[test]
    fn values_are_in_the_buckets_that_the_protocol_defines() {
        let point = histogram(
            &[(1.0, 1.0), (2.0, 1.0), (2.001, 2.0), (0.0, 1.0)],
            WholeCounts::nearest(),
            100,
        );
        // Both powers of two are upper bounds: of the buckets -1 and 63.
        assert_eq!((point.scale, point.zero, point.count), (6, 1, 5));
        assert_eq!((point.positive.offset, point.positive.counts.len()), (-1, 66));
        let counted: Vec<_> = (0..66)
            .filter(|place| point.positive.counts[*place] > 0)
            .map(|place| (place as i32 - 1, point.positive.counts[place]))
            .collect();
        assert_eq!(counted, [(-1, 1), (63, 1), (64, 2)]);
        assert_eq!((point.sum, point.min, point.max), (Some(7.002), 0.0, 2.001));
    }

    #[test]
    fn pairs_of_buckets_are_merged_until_they_fit() {
        let all = [(5e-324, 1.0), (1.0, 1.0), (f64::MAX, 1.0), (-1.0, 1.0)];
        for (max, scale) in [(3, -10), (200_000, 6), (16_384, 2), (64, -6)] {
            let point = histogram(&all, WholeCounts::nearest(), max);
            assert_eq!(point.scale, scale, "{max}");
            assert!(point.positive.counts.len() <= max && point.negative.counts.len() == 1);
            assert_eq!((point.count, point.positive.counts.iter().sum::<u64>()), (4, 3));
            assert_eq!(point.sum, None, "a negative value");
        }
    }

    #[test]
    fn fractions_of_samples_are_passed_on_to_later_buckets() {
        let thirds: Vec<_> = (1..=9).map(|value| (f64::from(value), 10.0 / 3.0)).collect();
        assert_eq!(histogram(&thirds, WholeCounts::nearest(), 4_000).count, 30);
        assert_eq!(histogram(&thirds, WholeCounts::down(), 4_000).count, 27);
    }

    proptest! {
        #[test]
        fn every_sample_is_counted_in_a_bucket_that_contains_it(
            samples in prop::collection::vec((-1e6..1e6, 1.0..9.0), 1..40),
            max in 3_usize..2_000,
        ) {
            let point = histogram(&samples, WholeCounts::nearest(), max);
            let total: f64 = samples.iter().map(|(_, weight)| weight).sum();
            prop_assert!((point.count as f64 - total).abs() <= 0.55);
            let counts = |buckets: &DenseBuckets| buckets.counts.iter().sum::<u64>();
            prop_assert_eq!(point.zero + counts(&point.positive) + counts(&point.negative), point.count);
            for (value, _) in samples {
                let buckets = if value > 0.0 { &point.positive } else { &point.negative };
                let contains = |place: &usize| {
                    let (low, high) = bounds(buckets.offset + *place as i32, point.scale);
                    low * (1.0 - 1e-9) < value.abs() && value.abs() <= high * (1.0 + 1e-9)
                };
                prop_assert!((0..buckets.counts.len()).any(|place| contains(&place)), "{}", value);
            }
        }

        #[test]
        fn no_rounded_count_of_a_total_falls(
            samples in prop::collection::vec((0.001..1e4, 1.0..3.0), 2..40), max in 3_usize..200,
        ) {
            let mut before: Option<HistogramPoint> = None;
            for length in 1..=samples.len() {
                let point = histogram(&samples[..length], WholeCounts::down(), max);
                if let Some(before) = before {
                    prop_assert!(before.count <= point.count && before.scale >= point.scale);
                    let shift = before.scale - point.scale;
                    let mut merged = vec![0; point.positive.counts.len()];
                    for (place, count) in before.positive.counts.iter().enumerate() {
                        let index = (before.positive.offset + place as i32) >> shift;
                        merged[(index - point.positive.offset) as usize] += count;
                    }
                    prop_assert!(merged.iter().zip(&point.positive.counts).all(|(a, b)| a <= b));
                }
                before = Some(point);
            }
        }
    }
}
