//! The state of one series in the open window.

use model::{DistinctSet, MetricKind, Percentile, SetSeed, Sum, Timer, TotalValue, Value};

use crate::protocol::SampleValue;

/// Maximum number of operations that are kept individually per gauge; beyond it, the oldest changes
/// are merged.
const GAUGE_OPS_MAX: usize = 1_024;

/// The settings of all cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellSettings {
    /// Values of a timer that are kept individually.
    pub exact_samples: usize,
    /// Hashes the members of sets.
    pub set_seed: SetSeed,
}

/// The state of a series in one tally of the open window.
#[derive(Debug, Default)]
pub enum Cell {
    /// No sample yet.
    #[default]
    Empty,
    /// Increments.
    Counter {
        /// Their sum.
        sum: Sum,
        /// Number of samples.
        samples: u32,
    },
    /// A counter reported as a running total by its source: the increments and the latest total.
    Total {
        /// Sum of the increments, and latest total.
        both: Box<TotalValue>,
        /// Number of samples.
        samples: u32,
    },
    /// Number of occurrences.
    Trace(Sum),
    /// A gauge that was set but not changed by deltas.
    Gauge {
        /// The latest value.
        value: f64,
        /// Its arrival, in nanoseconds of the process's monotonic clock.
        arrival_ns: u64,
        /// Number of samples.
        samples: u32,
    },
    /// A gauge that was changed by deltas.
    GaugeOps(Box<GaugeOps>),
    /// The values of a timer.
    Timer(Box<Timer>),
    /// The members of a set.
    Set {
        /// The distinct members.
        set: Box<DistinctSet>,
        /// Number of samples.
        samples: u32,
    },
}

/// The number of samples fits next to the enum's tag, where it takes no additional memory.
const _: () = assert!(size_of::<Cell>() == 24, "a cell has grown");

/// The sets and changes of a gauge with their arrival times.
///
/// Two listeners may receive parts of one sequence: a set here, a change there. The final value
/// depends on which came first, so the order is kept until the tallies are merged.
#[derive(Debug, Default)]
pub struct GaugeOps {
    /// In order of arrival within a tally; merged lists are sorted by [`GaugeOps::resolve`].
    ops: Vec<(u64, GaugeOp)>,
    /// Number of operations received, including merged and overridden ones.
    samples: u32,
}

#[derive(Clone, Copy, Debug)]
enum GaugeOp {
    Set(f64),
    Add(f64),
}

