//! The values of a timer in one window, and their statistics.

mod bucket;
mod bucket_counts;
mod buckets;
mod exact;
mod sketch;
mod summary;

use std::fmt;

pub use self::buckets::{Buckets, UNITS_PER_SAMPLE};
pub use self::sketch::SketchParts;
pub use self::summary::TimerSummary;

use self::exact::ExactSamples;
use self::sketch::TimerSketch;
use super::Percentile;

/// The default for the number of samples of a series and window that are kept one by one. Up to that
/// number percentiles are exact.
pub const EXACT_SAMPLES_DEFAULT: usize = 1_000;

/// The values of a timer: one by one while they are few, a sketch beyond.
#[derive(Clone)]
pub struct Timer {
    store: TimerStore,
}

#[derive(Clone)]
enum TimerStore {
    Exact(ExactSamples),
    Sketch(Box<TimerSketch>),
}

/// The contents of a timer in a form that can be stored.
#[derive(Debug)]
pub enum TimerParts {
    /// All values.
    Exact {
        /// The values, in the order of their arrival or sorted.
        values: Vec<f64>,
        /// Their weights; empty if all are 1.
        weights: Vec<f64>,
    },
    /// More values than are kept, as a sketch.
    Sketch(Box<SketchParts>),
}

impl Default for Timer {
    fn default() -> Self {
        Self { store: TimerStore::Exact(ExactSamples::default()) }
    }
}

impl Timer {
    /// Adds a finite value that stands for `weight` (at least 1) samples. Beyond `exact_max` values
    /// a sketch replaces them.
    pub fn record(&mut self, value: f64, weight: f64, exact_max: usize) {
        match &mut self.store {
            TimerStore::Exact(exact) if exact.values.len() < exact_max => exact.push(value, weight),
            TimerStore::Exact(exact) => {
                // For the rest of the window: a sketch cannot return the values that it has
                // counted.
                let mut sketch = exact.to_sketch();
                sketch.push(value, weight);
                self.store = TimerStore::Sketch(Box::new(sketch));
            }
            TimerStore::Sketch(sketch) => sketch.push(value, weight),
        }
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: Self, exact_max: usize) {
        match other.store {
            TimerStore::Exact(exact) => {
                for (value, weight) in exact.samples() {
                    self.record(value, weight, exact_max);
                }
            }
            TimerStore::Sketch(other) => match &mut self.store {
                TimerStore::Sketch(sketch) => sketch.merge(&other),
                TimerStore::Exact(exact) => {
                    // The values go into the other timer's sketch, because a sketch cannot list
                    // its values.
                    let mut sketch = other;
                    for (value, weight) in exact.samples() {
                        sketch.push(value, weight);
                    }
                    self.store = TimerStore::Sketch(sketch);
                }
            },
        }
    }

    /// The contents, to be stored.
    #[must_use]
    pub fn parts(&self) -> TimerParts {
        match &self.store {
            TimerStore::Exact(exact) => {
                TimerParts::Exact { values: exact.values.clone(), weights: exact.weights.clone() }
            }
            TimerStore::Sketch(sketch) => TimerParts::Sketch(Box::new(sketch.parts())),
        }
    }

