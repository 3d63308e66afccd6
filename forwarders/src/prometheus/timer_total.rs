//! The total of a timer over all windows.

use std::sync::Arc;

use smallvec::SmallVec;

use super::native::NativeHistogram;
use super::timers::{TimerForm, TimerSettings};
use model::{Sum, Timer, TimerValue};

/// The total of a timer: count, sum, and the buckets of its histograms.
#[derive(Clone, Debug, Default)]
pub(super) struct TimerTotal {
    /// Number of samples in all windows, weighted by 1 / sample rate.
    pub(super) count: Sum,
    /// Sum of the values in all windows.
    pub(super) sum: Sum,
    /// The percentiles of the timer's latest window.
    pub(super) percentiles: SmallVec<[f64; 4]>,
    /// `None` unless timers are shown as `histogram`.
    pub(super) classic: Option<ClassicBuckets>,
    /// `None` unless timers are shown as `native`.
    pub(super) native: Option<Box<NativeHistogram>>,
}

impl TimerTotal {
    /// Creates an empty total for a metric.
    pub(super) fn new(settings: &TimerSettings, metric: &str) -> Self {
        let native = settings.forms.has(TimerForm::Native);
        Self {
            classic: settings.bounds(metric).map(ClassicBuckets::new),
            native: native.then(Box::default),
            ..Self::default()
        }
    }

    /// Adds a window's samples, and replaces the percentiles with the window's.
    pub(super) fn add(&mut self, window: &TimerValue) {
        self.count.add(window.summary.count);
        self.sum.add(window.summary.sum);
        self.percentiles.clone_from(&window.summary.percentiles);
        if let Some(classic) = &mut self.classic {
            classic.add(&window.timer);
        }
        if let Some(native) = &mut self.native {
            native.add(&window.timer.buckets());
        }
    }

    /// Returns the number of samples in the histogram. For a native one it is the sum of its
    /// buckets, as Prometheus requires, which are rounded down one by one.
    pub(super) fn histogram_count(&self) -> f64 {
        match &self.native {
            Some(native) => native.count() as f64,
            None => whole(self.count.value()),
        }
    }

    /// Iterates over the classic buckets as (upper bound, number of samples up to it), without the
    /// bucket +Inf.
    pub(super) fn classic_buckets(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let count = self.histogram_count();
        let mut below = 0.0;
        self.classic.iter().flat_map(ClassicBuckets::counts).map(move |(bound, samples)| {
            below += samples;
            // Rounding must not make a bucket larger than the bucket +Inf, which is the count.
            (bound, whole(below).min(count))
        })
    }

    /// Returns a saved total of the same metric with the histograms of this total. `None` if the
    /// saved total lacks one of them: then all parts start from 0, because they must agree.
    pub(super) fn continued_from(&self, saved: &Self) -> Option<Self> {
        let classic = match &self.classic {
            Some(own) => Some(own.continued_from(saved.classic.as_ref()?)?),
            None => None,
        };
        let native = match &self.native {
            Some(_) => Some(saved.native.clone()?),
            None => None,
        };
        Some(Self { classic, native, ..saved.clone() })
    }
}

/// Counts of samples by configured upper bounds.
#[derive(Clone, Debug)]
pub(super) struct ClassicBuckets {
    bounds: Arc<[f64]>,
    /// For each bound, the sum of the weights of the samples up to it that are above the previous
    /// bound.
    counts: Box<[f64]>,
}

impl ClassicBuckets {
    /// Creates empty buckets.
    pub(super) fn new(bounds: Arc<[f64]>) -> Self {
        let counts = bounds.iter().map(|_| 0.0).collect();
        Self { bounds, counts }
    }

    /// Restores saved buckets; `None` if the numbers of bounds and counts differ or a count is
    /// negative.
    pub(super) fn from_parts(bounds: Vec<f64>, counts: Vec<f64>) -> Option<Self> {
        let is_valid = bounds.len() == counts.len() && counts.iter().all(|count| *count >= 0.0);
        is_valid.then(|| Self { bounds: bounds.into(), counts: counts.into() })
    }

    /// Returns the bounds. All series with the same configured list share one copy.
    pub(super) fn bounds(&self) -> &Arc<[f64]> {
        &self.bounds
    }

    /// Iterates over the bounds with their counts, which are not cumulative.
    pub(super) fn counts(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.bounds.iter().copied().zip(self.counts.iter().copied())
    }

    /// Adds the samples of a window. If its timer has become a sketch, the samples of each bucket
    /// of the sketch count by the value in the middle of the bucket.
    pub(super) fn add(&mut self, timer: &Timer) {
        let mut at = 0;
        timer.for_each_sample(|value, weight| {
            // Samples come in the order of their values.
            while self.bounds.get(at).is_some_and(|bound| *bound < value) {
                at += 1;
            }
            if let Some(count) = self.counts.get_mut(at) {
                *count += weight;
            }
        });
    }

    fn continued_from(&self, saved: &Self) -> Option<Self> {
        let counts = saved.counts.clone();
        (self.bounds == saved.bounds).then(|| Self { bounds: Arc::clone(&self.bounds), counts })
    }
}

/// Rounds a count to the nearest whole number, as both text formats require. Only the shown total
/// is rounded, so the error never exceeds half a sample.
pub(super) fn whole(count: f64) -> f64 {
    count.round()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use model::{Percentile, Value};

    fn value(samples: &[f64], exact_max: usize) -> Box<TimerValue> {
        let mut timer = Timer::default();
        samples.iter().for_each(|value| timer.record(*value, 1.0, exact_max));
        let percentiles: [Percentile; 0] = [];
        let Value::Timer(timer) = Value::timer(timer, &percentiles) else { panic!("a timer") };
        timer
    }

    fn total() -> TimerTotal {
        let classic = ClassicBuckets::new([-1.0, 0.0, 1.0, 10.0, 100.0].into());
        TimerTotal { classic: Some(classic), ..TimerTotal::default() }
    }

    proptest! {
        #[test]
        fn classic_buckets_equal_the_number_of_samples_up_to_each_bound(
            windows in prop::collection::vec(
                prop::collection::vec(prop_oneof![-20.0..200.0_f64, Just(1.0), Just(10.0)], 1..50), 1..5,
            ),
        ) {
            let mut total = total();
            windows.iter().for_each(|window| total.add(&value(window, 1000)));
            for (bound, count) in total.classic_buckets() {
                let exact = windows.iter().flatten().filter(|value| **value <= bound).count();
                prop_assert_eq!(count, exact as f64, "{}", bound);
            }
            prop_assert_eq!(total.histogram_count(), windows.concat().len() as f64);
        }

        #[test]
        fn classic_buckets_of_a_sketch_are_wrong_only_about_samples_next_to_a_bound(
            samples in prop::collection::vec(-20.0..200.0_f64, 2..200),
        ) {
            let mut total = total();
            total.add(&value(&samples, 1));
            for (bound, count) in total.classic_buckets() {
                let up_to = |bound: f64| samples.iter().filter(|value| **value <= bound).count() as f64;
                let error = bound.abs() * 0.011;
                prop_assert!(up_to(bound - error) <= count && count <= up_to(bound + error));
            }
        }
    }
}
