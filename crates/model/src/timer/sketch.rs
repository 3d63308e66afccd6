//! A sketch of the values of a timer that has more of them than are kept.

use sketches_ddsketch::{Config, DDSketch};
use smallvec::SmallVec;

use super::bins::Bins;
use super::summary::{TimerSummary, needed_weight};
use crate::Sum;
use crate::heap::allocation;
use crate::sum::finite;

/// Relative error of the sketch. Half of the promised 1 %, so that the promise holds with rounding.
const SKETCH_ERROR: f64 = 0.005;
/// The most bins of a sketch, 8 bytes each. With the error above they span 17 orders of magnitude;
/// beyond that, the lowest bins are merged.
const SKETCH_BINS_MAX: u32 = 4_096;
/// Smaller magnitudes count as zero in a sketch.
const SKETCH_VALUE_MIN: f64 = 1e-12;
/// The count for a weight of 1. The sketch counts in whole numbers, and a sample rate of 0.3, so a
/// weight of 3.33, should keep three digits.
const SKETCH_WEIGHT_ONE: f64 = 1_024.0;
/// Largest count for a single sample (a rate of about 2e-10).
const SKETCH_WEIGHT_MAX: f64 = (1_u64 << 42) as f64;
/// A sketch that holds this much takes no more weight: its counters are 64 bits wide.
const SKETCH_TOTAL_MAX: f64 = (1_u64 << 62) as f64;

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
    bins: DDSketch,
    bins_weight: f64,
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
    /// Sum of the counts in the bins.
    pub bins_weight: f64,
    /// The number of values, regardless of their weights.
    pub values: u64,
    /// The bins, of which percentiles are computed.
    pub bins: Bins,
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
            bins: DDSketch::new(sketch_config()),
            bins_weight: 0.0,
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
        let units = (weight * SKETCH_WEIGHT_ONE).round().min(SKETCH_WEIGHT_MAX);
        // A full sketch keeps its percentiles and ignores further values; count and sum stay exact.
        if self.bins_weight + units < SKETCH_TOTAL_MAX {
            self.bins_weight += units;
            self.bins.add_with_count(value, units as u64);
        }
    }

    /// An estimate of the memory of a boxed sketch.
    pub(super) fn heap_bytes(&self) -> usize {
        allocation(size_of::<Self>()) + allocation(self.bins.length() * size_of::<u64>())
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
        if self.bins_weight + other.bins_weight < SKETCH_TOTAL_MAX
            && self.bins.merge(&other.bins).is_ok()
        {
            self.bins_weight += other.bins_weight;
        }
    }

    pub(super) fn percentile(&self, rank: f64) -> f64 {
        // The library takes a quantile q and returns the bin of sample number q · (total - 1),
        // counted from 0. Nearest rank asks for sample number `needed`, counted from 1. The half
        // keeps the product on the right side of the library's truncation.
        let needed = needed_weight(rank, self.bins_weight).ceil().max(1.0);
        if needed >= self.bins_weight {
            return self.max;
        }
        let quantile = (needed - 0.5) / (self.bins_weight - 1.0);
        match self.bins.quantile(quantile.clamp(0.0, 1.0)) {
            Ok(Some(value)) => value.clamp(self.min, self.max),
            Ok(None) | Err(_) => self.max,
        }
    }

    /// Calls `each` with the value in the middle of each bin and the weight of the bin.
    pub(super) fn for_each_bin(&self, mut each: impl FnMut(f64, f64)) {
        // Bins count in whole units, and stop counting when they are full.
        let unit = self.weight.value() / self.bins_weight;
        for (value, units) in Bins::of(&self.bins).in_order(&sketch_config()) {
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

    pub(super) fn parts(&self) -> SketchParts {
        SketchParts {
            weight: self.weight,
            sum: self.sum,
            min: self.min,
            max: self.max,
            mean: self.mean,
            squares: self.squares,
            bins_weight: self.bins_weight,
            values: self.values,
            bins: Bins::of(&self.bins),
        }
    }

    pub(super) fn from_parts(parts: SketchParts) -> Option<Self> {
        let SketchParts { weight, sum, min, max, mean, squares, bins_weight, values, bins } = parts;
        let is_finite = [min, max, mean, squares, bins_weight].into_iter().all(f64::is_finite);
        if !is_finite || min > max {
            return None;
        }
        let bins = bins.into_sketch(sketch_config())?;
        Some(Self { weight, sum, min, max, mean, squares, bins, bins_weight, values })
    }
}

fn sketch_config() -> Config {
    Config::new(SKETCH_ERROR, SKETCH_BINS_MAX, SKETCH_VALUE_MIN)
}
