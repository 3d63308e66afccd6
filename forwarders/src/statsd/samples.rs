//! Represents a timer by samples of equal weight.
//!
//! For a sample with a rate, all receivers count 1/rate. For percentiles, some take each value
//! once, like the original statsd, and others weigh it. Both find the same percentiles only if all
//! weights are equal. A timer with more values than allowed, or with values of different weights,
//! is therefore cut into slices of equal weight in the order of the values, and each slice sends
//! its mean, so that the sum is exact. A slice that contains one of tallyd's percentiles sends that
//! percentile instead, and the others are moved within their slices to keep the sum.

use model::{Percentile, TimerValue, finite};

/// How far a representative may be moved out of its slice, relative to the slice's bound.
const GIVE: f64 = 0.004;

/// The samples of a timer; the memory is reused.
#[derive(Debug, Default)]
pub(super) struct Samples {
    slices: Vec<Slice>,
    values: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    low: f64,
    high: f64,
    /// The percentile that the slice must show.
    anchor: Option<f64>,
}

impl Samples {
    /// Takes at most `max` values of a sealed, non-empty timer. Returns the weight of each of
    /// [`Samples::values`], at least 1.
    pub(super) fn fill(
        &mut self,
        timer: &TimerValue,
        percentiles: &[Percentile],
        max: usize,
    ) -> f64 {
        self.values.clear();
        if let Some(weight) = self.take_all(timer, max) {
            return weight;
        }
        let count = timer.summary.count;
        let slices = (count.floor().max(1.0) as usize).min(max);
        let weight = count / slices as f64;
        self.cut(timer, slices, weight);
        self.anchor(timer, percentiles);
        self.balance(finite(timer.summary.sum / weight));
        weight
    }

    /// Returns the values to send.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// Takes all values as they are, if they are few and have the same weight.
    fn take_all(&mut self, timer: &TimerValue, max: usize) -> Option<f64> {
        if !timer.timer.is_exact() || timer.timer.value_count() > max as u64 {
            return None;
        }
        let (mut one, mut is_same) = (None, true);
        timer.timer.for_each_sample(|value, weight| {
            is_same &= *one.get_or_insert(weight) == weight;
            self.values.push(value);
        });
        one.filter(|_| is_same)
    }

    /// Cuts the timer into slices, each of `weight`, with their means as values.
    fn cut(&mut self, timer: &TimerValue, slices: usize, weight: f64) {
        self.values.clear();
        self.slices.clear();
        let (mut open, mut room, mut mean): (Option<Slice>, f64, f64) = (None, 1.0, 0.0);
        timer.timer.for_each_sample(|value, value_weight| {
            let mut left = value_weight / weight;
            while left > 0.0 {
                // The last slice takes the whole rest, so that rounding makes no further slice.
                let is_last = self.slices.len() + 1 == slices;
                let slice = open.get_or_insert(Slice { low: value, high: value, anchor: None });
                slice.high = value;
                let taken = if is_last { left } else { left.min(room) };
                mean += value * taken;
                (left, room) = (left - taken, room - taken);
                if room <= 1e-9 && !is_last {
                    self.slices.extend(open.take());
                    self.values.push(finite(mean));
                    (room, mean) = (1.0, 0.0);
                }
            }
        });
        if let Some(slice) = open {
            self.slices.push(slice);
            self.values.push(finite(mean).clamp(slice.low, slice.high));
        }
    }

    /// Puts percentiles at the positions at which the nearest-rank method looks for them.
    fn anchor(&mut self, timer: &TimerValue, percentiles: &[Percentile]) {
        for (percentile, value) in percentiles.iter().zip(&timer.summary.percentiles) {
            // Slightly less, so that 7 / 100 × 100, as a double 7.000000000000001, is not rounded
            // up to 8.
            let rank = percentile.rank() / 100.0 * self.values.len() as f64 * (1.0 - 1e-12);
            let place = (rank.ceil() as usize).clamp(1, self.values.len()) - 1;
            self.slices[place].anchor = Some(*value);
            self.values[place] = *value;
        }
    }

    /// Moves values until they add up to `sum`.
    fn balance(&mut self, sum: f64) {
        let surplus = self.surplus(sum);
        let slack = |slice: &Slice, value: f64| match slice.anchor {
            // A percentile must keep its value.
            Some(_) => 0.0,
            None if surplus > 0.0 => (value - slice.low).max(0.0) + GIVE * slice.low.abs(),
            None => (slice.high - value).max(0.0) + GIVE * slice.high.abs(),
        };
        let pairs = || self.slices.iter().zip(&self.values);
        let all: f64 = pairs().map(|(slice, value)| slack(slice, *value)).sum();
        if all > 0.0 && all.is_finite() {
            let share = (surplus / all).clamp(-1.0, 1.0);
            for (slice, value) in self.slices.iter().zip(&mut self.values) {
                *value -= share * slack(slice, *value);
            }
        }
        self.scale(sum);
    }

