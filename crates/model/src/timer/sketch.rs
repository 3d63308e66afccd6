//! A sketch of the values of a timer that has more of them than are kept.

use smallvec::SmallVec;

use super::buckets::{Buckets, SketchBuckets, UNITS_PER_SAMPLE};
use super::summary::{TimerSummary, needed_weight};
use crate::Sum;
use crate::heap::allocation;
use crate::sum::finite;

/// Largest count for a single sample (a rate of about 2e-10).
const SKETCH_WEIGHT_MAX: f64 = (1_u64 << 42) as f64;
/// A sketch that holds this much takes no more weight: its counters are 64 bits wide.
const SKETCH_UNITS_MAX: u64 = 1 << 62;

/// The count of a value in its bucket.
pub(super) fn units(weight: f64) -> u64 {
    (weight * UNITS_PER_SAMPLE as f64).round().min(SKETCH_WEIGHT_MAX) as u64
}

/// Running moments, and a sketch for the percentiles.
#[derive(Clone)]
pub(super) struct TimerSketch {
    pub(super) weight: Sum,
    sum: Sum,
    min: f64,
    max: f64,
    mean: f64,
    /// Weighted sum of squared distances from the mean (Welford).
    squares: f64,
    buckets: SketchBuckets,
    /// Sum of the counts in the buckets.
    units: u64,
    /// The number of values, regardless of their weights.
    pub(super) values: u64,
}

/// The contents of a sketch in a form that can be stored.
#[derive(Debug)]
pub struct SketchParts {
    /// Sum of the weights.
    pub weight: Sum,
    /// Weighted sum of the values.
    pub sum: Sum,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Weighted mean.
    pub mean: f64,
    /// Weighted sum of squared distances from the mean.
    pub squares: f64,
    /// The number of values, regardless of their weights.
    pub values: u64,
    /// The buckets, from which percentiles are computed.
    pub buckets: Buckets,
}

impl Default for TimerSketch {
    fn default() -> Self {
        Self {
            weight: Sum::default(),
            sum: Sum::default(),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            mean: 0.0,
            squares: 0.0,
            buckets: SketchBuckets::default(),
            units: 0,
            values: 0,
        }
    }
}

impl TimerSketch {
    pub(super) fn push(&mut self, value: f64, weight: f64) {
        self.values += 1;
        self.weight.add(weight);
        self.sum.add(finite(value * weight));
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        // Welford's method: the values are not kept for a second pass over their distances from the
        // mean, and a plain sum of squares would lose all digits of values that are large and close
        // together.
        let distance = value - self.mean;
        self.mean = finite(self.mean + distance * (weight / self.weight.value()));
        self.squares = finite(self.squares + weight * distance * (value - self.mean));
        let units = units(weight);
        // A full sketch keeps its percentiles and ignores further values; count and sum stay exact.
        if self.units + units < SKETCH_UNITS_MAX {
            self.units += units;
            self.buckets.add(value, units);
        }
    }

