//! The points of live series that received no samples in a window.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{
    DistinctSet, MetricKind, Point, Points, Series, Snapshot, Sum, Timer, TimerSummary, TimerValue,
    Value,
};

/// For each kind, how long an idle series has points; `None` for a kind whose idle series have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdleLimits([Option<Duration>; MetricKind::ALL.len()]);

impl IdleLimits {
    /// The same limits, except that idle series of this kind have points for this time.
    #[must_use]
    pub fn with(mut self, kind: MetricKind, limit: Duration) -> Self {
        self.0[kind as usize] = Some(limit);
        self
    }

    /// The limit for a kind.
    #[must_use]
    pub fn of(&self, kind: MetricKind) -> Option<Duration> {
        self.0[kind as usize]
    }

    /// Whether idle series have no points at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Whether a series that has been idle for this time has a point.
    #[must_use]
    pub fn include(&self, kind: MetricKind, idle: Duration) -> bool {
        self.of(kind).is_some_and(|limit| idle <= limit)
    }

    /// The limits that include all points of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        // `None` is less than any limit.
        Self(MetricKind::ALL.map(|kind| self.of(kind).max(other.of(kind))))
    }
}

/// The points of a window and those of idle series. They are separate lists, so that destinations
/// without idle points neither keep them in memory nor count them.
#[derive(Clone, Debug)]
pub struct IdlePoints {
    /// The points of the series with samples.
    with_samples: Points,
    /// The points of the idle series.
    idle: Points,
    /// How long each of them has been idle.
    times: Arc<[Duration]>,
    limits: IdleLimits,
    /// Both, once a destination needs them.
    joint: Arc<OnceLock<Points>>,
}

impl IdlePoints {
    /// Adds the points of idle series, with the time for which each has been idle, to those of the
    /// series with samples. `limits` are those by which the idle series were selected.
    #[must_use]
    pub fn new(with_samples: Points, idle: Vec<IdleSeries>, limits: IdleLimits) -> Self {
        let times = idle.iter().map(|one| one.idle).collect();
        let idle = idle.into_iter().map(IdleSeries::into_point).collect();
        Self { with_samples, idle, times, limits, joint: Arc::default() }
    }

    /// The points of the series with samples, then those of idle series.
    #[must_use]
    pub fn all(&self) -> Points {
        let join = || self.with_samples.iter().chain(&self.idle).cloned().collect();
        self.joint.get_or_init(join).clone()
    }

    /// The points of the window with those of the idle series that `limits` include. `whole` are
    /// the points of a window that a restart divided; its series have samples in an earlier part.
    fn selected(&self, limits: &IdleLimits, whole: Option<&Points>) -> Points {
        if whole.is_none() && self.limits == *limits {
            return self.all();
        }
        let with_samples = whole.unwrap_or(&self.with_samples);
        let series =
            |points: &Points| points.iter().map(|point| Arc::clone(&point.series)).collect();
        let is_whole: HashSet<Arc<Series>> = whole.map(series).unwrap_or_default();
        let idle = self.idle.iter().zip(&*self.times);
        let chosen = idle.filter(|(point, idle)| {
            limits.include(point.series.kind(), **idle) && !is_whole.contains(&point.series)
        });
        with_samples.iter().chain(chosen.map(|(point, _)| point)).cloned().collect()
    }

    /// A window with the points of the idle series that `limits` include. `snapshot` is the window
    /// that these points belong to, or all of it if a restart divided it (`is_divided`).
    pub(crate) fn added_to(
        &self,
        snapshot: &Snapshot,
        is_divided: bool,
        limits: &IdleLimits,
    ) -> Snapshot {
        let points = self.selected(limits, is_divided.then_some(&snapshot.points));
        Snapshot { points, ..snapshot.clone() }
    }
}

/// A live series without samples in a window.
#[derive(Clone, Debug)]
pub struct IdleSeries {
    /// The series.
    pub series: Arc<Series>,
    /// How long it has been idle.
    pub idle: Duration,
    /// The last value of a gauge.
    pub level: f64,
    /// When that value arrived, in nanoseconds of the clock of [`Value::Gauge`]; 0 if it is not known.
    pub arrival_ns: u64,
}

