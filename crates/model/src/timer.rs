//! The values of a timer in one window, and the statistics made of them.

use std::fmt;

use sketches_ddsketch::{Config, DDSketch};
use smallvec::SmallVec;

use super::Sum;
use super::sketch::Bins;
use super::sum::finite;

/// Samples of a series and window that are kept one by one unless configured otherwise; up to
/// here percentiles are exact.
pub const EXACT_SAMPLES_DEFAULT: usize = 1_000;

/// Relative error of the sketch. Half of the promised 1 %, so that the promise holds with rounding.
const SKETCH_ERROR: f64 = 0.005;
/// Most bins a sketch may have: with the error above they span 17 orders of magnitude, so the
/// lowest are folded together only beyond that. 8 bytes each.
const SKETCH_BINS_MAX: u32 = 4_096;
/// Smaller magnitudes count as zero in a sketch.
const SKETCH_VALUE_MIN: f64 = 1e-12;
/// The sketch counts in whole numbers; a weight of 1 is this many, so that the weight 3.33 of a
/// sample rate of 0.3 keeps three digits.
const SKETCH_WEIGHT_ONE: f64 = 1_024.0;
/// Heaviest single sample in a sketch (a rate of about 2e-10).
const SKETCH_WEIGHT_MAX: f64 = (1_u64 << 42) as f64;
/// A sketch that holds this much takes no more weight: its counters are 64 bits wide.
const SKETCH_TOTAL_MAX: f64 = (1_u64 << 62) as f64;

/// A percentile to compute, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentile {
    rank: f64,
    label: String,
}

impl Percentile {
    /// Takes the decimal text of a percentile, above 0 and up to 100, such as `99.9`.
    ///
    /// The output field is `p` and this text with `_` for the dot (`p99_9`), so that no two
    /// percentiles share a field.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trimmed = match text.split_once('.') {
            Some((whole, fraction)) => match fraction.trim_end_matches('0') {
                "" => whole.to_owned(),
                digits => format!("{whole}.{digits}"),
            },
            None => text.to_owned(),
        };
        let is_decimal = trimmed.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            && trimmed.starts_with(|first: char| first.is_ascii_digit());
        match trimmed.parse::<f64>() {
            Ok(rank) if is_decimal && rank > 0.0 && rank <= 100.0 => {
                Ok(Self { rank, label: format!("p{}", trimmed.replace('.', "_")) })
            }
            _ => {
                Err(format!("a percentile is a decimal number above 0 and up to 100, not `{text}`"))
            }
        }
    }

    /// The percentile itself, above 0 and up to 100.
    #[must_use]
    pub fn rank(&self) -> f64 {
        self.rank
    }

    /// The output field, such as `p99_9`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }
}

/// Statistics of a timer in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct TimerSummary {
    /// Samples, each weighted by 1/sample rate.
    pub count: f64,
    /// Weighted sum of the values.
    pub sum: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Weighted mean.
    pub mean: f64,
    /// Weighted standard deviation of the population.
    pub stddev: f64,
    /// The configured percentiles, in their order.
    pub percentiles: SmallVec<[f64; 4]>,
}

/// The values of a timer: one by one as long as they are few, a sketch beyond.
#[derive(Clone)]
pub struct Timer {
    store: Store,
}

#[derive(Clone)]
enum Store {
    Exact(Exact),
    Sketch(Box<Sketch>),
}

/// Values as they came. `weights` stays empty as long as every weight is 1.
#[derive(Clone, Default)]
struct Exact {
    values: Vec<f64>,
    weights: Vec<f64>,
}

/// Running moments and a sketch for the percentiles.
#[derive(Clone)]
struct Sketch {
    weight: Sum,
    sum: Sum,
    min: f64,
    max: f64,
    mean: f64,
    /// Weighted sum of squared distances from the mean (Welford).
    squares: f64,
    bins: DDSketch,
    bins_weight: f64,
    /// How many values, whatever their weights.
    values: u64,
}

/// All that there is to a timer, for whoever stores it.
#[derive(Debug)]
pub enum TimerParts {
    /// Values as they came or sorted; no weights where all are 1.
    Exact { values: Vec<f64>, weights: Vec<f64> },
    /// What is known of more values than are kept.
    Sketch(Box<SketchParts>),
}

/// All that there is to a sketch.
#[derive(Debug)]
pub struct SketchParts {
    pub weight: Sum,
    pub sum: Sum,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    pub squares: f64,
    pub bins_weight: f64,
    pub values: u64,
    pub bins: Bins,
}

impl Default for Timer {
    fn default() -> Self {
        Self { store: Store::Exact(Exact::default()) }
    }
}

impl Timer {
    /// Adds a finite value that stands for `weight` (at least 1) samples; beyond `exact_max` values
    /// a sketch takes over.
    pub fn record(&mut self, value: f64, weight: f64, exact_max: usize) {
        match &mut self.store {
            Store::Exact(exact) if exact.values.len() < exact_max => exact.push(value, weight),
            Store::Exact(exact) => {
                let mut sketch = exact.to_sketch();
                sketch.push(value, weight);
                self.store = Store::Sketch(Box::new(sketch));
            }
            Store::Sketch(sketch) => sketch.push(value, weight),
        }
    }

