//! A snapshot, its points and their values.

use std::sync::Arc;
use std::time::Duration;

use crate::PointRanges;

use super::{
    DistinctSet, MetricKind, Percentile, Points, Series, Sum, Timer, TimerSummary, finite,
};

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

    /// The rate of `count`, per second. It is finite even if the window is shorter than a second.
    #[must_use]
    pub fn rate(&self, count: f64) -> f64 {
        finite(count / self.length_s())
    }
}

/// All series that had samples in a window. A snapshot never changes; its clones share the points.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The period that it covers.
    pub window: Window,
    /// When the window began, in Unix milliseconds, for outputs whose windows must be contiguous: the
    /// end of the window before it. `None` for the first window of a run, after a large step of the
    /// clock, and for a snapshot that was on disk: then it began its length before its end.
    pub start_ms: Option<u64>,
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

impl TimerValue {
    /// Whether there are no samples: the series is live but was idle.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.timer.value_count() == 0
    }
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

    /// Calls `field` with the name and value of each output field, in their fixed order. A timer
    /// without samples has neither a mean nor any other statistic but its count.
    pub fn for_each_field(&self, snapshot: &Snapshot, mut field: impl FnMut(&str, f64)) {
        let window = &snapshot.window;
        match self {
            Self::Counter(_) | Self::Total(_) => {
                let count = self.headline();
                field("count", count);
                field("rate", window.rate(count));
            }
            Self::Gauge { value, .. } => field("value", *value),
            Self::Timer(timer) => {
                let summary = &timer.summary;
                field("count", summary.count);
                field("rate", window.rate(summary.count));
                if timer.is_idle() {
                    return;
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SetSeed;
    use crate::testing::{counter, shown, snapshot_of, timer};

    fn total(added: f64, total: f64) -> Value {
        Value::Total(Box::new(TotalValue { added: Sum::of(added), total }))
    }

    fn gauge(value: f64, arrival_ns: u64) -> Value {
        Value::Gauge { value, arrival_ns }
    }

    fn timer_of(samples: &[(f64, f64)]) -> Value {
        timer("t", &[], samples).value
    }

    fn set_of(members: &[&str]) -> Value {
        let mut set = DistinctSet::default();
        members.iter().for_each(|member| set.insert(member.as_bytes(), &SetSeed::from_text("")));
        Value::set(set)
    }

    fn merged(mut one: Value, other: Value) -> Value {
        one.merge(other, &snapshot_of(vec![]));
        one
    }

    fn fields(value: &Value) -> Vec<(String, f64)> {
        let mut fields = Vec::new();
        value.for_each_field(&snapshot_of(vec![]), |name, value| fields.push((name.into(), value)));
        fields
    }

    #[test]
    fn merged_counts_add_up_and_a_merged_total_is_a_counter() {
        let count = |count| Value::Counter(Sum::of(count));
        for value in [
            merged(count(2.0), count(3.0)),
            merged(count(2.0), total(3.0, 90.0)),
            merged(total(2.0, 50.0), count(3.0)),
            merged(total(2.0, 50.0), total(3.0, 90.0)),
        ] {
            assert_eq!((value.kind(), value.headline()), (MetricKind::Counter, 5.0));
        }
        let traces = merged(Value::Trace(Sum::of(2.0)), Value::Trace(Sum::of(3.0)));
        assert_eq!((traces.kind(), traces.headline()), (MetricKind::Trace, 5.0));
        assert!(matches!(merged(total(2.0, 50.0), count(3.0)), Value::Counter(_)));
    }

    #[test]
    fn the_later_of_two_gauges_wins_and_the_first_of_two_that_arrived_together() {
        assert_eq!(merged(gauge(1.0, 5), gauge(2.0, 6)).headline(), 2.0);
        assert_eq!(merged(gauge(1.0, 6), gauge(2.0, 5)).headline(), 1.0);
        assert_eq!(merged(gauge(1.0, 5), gauge(2.0, 5)).headline(), 1.0);
        let value = merged(merged(gauge(1.0, 5), gauge(2.0, 7)), gauge(3.0, 6));
        assert_eq!(value.headline(), 2.0);
    }

    #[test]
    fn merged_timers_and_sets_have_all_samples() {
        let timer = merged(timer_of(&[(4.0, 1.0)]), timer_of(&[(1.0, 1.0), (7.0, 1.0)]));
        let expected = timer_of(&[(1.0, 1.0), (4.0, 1.0), (7.0, 1.0)]);
        assert_eq!(fields(&timer), fields(&expected));
        assert_eq!(merged(set_of(&["a", "b"]), set_of(&["b", "c"])).headline(), 3.0);
    }

    #[test]
    fn the_headline_of_a_timer_is_its_mean() {
        let values = [
            (total(2.0, 50.0), 2.0, MetricKind::Counter),
            (gauge(-3.0, 0), -3.0, MetricKind::Gauge),
            (timer_of(&[(1.0, 1.0), (4.0, 1.0)]), 2.5, MetricKind::Timer),
            (set_of(&["a", "b"]), 2.0, MetricKind::Set),
            (Value::Trace(Sum::of(7.0)), 7.0, MetricKind::Trace),
        ];
        for (value, headline, kind) in values {
            assert_eq!((value.headline(), value.kind()), (headline, kind));
        }
    }

    #[test]
    fn each_kind_has_its_fields_and_rates_are_per_second() {
        let expect = |value: Value, expected: &[(&str, f64)]| {
            let fields = fields(&value);
            let shown: Vec<_> =
                fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            assert_eq!(shown, expected);
        };
        expect(Value::Counter(Sum::of(25.0)), &[("count", 25.0), ("rate", 2.5)]);
        expect(total(25.0, 90.0), &[("count", 25.0), ("rate", 2.5)]);
        expect(gauge(-3.0, 0), &[("value", -3.0)]);
        expect(set_of(&["a", "b"]), &[("count", 2.0)]);
        expect(Value::Trace(Sum::of(7.0)), &[("count", 7.0)]);
        let timer = [
            ("count", 2.0),
            ("rate", 0.2),
            ("sum", 6.0),
            ("min", 2.0),
            ("max", 4.0),
            ("mean", 3.0),
            ("stddev", 1.0),
            ("p50", 2.0),
            ("p90", 4.0),
            ("p95", 4.0),
            ("p99", 4.0),
        ];
        expect(timer_of(&[(4.0, 1.0), (2.0, 1.0)]), &timer);
        expect(timer_of(&[]), &[("count", 0.0), ("rate", 0.0)]);
    }

    #[test]
    fn a_selection_keeps_everything_but_the_other_points() {
        let names = ["a", "b", "c", "d"];
        let all = snapshot_of(names.map(|name| counter(name, &[], 1.0)).to_vec());
        let mut some = PointRanges::default();
        [1..2, 3..4].into_iter().for_each(|range| some.add(range));
        let part = Snapshot { instance: Some("run".into()), ..all }.only(&some);
        assert_eq!(shown(&part), ["counter b = 1", "counter d = 1"]);
        assert_eq!(
            (part.window, part.instance.as_deref()),
            (snapshot_of(vec![]).window, Some("run"))
        );
    }
}
