//! The values of gauges over a restart of the daemon.

use std::time::Duration;

use super::{LiveSeries, Store};
use crate::aggregator::cell::Cell;
use model::{GaugeLevel, MetricKind};

impl Store {
    /// The values of all gauges, those that changed last first. Called after the last flush; windows
    /// were this long.
    #[must_use]
    pub fn levels(&self, interval: Duration) -> Vec<GaugeLevel> {
        let interval_ms = interval.as_millis() as u64;
        let latest = self.window - 1;
        let live = self.live.iter().flatten();
        let gauges = live.filter(|live| live.series.kind() == MetricKind::Gauge);
        let mut levels: Vec<_> = gauges
            .map(|live| GaugeLevel {
                series: live.series.clone(),
                value: live.gauge,
                idle_ms: latest.saturating_sub(u64::from(live.last_window)) * interval_ms,
            })
            .collect();
        levels.sort_by_key(|level| level.idle_ms);
        levels
    }

    /// Adds gauges of an earlier run, which changes start from. They have no sample yet: they expire
    /// as if the daemon had not been away, after the general time, because the time of a rule is known
    /// only with the first sample. The values of those that have expired are remembered. The limits on
    /// series hold; returns how many gauges had no room. Called before the first merge.
    pub fn restore_levels(&mut self, levels: &[GaugeLevel], interval: Duration) -> usize {
        // Idle windows count back from here. Bounded, so that the numbers still fit for a century.
        let most = u64::from(u32::MAX / 2);
        let live = self.expiry_times.windows(0).min(most);
        let remembered = self.gauges.after().min(most);
        self.window += live.max(remembered);
        let interval_ms = (interval.as_millis() as u64).max(1);
        let mut left_out = 0;
        let idle_windows = |level: &GaugeLevel| level.idle_ms.div_ceil(interval_ms);
        for level in levels {
            let idle = idle_windows(level);
            // The same condition by which a series expires.
            if idle <= live {
                left_out += usize::from(!self.restore_level(level, idle));
            }
        }
        // The memory is in the order of expiry: the oldest first.
        for level in levels.iter().rev() {
            let idle = idle_windows(level);
            if idle > live && idle <= remembered {
                self.gauges.remember(&level.series, level.value, self.window - idle);
            }
        }
        left_out
    }