    /// Adds all that `other` holds.
    pub fn merge(&mut self, other: Self, exact_max: usize) {
        match other.store {
            Store::Exact(exact) => {
                for (value, weight) in exact.samples() {
                    self.record(value, weight, exact_max);
                }
            }
            Store::Sketch(other) => match &mut self.store {
                Store::Sketch(sketch) => sketch.merge(&other),
                Store::Exact(exact) => {
                    let mut sketch = other;
                    for (value, weight) in exact.samples() {
                        sketch.push(value, weight);
                    }
                    self.store = Store::Sketch(sketch);
                }
            },
        }
    }

    /// Takes it apart.
    pub fn parts(&self) -> TimerParts {
        match &self.store {
            Store::Exact(exact) => {
                TimerParts::Exact { values: exact.values.clone(), weights: exact.weights.clone() }
            }
            Store::Sketch(sketch) => TimerParts::Sketch(Box::new(SketchParts {
                weight: sketch.weight,
                sum: sketch.sum,
                min: sketch.min,
                max: sketch.max,
                mean: sketch.mean,
                squares: sketch.squares,
                bins_weight: sketch.bins_weight,
                values: sketch.values,
                bins: Bins::of(&sketch.bins),
            })),
        }
    }

    /// Puts it together again; `None` if these are not the parts of a timer with values.
    pub fn from_parts(parts: TimerParts) -> Option<Self> {
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let store = match parts {
            TimerParts::Exact { values, weights } => {
                let fits = weights.is_empty() || weights.len() == values.len();
                let holds = !values.is_empty() && finite(&values) && finite(&weights);
                if !fits || !holds {
                    return None;
                }
                Store::Exact(Exact { values, weights })
            }
            TimerParts::Sketch(parts) => {
                let SketchParts { weight, sum, min, max, mean, squares, bins_weight, values, bins } =
                    *parts;
                if !finite(&[min, max, mean, squares, bins_weight]) || min > max {
                    return None;
                }
                let bins = bins.into_sketch(sketch_config())?;
                Store::Sketch(Box::new(Sketch {
                    weight,
                    sum,
                    min,
                    max,
                    mean,
                    squares,
                    bins,
                    bins_weight,
                    values,
                }))
            }
        };
        Some(Self { store })
    }

    /// Sorts the values, after which [`Timer::summary`] and [`Timer::percentile`] may be asked.
    pub fn seal(&mut self) {
        if let Store::Exact(exact) = &mut self.store {
            exact.sort();
        }
    }

    /// The statistics of a sealed, non-empty timer.
    #[must_use]
    pub fn summary(&self, percentiles: &[Percentile]) -> TimerSummary {
        let ranks = percentiles.iter().map(|percentile| self.percentile(percentile.rank)).collect();
        match &self.store {
            Store::Exact(exact) => exact.summary(ranks),
            Store::Sketch(sketch) => sketch.summary(ranks),
        }
    }

    /// Nearest-rank percentile of a sealed, non-empty timer: the smallest value with at least
    /// `rank` percent of the samples at or below it.
    #[must_use]
    pub fn percentile(&self, rank: f64) -> f64 {
        match &self.store {
            Store::Exact(exact) => exact.percentile(rank),
            Store::Sketch(sketch) => sketch.percentile(rank),
        }
    }

    /// Calls `each` with the value and weight of every sample of a sealed timer, in the order of
    /// the values. A sketch gives its bins instead: values within 0.5 %, of which the weights add
    /// up to [`TimerSummary::count`].
    pub fn for_each_sample(&self, mut each: impl FnMut(f64, f64)) {
        match &self.store {
            Store::Exact(exact) => exact.samples().for_each(|(value, weight)| each(value, weight)),
            Store::Sketch(sketch) => sketch.for_each_bin(each),
        }
    }

    /// How many values were recorded, whatever their weights.
    #[must_use]
    pub fn value_count(&self) -> u64 {
        match &self.store {
            Store::Exact(exact) => exact.values.len() as u64,
            Store::Sketch(sketch) => sketch.values,
        }
    }

    /// Whether every value is kept, and not only a sketch of them.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self.store, Store::Exact(_))
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.store {
            Store::Exact(exact) => write!(formatter, "Timer({} values)", exact.values.len()),
            Store::Sketch(sketch) => write!(formatter, "Timer(sketch of {:?})", sketch.weight),
        }
    }
}

impl Exact {
    fn push(&mut self, value: f64, weight: f64) {
        if weight != 1.0 && self.weights.is_empty() {
            self.weights = vec![1.0; self.values.len()];
        }
        if weight != 1.0 || !self.weights.is_empty() {
            self.weights.push(weight);
        }
        self.values.push(value);
    }

