//! The values of a timer, one by one.

use smallvec::SmallVec;

use super::buckets::Buckets;
use super::sketch::{TimerSketch, units};
use super::summary::{TimerSummary, needed_weight};
use crate::Sum;
use crate::heap::allocation;
use crate::sum::finite;

/// Buckets for which a list has room before it grows. Most timers have fewer, and positive values only.
const BUCKETS_RESERVED: usize = 64;

/// Values in the order of their arrival, or sorted. `weights` is empty while every weight is 1.
#[derive(Clone, Default)]
pub(super) struct ExactSamples {
    pub(super) values: Vec<f64>,
    pub(super) weights: Vec<f64>,
}

impl ExactSamples {
    pub(super) fn push(&mut self, value: f64, weight: f64) {
        // Most clients send every value, and their timers need no memory for weights.
        if weight != 1.0 && self.weights.is_empty() {
            self.weights = vec![1.0; self.values.len()];
        }
        if weight != 1.0 || !self.weights.is_empty() {
            self.weights.push(weight);
        }
        self.values.push(value);
    }

    /// Each value with its weight.
    pub(super) fn samples(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.values
            .iter()
            .enumerate()
            .map(|(index, value)| (*value, self.weights.get(index).copied().unwrap_or(1.0)))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let bytes = |numbers: &Vec<f64>| allocation(numbers.capacity() * size_of::<f64>());
        bytes(&self.values) + bytes(&self.weights)
    }

    pub(super) fn sort(&mut self) {
        if self.weights.is_empty() {
            // Values that compare as equal are identical, so a stable order would only cost memory.
            self.values.sort_unstable_by(f64::total_cmp);
        } else {
            let mut samples: Vec<_> = self.samples().collect();
            samples.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            (self.values, self.weights) = samples.into_iter().unzip();
        }
    }

    fn weight(&self) -> f64 {
        if self.weights.is_empty() {
            return self.values.len() as f64;
        }
        let mut weight = Sum::default();
        self.weights.iter().for_each(|each| weight.add(*each));
        weight.value()
    }

    /// The percentile of sorted values.
    pub(super) fn percentile(&self, rank: f64) -> f64 {
        let needed = needed_weight(rank, self.weight());
        if self.weights.is_empty() {
            return self.value_at(needed);
        }
        // With compensation: rounding errors over many fractional weights could otherwise select a
        // neighbouring value.
        let mut seen = Sum::default();
        for (value, weight) in self.samples() {
            seen.add(weight);
            if seen.value() >= needed {
                return value;
            }
        }
        self.values.last().copied().unwrap_or_default()
    }

    /// The first of sorted values of weight 1 with which their number reaches `needed`.
    fn value_at(&self, needed: f64) -> f64 {
        let whole = needed as usize;
        let before = if whole as f64 >= needed { whole.saturating_sub(1) } else { whole };
        self.values.get(before).or(self.values.last()).copied().unwrap_or_default()
    }

    /// The statistics of sorted values.
    pub(super) fn summary(&self, percentiles: SmallVec<[f64; 4]>) -> TimerSummary {
        let count = self.weight();
        let mut sum = Sum::default();
        for (value, weight) in self.samples() {
            sum.add(finite(value * weight));
        }
        let mean = finite(sum.value() / count);
        // In a second pass: the difference between the sum of the squares and the square of the sum
        // would lose all digits of values that are large and close together.
        let mut squares = Sum::default();
        for (value, weight) in self.samples() {
            let distance = value - mean;
            squares.add(finite(weight * distance * distance));
        }
        TimerSummary {
            count,
            sum: sum.value(),
            min: self.values.first().copied().unwrap_or_default(),
            max: self.values.last().copied().unwrap_or_default(),
            mean,
            stddev: (squares.value() / count).sqrt(),
            percentiles,
        }
    }

    /// The buckets of sorted values, without a sketch in between.
    pub(super) fn buckets(&self) -> Buckets {
        let room = self.values.len().min(BUCKETS_RESERVED);
        let mut buckets = Buckets { positive: Vec::with_capacity(room), ..Buckets::default() };
        for (value, weight) in self.samples() {
            buckets.push_sorted(value, units(weight));
        }
        // The order of the values is that of falling magnitudes here.
        buckets.negative.reverse();
        buckets
    }

    pub(super) fn to_sketch(&self) -> TimerSketch {
        let mut sketch = TimerSketch::default();
        for (value, weight) in self.samples() {
            sketch.push(value, weight);
        }
        sketch
    }
}