impl Cell {
    /// Adds a sample of the cell's kind; an empty cell takes on the kind of the sample.
    #[inline]
    pub fn record(
        &mut self,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
        settings: &CellSettings,
    ) {
        match (&mut *self, value) {
            (Self::Counter { sum, samples }, SampleValue::Counter(count)) => {
                sum.add(weighted(*count, weight));
                *samples = samples.saturating_add(1);
            }
            (Self::Trace(sum), SampleValue::Trace) => sum.add(1.0),
            (Self::Total { both, samples }, SampleValue::Total { added, total }) => {
                both.added.add(*added);
                both.total = *total;
                *samples = samples.saturating_add(1);
            }
            (Self::Empty, SampleValue::Total { added, total }) => {
                let both = Box::new(TotalValue { added: Sum::of(*added), total: *total });
                *self = Self::Total { both, samples: 1 };
            }
            // A second source counts into the same series. No running total describes both, so the
            // cell becomes a plain counter, in whichever order the two arrive.
            (Self::Counter { sum, samples }, SampleValue::Total { added, .. }) => {
                sum.add(*added);
                *samples = samples.saturating_add(1);
            }
            (Self::Total { both, samples }, SampleValue::Counter(_)) => {
                *self = Self::Counter { sum: both.added, samples: *samples };
                self.record(value, weight, arrival_ns, settings);
            }
            (Self::Timer(timer), SampleValue::Timer(value)) => {
                timer.record(*value, weight, settings.exact_samples);
            }
            (Self::Set { set, samples }, SampleValue::Set(member)) => {
                set.insert(member.as_bytes(), &settings.set_seed);
                *samples = samples.saturating_add(1);
            }
            // As long as a gauge is only set, it needs no list: within a tally, samples come in
            // order of arrival.
            (Self::Gauge { value, arrival_ns: latest_ns, samples }, SampleValue::GaugeSet(new)) => {
                (*value, *latest_ns) = (*new, arrival_ns);
                *samples = samples.saturating_add(1);
            }
            (Self::Empty, SampleValue::GaugeSet(value)) => {
                *self = Self::Gauge { value: *value, arrival_ns, samples: 1 };
            }
            (Self::GaugeOps(ops), SampleValue::GaugeSet(value)) => {
                ops.push(arrival_ns, GaugeOp::Set(*value));
            }
            // The base of a change may be a set in another tally, or the value before the window.
            // So the change itself is kept, even in an empty cell.
            (_, SampleValue::GaugeAdd(change)) => {
                self.gauge_ops().push(arrival_ns, GaugeOp::Add(*change));
            }
            (Self::Empty, _) => {
                *self = match value.kind() {
                    MetricKind::Counter => Self::Counter { sum: Sum::default(), samples: 0 },
                    MetricKind::Trace => Self::Trace(Sum::default()),
                    MetricKind::Timer => Self::Timer(Box::default()),
                    MetricKind::Set => Self::Set { set: Box::default(), samples: 0 },
                    MetricKind::Gauge => Self::GaugeOps(Box::default()),
                };
                self.record(value, weight, arrival_ns, settings);
            }
            (cell, value) => {
                debug_assert!(false, "{cell:?} cannot take {value:?}: the kind is in the key");
            }
        }
    }

    /// Records an increment of weight 1 like [`Cell::record`], if that needs no other form of the cell.
    /// Otherwise returns false.
    #[inline]
    pub fn add_count(&mut self, count: f64) -> bool {
        let Self::Counter { sum, samples } = self else { return false };
        sum.add(count);
        *samples = samples.saturating_add(1);
        true
    }

    /// Records a level of a gauge like [`Cell::record`], if that needs no other form of the cell.
    /// Otherwise returns false.
    #[inline]
    pub fn set_gauge(&mut self, new: f64, new_ns: u64) -> bool {
        let Self::Gauge { value, arrival_ns, samples } = self else { return false };
        (*value, *arrival_ns) = (new, new_ns);
        *samples = samples.saturating_add(1);
        true
    }

    /// Records a sample of weight 1 of the cell's kind like [`Cell::record`], if it has one number, and if
    /// that needs no other form of the cell. Otherwise returns false.
    #[inline]
    pub fn add_number(&mut self, number: f64, new_ns: u64) -> bool {
        self.add_count(number) || self.set_gauge(number, new_ns)
    }

