//! What one series has gathered in the open window.

use model::{DistinctSet, MetricKind, Percentile, Sum, Timer, TotalValue, Value};

use crate::protocol::SampleValue;

/// Most operations of one gauge that are remembered one by one; the oldest changes are added up
/// beyond.
const GAUGE_OPS_MAX: usize = 1_024;

/// The state of a series within a window, in one tally.
#[derive(Debug, Default)]
pub enum Cell {
    /// No sample yet.
    #[default]
    Empty,
    /// Increments.
    Counter {
        /// Their sum.
        sum: Sum,
        /// How many there were.
        samples: u32,
    },
    /// The same, and the counter itself as whoever keeps it reported it.
    Total {
        /// Sum and counter.
        both: Box<TotalValue>,
        /// How many reports there were.
        samples: u32,
    },
    /// How often it occurred.
    Trace(Sum),
    /// A gauge that was only set: the latest value and when it arrived.
    Gauge {
        /// The value.
        value: f64,
        /// When, in nanoseconds of the process's monotonic clock.
        arrival_ns: u64,
        /// How often it was set.
        samples: u32,
    },
    /// A gauge that was changed by deltas as well.
    GaugeOps(Box<GaugeOps>),
    /// The values of a timer.
    Timer(Box<Timer>),
    /// Members of a set.
    Set {
        /// The distinct ones.
        set: Box<DistinctSet>,
        /// How many there were.
        samples: u32,
    },
}

/// The number of samples has its place beside the tag, where it costs no memory.
const _: () = assert!(size_of::<Cell>() == 24, "a cell has grown");

/// Sets and changes of a gauge with their arrival.
///
/// Two listeners may see the two ends of one conversation: a set here, a change there. What the
/// gauge is in the end depends on which came first, so the order is kept until the tallies meet.
#[derive(Debug, Default)]
pub struct GaugeOps {
    /// In the order of arrival within a tally; joined tallies are sorted when resolved.
    ops: Vec<(u64, GaugeOp)>,
    /// How many there were, those included that are added up or do not matter any more.
    samples: u32,
}

#[derive(Clone, Copy, Debug)]
enum GaugeOp {
    Set(f64),
    Add(f64),
}

impl Cell {
    /// Adds a sample of the kind that the cell has or, if empty, gets by it.
    #[inline]
    pub fn record(
        &mut self,
        value: &SampleValue<'_>,
        weight: f64,
        arrival_ns: u64,
        exact_samples: usize,
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
            // Others count in the same series: nobody keeps what it is.
            (Self::Counter { sum, samples }, SampleValue::Total { added, .. }) => {
                sum.add(*added);
                *samples = samples.saturating_add(1);
            }
            (Self::Total { both, samples }, SampleValue::Counter(_)) => {
                *self = Self::Counter { sum: both.added, samples: *samples };
                self.record(value, weight, arrival_ns, exact_samples);
            }
            (Self::Timer(timer), SampleValue::Timer(value)) => {
                timer.record(*value, weight, exact_samples);
            }
            (Self::Set { set, samples }, SampleValue::Set(member)) => {
                set.insert(member.as_bytes());
                *samples = samples.saturating_add(1);
            }
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
                self.record(value, weight, arrival_ns, exact_samples);
            }
            (cell, value) => {
                debug_assert!(false, "{cell:?} cannot take {value:?}: the kind is in the key");
            }
        }
    }

    /// Adds what another tally gathered for the same series.
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
                if other_ns > *arrival_ns {
                    (*value, *arrival_ns) = (other, other_ns);
                }
                *samples = samples.saturating_add(other_samples);
            }
            (Self::Gauge { .. } | Self::GaugeOps(_), mut other) => {
                let (own, other) = (self.gauge_ops(), other.gauge_ops());
                own.ops.append(&mut other.ops);
                own.samples = own.samples.saturating_add(other.samples);
            }
            (cell, other) => {
                debug_assert!(false, "{cell:?} cannot take {other:?}: the kind is in the key");
            }
        }
    }

    /// Samples that it was made of, whatever their weights.
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
            // Each of them adds one.
            Self::Trace(sum) => sum.value() as u64,
            Self::Timer(timer) => timer.value_count(),
        }
    }

    /// The value for the snapshot; `None` without samples. `gauge` is the gauge's value before this
    /// window and becomes the one after it.
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

    /// Turns a plain or empty gauge into one with a list of operations.
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
            // What came before a set does not matter any more, whatever other tallies hold.
            (GaugeOp::Set(_), _) => self.ops.clear(),
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

    /// Makes room by joining the two oldest changes; only a set by another listener between just
    /// these two would have told them apart.
    fn fold_oldest(&mut self) {
        let first_add = usize::from(matches!(self.ops.first(), Some((_, GaugeOp::Set(_)))));
        if let (_, GaugeOp::Add(change)) = self.ops.remove(first_add)
            && let Some((_, GaugeOp::Add(sum))) = self.ops.get_mut(first_add)
        {
            *sum = added(*sum, change);
        }
    }

    /// The gauge after all operations, and when the last one arrived.
    fn resolve(mut self, before: f64) -> (f64, u64) {
        self.ops.sort_by_key(|(arrival_ns, _)| *arrival_ns);
        let after = self.ops.iter().fold(before, |gauge, (_, op)| match op {
            GaugeOp::Set(value) => *value,
            GaugeOp::Add(change) => added(gauge, *change),
        });
        (after, self.ops.last().map_or(0, |(arrival_ns, _)| *arrival_ns))
    }
}

