//! Points for live series without samples, which some destinations want.

use std::time::Duration;

use model::{
    IdleLimits, IdlePoints, IdleSeries, MetricKind, Point, Points, Snapshot, Value, Window,
};

use super::{LiveSeries, Store};
use crate::aggregator::registry::SeriesId;

/// When the last values of gauges arrived, by number of the series: if a destination merges two idle
/// gauges, the later value wins. Empty unless idle gauges are wanted, so that it costs nothing
/// otherwise.
#[derive(Debug, Default)]
pub(super) struct GaugeArrivals(Vec<u64>);

impl GaugeArrivals {
    /// Notes the gauges of a window. `points` are those of the series `ids`, in their order.
    fn note(&mut self, ids: &[SeriesId], points: &[Point]) {
        for (id, point) in ids.iter().zip(points) {
            let Value::Gauge { arrival_ns, .. } = point.value else { continue };
            let place = *id as usize;
            if self.0.len() <= place {
                self.0.resize(place + 1, 0);
            }
            self.0[place] = arrival_ns;
        }
    }

    fn of(&self, id: usize) -> u64 {
        self.0.get(id).copied().unwrap_or_default()
    }

    pub(super) fn forget(&mut self) {
        self.0 = Vec::new();
    }
}

impl Store {
    /// Closes the window like [`Store::flush`], and also returns the points of the idle series that
    /// `limits` include, together with those of the window; `None` if there are none. Windows are as
    /// long as `interval`.
    #[must_use]
    pub fn flush_with_idle(
        &mut self,
        window: Window,
        limits: &IdleLimits,
        interval: Duration,
    ) -> (Snapshot, Option<IdlePoints>) {
        if limits.is_none() {
            self.arrivals.forget();
            return (self.flush(window), None);
        }
        let points = self.take_points();
        match limits.of(MetricKind::Gauge) {
            Some(_) => self.arrivals.note(&self.touched, &points),
            None => self.arrivals.forget(),
        }
        let idle = self.idle(limits, interval);
        if idle.is_empty() {
            return (self.close(window, points.into()), None);
        }
        let points = Points::from(points);
        let idle = IdlePoints::new(points.clone(), idle, *limits);
        (self.close(window, points), Some(idle))
    }