    /// Merges the cell of the same series in another tally.
    pub fn merge(&mut self, other: Self, exact_samples: usize) {
        match (&mut *self, other) {
            (_, Self::Empty) => {}
            (Self::Empty, other) => *self = other,
            (Self::Trace(own), Self::Trace(other)) => own.merge(other),
            (
                Self::Counter { sum, samples },
                Self::Counter { sum: other, samples: other_samples },
            ) => {
                sum.merge(other);
                *samples = samples.saturating_add(other_samples);
            }
            (
                Self::Total { both, samples },
                Self::Total { both: other, samples: other_samples },
            ) => {
                // All totals come through one tally, that of the Kamailio poller, so the other cell
                // is the later one.
                both.added.merge(other.added);
                both.total = other.total;
                *samples = samples.saturating_add(other_samples);
            }
            (
                Self::Counter { sum, samples },
                Self::Total { both: other, samples: other_samples },
            ) => {
                sum.merge(other.added);
                *samples = samples.saturating_add(other_samples);
            }
            (
                Self::Total { both, samples },
                Self::Counter { sum: other, samples: other_samples },
            ) => {
                let (mut sum, samples) = (both.added, samples.saturating_add(other_samples));
                sum.merge(other);
                *self = Self::Counter { sum, samples };
            }
            (Self::Timer(own), Self::Timer(other)) => own.merge(*other, exact_samples),
            (Self::Set { set, samples }, Self::Set { set: other, samples: other_samples }) => {
                set.merge(*other);
                *samples = samples.saturating_add(other_samples);
            }
            (
                Self::Gauge { value, arrival_ns, samples },
                Self::Gauge { value: other, arrival_ns: other_ns, samples: other_samples },
            ) => {
                // Listeners share one monotonic clock, so their arrival times are comparable. Of equal
                // times, the other one is the later, as in `GaugeOps::resolve`.
                if other_ns >= *arrival_ns {
                    (*value, *arrival_ns) = (other, other_ns);
                }
                *samples = samples.saturating_add(other_samples);
            }
            (Self::Gauge { .. } | Self::GaugeOps(_), mut other) => {
                // Left unsorted: `resolve` sorts once, however many tallies were merged.
                let (own, other) = (self.gauge_ops(), other.gauge_ops());
                own.ops.append(&mut other.ops);
                own.samples = own.samples.saturating_add(other.samples);
            }
            (cell, other) => {
                debug_assert!(false, "{cell:?} cannot take {other:?}: the kind is in the key");
            }
        }
    }

    /// Number of samples received, regardless of their weights.
    #[inline]
    #[must_use]
    pub fn samples(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Counter { samples, .. }
            | Self::Total { samples, .. }
            | Self::Gauge { samples, .. }
            | Self::Set { samples, .. } => u64::from(*samples),
            Self::GaugeOps(ops) => u64::from(ops.samples),
            // Each sample adds one.
            Self::Trace(sum) => sum.value() as u64,
            Self::Timer(timer) => timer.value_count(),
        }
    }

    /// Counts the increments of a running total: the totals of several series are no total of their
    /// overflow series.
    #[must_use]
    pub fn without_total(self) -> Self {
        match self {
            Self::Total { both, samples } => Self::Counter { sum: both.added, samples },
            other => other,
        }
    }

    /// Returns the value for the snapshot, or `None` without samples. `gauge` holds the gauge's
    /// value before this window, and its value after the window on return.
    pub fn into_value(self, gauge: &mut f64, percentiles: &[Percentile]) -> Option<Value> {
        Some(match self {
            Self::Empty => return None,
            Self::Counter { sum, .. } => Value::Counter(sum),
            Self::Total { both, .. } => Value::Total(both),
            Self::Trace(sum) => Value::Trace(sum),
            Self::Timer(timer) => Value::timer(*timer, percentiles),
            Self::Set { set, .. } => Value::set(*set),
            Self::Gauge { value, arrival_ns, .. } => {
                *gauge = value;
                Value::Gauge { value, arrival_ns }
            }
            Self::GaugeOps(ops) => {
                let (value, arrival_ns) = ops.resolve(*gauge);
                *gauge = value;
                Value::Gauge { value, arrival_ns }
            }
        })
    }

    /// Returns the list of operations; converts a plain or empty gauge to one first.
    fn gauge_ops(&mut self) -> &mut GaugeOps {
        if let Self::Empty | Self::Gauge { .. } = self {
            let mut ops = Box::<GaugeOps>::default();
            if let Self::Gauge { value, arrival_ns, samples } = self {
                ops.push(*arrival_ns, GaugeOp::Set(*value));
                ops.samples = *samples;
            }
            *self = Self::GaugeOps(ops);
        }
        match self {
            Self::GaugeOps(ops) => ops,
            other => unreachable!("{other:?} is no gauge: the kind is in the key"),
        }
    }
}

