//! A snapshot, its points and their values.

use std::sync::Arc;
use std::time::Duration;

use crate::PointRanges;

use super::{DistinctSet, MetricKind, Percentile, Points, Series, Sum, Timer, TimerSummary};

/// The period that a snapshot covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// End of the window in Unix milliseconds, which outputs use as the timestamp. No two snapshots
    /// of a process share one. It goes back when the wall clock is set back.
    pub end_ms: u64,
    /// The length, by which rates are divided: the configured interval, or the true length of a
    /// window that was cut or stretched.
    pub length: Duration,
}

impl Window {
    /// The length in seconds.
    #[must_use]
    pub fn length_s(&self) -> f64 {
        self.length.as_secs_f64()
    }
}

/// All series that had samples in a window. A snapshot never changes; its clones share the points.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The period that it covers.
    pub window: Window,
    /// The percentiles in the timers' summaries.
    pub percentiles: Arc<[Percentile]>,
    /// The number of values that a timer keeps one by one, also when two timers are merged.
    pub exact_samples: usize,
    /// The run of the daemon that made the snapshot, if it was an earlier one. A repeated delivery
    /// has to name the same run as the first.
    pub instance: Option<Arc<str>>,
    /// A point for each series; no two points share a series.
    pub points: Points,
}

impl Snapshot {
    /// The snapshot with only the selected points.
    #[must_use]
    pub fn only(&self, points: &PointRanges) -> Self {
        Self { points: points.of(&self.points).cloned().collect(), ..self.clone() }
    }
}

/// The value of one series in one window.
#[derive(Clone, Debug)]
pub struct Point {
    /// The series.
    pub series: Arc<Series>,
    /// The aggregated value.
    pub value: Value,
}

/// An aggregated value. Every number in it is finite.
#[derive(Clone, Debug)]
pub enum Value {
    /// Sum of the increments.
    Counter(Sum),
    /// A counter reported as a running total by its source: the increment and the latest total.
    Total(Box<TotalValue>),
    /// The last value.
    Gauge {
        /// The value itself.
        value: f64,
        /// The time of arrival in nanoseconds of an arbitrary clock: when two gauges are merged, the
        /// later one wins.
        arrival_ns: u64,
    },
    /// A distribution and its statistics.
    Timer(Box<TimerValue>),
    /// Distinct members.
    Set(Box<SetValue>),
    /// The number of occurrences.
    Trace(Sum),
}

/// A counter that its source reports as a running total, such as a statistic of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TotalValue {
    /// Sum of the increments. A restart of the counter is no negative increment.
    pub added: Sum,
    /// The latest total. It falls when the counter restarts.
    pub total: f64,
}

/// A sealed timer with its statistics.
#[derive(Clone, Debug)]
pub struct TimerValue {
    /// The values.
    pub timer: Timer,
    /// Their statistics, with the snapshot's percentiles.
    pub summary: TimerSummary,
}

/// A set with the number of its members.
#[derive(Clone, Debug)]
pub struct SetValue {
    /// The members.
    pub set: DistinctSet,
    /// The number of distinct members.
    pub count: f64,
}

impl Value {
    /// The value of a timer, with its statistics.
    #[must_use]
    pub fn timer(mut timer: Timer, percentiles: &[Percentile]) -> Self {
        timer.seal();
        let summary = timer.summary(percentiles);
        Self::Timer(Box::new(TimerValue { timer, summary }))
    }

    /// The value of a set, with the number of its members.
    #[must_use]
    pub fn set(set: DistinctSet) -> Self {
        let count = set.count();
        Self::Set(Box::new(SetValue { set, count }))
    }

    /// The kind of the metric.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        match self {
            Self::Counter(_) | Self::Total(_) => MetricKind::Counter,
            Self::Gauge { .. } => MetricKind::Gauge,
            Self::Timer(_) => MetricKind::Timer,
            Self::Set(_) => MetricKind::Set,
            Self::Trace(_) => MetricKind::Trace,
        }
    }

    /// Adds the value of another series that became the same one because a tag was dropped. Counts
    /// add up, the later gauge wins, distributions and sets are merged. A value of another kind
    /// changes nothing.
    pub fn merge(&mut self, other: Self, snapshot: &Snapshot) {
        match (&mut *self, other) {
            (Self::Counter(own), Self::Counter(other)) | (Self::Trace(own), Self::Trace(other)) => {
                own.merge(other);
            }
            // The sum of two totals is the total of no source, so only the increments are kept.
            (Self::Counter(own), Self::Total(other)) => own.merge(other.added),
            (Self::Total(own), other @ (Self::Counter(_) | Self::Total(_))) => {
                let added = own.added;
                *self = other;
                self.merge(Self::Counter(added), snapshot);
            }
            (
                Self::Gauge { value, arrival_ns },
                Self::Gauge { value: later, arrival_ns: later_ns },
            ) => {
                if later_ns > *arrival_ns {
                    (*value, *arrival_ns) = (later, later_ns);
                }
            }
            (Self::Timer(own), Self::Timer(other)) => {
                let mut timer = std::mem::take(&mut own.timer);
                timer.merge(other.timer, snapshot.exact_samples);
                *self = Self::timer(timer, &snapshot.percentiles);
            }
            (Self::Set(own), Self::Set(other)) => {
                own.set.merge(other.set);
                own.count = own.set.count();
            }
            (own, other) => debug_assert_eq!(own.kind(), other.kind()),
        }
    }

    /// The number that represents the value in an output with one number for each series: the count
    /// of a counter, trace or set, the value of a gauge, the mean of a timer.
    #[must_use]
    pub fn headline(&self) -> f64 {
        match self {
            Self::Counter(sum) | Self::Trace(sum) => sum.value(),
            Self::Total(total) => total.added.value(),
            Self::Gauge { value, .. } => *value,
            Self::Timer(timer) => timer.summary.mean,
            Self::Set(set) => set.count,
        }
    }

    /// Calls `field` with the name and value of each output field, in their fixed order.
    pub fn for_each_field(&self, snapshot: &Snapshot, mut field: impl FnMut(&str, f64)) {
        let length_s = snapshot.window.length_s();
        match self {
            Self::Counter(_) | Self::Total(_) => {
                let count = self.headline();
                field("count", count);
                field("rate", count / length_s);
            }
            Self::Gauge { value, .. } => field("value", *value),
            Self::Timer(timer) => {
                let summary = &timer.summary;
                field("count", summary.count);
                field("rate", summary.count / length_s);
                field("sum", summary.sum);
                field("min", summary.min);
                field("max", summary.max);
                field("mean", summary.mean);
                field("stddev", summary.stddev);
                for (percentile, value) in snapshot.percentiles.iter().zip(&summary.percentiles) {
                    field(percentile.label(), *value);
                }
            }
            Self::Set(set) => field("count", set.count),
            Self::Trace(sum) => field("count", sum.value()),
        }
    }
}