    /// The series without samples in the open window.
    fn idle(&self, limits: &IdleLimits, interval: Duration) -> Vec<IdleSeries> {
        // Not by `last_window`: that of a gauge whose value was restored may be the open window,
        // which continues the last one of the earlier run.
        let mut has_samples = vec![false; self.live.len()];
        self.touched.iter().for_each(|id| has_samples[*id as usize] = true);
        let live = self.live.iter().zip(has_samples).enumerate();
        live.filter(|(_, (_, has_samples))| !has_samples)
            .filter_map(|(id, (live, _))| {
                let LiveSeries { series, gauge, last_window, .. } = live.as_ref()?;
                let windows = self.window.saturating_sub(u64::from(*last_window));
                // No truncation: such a limit excludes no series.
                let idle = interval.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX));
                limits.include(series.kind(), idle).then(|| IdleSeries {
                    series: series.clone(),
                    idle,
                    level: *gauge,
                    arrival_ns: self.arrivals.of(id),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use basics::units::Span;
    use model::testing::shown;

    use super::super::tests::{Bench, bench};
    use super::*;
    use crate::aggregator::AggregationConfig;
    use crate::protocol::SampleValue;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn all() -> IdleLimits {
        let add = |limits: IdleLimits, kind| limits.with(kind, Duration::MAX);
        MetricKind::ALL.into_iter().fold(IdleLimits::default(), add)
    }

    fn expiring_after(seconds: u64) -> Bench {
        let expire_after = Span::from_secs(seconds);
        bench(1, &AggregationConfig { expire_after, ..AggregationConfig::default() })
    }

    fn record_each_kind(bench: &mut Bench) {
        for (kind, value) in [
            (MetricKind::Counter, SampleValue::Counter(2.0)),
            (MetricKind::Gauge, SampleValue::GaugeSet(3.0)),
            (MetricKind::Timer, SampleValue::Timer(4.0)),
            (MetricKind::Set, SampleValue::Set("m".into())),
            (MetricKind::Trace, SampleValue::Trace),
        ] {
            bench.record(0, kind, kind.as_str(), &value);
        }
    }

    /// The points with those of idle series, sorted.
    fn flush(bench: &mut Bench, limits: &IdleLimits) -> Vec<String> {
        let (snapshot, idle) = bench.flush_with_idle(limits);
        let points = model::ClosedWindow::undivided(snapshot).with_idle(idle).form(false, limits);
        let mut shown = shown(&points);
        shown.sort();
        shown
    }

    #[test]
    fn every_live_series_without_samples_is_idle_until_it_expires() {
        let mut bench = expiring_after(20);
        record_each_kind(&mut bench);
        let values = ["counter counter = 2", "gauge gauge = 3", "set set = 1"];
        assert_eq!(flush(&mut bench, &all())[..3], values);
        let idle = [
            "counter busy = 1",
            "counter counter = 0",
            "gauge gauge = 3",
            "set set = 0",
            "timer timer = 0",
            "trace trace = 0",
        ];
        for _ in 0..2 {
            bench.count(0, "busy", 1.0);
            assert_eq!(flush(&mut bench, &all()), idle);
        }
        bench.count(0, "busy", 1.0);
        assert_eq!(flush(&mut bench, &all()), ["counter busy = 1"]);
        assert_eq!(flush(&mut bench, &all()), ["counter busy = 0"]);
        record_each_kind(&mut bench);
        assert_eq!(flush(&mut bench, &all()).len(), 6, "they come back");
    }

    #[test]
    fn a_series_is_idle_for_whole_windows() {
        let mut bench = expiring_after(600);
        let gauges =
            |seconds| IdleLimits::default().with(MetricKind::Gauge, Duration::from_secs(seconds));
        for (seconds, windows) in [(9, 0), (10, 1), (19, 1), (25, 2)] {
            record_each_kind(&mut bench);
            assert_eq!(flush(&mut bench, &gauges(seconds)).len(), 5);
            let idle = (0..5).map(|_| flush(&mut bench, &gauges(seconds)).len());
            assert_eq!(idle.sum::<usize>(), windows, "{seconds} s");
        }
    }

    #[test]
    fn a_change_of_a_gauge_continues_from_the_value_that_idle_windows_show() {
        let mut bench = expiring_after(600);
        bench.record(0, MetricKind::Gauge, "g", &SampleValue::GaugeSet(10.0));
        assert_eq!(flush(&mut bench, &all()), ["gauge g = 10"]);
        assert_eq!(flush(&mut bench, &all()), ["gauge g = 10"]);
        bench.record(0, MetricKind::Gauge, "g", &SampleValue::GaugeAdd(-4.0));
        assert_eq!(flush(&mut bench, &all()), ["gauge g = 6"]);
        assert_eq!(flush(&mut bench, &all()), ["gauge g = 6"]);
    }

    #[test]
    fn the_gauges_of_an_earlier_run_are_idle_from_the_first_window_on() {
        let mut before = expiring_after(600);
        record_each_kind(&mut before);
        before.flush();
        before.flush();
        let levels = before.store.levels(INTERVAL);
        let mut after = expiring_after(600);
        assert_eq!(after.store.restore_levels(&levels, INTERVAL), 0);
        let limits = IdleLimits::default().with(MetricKind::Gauge, 2 * INTERVAL);
        // The first window continues the last one before the restart, in which it was idle too.
        assert_eq!(flush(&mut after, &limits), ["gauge gauge = 3"]);
        assert_eq!(flush(&mut after, &limits), ["gauge gauge = 3"]);
        assert_eq!(flush(&mut after, &limits), [""; 0]);
    }

    #[test]
    fn the_arrival_of_the_last_value_is_known_while_idle_gauges_are_wanted() {
        let mut bench = expiring_after(600);
        let arrivals = |bench: &mut Bench, limits: &IdleLimits| -> Vec<(f64, u64)> {
            let (_, idle) = bench.flush_with_idle(limits);
            let snapshot = Snapshot {
                points: idle.map_or_else(|| Vec::new().into(), |idle| idle.all()),
                ..model::testing::snapshot_of(vec![])
            };
            let of = |point: &Point| match point.value {
                Value::Gauge { value, arrival_ns } => (value, arrival_ns),
                _ => panic!("a gauge"),
            };
            snapshot.points.iter().map(of).collect()
        };
        bench.record_at(0, MetricKind::Gauge, "a", &SampleValue::GaugeSet(1.0), 70);
        bench.record_at(0, MetricKind::Gauge, "b", &SampleValue::GaugeSet(2.0), 60);
        assert_eq!(arrivals(&mut bench, &all()), []);
        assert_eq!(arrivals(&mut bench, &all()), [(1.0, 70), (2.0, 60)]);
        bench.record_at(0, MetricKind::Gauge, "b", &SampleValue::GaugeAdd(1.0), 80);
        assert_eq!(arrivals(&mut bench, &all()), [(3.0, 80), (1.0, 70)]);
        assert_eq!(arrivals(&mut bench, &all()), [(1.0, 70), (3.0, 80)]);
        assert_eq!(arrivals(&mut bench, &IdleLimits::default()), []);
        assert_eq!(arrivals(&mut bench, &all()), [(1.0, 0), (3.0, 0)]);
    }
}