impl GaugeOps {
    fn push(&mut self, arrival_ns: u64, op: GaugeOp) {
        self.samples = self.samples.saturating_add(1);
        match (op, self.ops.last_mut()) {
            // A set overrides all operations before it, including those in other tallies.
            (GaugeOp::Set(_), _) => self.ops.clear(),
            // Samples of one batch have the same arrival time, so no set in another tally comes
            // between them: one sum is exact.
            (GaugeOp::Add(change), Some((last_ns, GaugeOp::Add(sum))))
                if *last_ns == arrival_ns =>
            {
                *sum = added(*sum, change);
                return;
            }
            _ => {}
        }
        if self.ops.len() >= GAUGE_OPS_MAX {
            self.fold_oldest();
        }
        self.ops.push((arrival_ns, op));
    }

    /// Makes room by merging the two oldest changes. The result differs only if another listener
    /// received a set between exactly these two.
    fn fold_oldest(&mut self) {
        // After a set, the list starts with it; everything else in it is a change.
        let first_add = usize::from(matches!(self.ops.first(), Some((_, GaugeOp::Set(_)))));
        if let (_, GaugeOp::Add(change)) = self.ops.remove(first_add)
            && let Some((_, GaugeOp::Add(sum))) = self.ops.get_mut(first_add)
        {
            *sum = added(*sum, change);
        }
    }

    /// Returns the gauge's value after all operations, and the arrival time of the last one.
    fn resolve(mut self, before: f64) -> (f64, u64) {
        // A stable sort: operations with equal times stay in the order of their tally.
        self.ops.sort_by_key(|(arrival_ns, _)| *arrival_ns);
        let after = self.ops.iter().fold(before, |gauge, (_, op)| match op {
            GaugeOp::Set(value) => *value,
            GaugeOp::Add(change) => added(gauge, *change),
        });
        (after, self.ops.last().map_or(0, |(arrival_ns, _)| *arrival_ns))
    }
}

/// Adds, and stays finite: opposite infinities would add up to NaN.
fn added(number: f64, change: f64) -> f64 {
    (number + change).clamp(f64::MIN, f64::MAX)
}

/// Multiplies an increment by its weight, and stays finite.
fn weighted(count: f64, weight: f64) -> f64 {
    if weight == 1.0 { count } else { (count * weight).clamp(f64::MIN, f64::MAX) }
}

#[cfg(test)]
mod tests {
    use SampleValue::{GaugeAdd, GaugeSet};

    use super::*;

    fn settings() -> CellSettings {
        CellSettings { exact_samples: 1000, set_seed: SetSeed::from_text("") }
    }

