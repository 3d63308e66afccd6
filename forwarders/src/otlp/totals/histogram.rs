//! The total of a timer over all windows.

use crate::format::otlp::{HistogramPoint, SumAndRange, WholeCounts};
use model::{Buckets, SketchParts, Sum, Timer, TimerParts, TimerValue, UNITS_PER_SAMPLE};

/// Maximum number of buckets for each sign. The lowest of more buckets are counted in the next one.
const TOTAL_BUCKETS_MAX: usize = 4_096;

/// The total of a timer: the parts that an exponential histogram has. A bucket takes 16 bytes, and
/// only those with a count take memory.
#[derive(Clone)]
pub(super) struct HistogramTotal {
    sum: Sum,
    min: f64,
    max: f64,
    buckets: Buckets,
}

impl HistogramTotal {
    /// The total of one window.
    pub(super) fn of(window: &TimerValue) -> Self {
        let (summary, buckets) = (&window.summary, window.timer.buckets());
        // An idle timer has no extremes, so that any other window's replace them.
        let (min, max) = match window.is_idle() {
            true => (f64::INFINITY, f64::NEG_INFINITY),
            false => (summary.min, summary.max),
        };
        Self { sum: Sum::of(summary.sum), min, max, buckets }
    }

    /// The total with another window.
    pub(super) fn with(&self, window: &Self) -> Self {
        let (Buckets { zero, positive, negative }, other) = (&self.buckets, &window.buckets);
        let mut sum = self.sum;
        sum.merge(window.sum);
        Self {
            sum,
            min: self.min.min(window.min),
            max: self.max.max(window.max),
            buckets: Buckets {
                zero: zero.saturating_add(other.zero),
                positive: merged(positive, &other.positive),
                negative: merged(negative, &other.negative),
            },
        }
    }

    /// The point of the total.
    pub(super) fn point(&self, buckets_max: usize) -> HistogramPoint {
        let values = SumAndRange { sum: self.sum.value(), min: self.min, max: self.max };
        HistogramPoint::new(&self.buckets, values, WholeCounts::down(), buckets_max)
    }

    /// An estimate of the memory on the heap, with the headers of both lists.
    pub(super) fn heap_bytes(&self) -> usize {
        let Buckets { positive, negative, .. } = &self.buckets;
        size_of::<(i32, u64)>() * (positive.capacity() + negative.capacity() + 2)
    }

    /// The total as a sketch, without the standard deviation, which no total has. `None` if it has no
    /// samples, or if the counts are too large for a sketch.
    pub(super) fn to_timer(&self) -> Option<Timer> {
        let Buckets { zero, positive, negative } = &self.buckets;
        let counts = positive.iter().chain(negative).map(|(_, count)| count);
        let units = counts.fold(*zero, |units, count| units.saturating_add(*count));
        if units == 0 {
            return None;
        }
        let (sum, weight) = (self.sum, units as f64 / UNITS_PER_SAMPLE as f64);
        Timer::from_parts(TimerParts::Sketch(Box::new(SketchParts {
            weight: Sum::of(weight),
            sum,
            min: self.min,
            max: self.max,
            mean: (sum.value() / weight).clamp(self.min, self.max),
            squares: 0.0,
            values: units / UNITS_PER_SAMPLE,
            buckets: self.buckets.clone(),
        })))
    }
}

/// The sums of the counts of two lists, both sorted by index.
fn merged(own: &[(i32, u64)], window: &[(i32, u64)]) -> Vec<(i32, u64)> {
    let mut merged = Vec::with_capacity(own.len() + window.len());
    let mut rest = own.iter().copied().peekable();
    for (index, count) in window {
        while let Some(lower) = rest.next_if(|(own, _)| own < index) {
            merged.push(lower);
        }
        let known = rest.next_if(|(own, _)| own == index).map_or(0, |(_, count)| count);
        merged.push((*index, count.saturating_add(known)));
    }
    merged.extend(rest);
    limit(&mut merged);
    // Totals are many and live long.
    merged.shrink_to_fit();
    merged
}

fn limit(buckets: &mut Vec<(i32, u64)>) {
    let Some(surplus) = buckets.len().checked_sub(TOTAL_BUCKETS_MAX) else { return };
    let removed = buckets.drain(..surplus).map(|(_, count)| count);
    let removed = removed.fold(0, u64::saturating_add);
    buckets[0].1 = buckets[0].1.saturating_add(removed);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use model::Value;
    use model::testing::timer;

    fn total(samples: &[(f64, f64)]) -> HistogramTotal {
        let Value::Timer(timer) = timer("t", &[], samples).value else { unreachable!() };
        HistogramTotal::of(&timer)
    }

    #[test]
    fn a_window_without_samples_leaves_the_range_as_it_is() {
        let idle = HistogramTotal::of(&TimerValue {
            timer: Timer::default(),
            summary: model::TimerSummary::default(),
        });
        let total = idle.with(&total(&[(5.0, 1.0)])).with(&idle).with(&total(&[(7.0, 1.0)]));
        assert_eq!((total.min, total.max, total.sum.value()), (5.0, 7.0, 12.0));
        assert!(idle.to_timer().is_none() && total.to_timer().is_some());
    }

    proptest! {
        #[test]
        fn the_total_of_windows_is_that_of_all_their_samples(
            windows in prop::collection::vec(
                prop::collection::vec(
                    (prop_oneof![4 => -1e3..1e3_f64, 1 => Just(0.0)], 1.0..9.0_f64), 1..30,
                ),
                1..6,
            ),
        ) {
            let mut sum = total(&windows[0]);
            windows[1..].iter().for_each(|window| sum = sum.with(&total(window)));
            let all = total(&windows.concat());
            prop_assert_eq!(&sum.buckets, &all.buckets);
            prop_assert_eq!((sum.min, sum.max), (all.min, all.max));
            prop_assert!((sum.sum.value() - all.sum.value()).abs() < 1e-6);
        }

        #[test]
        fn a_saved_total_continues_with_its_buckets_its_sum_and_its_range(
            samples in prop::collection::vec((-1e3..1e3_f64, 1.0..9.0_f64), 1..30),
        ) {
            let total = total(&samples);
            let Value::Timer(saved) = Value::timer(total.to_timer().unwrap(), &[]) else {
                unreachable!()
            };
            let restored = HistogramTotal::of(&saved);
            prop_assert_eq!(restored.buckets, total.buckets);
            prop_assert_eq!((restored.min, restored.max), (total.min, total.max));
            prop_assert_eq!(restored.sum.value(), total.sum.value());
        }
    }

    #[test]
    fn the_lowest_of_too_many_buckets_are_counted_in_the_next_one() {
        let many =
            |first: i32| (first..).step_by(2).take(TOTAL_BUCKETS_MAX).map(|index| (index, 1));
        let buckets = merged(&many(0).collect::<Vec<_>>(), &many(1).collect::<Vec<_>>());
        let lowest = TOTAL_BUCKETS_MAX as u64 + 1;
        assert_eq!(
            (buckets.len(), buckets[0]),
            (TOTAL_BUCKETS_MAX, (TOTAL_BUCKETS_MAX as i32, lowest))
        );
        assert!(buckets[1..].iter().all(|(_, count)| *count == 1));
    }

    #[test]
    fn a_total_whose_counts_no_sketch_can_hold_is_not_saved() {
        let mut total = total(&[(2.0, 1.0)]);
        total.buckets.zero = u64::MAX;
        assert!(total.to_timer().is_none());
    }
}