    fn restore_level(&mut self, level: &GaugeLevel, idle: u64) -> bool {
        let Some(admitted) = self.registry.restore(&level.series) else { return false };
        let Self { live, activity, window, .. } = self;
        let id = admitted.id as usize;
        if live.len() <= id {
            live.resize_with(id + 1, || None);
        }
        let metric = activity.add(&admitted.series);
        live[id] = Some(LiveSeries {
            series: admitted.series,
            cell: Cell::Empty,
            gauge: level.value,
            first_window: (*window - idle) as u32,
            last_window: (*window - idle) as u32,
            metric,
            expiry: 0,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use basics::units::Span;
    use model::Series;

    use super::super::tests::{Bench, bench};
    use super::*;
    use crate::aggregator::AggregationConfig;
    use crate::protocol::SampleValue;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn config(expire_after_s: u64) -> AggregationConfig {
        AggregationConfig {
            expire_after: Span::from_secs(expire_after_s),
            ..AggregationConfig::default()
        }
    }

    fn set(bench: &mut Bench, name: &str, value: f64) {
        bench.record(0, MetricKind::Gauge, name, &SampleValue::GaugeSet(value));
    }

    fn change(bench: &mut Bench, name: &str, by: f64) {
        bench.record(0, MetricKind::Gauge, name, &SampleValue::GaugeAdd(by));
    }

    fn level(name: &str, value: f64, idle_ms: u64) -> GaugeLevel {
        let series = Arc::new(Series::new(MetricKind::Gauge, name, &[] as &[(&str, &str)]));
        GaugeLevel { series, value, idle_ms }
    }

    #[test]
    fn changes_after_a_restart_start_from_the_level_before_it() {
        let mut before = bench(1, &config(600));
        set(&mut before, "g", 10.0);
        set(&mut before, "older", 1.0);
        before.flush();
        change(&mut before, "g", 2.0);
        before.count(0, "c", 1.0);
        before.flush();
        let levels = before.store.levels(INTERVAL);
        let told: Vec<_> =
            levels.iter().map(|one| (one.series.name(), one.value, one.idle_ms)).collect();
        assert_eq!(told, [("g", 12.0, 0), ("older", 1.0, 10_000)]);

        let mut after = bench(1, &config(600));
        assert_eq!(after.store.restore_levels(&levels, INTERVAL), 0);
        assert_eq!(after.flush(), [""; 0], "a restored level has no point");
        change(&mut after, "g", 4.0);
        change(&mut after, "older", -3.0);
        assert_eq!(after.flush(), ["gauge g = 16", "gauge older = -2"]);
        assert_eq!(after.registry.series_count(), 2);
    }

    #[test]
    fn a_restored_level_expires_when_it_would_have_expired_without_the_restart() {
        let mut bench = bench(1, &config(30));
        let levels = [
            level("fresh", 1.0, 0),
            level("idle", 2.0, 20_000),
            level("about to expire", 3.0, 30_000),
            level("gone", 4.0, 30_001),
        ];
        assert_eq!(bench.store.restore_levels(&levels, INTERVAL), 0);
        let mut counts = Vec::new();
        for _ in 0..6 {
            counts.push(bench.registry.series_count());
            bench.flush();
        }
        assert_eq!(counts, [3, 2, 1, 1, 0, 0], "after 30 s and up to two windows");
        // The series has expired, one of them before the restart; `gauge_memory` still has its level.
        for name in ["fresh", "about to expire", "gone"] {
            change(&mut bench, name, 5.0);
        }
        let expected = ["gauge about to expire = 8", "gauge fresh = 6", "gauge gone = 9"];
        assert_eq!(bench.flush(), expected);
    }

    #[test]
    fn the_value_of_a_gauge_with_a_longer_time_of_its_own_survives_a_restart() {
        let config = AggregationConfig { gauge_memory: Span::from_secs(3_600), ..config(600) };
        // A rule kept them live for longer than the general time.
        let levels = [level("quota", 100.0, 1_800_000), level("old", 7.0, 3_600_001)];
        let mut bench = bench(1, &config);
        assert_eq!(bench.store.restore_levels(&levels, INTERVAL), 0);
        bench.flush();
        for name in ["quota", "old"] {
            change(&mut bench, name, 1.0);
        }
        assert_eq!(bench.flush(), ["gauge old = 1", "gauge quota = 101"]);
    }

    #[test]
    fn the_limits_on_series_hold_for_restored_levels() {
        let config = AggregationConfig { max_series: 2, ..config(600) };
        let mut bench = bench(1, &config);
        let levels = [level("a", 1.0, 0), level("b", 2.0, 0), level("c", 3.0, 0)];
        assert_eq!(bench.store.restore_levels(&levels, INTERVAL), 1);
        assert_eq!(bench.registry.series_count(), 2);
        change(&mut bench, "b", 1.0);
        assert_eq!(bench.flush(), ["gauge b = 3"]);
    }

    #[test]
    fn a_restored_gauge_that_is_removed_starts_at_0() {
        let mut bench = bench(1, &config(30));
        let levels = [level("fresh", 1.0, 0), level("last", 3.0, 30_000)];
        assert_eq!(bench.store.restore_levels(&levels, INTERVAL), 0);
        let all = crate::series_filter::SeriesFilter::new(&["*".to_owned()], &[], &[]).unwrap();
        assert_eq!(bench.store.remove(&all), 2);
        for name in ["fresh", "last"] {
            change(&mut bench, name, 5.0);
        }
        assert_eq!(bench.flush(), ["gauge fresh = 5", "gauge last = 5"]);
    }

    #[test]
    fn a_remembered_level_is_forgotten_when_it_would_have_been_without_the_restart() {
        let config = AggregationConfig { gauge_memory: Span::from_secs(60), ..config(10) };
        let mut bench = bench(1, &config);
        let levels = [level("early", 1.0, 30_000), level("late", 2.0, 30_000)];
        assert_eq!(bench.store.restore_levels(&levels, INTERVAL), 0);
        for _ in 0..3 {
            bench.flush();
        }
        change(&mut bench, "early", 5.0);
        assert_eq!(bench.flush(), ["gauge early = 6"]);
        bench.flush();
        change(&mut bench, "late", 5.0);
        assert_eq!(bench.flush(), ["gauge late = 5"]);
    }

    #[test]
    fn a_restored_series_is_as_old_as_it_is_idle() {
        let mut bench = bench(1, &config(600));
        assert_eq!(bench.store.restore_levels(&[level("g", 1.0, 50_000)], INTERVAL), 0);
        let listed = bench.store.list();
        let ages: Vec<_> = listed.iter().map(|one| (one.idle_windows, one.age_windows)).collect();
        assert_eq!(ages, [(4, 4)], "the window that has begun counts when it ends");
    }
}