    fn samples(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.values
            .iter()
            .enumerate()
            .map(|(index, value)| (*value, self.weights.get(index).copied().unwrap_or(1.0)))
    }

    fn sort(&mut self) {
        if self.weights.is_empty() {
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

    fn percentile(&self, rank: f64) -> f64 {
        let needed = needed_weight(rank, self.weight());
        let mut seen = Sum::default();
        for (value, weight) in self.samples() {
            seen.add(weight);
            if seen.value() >= needed {
                return value;
            }
        }
        self.values.last().copied().unwrap_or_default()
    }

    fn summary(&self, percentiles: SmallVec<[f64; 4]>) -> TimerSummary {
        let count = self.weight();
        let mut sum = Sum::default();
        for (value, weight) in self.samples() {
            sum.add(finite(value * weight));
        }
        let mean = finite(sum.value() / count);
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

    fn to_sketch(&self) -> Sketch {
        let mut sketch = Sketch::new();
        for (value, weight) in self.samples() {
            sketch.push(value, weight);
        }
        sketch
    }
}

impl Sketch {
    fn new() -> Self {
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

    fn push(&mut self, value: f64, weight: f64) {
        self.values += 1;
        self.weight.add(weight);
        self.sum.add(finite(value * weight));
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let distance = value - self.mean;
        self.mean = finite(self.mean + distance * (weight / self.weight.value()));
        self.squares = finite(self.squares + weight * distance * (value - self.mean));
        let units = (weight * SKETCH_WEIGHT_ONE).round().min(SKETCH_WEIGHT_MAX);
        if self.bins_weight + units < SKETCH_TOTAL_MAX {
            self.bins_weight += units;
            self.bins.add_with_count(value, units as u64);
        }
    }

    fn merge(&mut self, other: &Self) {
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

    fn percentile(&self, rank: f64) -> f64 {
        // The sketch takes a quantile q and looks for the bin in which the sample number
        // q · (total - 1), counted from 0, lies. Nearest rank wants the sample `needed`, counted
        // from 1; the half keeps the product on the right side of the truncation in there.
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

    fn for_each_bin(&self, mut each: impl FnMut(f64, f64)) {
        // Bins count in whole units, and stop counting when they are full.
        let unit = self.weight.value() / self.bins_weight;
        for (value, units) in Bins::of(&self.bins).in_order(&sketch_config()) {
            each(value.clamp(self.min, self.max), units as f64 * unit);
        }
    }

    fn summary(&self, percentiles: SmallVec<[f64; 4]>) -> TimerSummary {
        let (count, sum) = (self.weight.value(), self.sum.value());
        TimerSummary {
            count,
            sum,
            min: self.min,
            max: self.max,
            mean: finite(sum / count),
            stddev: (self.squares.max(0.0) / count).sqrt(),
            percentiles,
        }
    }
}

fn sketch_config() -> Config {
    Config::new(SKETCH_ERROR, SKETCH_BINS_MAX, SKETCH_VALUE_MIN)
}

/// How much weight must lie at or below a percentile. A hair less than the product, because
/// 99.9 / 100 · 1000 is 999.0000000000001 in doubles and would ask for one sample too many.
fn needed_weight(rank: f64, total: f64) -> f64 {
    rank * total / 100.0 * (1.0 - 1e-12)
}

#[cfg(test)]
mod tests {
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
    fn a_fractional_percentile_does_not_slip_by_one_rank() {
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
    fn a_sample_rate_weighs_everything() {
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
    fn samples_come_in_order_with_their_weights_from_a_sketch_too() {
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
                assert!((value - expected).abs() <= 0.005 * expected.abs(), "{value} {expected}");
                assert!((weight - expected_weight).abs() < 1e-9, "{weight} {expected_weight}");
            }
        }
    }

    #[test]
    fn labels_keep_the_decimal_text_apart() {
        assert_eq!(Percentile::parse("99.9").unwrap().label(), "p99_9");
        assert_eq!(Percentile::parse("99.90").unwrap().label(), "p99_9");
        assert_eq!(Percentile::parse("50.0").unwrap().label(), "p50");
        for wrong in ["0", "100.1", "-5", "x", "nan", "1e1", "", "."] {
            assert!(Percentile::parse(wrong).is_err(), "{wrong}");
        }
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

    /// The definition, word for word: the smallest value with at least p % at or below it.
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
            rank in prop::sample::select(vec![1.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0]),
        ) {
            let samples: Vec<(f64, f64)> =
                values.iter().map(|(v, w)| (f64::from(*v), f64::from(*w))).collect();
            let mut timer = Timer::default();
            for (value, weight) in &samples {
                timer.record(*value, *weight, 1000);
            }
            timer.seal();
            prop_assert_eq!(timer.percentile(rank), naive_percentile(&samples, rank));
        }

        #[test]
        fn a_sketch_stays_within_one_percent_of_the_definition(
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
            prop_assert!((got - expected).abs() <= 0.01 * expected.abs() + 1e-9, "{got} {expected}");
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