    /// An estimate of the memory of a boxed sketch.
    pub(super) fn heap_bytes(&self) -> usize {
        allocation(size_of::<Self>()) + self.buckets.heap_bytes()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        // Before the weights are merged: the means are combined in the proportion of both weights.
        let (own, others) = (self.weight.value(), other.weight.value());
        let distance = other.mean - self.mean;
        self.mean = finite(self.mean + distance * (others / (own + others)));
        self.squares = finite(
            self.squares + other.squares + distance * distance * (own / (own + others)) * others,
        );
        self.values += other.values;
        self.weight.merge(other.weight);
        self.sum.merge(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if self.units + other.units < SKETCH_UNITS_MAX {
            self.units += other.units;
            self.buckets.merge(&other.buckets);
        }
    }

    pub(super) fn percentile(&self, rank: f64) -> f64 {
        let needed = needed_weight(rank, self.units as f64).ceil().max(1.0) as u64;
        let value = (needed < self.units).then(|| self.buckets.value_at(needed)).flatten();
        value.map_or(self.max, |value| value.clamp(self.min, self.max))
    }

    /// Calls `each` with the value in the middle of each bucket and the weight of the bucket.
    pub(super) fn for_each_bucket(&self, mut each: impl FnMut(f64, f64)) {
        // Buckets count in whole units, and stop counting when they are full.
        let unit = self.weight.value() / self.units as f64;
        for (value, units) in self.buckets.in_order() {
            each(value.clamp(self.min, self.max), units as f64 * unit);
        }
    }

    pub(super) fn summary(&self, percentiles: SmallVec<[f64; 4]>) -> TimerSummary {
        let (count, sum) = (self.weight.value(), self.sum.value());
        TimerSummary {
            count,
            sum,
            min: self.min,
            max: self.max,
            // From the compensated sum, which is more exact than the running mean.
            mean: finite(sum / count),
            // Rounding could make a sum of nearly equal values slightly negative, and its root a
            // NaN.
            stddev: (self.squares.max(0.0) / count).sqrt(),
            percentiles,
        }
    }

    pub(super) fn buckets(&self) -> Buckets {
        self.buckets.parts()
    }

    pub(super) fn parts(&self) -> SketchParts {
        SketchParts {
            weight: self.weight,
            sum: self.sum,
            min: self.min,
            max: self.max,
            mean: self.mean,
            squares: self.squares,
            values: self.values,
            buckets: self.buckets.parts(),
        }
    }

    pub(super) fn from_parts(parts: SketchParts) -> Option<Self> {
        let SketchParts { weight, sum, min, max, mean, squares, values, buckets } = parts;
        let is_finite = [min, max, mean, squares].into_iter().all(f64::is_finite);
        if !is_finite || min > max {
            return None;
        }
        let (buckets, units) = SketchBuckets::from_parts(&buckets)?;
        Some(Self { weight, sum, min, max, mean, squares, buckets, units, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(samples: &[(f64, f64)]) -> TimerSketch {
        let mut sketch = TimerSketch::default();
        samples.iter().for_each(|(value, weight)| sketch.push(*value, *weight));
        sketch
    }

    #[test]
    fn a_merged_sketch_continues_like_one_that_recorded_all_values() {
        let samples = [(100.0, 2.0), (110.0, 1.0), (300.0, 3.0), (310.0, 1.0), (500.0, 2.5)];
        let mut merged = sketch(&samples[..1]);
        merged.merge(&sketch(&samples[1..4]));
        merged.push(samples[4].0, samples[4].1);
        let (merged, whole) = (merged.parts(), sketch(&samples).parts());
        assert!((merged.mean - whole.mean).abs() < 1e-9, "{} {}", merged.mean, whole.mean);
        assert!((merged.squares - whole.squares).abs() < 1e-6, "{merged:?} {whole:?}");
        assert_eq!(merged.buckets, whole.buckets);
        assert_eq!((merged.values, whole.values), (5, 5));
    }

    #[test]
    fn the_mean_of_a_sketch_is_weighted() {
        let summary = sketch(&[(10.0, 1.0), (40.0, 2.0)]).summary(SmallVec::new());
        assert_eq!((summary.mean, summary.stddev), (30.0, 200_f64.sqrt()));
    }

    #[test]
    fn a_stored_sketch_continues() {
        let samples = [(2.0, 1.0), (-8.0, 2.5), (2.0, 1.0)];
        let mut restored = TimerSketch::from_parts(sketch(&samples[..2]).parts()).unwrap();
        restored.push(samples[2].0, samples[2].1);
        let whole = sketch(&samples);
        assert_eq!(format!("{:?}", restored.parts()), format!("{:?}", whole.parts()));
        assert_eq!(restored.units, whole.units);
    }

    #[test]
    fn parts_that_no_sketch_has_are_refused() {
        let with = |change: fn(&mut SketchParts)| {
            let mut parts = sketch(&[(2.0, 1.0)]).parts();
            change(&mut parts);
            TimerSketch::from_parts(parts).is_some()
        };
        assert!(with(|_| {}), "the smallest value may be the largest");
        assert!(with(|parts| parts.max = 3.0));
        assert!(!with(|parts| parts.max = 1.0));
        assert!(!with(|parts| parts.min = f64::NEG_INFINITY));
        assert!(!with(|parts| parts.max = f64::INFINITY));
        assert!(!with(|parts| parts.mean = f64::NAN));
        assert!(!with(|parts| parts.squares = f64::NAN));
        assert!(!with(|parts| parts.buckets.zero = u64::MAX));
    }

    #[test]
    fn the_highest_percentile_is_the_largest_value_and_not_the_middle_of_its_bucket() {
        let sketch = sketch(&[(1.0, 1.0), (2.0, 1.0)]);
        assert_eq!(sketch.percentile(100.0), 2.0);
        assert!(sketch.percentile(50.0) <= 1.0);
    }

    #[test]
    fn a_sketch_takes_no_value_that_would_fill_it() {
        for (free, taken) in [(1_024, 0), (1_025, 1_024)] {
            let units = SKETCH_UNITS_MAX - free;
            let mut full = TimerSketch { units, ..sketch(&[]) };
            full.push(1.0, 1.0);
            assert_eq!(full.units, units + taken);
            let mut full = TimerSketch { units, ..sketch(&[]) };
            full.merge(&sketch(&[(1.0, 1.0)]));
            assert_eq!(full.units, units + taken);
        }
    }

    #[test]
    fn the_estimate_of_the_memory_counts_the_sketch_and_its_buckets() {
        let bytes = |samples: &[(f64, f64)]| sketch(samples).heap_bytes();
        assert_eq!(bytes(&[]), allocation(size_of::<TimerSketch>()));
        let buckets = sketch(&[(1.0, 1.0)]).buckets.heap_bytes();
        assert_eq!(bytes(&[(1.0, 1.0)]), bytes(&[]) + buckets);
    }
}