impl IdleSeries {
    /// The point: the last value of a gauge, and zero for any other kind.
    fn into_point(self) -> Point {
        let value = match self.series.kind() {
            MetricKind::Counter => Value::Counter(Sum::default()),
            MetricKind::Trace => Value::Trace(Sum::default()),
            MetricKind::Gauge => Value::Gauge { value: self.level, arrival_ns: self.arrival_ns },
            MetricKind::Set => Value::set(DistinctSet::default()),
            MetricKind::Timer => {
                let (timer, summary) = (Timer::default(), TimerSummary::default());
                Value::Timer(Box::new(TimerValue { timer, summary }))
            }
        };
        Point { series: self.series, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClosedWindow;
    use crate::testing::{counter, shown, snapshot_of};

    const TEN: Duration = Duration::from_secs(10);

    fn idle(kind: MetricKind, name: &str, idle: u32) -> IdleSeries {
        let series = Arc::new(Series::new::<&str, &str>(kind, name, &[]));
        IdleSeries { series, idle: TEN * idle, level: 7.0, arrival_ns: 5 }
    }

    fn all() -> IdleLimits {
        let add = |limits: IdleLimits, kind| limits.with(kind, Duration::MAX);
        MetricKind::ALL.into_iter().fold(IdleLimits::default(), add)
    }

    fn window() -> ClosedWindow {
        let idle = vec![
            idle(MetricKind::Counter, "c", 1),
            idle(MetricKind::Gauge, "g", 2),
            idle(MetricKind::Gauge, "g3", 3),
            idle(MetricKind::Timer, "t", 1),
            idle(MetricKind::Set, "s", 1),
            idle(MetricKind::Trace, "x", 1),
        ];
        let snapshot = snapshot_of(vec![counter("busy", &[], 1.0)]);
        let points = IdlePoints::new(snapshot.points.clone(), idle, all());
        ClosedWindow::undivided(snapshot).with_idle(Some(points))
    }

    #[test]
    fn idle_series_follow_those_with_samples_and_have_zero_or_the_last_value() {
        let window = window();
        assert_eq!(shown(&window.increment), ["counter busy = 1"]);
        for keeps_last_write in [false, true] {
            let with_idle = window.form(keeps_last_write, &all());
            assert_eq!(
                shown(&with_idle),
                [
                    "counter busy = 1",
                    "counter c = 0",
                    "gauge g = 7",
                    "gauge g3 = 7",
                    "timer t = 0",
                    "set s = 0",
                    "trace x = 0"
                ]
            );
            assert_eq!(with_idle.window, window.increment.window);
        }
    }

    #[test]
    fn destinations_without_idle_points_do_not_count_their_memory() {
        let (window, alone) = (window(), snapshot_of(vec![counter("busy", &[], 1.0)]));
        let none = window.form(true, &IdleLimits::default());
        assert_eq!(none.heap_bytes(), alone.heap_bytes());
        assert!(window.form(true, &all()).heap_bytes() > alone.heap_bytes());
        assert_eq!(none.heap_bytes(), alone.heap_bytes(), "still after another destination's");
    }

    #[test]
    fn each_destination_gets_its_kinds_for_its_time() {
        let limits = IdleLimits::default()
            .with(MetricKind::Gauge, 2 * TEN)
            .with(MetricKind::Set, Duration::from_secs(9));
        assert_eq!(shown(&window().form(false, &limits)), ["counter busy = 1", "gauge g = 7"]);
        let none = window().form(true, &IdleLimits::default());
        assert_eq!(shown(&none), ["counter busy = 1"]);
    }

    #[test]
    fn a_window_without_idle_points_is_shared() {
        let window = ClosedWindow::undivided(snapshot_of(vec![]));
        assert!(Arc::ptr_eq(&window.form(false, &all()), &window.increment));
        let with_idle = window.with_idle(None);
        assert!(Arc::ptr_eq(&with_idle.form(true, &all()), &with_idle.whole));
    }

    #[test]
    fn a_series_with_samples_in_an_earlier_part_of_a_divided_window_is_not_idle_in_the_whole() {
        let undivided = window();
        let whole = snapshot_of(vec![counter("busy", &[], 1.0), counter("c", &[], 4.0)]);
        let divided = ClosedWindow { whole: Arc::new(whole), ..undivided };
        let limits =
            IdleLimits::default().with(MetricKind::Counter, TEN).with(MetricKind::Set, TEN);
        assert_eq!(
            shown(&divided.form(true, &limits)),
            ["counter busy = 1", "counter c = 4", "set s = 0"]
        );
        assert_eq!(
            shown(&divided.form(false, &limits)),
            ["counter busy = 1", "counter c = 0", "set s = 0"]
        );
        assert_eq!(shown(&divided.form(true, &all()))[..2], ["counter busy = 1", "counter c = 4"]);
    }

    #[test]
    fn limits_of_two_destinations_include_the_points_of_both() {
        let gauges = IdleLimits::default().with(MetricKind::Gauge, TEN);
        let others =
            IdleLimits::default().with(MetricKind::Gauge, TEN / 2).with(MetricKind::Set, TEN);
        let both = gauges.union(&others);
        assert_eq!(both, others.union(&gauges));
        assert_eq!((both.of(MetricKind::Gauge), both.of(MetricKind::Set)), (Some(TEN), Some(TEN)));
        assert!(!both.is_none() && both.of(MetricKind::Timer).is_none());
        assert!(IdleLimits::default().union(&IdleLimits::default()).is_none());
    }
}