    /// Distributes the remaining surplus over all values. It is only a rounding error, unless no
    /// value could be moved: then the sum takes precedence over the percentiles.
    fn scale(&mut self, sum: f64) {
        let surplus = self.surplus(sum);
        let size: f64 = self.values.iter().map(|value| value.abs()).sum();
        if size > 0.0 && size.is_finite() {
            let share = surplus / size;
            self.values.iter_mut().for_each(|value| *value = finite(*value - share * value.abs()));
        }
    }

    fn surplus(&self, sum: f64) -> f64 {
        finite(self.values.iter().sum::<f64>() - sum)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use model::{Timer, Value};

    fn timer(samples: &[(f64, f64)]) -> (Box<TimerValue>, Vec<Percentile>) {
        let percentiles: Vec<_> =
            ["50", "90", "95", "99"].iter().map(|text| Percentile::parse(text).unwrap()).collect();
        let mut timer = Timer::default();
        samples.iter().for_each(|(value, weight)| timer.record(*value, *weight, 1000));
        match Value::timer(timer, &percentiles) {
            Value::Timer(timer) => (timer, percentiles),
            _ => unreachable!(),
        }
    }

    fn close(ours: f64, theirs: f64, part: f64) -> bool {
        (ours - theirs).abs() <= part * theirs.abs() + 1e-9
    }

    /// Checks the results of a receiver that applies weights only to the count.
    fn assert_kept(samples: &[(f64, f64)], max: usize) {
        let (timer, percentiles) = timer(samples);
        let mut sent = Samples::default();
        let weight = sent.fill(&timer, &percentiles, max);
        let mut values = sent.values().to_vec();
        values.sort_by(f64::total_cmp);
        assert!(values.len() <= max && weight >= 1.0);
        let sum: f64 = values.iter().sum();
        assert!(close(values.len() as f64 * weight, timer.summary.count, 1e-9));
        assert!(close(sum * weight, timer.summary.sum, 1e-9), "{sum} {weight}");
        for (percentile, expected) in percentiles.iter().zip(&timer.summary.percentiles) {
            let rank = (percentile.rank() / 100.0 * values.len() as f64 - 1e-9).ceil() as usize;
            let found = values[rank.max(1) - 1];
            assert!(close(found, *expected, 0.01), "{}: {found} {expected}", percentile.label());
        }
        assert!(values[0] >= 0.0, "statsd takes no negative timer");
    }

    #[test]
    fn count_sum_and_percentiles_stay_whatever_the_distribution() {
        let even = |index: usize| (index as f64 + 0.5) / 20_000.0;
        let of = |shape: &dyn Fn(f64) -> f64| -> Vec<(f64, f64)> {
            (0..20_000).map(|index| (shape(even(index)), 1.0)).collect()
        };
        for max in [100, 200, 1000, 5000] {
            assert_kept(&of(&|share| 10.0 * share), max);
            assert_kept(&of(&|share| -12.0 * (1.0 - share).ln()), max);
            assert_kept(&of(&|share| (1.0 - share).powf(-0.9)), max);
            if max >= 500 {
                // A jump within the slice of a percentile.
                assert_kept(&of(&|share| if share < 0.899 { 1.0 } else { 1000.0 }), max);
            }
            assert_kept(&of(&|share| if share < 0.97 { 0.0 } else { share }), max);
            assert_kept(&of(&|_| 7.0), max);
        }
    }

    #[test]
    fn a_few_values_of_one_weight_are_sent_as_they_came() {
        let (timer, percentiles) = timer(&[(3.0, 10.0), (1.0, 10.0), (2.0, 10.0)]);
        let mut sent = Samples::default();
        assert_eq!(sent.fill(&timer, &percentiles, 100), 10.0);
        assert_eq!(sent.values(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn values_of_different_weights_are_repeated() {
        let (timer, percentiles) = timer(&[(3.0, 1.0), (1.0, 4.0)]);
        let mut sent = Samples::default();
        assert_eq!(sent.fill(&timer, &percentiles, 100), 1.0);
        assert_eq!(sent.values(), [1.0, 1.0, 1.0, 1.0, 3.0]);
    }

    proptest! {
        #[test]
        fn count_and_sum_are_exact_and_weights_are_no_less_than_one(
            samples in prop::collection::vec((-1e6..1e6_f64, 1.0..50.0_f64), 1..2000),
            max in 100..1500_usize,
        ) {
            let (timer, percentiles) = timer(&samples);
            let mut sent = Samples::default();
            let weight = sent.fill(&timer, &percentiles, max);
            prop_assert!(weight >= 1.0 && !sent.values().is_empty() && sent.values().len() <= max);
            prop_assert!(close(sent.values().len() as f64 * weight, timer.summary.count, 1e-9));
            let sum: f64 = sent.values().iter().sum::<f64>() * weight;
            let size: f64 = samples.iter().map(|(value, weight)| value.abs() * weight).sum();
            prop_assert!((sum - timer.summary.sum).abs() <= 1e-9 * size, "{} {}", sum, timer.summary.sum);
        }
    }
}