/// A sum that stays finite: two infinities would make a gauge no number at all.
fn added(number: f64, change: f64) -> f64 {
    (number + change).clamp(f64::MIN, f64::MAX)
}

/// An increment times its weight, finite.
fn weighted(count: f64, weight: f64) -> f64 {
    if weight == 1.0 { count } else { (count * weight).clamp(f64::MIN, f64::MAX) }
}

#[cfg(test)]
mod tests {
    use SampleValue::{GaugeAdd, GaugeSet};

    use super::*;

    fn cell(samples: &[(u64, SampleValue<'_>)]) -> Cell {
        let mut cell = Cell::default();
        for (arrival_ns, value) in samples {
            cell.record(value, 1.0, *arrival_ns, 1000);
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
    fn tables_are_joined_in_the_order_of_arrival() {
        // One client through two listeners: +5, set 10, +7, set 100, +1.
        let mut left = cell(&[(1, GaugeAdd(5.0)), (3, GaugeAdd(7.0)), (5, GaugeAdd(1.0))]);
        let right = cell(&[(2, GaugeSet(10.0)), (4, GaugeSet(100.0))]);
        left.merge(right, 1000);
        assert_eq!(gauge_after(left, 1000.0), 101.0);

        let mut left = cell(&[(2, GaugeSet(2.0))]);
        left.merge(cell(&[(1, GaugeSet(1.0))]), 1000);
        assert_eq!(gauge_after(left, 0.0), 2.0);
    }

    #[test]
    fn a_gauge_that_is_changed_without_end_stays_small_and_exact() {
        let mut cell = Cell::default();
        cell.record(&GaugeSet(1.0), 1.0, 0, 1000);
        for arrival in 1..=100_000 {
            cell.record(&GaugeAdd(1.0), 1.0, arrival, 1000);
        }
        assert!(matches!(&cell, Cell::GaugeOps(ops) if ops.ops.len() <= GAUGE_OPS_MAX));
        assert_eq!(gauge_after(cell, 0.0), 100_001.0);
    }

    #[test]
    fn counters_are_weighed_and_stay_finite() {
        let mut counter = Cell::default();
        counter.record(&SampleValue::Counter(1.0), 1.0, 0, 1000);
        counter.record(&SampleValue::Counter(1.0), 10.0, 0, 1000);
        assert_eq!(counter.into_value(&mut 0.0, &[]).unwrap().headline(), 11.0);
        let mut huge = Cell::default();
        huge.record(&SampleValue::Counter(f64::MAX), 1e300, 0, 1000);
        assert_eq!(huge.into_value(&mut 0.0, &[]).unwrap().headline(), f64::MAX);
    }

    #[test]
    fn samples_are_counted_whatever_they_weigh_and_wherever_they_came_in() {
        let record = |values: &[SampleValue<'_>]| {
            let mut cell = Cell::default();
            values.iter().for_each(|value| cell.record(value, 10.0, 0, 1000));
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
    fn a_total_goes_along_until_somebody_else_counts_too() {
        let total = |added, total| SampleValue::Total { added, total };
        let recorded = |samples: &[SampleValue<'_>]| {
            let mut cell = Cell::default();
            samples.iter().for_each(|sample| cell.record(sample, 1.0, 0, 1000));
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
    fn a_gauge_stays_a_number_whatever_is_added_and_joined() {
        let mut samples = Vec::new();
        for arrival in 0..2_000 {
            let change = if arrival % 2 == 0 { f64::MAX } else { f64::MIN };
            samples.extend([(arrival, GaugeAdd(change)), (arrival, GaugeAdd(change))]);
        }
        let value = cell(&samples).into_value(&mut 0.0, &[]).unwrap().headline();
        assert!(value.is_finite(), "{value}");
    }
}