    fn cell(samples: &[(u64, SampleValue<'_>)]) -> Cell {
        let mut cell = Cell::default();
        for (arrival_ns, value) in samples {
            cell.record(value, 1.0, *arrival_ns, &settings());
        }
        cell
    }

    fn gauge_after(cell: Cell, mut before: f64) -> f64 {
        cell.into_value(&mut before, &[]);
        before
    }

    #[test]
    fn a_delta_starts_from_the_last_value() {
        let cell = cell(&[(1, GaugeSet(333.0)), (2, GaugeAdd(-10.0)), (3, GaugeAdd(4.0))]);
        assert_eq!(gauge_after(cell, 5.0), 327.0);
        assert_eq!(gauge_after(super::tests::cell(&[(1, GaugeAdd(2.0))]), 5.0), 7.0);
    }

    #[test]
    fn only_a_cell_with_the_form_of_the_sample_takes_a_plain_number() {
        let mut counter = cell(&[(1, SampleValue::Counter(2.0))]);
        assert!(counter.add_count(0.5));
        assert!(!counter.set_gauge(9.0, 2));
        assert_eq!(counter.samples(), 2);
        assert!(matches!(counter, Cell::Counter { sum, .. } if sum.value() == 2.5));
        assert!(counter.add_number(0.5, 2));
        assert!(matches!(counter, Cell::Counter { sum, samples: 3 } if sum.value() == 3.0));
        let mut gauge = cell(&[(1, GaugeSet(2.0))]);
        assert!(gauge.add_number(3.0, 2));
        assert!(!gauge.add_count(1.0));
        assert_eq!(gauge.samples(), 2);
        assert!(matches!(gauge, Cell::Gauge { value: 3.0, arrival_ns: 2, .. }));
        let mut changed = cell(&[(1, GaugeAdd(2.0))]);
        for mut other in [Cell::Empty, cell(&[(1, SampleValue::Timer(1.0))])] {
            assert!(!other.add_count(1.0) && !other.set_gauge(1.0, 1) && !other.add_number(1.0, 1));
        }
        assert!(!changed.set_gauge(1.0, 2));
        assert_eq!(gauge_after(changed, 1.0), 3.0);
    }

    #[test]
    fn tallies_are_merged_in_order_of_arrival() {
        // One client through two listeners: +5, set 10, +7, set 100, +1.
        let mut left = cell(&[(1, GaugeAdd(5.0)), (3, GaugeAdd(7.0)), (5, GaugeAdd(1.0))]);
        let right = cell(&[(2, GaugeSet(10.0)), (4, GaugeSet(100.0))]);
        left.merge(right, 1000);
        assert_eq!(gauge_after(left, 1000.0), 101.0);

        for (left_ns, right_ns, latest) in [(2, 1, 1.0), (1, 2, 2.0), (1, 1, 2.0)] {
            let mut left = cell(&[(left_ns, GaugeSet(1.0))]);
            left.merge(cell(&[(right_ns, GaugeSet(2.0))]), 1000);
            assert_eq!(gauge_after(left, 0.0), latest, "{left_ns} {right_ns}");
            // A set of the value that the gauge has anyway: the same order with a list.
            let mut left = cell(&[(0, GaugeAdd(0.0)), (left_ns, GaugeSet(1.0))]);
            left.merge(cell(&[(right_ns, GaugeSet(2.0))]), 1000);
            assert_eq!(gauge_after(left, 0.0), latest, "{left_ns} {right_ns} in a list");
        }
    }

    #[test]
    fn a_full_list_keeps_the_latest_set() {
        let mut samples = vec![(0, GaugeAdd(1.0)), (1, GaugeSet(10.0)), (2, GaugeSet(20.0))];
        samples.extend((3..3_003).map(|arrival_ns| (arrival_ns, GaugeAdd(1.0))));
        assert_eq!(gauge_after(cell(&samples), 0.0), 3_020.0);
    }

    #[test]
    fn the_changes_of_a_batch_take_the_room_of_one() {
        // If they filled the list, the change before the set would be added to one after it.
        let mut samples = vec![(1, GaugeAdd(7.0))];
        samples.extend((0..3_000).map(|_| (3, GaugeAdd(1.0))));
        let mut left = cell(&samples);
        left.merge(cell(&[(2, GaugeSet(10.0))]), 1000);
        assert_eq!(gauge_after(left, 0.0), 3_010.0);
    }

    #[test]
    fn a_gauge_with_endless_changes_stays_small_and_exact() {
        let mut cell = Cell::default();
        cell.record(&GaugeSet(1.0), 1.0, 0, &settings());
        for arrival in 1..=100_000 {
            cell.record(&GaugeAdd(1.0), 1.0, arrival, &settings());
        }
        assert!(matches!(&cell, Cell::GaugeOps(ops) if ops.ops.len() <= GAUGE_OPS_MAX));
        assert_eq!(gauge_after(cell, 0.0), 100_001.0);
    }

    #[test]
    fn counters_are_weighted_and_stay_finite() {
        let mut counter = Cell::default();
        counter.record(&SampleValue::Counter(1.0), 1.0, 0, &settings());
        counter.record(&SampleValue::Counter(1.0), 10.0, 0, &settings());
        assert_eq!(counter.into_value(&mut 0.0, &[]).unwrap().headline(), 11.0);
        let mut huge = Cell::default();
        huge.record(&SampleValue::Counter(f64::MAX), 1e300, 0, &settings());
        assert_eq!(huge.into_value(&mut 0.0, &[]).unwrap().headline(), f64::MAX);
    }

    #[test]
    fn samples_are_counted_regardless_of_weight_and_tally() {
        let record = |values: &[SampleValue<'_>]| {
            let mut cell = Cell::default();
            values.iter().for_each(|value| cell.record(value, 10.0, 0, &settings()));
            cell
        };
        let total = || SampleValue::Total { added: 2.0, total: 502.0 };
        let counter = || SampleValue::Counter(5.0);
        for (left, right) in [
            (vec![counter(), counter()], vec![counter()]),
            (vec![total(), total()], vec![total()]),
            (vec![total(), counter()], vec![total()]),
            (vec![counter(), total()], vec![total()]),
            (vec![total(), total()], vec![counter()]),
            (vec![SampleValue::Trace, SampleValue::Trace], vec![SampleValue::Trace]),
            (vec![SampleValue::Timer(1.0), SampleValue::Timer(1.0)], vec![SampleValue::Timer(2.0)]),
            (
                vec![SampleValue::Set("a".into()), SampleValue::Set("a".into())],
                vec![SampleValue::Set("a".into())],
            ),
            (vec![GaugeSet(1.0), GaugeSet(1.0)], vec![GaugeSet(1.0)]),
            (vec![GaugeSet(1.0), GaugeAdd(1.0)], vec![GaugeSet(1.0)]),
            (vec![GaugeAdd(1.0), GaugeSet(1.0)], vec![GaugeAdd(1.0)]),
        ] {
            let what = format!("{left:?} {right:?}");
            let mut cell = record(&left);
            assert_eq!(cell.samples(), 2, "{what}");
            cell.merge(record(&right), 1000);
            assert_eq!(cell.samples(), 3, "{what}");
            cell.merge(Cell::default(), 1000);
            assert_eq!(cell.samples(), 3, "{what}");
        }
    }

    #[test]
    fn every_kind_is_recorded_and_merged() {
        for kind in MetricKind::ALL {
            let sample = match kind {
                MetricKind::Counter => SampleValue::Counter(1.0),
                MetricKind::Gauge => GaugeSet(1.0),
                MetricKind::Timer => SampleValue::Timer(1.0),
                MetricKind::Set => SampleValue::Set("a".into()),
                MetricKind::Trace => SampleValue::Trace,
            };
            let recorded = || {
                let mut cell = Cell::default();
                cell.record(&sample, 1.0, 0, &settings());
                cell
            };
            let mut cell = recorded();
            cell.merge(recorded(), 1000);
            assert_eq!(cell.samples(), 2, "{kind}");
            assert_eq!(cell.into_value(&mut 0.0, &[]).unwrap().kind(), kind);
        }
    }

    #[test]
    fn a_total_is_kept_until_a_second_source_counts() {
        let total = |added, total| SampleValue::Total { added, total };
        let recorded = |samples: &[SampleValue<'_>]| {
            let mut cell = Cell::default();
            samples.iter().for_each(|sample| cell.record(sample, 1.0, 0, &settings()));
            cell.into_value(&mut 0.0, &[]).unwrap()
        };
        let value = recorded(&[total(2.0, 502.0), total(3.0, 505.0)]);
        assert!(matches!(&value, Value::Total(both) if both.total == 505.0), "{value:?}");
        assert_eq!(value.headline(), 5.0);
        for samples in [
            [total(2.0, 502.0), SampleValue::Counter(3.0)],
            [SampleValue::Counter(3.0), total(2.0, 502.0)],
        ] {
            let value = recorded(&samples);
            assert!(matches!(value, Value::Counter(_)), "{value:?}");
            assert_eq!(value.headline(), 5.0);
        }
    }

    #[test]
    fn a_gauge_stays_finite_under_any_changes_and_merges() {
        let mut samples = Vec::new();
        for arrival in 0..2_000 {
            let change = if arrival % 2 == 0 { f64::MAX } else { f64::MIN };
            samples.extend([(arrival, GaugeAdd(change)), (arrival, GaugeAdd(change))]);
        }
        let value = cell(&samples).into_value(&mut 0.0, &[]).unwrap().headline();
        assert!(value.is_finite(), "{value}");
    }
}
