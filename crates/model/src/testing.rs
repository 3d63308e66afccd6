//! Snapshots for tests and benchmarks of all crates.

use std::sync::Arc;
use std::time::Duration;

use crate::{
    EXACT_SAMPLES_DEFAULT, MetricKind, Percentile, Point, Series, Snapshot, Sum, Timer, Value,
    Window,
};

/// A snapshot of a 10 s window that ended on 2017-03-21 16:34:34 UTC, with the default percentiles.
#[must_use]
pub fn snapshot_of(points: Vec<Point>) -> Snapshot {
    let percentiles = ["50", "90", "95", "99"].map(|text| Percentile::parse(text).expect("valid"));
    Snapshot {
        window: Window { end_ms: 1_490_114_074_000, length: Duration::from_secs(10) },
        start_ms: None,
        percentiles: Arc::new(percentiles),
        exact_samples: EXACT_SAMPLES_DEFAULT,
        instance: None,
        points: points.into(),
    }
}

/// A point.
#[must_use]
pub fn point(kind: MetricKind, name: &str, tags: &[(&str, &str)], value: Value) -> Point {
    Point { series: Arc::new(Series::new(kind, name, tags)), value }
}

/// A counter.
#[must_use]
pub fn counter(name: &str, tags: &[(&str, &str)], count: f64) -> Point {
    point(MetricKind::Counter, name, tags, Value::Counter(Sum::of(count)))
}

/// A timer with these (value, weight) samples, and the percentiles of [`snapshot_of`].
#[must_use]
pub fn timer(name: &str, tags: &[(&str, &str)], samples: &[(f64, f64)]) -> Point {
    let mut timer = Timer::default();
    for (value, weight) in samples {
        timer.record(*value, *weight, EXACT_SAMPLES_DEFAULT);
    }
    point(MetricKind::Timer, name, tags, Value::timer(timer, &snapshot_of(vec![]).percentiles))
}

/// A snapshot of `points` counters, each with a count of 1.
#[must_use]
pub fn snapshot_of_counters(points: usize) -> Snapshot {
    let counter = |index: usize| {
        let tags = [("n", index.to_string())];
        let tags: Vec<_> = tags.iter().map(|(key, value)| (*key, value.as_str())).collect();
        point(MetricKind::Counter, "c", &tags, Value::Counter(Sum::of(1.0)))
    };
    snapshot_of((0..points).map(counter).collect())
}

/// The points in order, as `KIND SERIES = HEADLINE`.
#[must_use]
pub fn shown(snapshot: &Snapshot) -> Vec<String> {
    let line = |point: &Point| format!("{} = {}", point.series, point.value.headline());
    snapshot.points.iter().map(line).collect()
}

/// Inserts a point into a snapshot.
pub fn insert(snapshot: &mut Snapshot, place: usize, point: Point) {
    let mut points = snapshot.points.to_vec();
    points.insert(place, point);
    snapshot.points = points.into();
}
