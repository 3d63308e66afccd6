//! One window's points.

use std::sync::Arc;
use std::time::Duration;

use crate::PointRanges;

use super::{DistinctSet, MetricKind, Percentile, Points, Series, Sum, Timer, TimerSummary};

/// The span of time that a snapshot covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// End of the window in Unix milliseconds; outputs use it as the timestamp. Strictly
    /// increasing over the snapshots of one process.
    pub end_ms: u64,
    /// The configured length. Rates are per this length, also in a window that a shutdown cut
    /// short, so that rate times interval is always the count.
    pub interval: Duration,
}

impl Window {
    /// Length in seconds.
    #[must_use]
    pub fn interval_s(&self) -> f64 {
        self.interval.as_secs_f64()
    }
}

/// All series that saw samples in a window. Immutable once made; a clone shares what it holds.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What span of time it covers.
    pub window: Window,
    /// Which percentiles the timers' summaries hold.
    pub percentiles: Arc<[Percentile]>,
    /// Values of a timer that are kept one by one, also where two timers become one.
    pub exact_samples: usize,
    /// The run of the daemon that made it, where that was an earlier one: a repeat has to say the
    /// same as what it repeats.
    pub instance: Option<Arc<str>>,
    /// A point for each series; no two points share a series.
    pub points: Points,
}

impl Snapshot {
    /// The same with these of its points alone.
    #[must_use]
    pub fn only(&self, points: &PointRanges) -> Self {
        Self { points: points.of(&self.points).cloned().collect(), ..self.clone() }
    }
}

/// What one series was in one window.
#[derive(Clone, Debug)]
pub struct Point {
    /// Whose value it is.
    pub series: Arc<Series>,
    /// The aggregated value.
    pub value: Value,
}

/// An aggregated value. Every number in it is finite.
#[derive(Clone, Debug)]
pub enum Value {
    /// Sum of the increments.
    Counter(Sum),
    /// A counter that somebody else keeps: what was added to it, and what it is.
    Total(Box<TotalValue>),
    /// The last value.
    Gauge {
        /// The value itself.
        value: f64,
        /// When it arrived, in nanoseconds of an arbitrary clock: where two gauges become one
        /// series, the later one wins.
        arrival_ns: u64,
    },
    /// Distribution and its statistics.
    Timer(Box<TimerValue>),
    /// Distinct members.
    Set(Box<SetValue>),
    /// How often it occurred.
    Trace(Sum),
}

/// A counter that is kept where it is measured, as a server's statistics are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TotalValue {
    /// Sum of the increments; a counter that begins anew has no negative one.
    pub added: Sum,
    /// The counter itself at the end of the window. It falls when it begins anew.
    pub total: f64,
}

/// A sealed timer with its statistics.
#[derive(Clone, Debug)]
pub struct TimerValue {
    /// The values themselves.
    pub timer: Timer,
    /// Their statistics, with the snapshot's percentiles.
    pub summary: TimerSummary,
}

/// A set with its size.
#[derive(Clone, Debug)]
pub struct SetValue {
    /// The members.
    pub set: DistinctSet,
    /// How many distinct ones.
    pub count: f64,
}

impl Value {
    /// Seals a timer and computes its statistics.
    #[must_use]
    pub fn timer(mut timer: Timer, percentiles: &[Percentile]) -> Self {
        timer.seal();
        let summary = timer.summary(percentiles);
        Self::Timer(Box::new(TimerValue { timer, summary }))
    }

    /// Counts a set.
    #[must_use]
    pub fn set(set: DistinctSet) -> Self {
        let count = set.count();
        Self::Set(Box::new(SetValue { set, count }))
    }

    /// The kind of metric that has such a value.
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

    /// Joins the value of a series that became the same one, as when a tag is dropped: counts add
    /// up, the later gauge wins, distributions and sets merge. Values of two kinds do not mix: the
    /// first stays.
    pub fn merge(&mut self, other: Self, snapshot: &Snapshot) {
        match (&mut *self, other) {
            (Self::Counter(own), Self::Counter(other)) | (Self::Trace(own), Self::Trace(other)) => {
                own.merge(other);
            }
            // What two counters are together nobody keeps: what was added is left.
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

    /// The one number that stands for the value where an output has room for one: the count of a
    /// counter, trace or set, the value of a gauge, the mean of a timer.
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
        let interval_s = snapshot.window.interval_s();
        match self {
            Self::Counter(_) | Self::Total(_) => {
                let count = self.headline();
                field("count", count);
                field("rate", count / interval_s);
            }
            Self::Gauge { value, .. } => field("value", *value),
            Self::Timer(timer) => {
                let summary = &timer.summary;
                field("count", summary.count);
                field("rate", summary.count / interval_s);
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