    /// An estimate of the memory that the values occupy, without the timer itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.store {
            TimerStore::Exact(exact) => exact.heap_bytes(),
            TimerStore::Sketch(sketch) => sketch.heap_bytes(),
        }
    }

    /// Makes a timer of its stored contents; `None` if these are not the contents of a timer with
    /// values.
    #[must_use]
    pub fn from_parts(parts: TimerParts) -> Option<Self> {
        let store = match parts {
            TimerParts::Exact { values, weights } => {
                let fits = weights.is_empty() || weights.len() == values.len();
                // The parts come from a file, which may be damaged, and all arithmetic relies on
                // finite numbers.
                let is_finite = values.iter().chain(&weights).all(|number| number.is_finite());
                if !fits || !is_finite {
                    return None;
                }
                TimerStore::Exact(ExactSamples { values, weights })
            }
            TimerParts::Sketch(parts) => {
                TimerStore::Sketch(Box::new(TimerSketch::from_parts(*parts)?))
            }
        };
        Some(Self { store })
    }

    /// Sorts the values, which [`Timer::summary`] and [`Timer::percentile`] require.
    pub(crate) fn seal(&mut self) {
        if let TimerStore::Exact(exact) = &mut self.store {
            exact.sort();
        }
    }

    /// The statistics of a sealed timer.
    #[must_use]
    pub fn summary(&self, percentiles: &[Percentile]) -> TimerSummary {
        if self.value_count() == 0 {
            return TimerSummary::default();
        }
        let values = percentiles.iter().map(|percentile| self.percentile(percentile.rank()));
        match &self.store {
            TimerStore::Exact(exact) => exact.summary(values.collect()),
            TimerStore::Sketch(sketch) => sketch.summary(values.collect()),
        }
    }

    /// Nearest-rank percentile of a sealed, non-empty timer: the smallest value with at least
    /// `rank` percent of the samples at or below it.
    #[must_use]
    pub fn percentile(&self, rank: f64) -> f64 {
        match &self.store {
            TimerStore::Exact(exact) => exact.percentile(rank),
            TimerStore::Sketch(sketch) => sketch.percentile(rank),
        }
    }

    /// Calls `each` with the value and weight of every sample of a sealed timer, in the order of
    /// the values. A sketch gives its buckets instead: values within 0.55 %, whose weights add up to
    /// [`TimerSummary::count`].
    pub fn for_each_sample(&self, mut each: impl FnMut(f64, f64)) {
        match &self.store {
            TimerStore::Exact(exact) => {
                exact.samples().for_each(|(value, weight)| each(value, weight));
            }
            TimerStore::Sketch(sketch) => sketch.for_each_bucket(each),
        }
    }

    /// The buckets of a sealed timer, regardless of whether it keeps its values.
    #[must_use]
    pub fn buckets(&self) -> Buckets {
        match &self.store {
            TimerStore::Exact(exact) => exact.buckets(),
            TimerStore::Sketch(sketch) => sketch.buckets(),
        }
    }

    /// The number of recorded values, regardless of their weights.
    #[must_use]
    pub fn value_count(&self) -> u64 {
        match &self.store {
            TimerStore::Exact(exact) => exact.values.len() as u64,
            TimerStore::Sketch(sketch) => sketch.values,
        }
    }

    /// Whether every value is kept, and not only a sketch of them.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self.store, TimerStore::Exact(_))
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.store {
            TimerStore::Exact(exact) => write!(formatter, "Timer({} values)", exact.values.len()),
            TimerStore::Sketch(sketch) => write!(formatter, "Timer(sketch of {:?})", sketch.weight),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::buckets::UNITS_PER_SAMPLE;
    use super::*;
    use proptest::prelude::*;

    fn timer(values: &[f64]) -> Timer {
        let mut timer = Timer::default();
        for value in values {
            timer.record(*value, 1.0, EXACT_SAMPLES_DEFAULT);
        }
        timer.seal();
        timer
    }

    fn percentiles(texts: &[&str]) -> Vec<Percentile> {
        texts.iter().map(|text| Percentile::parse(text).unwrap()).collect()
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        let timer = timer(&values);
        assert_eq!(timer.percentile(50.0), 5.0);
        assert_eq!(timer.percentile(90.0), 9.0);
        assert_eq!(timer.percentile(95.0), 10.0);
        assert_eq!(timer.percentile(1.0), 1.0);
        assert_eq!(timer.percentile(100.0), 10.0);
    }

    #[test]
    fn a_fractional_percentile_is_not_off_by_one_rank() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(timer(&values).percentile(99.9), 999.0);
    }

    #[test]
    fn statistics_of_the_statsd_example() {
        let timer = timer(&[450.0, 120.0, 553.0, 994.0, 334.0, 844.0, 675.0, 496.0]);
        let summary = timer.summary(&[]);
        assert_eq!(summary.count, 8.0);
        assert_eq!(summary.sum, 4466.0);
        assert_eq!((summary.min, summary.max), (120.0, 994.0));
        assert_eq!(summary.mean, 558.25);
        assert!((summary.stddev - 260.560_333_704_115_46).abs() < 1e-9);
    }

    #[test]
    fn a_sample_rate_weights_everything() {
        let mut timer = Timer::default();
        timer.record(1.0, 1.0, 1000);
        timer.record(100.0, 10.0, 1000);
        timer.seal();
        let summary = timer.summary(&percentiles(&["5", "50"]));
        assert_eq!(summary.count, 11.0);
        assert_eq!(summary.sum, 1001.0);
        assert_eq!(summary.mean, 91.0);
        assert_eq!(summary.percentiles.as_slice(), [1.0, 100.0]);
    }

    #[test]
    fn samples_are_in_order_with_their_weights_also_from_a_sketch() {
        for exact_max in [1000, 3] {
            let mut timer = Timer::default();
            for (value, weight) in [(30.0, 1.0), (-10.0, 4.0), (0.0, 1.0), (20.0, 1.0), (30.0, 2.5)]
            {
                timer.record(value, weight, exact_max);
            }
            timer.seal();
            assert_eq!((timer.value_count(), timer.is_exact()), (5, exact_max == 1000));
            let mut samples: Vec<(f64, f64)> = Vec::new();
            timer.for_each_sample(|value, weight| match samples.last_mut() {
                Some((last, sum)) if *last == value => *sum += weight,
                _ => samples.push((value, weight)),
            });
            assert_eq!(samples.len(), 4);
            for ((value, weight), (expected, expected_weight)) in
                samples.into_iter().zip([(-10.0, 4.0), (0.0, 1.0), (20.0, 1.0), (30.0, 3.5)])
            {
                assert!((value - expected).abs() <= 0.005_5 * expected.abs(), "{value} {expected}");
                assert!((weight - expected_weight).abs() < 1e-9, "{weight} {expected_weight}");
            }
        }
    }

    #[test]
    fn as_many_values_as_configured_are_kept() {
        let mut timer = Timer::default();
        let is_exact = [1.0, 2.0, 3.0, 4.0].map(|value| {
            timer.record(value, 1.0, 3);
            timer.is_exact()
        });
        assert_eq!(is_exact, [true, true, true, false]);
    }

    #[test]
    fn extreme_values_never_make_an_infinite_statistic() {
        for exact_max in [1000, 1] {
            let mut timer = Timer::default();
            for value in [f64::MAX, f64::MIN, f64::MAX, f64::MAX] {
                timer.record(value, 1e12, exact_max);
            }
            timer.seal();
            let summary = timer.summary(&percentiles(&["50", "99"]));
            let all = [summary.sum, summary.mean, summary.stddev, summary.percentiles[0]];
            assert!(all.iter().all(|value| value.is_finite()), "{summary:?}");
        }
    }

    #[test]
    fn buckets_have_the_weight_of_the_values() {
        for exact_max in [1_000, 0] {
            let mut timer = Timer::default();
            for (value, weight) in [(2.0, 1.0), (-1.0, 2.5), (0.0, 1.0)] {
                timer.record(value, weight, exact_max);
            }
            timer.seal();
            let unit = UNITS_PER_SAMPLE;
            let Buckets { zero, positive, negative } = timer.buckets();
            assert_eq!(
                (zero, positive, negative),
                (unit, vec![(64, unit)], vec![(0, unit * 5 / 2)])
            );
        }
    }

    #[test]
    fn the_debug_text_shows_the_size_and_no_value() {
        let mut sketch = Timer::default();
        (0..3).for_each(|_| sketch.record(1.5, 1.0, 0));
        assert_eq!(format!("{:?}", timer(&[1.5, 2.5])), "Timer(2 values)");
        assert!(format!("{sketch:?}").starts_with("Timer(sketch of "), "{sketch:?}");
    }

    fn stored(values: &[f64], weights: &[f64]) -> Option<Timer> {
        Timer::from_parts(TimerParts::Exact { values: values.into(), weights: weights.into() })
    }

    #[test]
    fn stored_values_are_read_and_continued() {
        for weights in [&[][..], &[1.0, 2.5]] {
            let mut timer = stored(&[3.0, 1.0], weights).unwrap();
            timer.record(2.0, 1.0, 1_000);
            timer.seal();
            let summary = timer.summary(&percentiles(&["100"]));
            let weight = weights.iter().sum::<f64>().max(2.0) + 1.0;
            assert_eq!((summary.count, summary.min, summary.max), (weight, 1.0, 3.0));
        }
    }

    #[test]
    fn stored_values_that_are_not_those_of_a_timer_are_refused() {
        for (values, weights) in [
            (&[][..], &[1.0][..]),
            (&[1.0], &[1.0, 1.0]),
            (&[1.0, 1.0], &[1.0]),
            (&[f64::NAN], &[]),
            (&[1.0], &[f64::INFINITY]),
        ] {
            assert!(stored(values, weights).is_none(), "{values:?} {weights:?}");
        }
    }

    #[test]
    fn a_timer_without_samples_has_a_count_and_nothing_else() {
        let mut timer = stored(&[], &[]).unwrap();
        assert_eq!(timer.summary(&percentiles(&["50"])), TimerSummary::default());
        timer.merge(Timer::default(), 10);
        timer.record(3.0, 1.0, 10);
        timer.merge(stored(&[], &[]).unwrap(), 10);
        assert_eq!(timer.summary(&percentiles(&["50"])).percentiles.as_slice(), [3.0]);
    }

    #[test]
    fn weights_count_in_the_estimate_of_the_memory() {
        let bytes = |weight: f64| {
            let mut timer = Timer::default();
            timer.record(1.0, weight, 1_000);
            timer.heap_bytes()
        };
        assert_eq!(bytes(2.0), 2 * bytes(1.0));
    }

    /// The definition: the smallest value with at least p % of the samples at or below it.
    fn naive_percentile(samples: &[(f64, f64)], rank: f64) -> f64 {
        let total: f64 = samples.iter().map(|(_, weight)| weight).sum();
        let mut candidates: Vec<f64> = samples.iter().map(|(value, _)| *value).collect();
        candidates.sort_by(f64::total_cmp);
        candidates
            .iter()
            .copied()
            .find(|candidate| {
                let below: f64 =
                    samples.iter().filter(|(value, _)| value <= candidate).map(|(_, w)| w).sum();
                below / total * 100.0 >= rank - 1e-9
            })
            .unwrap()
    }

    proptest! {
        #[test]
        fn exact_percentiles_follow_the_definition(
            values in prop::collection::vec((-1000_i32..1000, 1_u8..5), 1..200),
            is_weighted in any::<bool>(),
            rank in prop::sample::select(vec![1.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0]),
        ) {
            let weight = |weight: u8| if is_weighted { f64::from(weight) } else { 1.0 };
            let samples: Vec<(f64, f64)> =
                values.iter().map(|(v, w)| (f64::from(*v), weight(*w))).collect();
            let mut timer = Timer::default();
            for (value, weight) in &samples {
                timer.record(*value, *weight, 1000);
            }
            timer.seal();
            prop_assert_eq!(timer.percentile(rank), naive_percentile(&samples, rank));
        }

        #[test]
        fn the_buckets_of_values_are_those_of_a_sketch_of_them(
            values in prop::collection::vec((-1e3_f64..1e3, 1.0_f64..9.0), 1..50),
            zeros in 0_usize..3,
        ) {
            let (mut exact, mut sketch) = (Timer::default(), Timer::default());
            for (value, weight) in values.into_iter().chain(vec![(0.0, 2.5); zeros]) {
                exact.record(value, weight, 1_000);
                sketch.record(value, weight, 0);
            }
            exact.seal();
            prop_assert!(exact.is_exact() && !sketch.is_exact());
            prop_assert_eq!(exact.buckets(), sketch.buckets());
        }

        #[test]
        fn a_sketch_stays_within_the_stated_error_of_the_definition(
            values in prop::collection::vec((-1e6_f64..1e6, 1_u8..4), 20..300),
            rank in prop::sample::select(vec![1.0, 25.0, 50.0, 90.0, 95.0, 99.0]),
            split in 0_usize..20,
        ) {
            let samples: Vec<(f64, f64)> =
                values.iter().map(|(v, w)| (*v, f64::from(*w))).collect();
            let (mut timer, mut second) = (Timer::default(), Timer::default());
            for (index, (value, weight)) in samples.iter().enumerate() {
                let part = if index < split { &mut second } else { &mut timer };
                part.record(*value, *weight, 10);
            }
            timer.merge(second, 10);
            timer.seal();
            let expected = naive_percentile(&samples, rank);
            let got = timer.percentile(rank);
            prop_assert!((got - expected).abs() <= 0.005_5 * expected.abs(), "{got} {expected}");
            let summary = timer.summary(&[]);
            let sum: f64 = samples.iter().map(|(v, w)| v * w).sum();
            let count: f64 = samples.iter().map(|(_, w)| w).sum();
            prop_assert!((summary.sum - sum).abs() < 1e-6 * count);
            prop_assert_eq!(summary.count, count);
            let variance: f64 =
                samples.iter().map(|(v, w)| w * (v - sum / count).powi(2)).sum::<f64>() / count;
            prop_assert!((summary.stddev - variance.sqrt()).abs() < 1e-6 * variance.sqrt().max(1.0));
        }
    }
}
