//! What one series has gathered in the open window.

use forwarders::model::{DistinctSet, MetricKind, Percentile, Sum, Timer, TotalValue, Value};

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
    /// Sum of the increments.
    Counter(Sum),
    /// The same, and the counter itself as whoever keeps it reported it.
    Total(Box<TotalValue>),
    /// How often it occurred.
    Trace(Sum),
    /// A gauge that was only set: the latest value and when it arrived.
    Gauge {
        /// The value.
        value: f64,
        /// When, in nanoseconds of the process's monotonic clock.
        arrival_ns: u64,
    },
    /// A gauge that was changed by deltas as well.
    GaugeOps(Box<GaugeOps>),
    /// The values of a timer.
    Timer(Box<Timer>),
    /// The members of a set.
    Set(Box<DistinctSet>),
}

/// Sets and changes of a gauge with their arrival.
///
/// Two listeners may see the two ends of one conversation: a set here, a change there. What the
/// gauge is in the end depends on which came first, so the order is kept until the tallies meet.
#[derive(Debug, Default)]
pub struct GaugeOps {
    /// In the order of arrival within a tally; joined tallies are sorted when resolved.
    ops: Vec<(u64, GaugeOp)>,
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
            (Self::Counter(sum), SampleValue::Counter(count)) => sum.add(weighted(*count, weight)),
            (Self::Trace(sum), SampleValue::Trace) => sum.add(1.0),
            (Self::Total(cell), SampleValue::Total { added, total }) => {
                cell.added.add(*added);
                cell.total = *total;
            }
            (Self::Empty, SampleValue::Total { added, total }) => {
                *self = Self::Total(Box::new(TotalValue { added: Sum::of(*added), total: *total }));
            }
            // Others count in the same series: nobody keeps what it is.
            (Self::Counter(sum), SampleValue::Total { added, .. }) => sum.add(*added),
            (Self::Total(cell), SampleValue::Counter(_)) => {
                *self = Self::Counter(cell.added);
                self.record(value, weight, arrival_ns, exact_samples);
            }
            (Self::Timer(timer), SampleValue::Timer(value)) => {
                timer.record(*value, weight, exact_samples);
            }
            (Self::Set(set), SampleValue::Set(member)) => set.insert(member.as_bytes()),
            (Self::Empty | Self::Gauge { .. }, SampleValue::GaugeSet(value)) => {
                *self = Self::Gauge { value: *value, arrival_ns };
            }
            (Self::GaugeOps(ops), SampleValue::GaugeSet(value)) => {
                ops.push(arrival_ns, GaugeOp::Set(*value));
            }
            (_, SampleValue::GaugeAdd(change)) => {
                self.gauge_ops().push(arrival_ns, GaugeOp::Add(*change));
            }
            (Self::Empty, _) => {
                *self = match value.kind() {
                    MetricKind::Counter => Self::Counter(Sum::default()),
                    MetricKind::Trace => Self::Trace(Sum::default()),
                    MetricKind::Timer => Self::Timer(Box::default()),
                    MetricKind::Set => Self::Set(Box::default()),
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
            (Self::Counter(own), Self::Counter(other)) | (Self::Trace(own), Self::Trace(other)) => {
                own.merge(other);
            }
            (Self::Total(own), Self::Total(other)) => {
                own.added.merge(other.added);
                own.total = other.total;
            }
            (Self::Counter(own), Self::Total(other)) => own.merge(other.added),
            (Self::Total(own), Self::Counter(other)) => {
                let mut sum = own.added;
                sum.merge(other);
                *self = Self::Counter(sum);
            }
            (Self::Timer(own), Self::Timer(other)) => own.merge(*other, exact_samples),
            (Self::Set(own), Self::Set(other)) => own.merge(*other),
            (
                Self::Gauge { value, arrival_ns },
                Self::Gauge { value: other, arrival_ns: other_ns },
            ) => {
                if other_ns > *arrival_ns {
                    (*value, *arrival_ns) = (other, other_ns);
                }
            }
            (Self::Gauge { .. } | Self::GaugeOps(_), mut other) => {
                self.gauge_ops().ops.append(&mut other.gauge_ops().ops);
            }
            (cell, other) => {
                debug_assert!(false, "{cell:?} cannot take {other:?}: the kind is in the key");
            }
        }
    }

    /// The value for the snapshot; `None` without samples. `gauge` is the gauge's value before this
    /// window and becomes the one after it.
    pub fn into_value(self, gauge: &mut f64, percentiles: &[Percentile]) -> Option<Value> {
        Some(match self {
            Self::Empty => return None,
            Self::Counter(sum) => Value::Counter(sum),
            Self::Total(total) => Value::Total(total),
            Self::Trace(sum) => Value::Trace(sum),
            Self::Timer(timer) => Value::timer(*timer, percentiles),
            Self::Set(set) => Value::set(*set),
            Self::Gauge { value, arrival_ns } => {
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
            if let Self::Gauge { value, arrival_ns } = self {
                ops.push(*arrival_ns, GaugeOp::Set(*value));
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
